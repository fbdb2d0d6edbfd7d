//! Twin of `shaders/wkv_backward.wgsl`; the derivation stands there.

use super::blocks::{Columns, NARROW, WIDE, for_each_block, load};
use super::exp::{exp_weight, ln_normal, madd};
use super::simd;
use super::wkv_step::{WkvState, wkv_advance, wkv_mix, wkv_mix_fast, wkv_output};
use crate::sequence::{check_len, check_sequences};
use crate::{GRAD_ROWS, KernelError, NO_STATE, STATE_ROWS, Sequence, WkvDims};

/// WKV backward, scalar: the shader's text. Shapes as in [`wkv_backward`].
///
/// Pass 1 walks forward, leaves `ln D_t` (D the true denominator of y) in gk and y in gv, and sums gw and gu. Pass 2 walks back
/// with `x = dL/dA_t` and `z = dL/dB_t`, both divided by `e^scale`, and overwrites gk and gv.
#[allow(
    clippy::too_many_arguments,
    reason = "the bindings of the shader, in its order"
)]
pub fn wkv_backward_plain(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    seqs: &[Sequence],
    state_in: &[f32],
    grad_out: &[f32],
    grads: &mut [f32],
    dims: WkvDims,
) -> Result<(), KernelError> {
    check_backward(wu, k, v, seqs, state_in, grad_out, grads, dims)?;
    let channels = dims.c;
    let (gk, rest) = grads.split_at_mut(dims.n * channels);
    let (gv, own_rows) = rest.split_at_mut(dims.n * channels);
    for (index, seq) in seqs.iter().enumerate() {
        for c in 0..channels {
            let (w, u) = (wu[c], wu[channels + c]);
            let start = WkvState::load(state_in, seq.slot_in, c, channels);

            let mut s = start;
            let (mut da, mut db, mut gw, mut gu) = (0.0, 0.0, 0.0, 0.0);
            let mut winner = 0;
            for t in 0..seq.len {
                let at = (seq.first + t) as usize * channels + c;
                let m = wkv_mix(s.pp, u + k[at]);
                let (numerator, denominator) = wkv_output::<false>(s, m, v[at]);
                let y = numerator / denominator;
                let q = grad_out[at] / denominator;
                gw += m.a * q * (da - db * y);
                gu += m.b * q * (v[at] - y);
                gk[at] = m.scale + denominator.ln();
                gv[at] = y;

                let m = wkv_mix(w + s.pp, k[at]);
                da = m.a * (s.aa + da);
                db = m.a * (s.bb + db);
                if w + s.pp < k[at] {
                    winner = t + 1;
                }
                s = wkv_advance::<false>(s, m, v[at]);
            }

            let (mut x, mut z, mut through_pp) = (0.0, 0.0, 0.0);
            if seq.slot_out != NO_STATE {
                let last = (dims.n + seq.slot_out as usize * STATE_ROWS) * channels + c;
                x = grad_out[last];
                z = grad_out[last + channels];
                through_pp = grad_out[last + 2 * channels] - (x * s.aa + z * s.bb);
                gw += x * da + z * db + through_pp * (seq.len - winner) as f32;
            }
            let mut scale = -s.pp;

            for t in (0..seq.len).rev() {
                let at = (seq.first + t) as usize * channels + c;
                let (g, log_d, y) = (grad_out[at], gk[at], gv[at]);
                let now = g * (u + k[at] - log_d).exp();
                let later = (k[at] + scale).exp();
                let won = if winner == t + 1 { through_pp } else { 0.0 };
                gk[at] = now * (v[at] - y) + later * (x * v[at] + z) + won;
                gv[at] = now + later * x;

                let m = wkv_mix(w + scale, -log_d);
                let q = g * m.b;
                x = m.a * x + q;
                z = m.a * z - q * y;
                scale = m.scale;
            }

            let back = (scale + start.pp).exp();
            let (gaa, gbb) = (back * x, back * z);
            let gpp = gaa * start.aa + gbb * start.bb + if winner == 0 { through_pp } else { 0.0 };
            for (row, value) in [gw, gu, gaa, gbb, gpp].into_iter().enumerate() {
                own_rows[(index * GRAD_ROWS + row) * channels + c] = value;
            }
        }
    }
    Ok(())
}

