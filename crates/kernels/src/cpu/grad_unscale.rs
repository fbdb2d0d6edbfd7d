//! Twin of `shaders/grad_unscale.wgsl`.

use super::elements::elements_and_workgroups;
use crate::KernelError;
use crate::sequence::check_len;

const KERNEL: &str = "grad_unscale";

/// The `params` binding of `grad_unscale.wgsl`, elements and workgroups; the second is the dispatch's x. Fails where 32-bit indices do not reach.
pub fn grad_unscale_params(elements: usize) -> Result<[u32; 2], KernelError> {
    elements_and_workgroups(KERNEL, elements, elements)
}

/// Multiplies a gradient in place: `gradient[i] *= factor[0]`.
///
/// `gradient [elements]`, `factor [1]`: one over the loss scale and the number of micro-batches, times what clipping leaves.
pub fn grad_unscale(gradient: &mut [f32], factor: &[f32]) -> Result<(), KernelError> {
    check_len(KERNEL, "factor", factor.len(), 1)?;
    for x in gradient {
        *x *= factor[0];
    }
    Ok(())
}
