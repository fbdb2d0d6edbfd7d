//! What the runtime's kernels share: a row of the batch, and the checks of what rows and sequences name.

use crate::{KernelError, Sequence};

/// "No adapter" in [`Row::adapter`].
pub const NO_ADAPTER: u32 = u32::MAX;

/// One row (token) of a batch; `vec4<u32>` in the shaders.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Row {
    /// Token id.
    pub token: u32,
    /// Position of its sequence in `seqs`.
    pub sequence: u32,
    /// Adapter that changes its products, or [`NO_ADAPTER`].
    pub adapter: u32,
    /// Number of its logits; no kernel reads it.
    pub logits: u32,
}

/// Refuses an index that an element of a buffer holds.
pub(super) fn check_index(
    kernel: &'static str,
    buffer: &'static str,
    index: usize,
    value: u32,
    limit: usize,
) -> Result<(), KernelError> {
    if (value as usize) < limit {
        return Ok(());
    }
    out_of_range(kernel, buffer, index, value, limit)
}

/// A check that has failed: the element `index` of `buffer` is `value`, and `limit` would be too much.
pub(super) fn out_of_range(
    kernel: &'static str,
    buffer: &'static str,
    index: usize,
    value: u32,
    limit: usize,
) -> Result<(), KernelError> {
    Err(KernelError::OutOfRange {
        kernel,
        buffer,
        index,
        value,
        limit,
    })
}

/// Checks that sequences lie within `rows` rows and their slots within `state`, `[S, state_len]`.
pub(super) fn check_slots(
    kernel: &'static str,
    seqs: &[Sequence],
    rows: usize,
    state: usize,
    state_len: usize,
) -> Result<(), KernelError> {
    let slots = state.checked_div(state_len).unwrap_or(0);
    for (index, seq) in seqs.iter().enumerate() {
        if (seq.first as usize).saturating_add(seq.len as usize) > rows {
            return Err(KernelError::RowsOutOfRange {
                kernel,
                index,
                first: seq.first,
                len: seq.len,
                rows,
            });
        }
        if let Some(&slot) = [seq.slot_in, seq.slot_out]
            .iter()
            .find(|&&slot| slot as usize >= slots)
        {
            return Err(KernelError::SlotOutOfRange {
                kernel,
                index,
                slot,
                slots,
            });
        }
    }
    Ok(())
}