/// WKV backward over ragged sequences: the gradient of every input of the forward.
///
/// `wu [2, C]`, `k [N, C]`, `v [N, C]`, `state_in [S, 3, C]` as given to the forward; `grad_out [N + 3·S, C]` laid out like its
/// output; `grads [2·N + 5·sequences, C]`: gk, gv, then gw, gu, gaa, gbb, gpp of each sequence (the caller sums gw and gu over
/// sequences, and the last three over the sequences that read the same slot).
#[allow(
    clippy::too_many_arguments,
    reason = "the bindings of the shader, in its order"
)]
pub fn wkv_backward(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    seqs: &[Sequence],
    state_in: &[f32],
    grad_out: &[f32],
    grads: &mut [f32],
    dims: WkvDims,
) -> Result<(), KernelError> {
    check_backward(wu, k, v, seqs, state_in, grad_out, grads, dims)?;
    let job = Backward {
        wu,
        k,
        v,
        state_in,
        grad_out,
        grads: Columns::new(grads),
        dims,
    };
    for_each_block(seqs, dims.c, |index, first, width| {
        simd::dispatch!(backward_block(&job, &seqs[index], index, first, width));
    });
    Ok(())
}

/// The arguments of [`wkv_backward`], shared by its tasks.
struct Backward<'a> {
    wu: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    state_in: &'a [f32],
    grad_out: &'a [f32],
    grads: Columns<'a>,
    dims: WkvDims,
}

simd::multiversion! {
    fn backward_block(job: &Backward<'_>, seq: &Sequence, index: usize, first: usize, width: usize) {
        match width {
            WIDE => job.run::<FMA, WIDE>(seq, index, first),
            NARROW => job.run::<FMA, NARROW>(seq, index, first),
            _ => job.run::<FMA, 1>(seq, index, first),
        }
    }
}

/// What pass 1 hands to pass 2, for W channels.
struct Pass<const W: usize> {
    aa: [f32; W],
    bb: [f32; W],
    pp: [f32; W],
    da: [f32; W],
    db: [f32; W],
    gw: [f32; W],
    gu: [f32; W],
    winner: [u32; W],
}

