//! Twin of `shaders/f32_to_f16.wgsl`.

use half::f16;

use super::elements::elements_and_workgroups;
use crate::KernelError;
use crate::sequence::check_len;

const KERNEL: &str = "f32_to_f16";

/// The `params` binding of `f32_to_f16.wgsl`, elements and workgroups; the second is the dispatch's x. Fails where 32-bit indices do not reach.
pub fn f32_to_f16_params(elements: usize) -> Result<[u32; 2], KernelError> {
    elements_and_workgroups(KERNEL, elements, elements.div_ceil(2))
}

/// f32 to f16, two to a word, to the nearest and ties to even; from 65,520 on infinity. Behind an odd number of elements the last upper half is 0.
///
/// `input [elements]`, `out [elements / 2, rounded up]`.
pub fn f32_to_f16(input: &[f32], out: &mut [u32]) -> Result<(), KernelError> {
    check_len(KERNEL, "out", out.len(), input.len().div_ceil(2))?;
    for (pair, out) in input.chunks(2).zip(out) {
        let half = |i: usize| pair.get(i).map_or(0, |&x| f16::from_f32(x).to_bits());
        *out = u32::from(half(0)) | u32::from(half(1)) << 16;
    }
    Ok(())
}
