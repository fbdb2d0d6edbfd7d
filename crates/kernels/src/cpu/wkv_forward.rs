//! Twin of `shaders/wkv_forward.wgsl`.

use super::wkv_step::{WkvState, wkv_advance, wkv_mix};
use crate::sequence::{check_len, check_sequences};
use crate::{KernelError, NO_STATE, STATE_ROWS, Sequence, WkvDims};

/// WKV forward, scalar: the definition. Shapes as in [`wkv_forward`].
#[allow(
    clippy::too_many_arguments,
    reason = "the bindings of the shader, in its order"
)]
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
                let m = wkv_mix(s.pp, u + k[at]);
                out[at] = (m.a * s.aa + m.b * v[at]) / (m.a * s.bb + m.b);
                s = wkv_advance(s, w, k[at], v[at]);
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
#[allow(
    clippy::too_many_arguments,
    reason = "the bindings of the shader, in its order"
)]
pub fn wkv_forward(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    seqs: &[Sequence],
    state_in: &[f32],
    out: &mut [f32],
    dims: WkvDims,
) -> Result<(), KernelError> {
    wkv_forward_plain(wu, k, v, seqs, state_in, out, dims)
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
    check_len(KERNEL, "wu", wu.len(), 2 * dims.c)?;
    check_len(KERNEL, "k", k.len(), rows)?;
    check_len(KERNEL, "v", v.len(), rows)?;
    check_len(KERNEL, "state_in", state_in.len(), dims.state_len()?)?;
    check_len(KERNEL, "out", out.len(), dims.out_len()?)?;
    check_sequences(KERNEL, seqs, &dims)
}
