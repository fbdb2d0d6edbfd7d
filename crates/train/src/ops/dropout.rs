//! Residual addition with dropout. The mask is a pure function of a key and the element's position: nothing to save, nothing to
//! restore, and the same on every device.

use burn::tensor::{Tensor, TensorData};

use super::host::{self, BackwardContext, Forward, HostOp};
use super::rows::for_element_blocks;

/// Which elements of one branch are dropped: a function of (seed, micro-batch, layer, branch).
#[derive(Debug, Clone, Copy)]
pub struct DropoutMask {
    key: u64,
    /// Elements whose 32-bit hash lies below are dropped.
    threshold: u32,
    scale: f32,
}

impl DropoutMask {
    /// The mask of one branch, dropping with `probability`; none when that is zero.
    pub fn new(
        probability: f64,
        seed: u64,
        micro_batch: u64,
        layer: usize,
        branch: usize,
    ) -> Option<Self> {
        if probability <= 0.0 {
            return None;
        }
        let place = ((layer as u64) << 8) | branch as u64;
        let key = mix64(mix64(mix64(seed) ^ micro_batch) ^ place);
        Some(Self {
            key,
            threshold: (probability * 2f64.powi(32)) as u32,
            scale: (1.0 / (1.0 - probability)) as f32,
        })
    }

    /// The factor of the element at `index`: 0, or 1 / (1 - probability).
    fn factor(&self, index: usize) -> f32 {
        let hash = (mix64(self.key ^ index as u64) >> 32) as u32;
        if hash < self.threshold {
            0.0
        } else {
            self.scale
        }
    }
}

/// The finalizer of splitmix64: a bijection whose output bits all depend on all input bits.
pub(crate) fn mix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// x + mask · branch; both `[N, C]`.
#[derive(Debug)]
struct AddDropped(Option<DropoutMask>);

impl HostOp<2> for AddDropped {
    fn forward(&self, [x, branch]: [&[f32]; 2], _wanted: [bool; 2]) -> Forward {
        let mut out = x.to_vec();
        for_element_blocks(&mut out, |first, block| match self.0 {
            None => block
                .iter_mut()
                .zip(&branch[first..])
                .for_each(|(o, b)| *o += b),
            Some(mask) => {
                for (i, (o, b)) in block.iter_mut().zip(&branch[first..]).enumerate() {
                    *o += b * mask.factor(first + i);
                }
            }
        });
        Forward::plain(out)
    }

    fn keeps(&self, _wanted: [bool; 2]) -> [bool; 2] {
        [false, false]
    }

    fn backward(&self, context: BackwardContext<'_, 2>) -> [Option<Vec<f32>>; 2] {
        let dx = context.grad.to_vec();
        let mut dbranch = dx.clone();
        if let Some(mask) = self.0 {
            for_element_blocks(&mut dbranch, |first, block| {
                for (i, d) in block.iter_mut().enumerate() {
                    *d *= mask.factor(first + i);
                }
            });
        }
        [Some(dx), Some(dbranch)]
    }
}

/// `x + dropout(branch)`, both `[N, C]`.
pub fn add_dropped(x: Tensor<2>, branch: Tensor<2>, mask: Option<DropoutMask>) -> Tensor<2> {
    let shape = x.dims();
    if host::is_host(&x.device()) {
        return host::run2(x, branch, AddDropped(mask), shape);
    }
    match mask {
        None => x + branch,
        Some(mask) => {
            let factors: Vec<f32> = (0..shape[0] * shape[1]).map(|i| mask.factor(i)).collect();
            let factors = Tensor::<2>::from_data(TensorData::new(factors, shape), &x.device());
            x + branch * factors
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_drops_the_stated_share_and_depends_on_every_part_of_its_key() {
        let masks: Vec<Vec<bool>> = [
            (1, 0, 0, 0),
            (2, 0, 0, 0),
            (1, 1, 0, 0),
            (1, 0, 1, 0),
            (1, 0, 0, 1),
        ]
        .into_iter()
        .map(|(seed, micro, layer, branch)| {
            let mask =
                DropoutMask::new(0.1, seed, micro, layer, branch).expect("a positive probability");
            (0..100_000).map(|i| mask.factor(i) == 0.0).collect()
        })
        .collect();
        for (i, mask) in masks.iter().enumerate() {
            let share = mask.iter().filter(|dropped| **dropped).count() as f64 / mask.len() as f64;
            assert!((share - 0.1).abs() < 0.005, "{share}");
            assert!(masks[..i].iter().all(|other| other != mask));
        }
    }
}
