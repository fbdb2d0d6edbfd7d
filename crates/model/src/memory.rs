//! How much memory a training step needs: the estimate behind `info` and `test-gpu`, and every constant it rests on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rwkv4::RwkvConfig;

/// Number format of the matrix products of a training step. Weights, moments, WKV state and every accumulation are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything in f32.
    #[default]
    F32,
    /// Activations and matrix products in f16 with loss scaling, weights kept in f32.
    F16,
}

impl Precision {
    /// Bytes of one activation.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

/// Activations kept for the backward pass in one layer, in vectors of `d_model` for each row of the batch: two layer norms, two token shifts, five mixes, k, v, r, the gates, WKV and the
/// residual additions.
const LAYER_VECTORS_OF_D_MODEL: u64 = 28;
/// The same in vectors of `d_ffn`: the key product, its rectified value and the square.
const LAYER_VECTORS_OF_D_FFN: u64 = 3;
/// Vectors of `d_model` outside the layers: embedding, its norm, the last norm.
const OUTER_VECTORS_OF_D_MODEL: u64 = 4;
/// Copies of the logits alive at once: the product, its log-softmax and the gradient.
const LOGIT_COPIES: u64 = 3;

/// Bytes of one training step, by use. [`MemoryEstimate::total`] is the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Parameters in f32, and their f16 copy under [`Precision::F16`].
    pub weights: u64,
    /// Gradients of one micro-batch, f32.
    pub gradients: u64,
    /// The running sum of gradients over micro-batches, f32.
    pub accumulated_gradients: u64,
    /// Adam's first and second moment, f32.
    pub moments: u64,
    /// What the forward pass keeps for the backward pass.
    pub activations: u64,
    /// Logits of a micro-batch with their softmax and gradient, f32.
    pub logits: u64,
}

impl MemoryEstimate {
    /// The estimate for a micro-batch of `batch` rows of `seq_len` tokens.
    pub(crate) fn of(
        config: &RwkvConfig,
        batch: usize,
        seq_len: usize,
        precision: Precision,
    ) -> Self {
        let parameters = config.num_parameters();
        let rows = (batch as u64).saturating_mul(seq_len as u64);
        let (c, f) = (config.d_model as u64, config.d_ffn as u64);
        let per_layer = c
            .saturating_mul(LAYER_VECTORS_OF_D_MODEL)
            .saturating_add(f.saturating_mul(LAYER_VECTORS_OF_D_FFN));
        let per_row = per_layer
            .saturating_mul(config.n_layers as u64)
            .saturating_add(c.saturating_mul(OUTER_VECTORS_OF_D_MODEL));
        let weight_bytes = match precision {
            Precision::F32 => 4,
            Precision::F16 => 4 + 2,
        };
        Self {
            weights: parameters.saturating_mul(weight_bytes),
            gradients: parameters.saturating_mul(4),
            accumulated_gradients: parameters.saturating_mul(4),
            moments: parameters.saturating_mul(8),
            activations: rows
                .saturating_mul(per_row)
                .saturating_mul(precision.bytes()),
            logits: rows
                .saturating_mul(config.vocab_size as u64)
                .saturating_mul(4 * LOGIT_COPIES),
        }
    }

    /// Every item with its name, in the order in which they are printed.
    pub fn items(&self) -> [(&'static str, u64); 6] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("accumulated gradients", self.accumulated_gradients),
            ("moments", self.moments),
            ("activations", self.activations),
            ("logits", self.logits),
        ]
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.items()
            .iter()
            .fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::preset;

    #[test]
    fn items_add_up_and_follow_the_arithmetic() {
        let config = preset("85m").unwrap();
        let p = config.num_parameters();
        let estimate = config.estimated_vram(1, 512, Precision::F32);
        assert_eq!(estimate.weights, 4 * p);
        assert_eq!(estimate.moments, 8 * p);
        assert_eq!(estimate.logits, 512 * 32_000 * 4 * LOGIT_COPIES);
        assert_eq!(
            estimate.total(),
            estimate.items().iter().map(|(_, b)| b).sum::<u64>()
        );
        // 85m at 1 × 512 is promised to train in 8 GB.
        assert!(estimate.total() < 8_000_000_000, "{}", estimate.total());
    }

    #[test]
    fn half_precision_halves_activations_only() {
        let config = preset("micro").unwrap();
        let (full, half) = (
            config.estimated_vram(8, 256, Precision::F32),
            config.estimated_vram(8, 256, Precision::F16),
        );
        assert_eq!(half.activations * 2, full.activations);
        assert_eq!(half.logits, full.logits);
        assert_eq!(half.weights, full.weights / 4 * 6);
    }

    #[test]
    fn absurd_sizes_saturate() {
        let estimate = preset("1b")
            .unwrap()
            .estimated_vram(usize::MAX, usize::MAX, Precision::F32);
        assert_eq!(estimate.total(), u64::MAX);
    }
}
