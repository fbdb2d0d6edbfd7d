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

/// A moment of one parameter, packed: `words [n / 4, rounded up]`, `scales [n / 256, rounded up]`.
#[derive(Debug)]
pub struct PackedMoment<'a> {
    /// Four elements to a word, the first in the lowest byte.
    pub words: &'a mut [u32],
    /// One a block.
    pub scales: &'a mut [f32],
}

impl PackedMoment<'_> {
    fn blocks(&mut self) -> impl Iterator<Item = (&mut [u32], &mut f32)> {
        self.words
            .chunks_mut(MOMENT_BLOCK / 4)
            .zip(self.scales.iter_mut())
    }
}

/// Updates a parameter and its packed moments in place: `gradient` and `parameter [n]`.
///
/// Blocks do not know of each other: calls on parts that begin at multiples of 256 elements give what one call gives.
pub fn adamw_8bit(
    gradient: &[f32],
    parameter: &mut [f32],
    mut mean: PackedMoment<'_>,
    mut root: PackedMoment<'_>,
    params: &AdamwParams,
) -> Result<(), KernelError> {
    let n = gradient.len();
    check_len(KERNEL, "parameter", parameter.len(), n)?;
    check_packed(KERNEL, n, mean.words.len(), mean.scales.len())?;
    check_packed(KERNEL, n, root.words.len(), root.scales.len())?;
    let blocks = gradient
        .chunks(MOMENT_BLOCK)
        .zip(parameter.chunks_mut(MOMENT_BLOCK))
        .zip(mean.blocks().zip(root.blocks()));
    for ((gradient, parameter), ((means, mean_scale), (roots, root_scale))) in blocks {
        let (mut m, mut r) = ([0.0; MOMENT_BLOCK], [0.0; MOMENT_BLOCK]);
        let (m, r) = (&mut m[..gradient.len()], &mut r[..gradient.len()]);
        Moment::Mean.unpack_block(means, *mean_scale, m);
        Moment::Root.unpack_block(roots, *root_scale, r);
        for (((g, p), m), r) in gradient.iter().zip(parameter).zip(&mut *m).zip(&mut *r) {
            let g = g * params.gradient_scale;
            *m = params.beta1 * *m + (1.0 - params.beta1) * g;
            *r = (params.beta2 * *r * *r + (1.0 - params.beta2) * g * g).sqrt();
            *p -= params.rate * *m / (*r * params.correction + params.eps) + params.decay * *p;
        }
        *mean_scale = Moment::Mean.pack_block(m, means);
        *root_scale = Moment::Root.pack_block(r, roots);
    }
    Ok(())
}
