//! Twin of `shaders/wkv_forward.wgsl`.

use super::blocks::{Columns, NARROW, WIDE, for_each_block, load};
use super::simd;
use super::wkv_step::{WkvState, wkv_advance, wkv_mix, wkv_mix_fast, wkv_output};
use crate::sequence::{check_len, check_sequences};
use crate::{KernelError, NO_STATE, STATE_ROWS, Sequence, WkvDims};

/// WKV forward, scalar: the definition. Shapes as in [`wkv_forward`].
pub fn wkv_forward_plain(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    seqs: &[Sequence],
    state_in: &[f32],
    out: &mut [f32],
    dims: WkvDims,
) -> Result<(), KernelError> {
    check_forward(wu, k, v, seqs, state_in, out, dims)?;
    let channels = dims.c;
    for seq in seqs {
        for c in 0..channels {
            let (w, u) = (wu[c], wu[channels + c]);
            let mut s = WkvState::load(state_in, seq.slot_in, c, channels);
            for t in 0..seq.len as usize {
                let at = (seq.first as usize + t) * channels + c;
                let (numerator, denominator) =
                    wkv_output::<false>(s, wkv_mix(s.pp, u + k[at]), v[at]);
                out[at] = numerator / denominator;
                s = wkv_advance::<false>(s, wkv_mix(w + s.pp, k[at]), v[at]);
            }
            if seq.slot_out != NO_STATE {
                let at = (dims.n + seq.slot_out as usize * STATE_ROWS) * channels + c;
                out[at] = s.aa;
                out[at + channels] = s.bb;
                out[at + 2 * channels] = s.pp;
            }
        }
    }
    Ok(())
}

/// WKV forward over ragged sequences.
///
/// `wu [2, C]` (log decay per step, bonus), `k [N, C]`, `v [N, C]`, `state_in [S, 3, C]`, `out [N + 3·S, C]`: y, then the final
/// state of each slot written. Any length is allowed, 0 passes the state through.
pub fn wkv_forward(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    seqs: &[Sequence],
    state_in: &[f32],
    out: &mut [f32],
    dims: WkvDims,
) -> Result<(), KernelError> {
    check_forward(wu, k, v, seqs, state_in, out, dims)?;
    let job = Forward {
        wu,
        k,
        v,
        state_in,
        out: Columns::new(out),
        dims,
    };
    for_each_block(seqs, dims.c, |index, first, width| {
        simd::dispatch!(forward_block(&job, &seqs[index], first, width))
    });
    Ok(())
}

/// The arguments of [`wkv_forward`], shared by its tasks.
struct Forward<'a> {
    wu: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    state_in: &'a [f32],
    out: Columns<'a>,
    dims: WkvDims,
}

simd::multiversion! {
    fn forward_block(job: &Forward<'_>, seq: &Sequence, first: usize, width: usize) {
        match width {
            WIDE => job.run::<FMA, WIDE>(seq, first),
            NARROW => job.run::<FMA, NARROW>(seq, first),
            _ => job.run::<FMA, 1>(seq, first),
        }
    }
}

impl Forward<'_> {
    /// Channels `first..first + W` of one sequence.
    #[inline(always)]
    fn run<const FMA: bool, const W: usize>(&self, seq: &Sequence, first: usize) {
        let channels = self.dims.c;
        let w: [f32; W] = load(self.wu, first);
        let u: [f32; W] = load(self.wu, channels + first);
        let (mut aa, mut bb, mut pp) = ([0.0f32; W], [0.0f32; W], [0.0f32; W]);
        for i in 0..W {
            let s = WkvState::load(self.state_in, seq.slot_in, first + i, channels);
            (aa[i], bb[i], pp[i]) = (s.aa, s.bb, s.pp);
        }
        for t in 0..seq.len as usize {
            let at = (seq.first as usize + t) * channels + first;
            let k: [f32; W] = load(self.k, at);
            let v: [f32; W] = load(self.v, at);
            let mut y = [0.0; W];
            for i in 0..W {
                let s = WkvState {
                    aa: aa[i],
                    bb: bb[i],
                    pp: pp[i],
                };
                let m = wkv_mix_fast::<FMA>(s.pp, u[i] + k[i]);
                let (numerator, denominator) = wkv_output::<FMA>(s, m, v[i]);
                y[i] = numerator / denominator;
                let next = wkv_advance::<FMA>(s, wkv_mix_fast::<FMA>(w[i] + s.pp, k[i]), v[i]);
                (aa[i], bb[i], pp[i]) = (next.aa, next.bb, next.pp);
            }
            // SAFETY: the row lies within `out` and belongs to this sequence alone
            // (`check_forward`), the channels to this task.
            unsafe { self.out.store(at, y) };
        }
        if seq.slot_out != NO_STATE {
            let at = (self.dims.n + seq.slot_out as usize * STATE_ROWS) * channels + first;
            for (row, values) in [aa, bb, pp].into_iter().enumerate() {
                // SAFETY: the slot exists and no other sequence writes it (`check_forward`); the
                // channels belong to this task.
                unsafe { self.out.store(at + row * channels, values) };
            }
        }
    }
}

fn check_forward(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    seqs: &[Sequence],
    state_in: &[f32],
    out: &[f32],
    dims: WkvDims,
) -> Result<(), KernelError> {
    const KERNEL: &str = "wkv_forward";
    let rows = dims.rows_len()?;
    check_len(KERNEL, "wu", wu.len(), dims.wu_len()?)?;
    check_len(KERNEL, "k", k.len(), rows)?;
    check_len(KERNEL, "v", v.len(), rows)?;
    check_len(KERNEL, "state_in", state_in.len(), dims.state_len()?)?;
    check_len(KERNEL, "out", out.len(), dims.out_len()?)?;
    check_sequences(KERNEL, seqs, &dims)
}
