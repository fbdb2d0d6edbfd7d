//! Twin of `shaders/wkv_gated.wgsl`.

use super::rows::check_slots;
use super::wkv_step::{WkvState, wkv_advance, wkv_mix, wkv_output};
use crate::sequence::check_len;
use crate::{KernelError, STATE_ROWS, Sequence};

const KERNEL: &str = "wkv_gated";

/// The `params` binding of `wkv_gated.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WkvGatedParams {
    /// C.
    pub channels: u32,
    /// Elements of a state.
    pub state_len: u32,
    /// Where in a state the layer's aa begins; bb and pp follow.
    pub first: u32,
}

impl WkvGatedParams {
    /// As the shader reads them.
    pub fn words(&self) -> [u32; 3] {
        [self.channels, self.state_len, self.first]
    }
}

/// WKV with its gate over ragged sequences: `out = σ(r) · wkv(k, v)`.
///
/// `wu [2, C]` (log decay per step, bonus), `kvr [N, 3, C]`, `seqs`, `state [S, state_len]`, `out [N, C]`. No slot that is written is read by another sequence.
pub fn wkv_gated(
    wu: &[f32],
    kvr: &[f32],
    seqs: &[Sequence],
    state: &mut [f32],
    out: &mut [f32],
    params: &WkvGatedParams,
) -> Result<(), KernelError> {
    let channels = params.channels as usize;
    let state_len = params.state_len as usize;
    let rows = out.len().checked_div(channels).unwrap_or(0);
    check_len(KERNEL, "wu", wu.len(), channels.saturating_mul(2))?;
    check_len(KERNEL, "out", out.len(), rows * channels)?;
    check_len(KERNEL, "kvr", kvr.len(), out.len().saturating_mul(3))?;
    check_slots(KERNEL, seqs, rows, state.len(), state_len)?;
    let own = channels.saturating_mul(STATE_ROWS);
    if (params.first as usize).saturating_add(own) > state_len {
        return Err(KernelError::OutOfRange {
            kernel: KERNEL,
            buffer: "params",
            index: 2,
            value: params.first,
            limit: (state_len + 1).saturating_sub(own),
        });
    }
    for seq in seqs {
        let at = |slot: u32| slot as usize * state_len + params.first as usize;
        for c in 0..channels {
            let (w, u) = (wu[c], wu[channels + c]);
            let mut s = WkvState::load(&state[at(seq.slot_in)..], 0, c, channels);
            for t in seq.first as usize..(seq.first + seq.len) as usize {
                let [k, v, r] = [0, 1, 2].map(|i| kvr[(t * 3 + i) * channels + c]);
                let (numerator, denominator) = wkv_output::<false>(s, wkv_mix(s.pp, u + k), v);
                out[t * channels + c] = numerator / (denominator * (1.0 + (-r).exp()));
                s = wkv_advance::<false>(s, wkv_mix(w + s.pp, k), v);
            }
            for (row, value) in [s.aa, s.bb, s.pp].into_iter().enumerate() {
                state[at(seq.slot_out) + row * channels + c] = value;
            }
        }
    }
    Ok(())
}
