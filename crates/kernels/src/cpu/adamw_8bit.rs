//! Twin of `shaders/adamw_8bit.wgsl`, and what CPU training runs.

use super::elements::check_elements;
use super::moments_8bit::{MOMENT_BLOCK, Moment, check_packed};
use crate::KernelError;
use crate::sequence::check_len;

const KERNEL: &str = "adamw_8bit";

/// The constants of an update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwParams {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Learning rate / (1 - beta1^t), t counting updates from 1.
    pub rate: f32,
    /// 1 / sqrt(1 - beta2^t).
    pub correction: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Learning rate · weight decay.
    pub decay: f32,
    /// Every gradient is multiplied by this first.
    pub gradient_scale: f32,
}

impl AdamwParams {
    /// The `params` binding of the shader, and the workgroups to dispatch. Fails where 32-bit indices do not reach.
    pub fn words(&self, elements: usize) -> Result<([u32; 9], [u32; 3]), KernelError> {
        let elements = check_elements(KERNEL, elements, 1)? as u32;
        let blocks = elements.div_ceil(MOMENT_BLOCK as u32).max(1);
        // Rows of equal length below the limit of a dispatch dimension, 65,535.
        let rows = blocks.div_ceil(1 << 15);
        let columns = blocks.div_ceil(rows);
        let constants = [
            self.beta1,
            self.beta2,
            self.rate,
            self.correction,
            self.eps,
            self.decay,
            self.gradient_scale,
        ];
        let mut words = [0; 9];
        words[..2].copy_from_slice(&[elements, columns]);
        for (word, constant) in words[2..].iter_mut().zip(constants) {
            *word = constant.to_bits();
        }
        Ok((words, [columns, rows, 1]))
    }
}

/// Updates a parameter and its packed moments in place.
///
/// `gradient` and `parameter [n]`, `means` and `roots [n / 4, rounded up]`, `scales [n / 256, rounded up]`: of m and of the root of v.
/// Blocks do not know of each other: calls on parts that begin at multiples of 256 elements give what one call gives.
pub fn adamw_8bit(
    gradient: &[f32],
    parameter: &mut [f32],
    means: &mut [u32],
    roots: &mut [u32],
    scales: &mut [[f32; 2]],
    params: &AdamwParams,
) -> Result<(), KernelError> {
    let n = gradient.len();
    check_len(KERNEL, "parameter", parameter.len(), n)?;
    check_packed(KERNEL, n, means.len(), scales.len())?;
    check_packed(KERNEL, n, roots.len(), scales.len())?;
    let words = MOMENT_BLOCK / 4;
    let blocks = gradient
        .chunks(MOMENT_BLOCK)
        .zip(parameter.chunks_mut(MOMENT_BLOCK))
        .zip(means.chunks_mut(words).zip(roots.chunks_mut(words)))
        .zip(scales);
    for (((gradient, parameter), (means, roots)), scales) in blocks {
        let (mut m, mut root) = ([0.0; MOMENT_BLOCK], [0.0; MOMENT_BLOCK]);
        let (m, root) = (&mut m[..gradient.len()], &mut root[..gradient.len()]);
        Moment::Mean.unpack_block(means, scales[0], m);
        Moment::Root.unpack_block(roots, scales[1], root);
        for (((g, p), m), root) in gradient.iter().zip(parameter).zip(&mut *m).zip(&mut *root) {
            let g = g * params.gradient_scale;
            *m = params.beta1 * *m + (1.0 - params.beta1) * g;
            *root = (params.beta2 * *root * *root + (1.0 - params.beta2) * g * g).sqrt();
            let change = params.rate * *m / (*root * params.correction + params.eps);
            *p -= change + params.decay * *p;
        }
        *scales = [
            Moment::Mean.pack_block(m, means),
            Moment::Root.pack_block(root, roots),
        ];
    }
    Ok(())
}