impl Backward<'_> {
    /// Channels `first..first + W` of one sequence.
    #[inline(always)]
    fn run<const FMA: bool, const W: usize>(&self, seq: &Sequence, index: usize, first: usize) {
        let channels = self.dims.c;
        let mut p = self.pass_1::<FMA, W>(seq, first);

        let (mut x, mut z, mut through_pp) = ([0.0f32; W], [0.0f32; W], [0.0f32; W]);
        if seq.slot_out != NO_STATE {
            let at = (self.dims.n + seq.slot_out as usize * STATE_ROWS) * channels + first;
            for i in 0..W {
                x[i] = self.grad_out[at + i];
                z[i] = self.grad_out[at + channels + i];
                through_pp[i] =
                    self.grad_out[at + 2 * channels + i] - (x[i] * p.aa[i] + z[i] * p.bb[i]);
                p.gw[i] += x[i] * p.da[i]
                    + z[i] * p.db[i]
                    + through_pp[i] * (seq.len - p.winner[i]) as f32;
            }
        }
        let scale = self.pass_2::<FMA, W>(seq, first, &p, &mut x, &mut z, &through_pp);

        let mut own = [[0.0f32; W]; GRAD_ROWS];
        (own[0], own[1]) = (p.gw, p.gu);
        for i in 0..W {
            let start = WkvState::load(self.state_in, seq.slot_in, first + i, channels);
            let back = exp_weight::<FMA>(scale[i] + start.pp);
            own[2][i] = back * x[i];
            own[3][i] = back * z[i];
            let won = if p.winner[i] == 0 { through_pp[i] } else { 0.0 };
            own[4][i] = own[2][i] * start.aa + own[3][i] * start.bb + won;
        }
        let at = (2 * self.dims.n + index * GRAD_ROWS) * channels + first;
        for (row, values) in own.into_iter().enumerate() {
            // SAFETY: these rows exist (`check_backward`) and belong to this sequence, the channels
            // to this task.
            unsafe { self.grads.store(at + row * channels, values) };
        }
    }

    /// Forward walk: leaves ln D in gk and y in gv.
    #[inline(always)]
    fn pass_1<const FMA: bool, const W: usize>(&self, seq: &Sequence, first: usize) -> Pass<W> {
        let channels = self.dims.c;
        let gv_offset = self.dims.n * channels;
        let w: [f32; W] = load(self.wu, first);
        let u: [f32; W] = load(self.wu, channels + first);
        let zero = [0.0f32; W];
        let (mut aa, mut bb, mut pp) = (zero, zero, zero);
        let (mut da, mut db, mut gw, mut gu) = (zero, zero, zero, zero);
        let mut winner = [0u32; W];
        for i in 0..W {
            let s = WkvState::load(self.state_in, seq.slot_in, first + i, channels);
            (aa[i], bb[i], pp[i]) = (s.aa, s.bb, s.pp);
        }
        for t in 0..seq.len {
            let at = (seq.first + t) as usize * channels + first;
            let k: [f32; W] = load(self.k, at);
            let v: [f32; W] = load(self.v, at);
            let g: [f32; W] = load(self.grad_out, at);
            let (mut log_d, mut y_out) = ([0.0; W], [0.0; W]);
            for i in 0..W {
                let s = WkvState {
                    aa: aa[i],
                    bb: bb[i],
                    pp: pp[i],
                };
                let m = wkv_mix_fast::<FMA>(s.pp, u[i] + k[i]);
                let (numerator, denominator) = wkv_output::<FMA>(s, m, v[i]);
                let y = numerator / denominator;
                let q = g[i] / denominator;
                gw[i] = madd::<FMA>(m.a * q, madd::<FMA>(-db[i], y, da[i]), gw[i]);
                gu[i] = madd::<FMA>(m.b * q, v[i] - y, gu[i]);
                log_d[i] = m.scale + ln_normal::<FMA>(denominator);
                y_out[i] = y;

                let decayed = w[i] + s.pp;
                let m = wkv_mix_fast::<FMA>(decayed, k[i]);
                da[i] = m.a * (s.aa + da[i]);
                db[i] = m.a * (s.bb + db[i]);
                winner[i] = if decayed < k[i] { t + 1 } else { winner[i] };
                let next = wkv_advance::<FMA>(s, m, v[i]);
                (aa[i], bb[i], pp[i]) = (next.aa, next.bb, next.pp);
            }
            // SAFETY: the row exists and belongs to this sequence alone (`check_backward`), the
            // channels to this task.
            unsafe { self.grads.store(at, log_d) };
            // SAFETY: as above; gv lies behind all of gk.
            unsafe { self.grads.store(at + gv_offset, y_out) };
        }
        Pass {
            aa,
            bb,
            pp,
            da,
            db,
            gw,
            gu,
            winner,
        }
    }

    /// Walk back: overwrites gk and gv, leaves in x and z the gradients of the initial A and B, divided by `e^scale`; returns scale.
    #[inline(always)]
    fn pass_2<const FMA: bool, const W: usize>(
        &self,
        seq: &Sequence,
        first: usize,
        p: &Pass<W>,
        x: &mut [f32; W],
        z: &mut [f32; W],
        through_pp: &[f32; W],
    ) -> [f32; W] {
        let channels = self.dims.c;
        let gv_offset = self.dims.n * channels;
        let w: [f32; W] = load(self.wu, first);
        let u: [f32; W] = load(self.wu, channels + first);
        let mut scale = p.pp.map(|pp| -pp);
        for t in (0..seq.len).rev() {
            let at = (seq.first + t) as usize * channels + first;
            let k: [f32; W] = load(self.k, at);
            let v: [f32; W] = load(self.v, at);
            let g: [f32; W] = load(self.grad_out, at);
            // SAFETY: the row exists and belongs to this sequence alone (`check_backward`), the
            // channels to this task.
            let mut gk: [f32; W] = unsafe { self.grads.load(at) };
            // SAFETY: as above; gv lies behind all of gk.
            let mut gv: [f32; W] = unsafe { self.grads.load(at + gv_offset) };
            for i in 0..W {
                let (log_d, y) = (gk[i], gv[i]);
                let now = g[i] * exp_weight::<FMA>(u[i] + k[i] - log_d);
                let later = exp_weight::<FMA>(k[i] + scale[i]);
                let won = if p.winner[i] == t + 1 {
                    through_pp[i]
                } else {
                    0.0
                };
                let future = madd::<FMA>(x[i], v[i], z[i]);
                gk[i] = madd::<FMA>(now, v[i] - y, madd::<FMA>(later, future, won));
                gv[i] = madd::<FMA>(later, x[i], now);

                let m = wkv_mix_fast::<FMA>(w[i] + scale[i], -log_d);
                let q = g[i] * m.b;
                x[i] = madd::<FMA>(m.a, x[i], q);
                z[i] = madd::<FMA>(m.a, z[i], -(q * y));
                scale[i] = m.scale;
            }
            // SAFETY: as for the loads above.
            unsafe { self.grads.store(at, gk) };
            // SAFETY: as for the loads above.
            unsafe { self.grads.store(at + gv_offset, gv) };
        }
        scale
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "the bindings of the shader, in its order"
)]
fn check_backward(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    seqs: &[Sequence],
    state_in: &[f32],
    grad_out: &[f32],
    grads: &[f32],
    dims: WkvDims,
) -> Result<(), KernelError> {
    const KERNEL: &str = "wkv_backward";
    let rows = dims.rows_len()?;
    check_len(KERNEL, "wu", wu.len(), dims.wu_len()?)?;
    check_len(KERNEL, "k", k.len(), rows)?;
    check_len(KERNEL, "v", v.len(), rows)?;
    check_len(KERNEL, "state_in", state_in.len(), dims.state_len()?)?;
    check_len(KERNEL, "grad_out", grad_out.len(), dims.out_len()?)?;
    check_len(KERNEL, "grads", grads.len(), dims.grads_len(seqs.len())?)?;
    check_sequences(KERNEL, seqs, &dims)
}
