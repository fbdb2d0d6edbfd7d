//! Twin of `shaders/ln_shift.wgsl`.

use super::layer_norm::norm_row;
use super::rows::{Row, check_index, check_slots};
use crate::sequence::check_len;
use crate::{KernelError, Sequence};

const KERNEL: &str = "ln_shift";

/// The `params` binding of `ln_shift.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LnShiftParams {
    /// C, a multiple of 4.
    pub channels: u32,
    /// Added to the variance.
    pub eps: f32,
    /// Elements of a state.
    pub state_len: u32,
    /// Where in a state the sequence's last normed row lies: its first element.
    pub first: u32,
    /// Mixes: 2 or 3.
    pub mixes: u32,
}

impl LnShiftParams {
    /// As the shader reads them.
    pub fn words(&self) -> [u32; 5] {
        [
            self.channels,
            self.eps.to_bits(),
            self.state_len,
            self.first,
            self.mixes,
        ]
    }
}

/// Layer norm and token shift: `a[n] = LN(x[n])`, `out[n, m] = a[n] · mix[m] + a[n-1] · (1 - mix[m])`. What is before the first row of a sequence comes from its
/// slot in; its last `a` goes to its slot out.
///
/// `x [N, C]`, `norm [2 + mixes, C]` (weight, bias, mixes), `rows [N]`, `seqs` of one row or more that cover every row, `state [S, state_len]`, `out [N, mixes, C]`. No slot that is
/// written is read by another sequence.
pub fn ln_shift(
    x: &[f32],
    norm: &[f32],
    rows: &[Row],
    seqs: &[Sequence],
    state: &mut [f32],
    out: &mut [f32],
    params: &LnShiftParams,
) -> Result<(), KernelError> {
    check(x, norm, rows, seqs, state, out, params)?;
    let channels = params.channels as usize;
    let mixes = params.mixes as usize;
    let mut before = vec![0.0; channels];
    let mut normed = vec![0.0; channels];
    let at = |slot: u32| slot as usize * params.state_len as usize + params.first as usize;
    for (n, row) in rows.iter().enumerate() {
        let seq = &seqs[row.sequence as usize];
        if n == seq.first as usize {
            before.copy_from_slice(&state[at(seq.slot_in)..][..channels]);
        }
        norm_row(
            &x[n * channels..][..channels],
            norm,
            params.eps,
            &mut normed,
        );
        for m in 0..mixes {
            let mix = &norm[(2 + m) * channels..][..channels];
            let out = &mut out[(n * mixes + m) * channels..][..channels];
            for (i, out) in out.iter_mut().enumerate() {
                *out = normed[i] * mix[i] + before[i] * (1.0 - mix[i]);
            }
        }
        if n + 1 == (seq.first + seq.len) as usize {
            state[at(seq.slot_out)..][..channels].copy_from_slice(&normed);
        }
        std::mem::swap(&mut before, &mut normed);
    }
    Ok(())
}

fn check(
    x: &[f32],
    norm: &[f32],
    rows: &[Row],
    seqs: &[Sequence],
    state: &[f32],
    out: &[f32],
    params: &LnShiftParams,
) -> Result<(), KernelError> {
    let channels = params.channels as usize;
    let mixes = params.mixes as usize;
    let state_len = params.state_len as usize;
    let of_rows = rows.len().saturating_mul(channels);
    check_len(KERNEL, "x", x.len(), of_rows)?;
    let of_norm = channels.saturating_mul(mixes.saturating_add(2));
    check_len(KERNEL, "norm", norm.len(), of_norm)?;
    check_len(KERNEL, "out", out.len(), of_rows.saturating_mul(mixes))?;
    check_slots(KERNEL, seqs, rows.len(), state.len(), state_len)?;
    if (params.first as usize).saturating_add(channels) > state_len {
        return Err(KernelError::OutOfRange {
            kernel: KERNEL,
            buffer: "params",
            index: 3,
            value: params.first,
            limit: (state_len + 1).saturating_sub(channels),
        });
    }
    for (index, row) in rows.iter().enumerate() {
        check_index(KERNEL, "rows", index, row.sequence, seqs.len())?;
    }
    Ok(())
}
