//! Twin of `shaders/wkv_backward.wgsl`.

use super::wkv_step::{WkvState, wkv_mix};
use crate::sequence::{check_len, check_sequences};
use crate::{GRAD_ROWS, KernelError, NO_STATE, Sequence, WkvDims};

/// WKV backward, scalar: the derivation written out. Shapes as in [`wkv_backward`].
///
/// Pass 1 walks forward, leaves `ln D_t` (D the true denominator of y) in gk and y in gv, and sums gw and gu. Pass 2 walks back
/// with `X = dL/dA_t` and `Y = dL/dB_t`, both divided by `e^scale`, and overwrites gk and gv.
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
    let (gv, per_sequence) = rest.split_at_mut(dims.n * channels);
    for (index, seq) in seqs.iter().enumerate() {
        let len = seq.len as usize;
        for c in 0..channels {
            let (w, u) = (wu[c], wu[channels + c]);
            let start = WkvState::load(state_in, seq.slot_in, c, channels);
            let mut s = start;
            // dA/dw and dB/dw, divided by e^pp like the state itself.
            let (mut da, mut db) = (0.0, 0.0);
            let (mut gw, mut gu) = (0.0, 0.0);
            // Steps since pp was last a key; len when it still is the initial pp.
            let mut age = 0usize;
            let mut from_key = false;
            for t in 0..len {
                let at = (seq.first as usize + t) * channels + c;
                let m = wkv_mix(s.pp, u + k[at]);
                let denominator = m.a * s.bb + m.b;
                let y = (m.a * s.aa + m.b * v[at]) / denominator;
                let q = grad_out[at] / denominator;
                gw += m.a * q * (da - db * y);
                gu += m.b * q * (v[at] - y);
                gk[at] = m.scale + denominator.ln();
                gv[at] = y;

                let decayed = w + s.pp;
                let m = wkv_mix(decayed, k[at]);
                da = m.a * (s.aa + da);
                db = m.a * (s.bb + db);
                s = WkvState {
                    aa: m.a * s.aa + m.b * v[at],
                    bb: m.a * s.bb + m.b,
                    pp: m.scale,
                };
                if decayed >= k[at] {
                    age += 1;
                } else {
                    age = 0;
                    from_key = true;
                }
            }

            let last = WkvState::load(&grad_out[dims.n * channels..], seq.slot_out, c, channels);
            let (ga, gb, gp) = if seq.slot_out == NO_STATE {
                (0.0, 0.0, 0.0)
            } else {
                (last.aa, last.bb, last.pp)
            };
            // aa and bb are A and B divided by e^pp, so what reaches pp itself is this.
            let through_pp = gp - (ga * s.aa + gb * s.bb);
            gw += ga * da + gb * db + through_pp * age as f32;

            let (mut x, mut y_sum, mut scale) = (ga, gb, -s.pp);
            for t in (0..len).rev() {
                let at = (seq.first as usize + t) * channels + c;
                let (log_d, y) = (gk[at], gv[at]);
                let now = grad_out[at] * (u + k[at] - log_d).exp();
                let later = (k[at] + scale).exp();
                let carried = if from_key && t + 1 + age == len {
                    through_pp
                } else {
                    0.0
                };
                gk[at] = now * (v[at] - y) + later * (x * v[at] + y_sum) + carried;
                gv[at] = now + later * x;

                let m = wkv_mix(w + scale, -log_d);
                let q = grad_out[at] * m.b;
                x = m.a * x + q;
                y_sum = m.a * y_sum - q * y;
                scale = m.scale;
            }
            let back = (scale + start.pp).exp();
            let (gaa, gbb) = (back * x, back * y_sum);
            let gpp = gaa * start.aa + gbb * start.bb + if from_key { 0.0 } else { through_pp };
            let at = index * GRAD_ROWS * channels + c;
            for (row, value) in [gw, gu, gaa, gbb, gpp].into_iter().enumerate() {
                per_sequence[at + row * channels] = value;
            }
        }
    }
    Ok(())
}

/// WKV backward over ragged sequences: the gradient of every input.
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
    wkv_backward_plain(wu, k, v, seqs, state_in, grad_out, grads, dims)
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
    check_len(KERNEL, "wu", wu.len(), 2 * dims.c)?;
    check_len(KERNEL, "k", k.len(), rows)?;
    check_len(KERNEL, "v", v.len(), rows)?;
    check_len(KERNEL, "state_in", state_in.len(), dims.state_len()?)?;
    check_len(KERNEL, "grad_out", grad_out.len(), dims.out_len()?)?;
    check_len(KERNEL, "grads", grads.len(), dims.grads_len(seqs.len())?)?;
    check_sequences(KERNEL, seqs, &dims)
}
