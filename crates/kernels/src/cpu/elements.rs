//! What kernels that walk over all elements of a buffer share: limits, and workgroups that take turns.

use crate::KernelError;

/// Refuses more elements than the 32-bit indices of the shaders reach, four bytes each; else their number.
pub(super) fn check_elements(
    kernel: &'static str,
    rows: usize,
    channels: usize,
) -> Result<usize, KernelError> {
    match rows.checked_mul(channels) {
        Some(elements) if elements <= (u32::MAX / 4) as usize => Ok(elements),
        _ => Err(KernelError::TooLarge {
            kernel,
            rows,
            channels,
        }),
    }
}

/// `params` of a kernel whose invocations take every (64 · workgroups)th element: elements and workgroups. `items` is what an invocation takes at a time.
///
/// The workgroups stay below the limit of a dispatch dimension, 65,535; there is one even for nothing, so that its buffers may be bound.
pub(super) fn elements_and_workgroups(
    kernel: &'static str,
    elements: usize,
    items: usize,
) -> Result<[u32; 2], KernelError> {
    let elements = check_elements(kernel, elements, 1)?;
    let workgroups = items.div_ceil(64).clamp(1, 4096);
    Ok([elements as u32, workgroups as u32])
}
