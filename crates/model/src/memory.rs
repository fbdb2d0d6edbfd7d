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

/// Where a training step computes: the fused operations of the CPU keep less than their composed forms on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// burn's CPU backend with fused operations.
    Cpu,
    /// Any other device.
    Gpu,
}

/// What a step keeps, counted in the operations of `ptbr-train`; compared with measured peaks in `docs/benchmarks.md`.
struct Kept {
    /// Vectors of `d_model` that one layer keeps for the backward pass, for each row of the batch.
    layer_d_model: u64,
    /// Vectors of `d_ffn` that one layer keeps, for each row.
    layer_d_ffn: u64,
    /// Vectors of `d_model` outside the layers, for each row.
    outer_d_model: u64,
    /// Elements of logits alive at once, out of those of the whole micro-batch.
    logits: fn(u64) -> u64,
    /// The program itself: code, tokenizer, threads, the mapped part of the data.
    program: u64,
}

impl Placement {
    fn kept(self) -> Kept {
        match self {
            // Inputs of two norms, five shifted inputs with what they were made of, k, v, the gates with what they multiply, the
            // input of the last product of time mixing; the key product and its square. Logits exist in blocks of 4 Mi elements.
            Self::Cpu => Kept {
                layer_d_model: 15,
                layer_d_ffn: 2,
                outer_d_model: 5,
                logits: |all| all.min(4 << 20),
                program: 34_000_000,
            },
            // Composed operations keep their intermediate results; logits exist whole: the product, its log-softmax and the gradient.
            Self::Gpu => Kept {
                layer_d_model: 28,
                layer_d_ffn: 3,
                outer_d_model: 4,
                logits: |all| all.saturating_mul(3),
                program: 0,
            },
        }
    }
}

/// Bytes of one training step, by use. [`MemoryEstimate::total`] is the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Parameters in f32, and their f16 copy under [`Precision::F16`].
    pub weights: u64,
    /// Gradients of one micro-batch, f32.
    pub gradients: u64,
    /// The running sum of gradients over micro-batches, f32; nothing when a step is one micro-batch.
    pub accumulated_gradients: u64,
    /// Adam's first and second moment, f32.
    pub moments: u64,
    /// What the forward pass keeps for the backward pass.
    pub activations: u64,
    /// Logits of a micro-batch with what is made of them, f32.
    pub logits: u64,
    /// The program itself; not counted on a GPU.
    pub program: u64,
}

impl MemoryEstimate {
    /// The estimate for micro-batches of `batch` rows of `seq_len` tokens, `micro_batches` of them a step.
    pub(crate) fn of(
        config: &RwkvConfig,
        (batch, seq_len, micro_batches): (usize, usize, usize),
        precision: Precision,
        placement: Placement,
    ) -> Self {
        let kept = placement.kept();
        let parameters = config.num_parameters();
        let rows = (batch as u64).saturating_mul(seq_len as u64);
        let (c, f) = (config.d_model as u64, config.d_ffn as u64);
        let per_layer = c
            .saturating_mul(kept.layer_d_model)
            .saturating_add(f.saturating_mul(kept.layer_d_ffn));
        let per_row = per_layer
            .saturating_mul(config.n_layers as u64)
            .saturating_add(c.saturating_mul(kept.outer_d_model));
        let weight_bytes = match precision {
            Precision::F32 => 4,
            Precision::F16 => 4 + 2,
        };
        Self {
            weights: parameters.saturating_mul(weight_bytes),
            gradients: parameters.saturating_mul(4),
            accumulated_gradients: if micro_batches > 1 {
                parameters.saturating_mul(4)
            } else {
                0
            },
            moments: parameters.saturating_mul(8),
            activations: rows
                .saturating_mul(per_row)
                .saturating_mul(precision.bytes()),
            logits: (kept.logits)(rows.saturating_mul(config.vocab_size as u64)).saturating_mul(4),
            program: kept.program,
        }
    }

    /// Every item with its name, in the order in which they are printed.
    pub fn items(&self) -> [(&'static str, u64); 7] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("accumulated gradients", self.accumulated_gradients),
            ("moments", self.moments),
            ("activations", self.activations),
            ("logits", self.logits),
            ("program", self.program),
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
        assert_eq!(estimate.logits, 512 * 32_000 * 4 * 3);
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
    fn the_cpu_keeps_less_and_one_micro_batch_adds_up_nothing() {
        let config = preset("85m").unwrap();
        let cpu = |micro_batches| {
            config.estimated_memory((1, 512, micro_batches), Precision::F32, Placement::Cpu)
        };
        assert!(cpu(16).total() < config.estimated_vram(1, 512, Precision::F32).total());
        assert_eq!(
            cpu(16).total() - cpu(1).total(),
            4 * config.num_parameters()
        );
        // A block of logits, however large the batch.
        let large = config.estimated_memory((64, 512, 1), Precision::F32, Placement::Cpu);
        assert_eq!(large.logits, 16 << 20);
    }

    #[test]
    fn absurd_sizes_saturate() {
        let estimate = preset("1b")
            .unwrap()
            .estimated_vram(usize::MAX, usize::MAX, Precision::F32);
        assert_eq!(estimate.total(), u64::MAX);
    }
}
