//! Twin of `shaders/grad_stats.wgsl`, and what the numbers that it writes say together.

use super::elements::check_elements;
use crate::KernelError;
use crate::sequence::check_len;

const KERNEL: &str = "grad_stats";

/// Elements of a slot: what a workgroup of the shader takes.
const BLOCK: usize = 65_536;

/// What a slot says about its elements; `vec2<f32>` in the shader.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct GradStats {
    /// Sum of the squares of the finite ones, each times `unscale`.
    pub squares: f32,
    /// How many are NaN or infinite.
    pub not_finite: f32,
}

impl GradStats {
    /// The global norm of everything that these slots cover, added up in order in f64; `None` when an element, or a sum of squares, is not finite.
    pub fn norm(slots: &[Self]) -> Option<f64> {
        let is_finite = |slot: &Self| slot.not_finite == 0.0 && slot.squares.is_finite();
        let squares = || {
            slots
                .iter()
                .map(|slot| f64::from(slot.squares))
                .sum::<f64>()
        };
        slots.iter().all(is_finite).then(|| squares().sqrt())
    }
}

/// The `params` binding of `grad_stats.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradStatsParams {
    /// Elements of the gradient, 2^30 - 1 at most.
    pub elements: u32,
    /// First of the [`slots`](Self::slots) that it writes.
    pub first_slot: u32,
    /// Factor of every element: one over the loss scale and the number of micro-batches.
    pub unscale: f32,
}

impl GradStatsParams {
    /// As the shader reads them.
    pub fn words(&self) -> [u32; 3] {
        [self.elements, self.first_slot, self.unscale.to_bits()]
    }

    /// Slots of a gradient, one for 65,536 elements; the dispatch's x.
    pub fn slots(&self) -> u32 {
        self.elements.div_ceil(BLOCK as u32)
    }
}

/// Sum of squares and number of elements that are NaN or infinite, for each block of 65,536 elements. Sums in f64.
///
/// `gradient [elements]`, `stats [slots of all tensors]`, of which those of other tensors are left alone.
pub fn grad_stats(
    gradient: &[f32],
    stats: &mut [GradStats],
    params: &GradStatsParams,
) -> Result<(), KernelError> {
    let elements = check_elements(KERNEL, params.elements as usize, 1)?;
    check_len(KERNEL, "gradient", gradient.len(), elements)?;
    let first = params.first_slot as usize;
    let end = first.saturating_add(params.slots() as usize);
    let slots = stats.len();
    let Some(stats) = stats.get_mut(first..end) else {
        return Err(KernelError::SlotOutOfRange {
            kernel: KERNEL,
            index: 0,
            slot: u32::try_from(end).unwrap_or(u32::MAX).saturating_sub(1),
            slots,
        });
    };
    for (block, stats) in gradient.chunks(BLOCK).zip(stats) {
        let finite = block.iter().filter(|x| x.is_finite());
        let squares: f64 = finite
            .clone()
            .map(|&x| (f64::from(x) * f64::from(params.unscale)).powi(2))
            .sum();
        *stats = GradStats {
            squares: squares as f32,
            not_finite: (block.len() - finite.count()) as f32,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_of_all_tensors_make_one_norm() {
        let mut stats = [GradStats::default(); 2];
        for (first_slot, gradient) in [(0, [6.0, 0.0]), (1, [0.0, -8.0])] {
            let params = GradStatsParams {
                elements: 2,
                first_slot,
                unscale: 0.5,
            };
            grad_stats(&gradient, &mut stats, &params).unwrap();
        }
        assert_eq!(GradStats::norm(&stats), Some(5.0));
        assert_eq!(GradStats::norm(&[]), Some(0.0));
        stats[0].not_finite = 1.0;
        assert_eq!(GradStats::norm(&stats), None);
        stats[0] = GradStats {
            squares: f32::INFINITY,
            not_finite: 0.0,
        };
        assert_eq!(GradStats::norm(&stats), None, "a sum that has overflown");
    }

    #[test]
    fn slots_that_are_not_there_are_refused() {
        let params = GradStatsParams {
            elements: 65_537,
            first_slot: 1,
            unscale: 1.0,
        };
        let gradient = vec![1.0; 65_537];
        let refused = grad_stats(&gradient, &mut [GradStats::default(); 2], &params);
        assert!(
            matches!(
                refused,
                Err(KernelError::SlotOutOfRange {
                    slot: 2,
                    slots: 2,
                    ..
                })
            ),
            "{refused:?}"
        );
        let mut three = [GradStats::default(); 3];
        grad_stats(&gradient, &mut three, &params).unwrap();
        assert_eq!(three.map(|slot| slot.squares), [0.0, 65_536.0, 1.0]);
    }
}
