//! How much memory a training step needs: the estimate behind `info` and `test-gpu`, and every constant it rests on.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::gradient_checkpointing::GradientCheckpointing;
use crate::moments::MomentFormat;
use crate::optimizer::Optimizer;
use crate::rwkv4::RwkvConfig;
use crate::training::TrainingConfig;

/// Number format of the matrix products of a training step. Weights, moments, WKV state and every accumulation are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything in f32.
    #[default]
    F32,
    /// Matrix products in f16 with loss scaling, and what they keep for the backward pass; weights in f32.
    F16,
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

/// A training step as far as its memory depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepPlan {
    /// Sequences in a micro-batch.
    pub batch_size: usize,
    /// Tokens in a sequence.
    pub seq_len: usize,
    /// Micro-batches whose gradients make a step.
    pub micro_batches: usize,
    /// Number format of the matrix products.
    pub precision: Precision,
    /// Which activations are kept.
    pub checkpointing: GradientCheckpointing,
    /// What Adam's moments are kept in.
    pub moments: MomentFormat,
    /// Which tensors have which moments.
    pub optimizer: Optimizer,
}

impl StepPlan {
    /// Steps of `micro_batches` micro-batches of `batch_size` × `seq_len` tokens, everything in f32 and kept.
    pub fn new(batch_size: usize, seq_len: usize, micro_batches: usize) -> Self {
        Self {
            batch_size,
            seq_len,
            micro_batches,
            precision: Precision::F32,
            checkpointing: GradientCheckpointing::Off,
            moments: MomentFormat::F32,
            optimizer: Optimizer::AdamW,
        }
    }
}

impl From<&TrainingConfig> for StepPlan {
    fn from(training: &TrainingConfig) -> Self {
        Self {
            batch_size: training.batch_size,
            seq_len: training.seq_len,
            micro_batches: training.gradient_accumulation_steps,
            precision: training.precision,
            checkpointing: training.gradient_checkpointing.clone(),
            moments: training.moments,
            optimizer: training.optimizer,
        }
    }
}

/// So many vectors of `d_model` and of `d_ffn`.
#[derive(Clone, Copy)]
struct Vectors {
    d_model: u64,
    d_ffn: u64,
}

impl Vectors {
    /// Their elements.
    fn elements(self, config: &RwkvConfig) -> u64 {
        let (c, f) = (config.d_model as u64, config.d_ffn as u64);
        c.saturating_mul(self.d_model)
            .saturating_add(f.saturating_mul(self.d_ffn))
    }
}

/// What a step keeps for each row of a micro-batch, counted in the operations of `ptbr-train`; compared with measured peaks in `docs/benchmarks.md`.
struct Kept {
    /// By a layer, for the backward pass.
    layer: Vectors,
    /// Of these, the vectors that only products and WKV read: f16 under [`Precision::F16`].
    operands: Vectors,
    /// Outside of the layers, and while a layer's gradients are made.
    passing: Vectors,
    /// Elements of logits alive at once.
    block_logits: u64,
    /// Copies of those: the logits and what is made of them.
    logit_copies: u64,
    /// Gradients of the head beside the sum while there are several blocks of logits.
    head_gradients: u64,
    /// The program itself: code, tokenizer, threads, the mapped part of the data.
    program: u64,
}

impl Placement {
    fn kept(self) -> Kept {
        match self {
            // Inputs of two norms, five shifted inputs with what they were made of, k, v, the gates with what they multiply, the
            // input of the last product of time mixing: fifteen, and eighteen with what the allocator wastes; the key product and its square. Logits exist in
            // blocks of 4 Mi elements, each of which becomes its gradient in place.
            Self::Cpu => Kept {
                layer: Vectors {
                    d_model: 18,
                    d_ffn: 2,
                },
                operands: Vectors {
                    d_model: 0,
                    d_ffn: 0,
                },
                passing: Vectors {
                    d_model: 8,
                    d_ffn: 4,
                },
                block_logits: 4 << 20,
                logit_copies: 1,
                head_gradients: 0,
                program: 26_000_000,
            },
            // Composed operations keep their intermediate results. Logits exist in blocks of 16 Mi elements: the product, its log-softmax and the gradients of
            // both.
            Self::Gpu => Kept {
                layer: Vectors {
                    d_model: 28,
                    d_ffn: 3,
                },
                operands: Vectors {
                    d_model: 8,
                    d_ffn: 1,
                },
                passing: Vectors {
                    d_model: 8,
                    d_ffn: 4,
                },
                block_logits: 16 << 20,
                logit_copies: 4,
                head_gradients: 2,
                program: 0,
            },
        }
    }
}

/// Bytes of one training step at the moment when it holds most, by use. [`MemoryEstimate::total`] is the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Parameters in f32, and the f16 copies of those whose activations are alive under [`Precision::F16`].
    pub weights: u64,
    /// Gradients that the backward pass has made, f32. They grow as activations go: few are there while all activations are.
    pub gradients: u64,
    /// The running sum of gradients over micro-batches, f32; nothing when a step is one micro-batch.
    pub accumulated_gradients: u64,
    /// Adam's first and second moment.
    pub moments: u64,
    /// What is kept for the backward pass: the inputs of segments, and what one of them makes of its.
    pub activations: u64,
    /// A block of logits with what is made of them, f32.
    pub logits: u64,
    /// The program itself; not counted on a GPU.
    pub program: u64,
}

/// What changes while the backward pass goes through the segments, in bytes.
#[derive(Clone, Copy, Default)]
struct Moment {
    gradients: u64,
    activations: u64,
    logits: u64,
}

impl Moment {
    fn total(self) -> u64 {
        self.gradients
            .saturating_add(self.activations)
            .saturating_add(self.logits)
    }
}

/// What the moments of a backward pass are made of, in bytes.
struct Backward {
    /// The rows that enter a segment.
    input: u64,
    /// What a layer keeps.
    layer: u64,
    /// What passes by while gradients are made.
    passing: u64,
    /// The gradients of a layer, and of the embedding or the head.
    layer_gradients: u64,
    matrix_gradients: u64,
    logits: u64,
    /// Whether gradients go into a sum at the end of each segment, which is counted elsewhere.
    is_summed: bool,
}

impl Backward {
    /// The moment when most is held: of each segment, from the last to the first, the beginning of its way back and the end.
    fn peak(&self, segments: &[Range<usize>]) -> Moment {
        let last = segments.len().saturating_sub(1);
        let mut done = 0u64;
        let mut peak = Moment::default();
        for (before, segment) in segments.iter().enumerate().rev() {
            let times = |bytes: u64, count: usize| bytes.saturating_mul(count as u64);
            let inputs = times(self.input, before).saturating_add(self.passing);
            let head = if before == last {
                self.matrix_gradients
            } else {
                0
            };
            let embedding = if before == 0 {
                self.matrix_gradients
            } else {
                0
            };
            let own = times(self.layer_gradients, segment.len())
                .saturating_add(head)
                .saturating_add(embedding);
            let beginning = Moment {
                gradients: done.saturating_add(head),
                activations: inputs.saturating_add(times(self.layer, segment.len())),
                logits: if before == last { self.logits } else { 0 },
            };
            let end = Moment {
                gradients: done.saturating_add(own),
                activations: inputs.saturating_add(self.layer),
                logits: 0,
            };
            for moment in [beginning, end] {
                if moment.total() > peak.total() {
                    peak = moment;
                }
            }
            if !self.is_summed {
                done = done.saturating_add(own);
            }
        }
        peak
    }
}

impl MemoryEstimate {
    /// The estimate for `plan`.
    pub(crate) fn of(config: &RwkvConfig, plan: &StepPlan, placement: Placement) -> Self {
        let kept = placement.kept();
        let parameters = config.num_parameters();
        let (v, c) = (config.vocab_size as u64, config.d_model as u64);
        let matrix = v.saturating_mul(c);
        let rows = (plan.batch_size as u64).saturating_mul(plan.seq_len as u64);
        let segments = plan.checkpointing.segments(config.n_layers);
        let is_half = plan.precision == Precision::F16 && placement == Placement::Gpu;
        let is_summed = plan.micro_batches > 1;

        let outside = matrix.saturating_mul(2).saturating_add(c.saturating_mul(4));
        let of_layer = parameters.saturating_sub(outside) / (config.n_layers as u64).max(1);
        let vectors = |vectors: Vectors, bytes: u64| {
            vectors
                .elements(config)
                .saturating_mul(bytes)
                .saturating_mul(rows)
        };
        let layer = vectors(kept.layer, 4);
        let operands = vectors(kept.operands, if is_half { 2 } else { 0 });
        let logits = rows.saturating_mul(v);
        let block = logits.min(kept.block_logits);
        let several = u64::from(logits > kept.block_logits);
        let head = matrix
            .saturating_mul(kept.head_gradients)
            .saturating_mul(several);
        let backward = Backward {
            input: rows.saturating_mul(c).saturating_mul(4),
            layer: layer.saturating_sub(operands),
            passing: vectors(kept.passing, 4),
            layer_gradients: of_layer.saturating_mul(4),
            matrix_gradients: matrix.saturating_mul(4),
            logits: block
                .saturating_mul(kept.logit_copies)
                .saturating_add(head)
                .saturating_mul(4),
            is_summed,
        };
        let peak = backward.peak(&segments);
        let longest = segments.iter().map(Range::len).max().unwrap_or(0) as u64;
        let halves = if is_half {
            of_layer.saturating_mul(longest).saturating_mul(2)
        } else {
            0
        };
        Self {
            weights: parameters.saturating_mul(4).saturating_add(halves),
            gradients: peak.gradients,
            accumulated_gradients: parameters
                .saturating_mul(4)
                .saturating_mul(u64::from(is_summed)),
            moments: config.tensor_specs().iter().fold(0, |sum: u64, spec| {
                let bytes = match plan.optimizer.orthogonalises(&spec.name, spec.shape.len()) {
                    // Muon's momentum alone, in f32.
                    true => (spec.num_elements().unwrap_or(usize::MAX) as u64).saturating_mul(4),
                    false => plan.moments.bytes(spec),
                };
                sum.saturating_add(bytes)
            }),
            activations: peak.activations,
            logits: peak.logits,
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

    fn plan(batch_size: usize, seq_len: usize, micro_batches: usize) -> StepPlan {
        StepPlan::new(batch_size, seq_len, micro_batches)
    }

    #[test]
    fn items_add_up_and_follow_the_arithmetic() {
        let config = preset("85m").unwrap();
        let p = config.num_parameters();
        let estimate = config.estimated_vram(1, 512, Precision::F32);
        assert_eq!(estimate.weights, 4 * p);
        assert_eq!(estimate.moments, 8 * p);
        assert_eq!(
            estimate.total(),
            estimate.items().iter().map(|(_, b)| b).sum::<u64>()
        );
        // Most is held at the beginning of the way back: all activations, the logits, the sum so far, and of the gradients the head's.
        assert_eq!(estimate.logits, 512 * 32_000 * 4 * 4);
        assert_eq!(estimate.gradients, 4 * 32_000 * 768);
        assert_eq!(estimate.accumulated_gradients, 4 * p);
        // 85m at 1 × 512 is promised to train in 8 GB.
        assert!(estimate.total() < 8_000_000_000, "{}", estimate.total());
    }

    #[test]
    fn half_precision_halves_what_products_read() {
        let config = preset("micro").unwrap();
        let (full, half) = (
            config.estimated_vram(8, 256, Precision::F32),
            config.estimated_vram(8, 256, Precision::F16),
        );
        let (rows, layers) = (8 * 256, 6);
        let operands = 8 * 256 + 1024;
        assert_eq!(
            full.activations - half.activations,
            rows * layers * operands * 2
        );
        // All logits of the micro-batch are one block.
        assert_eq!(
            (half.logits, full.logits),
            (rows * 8192 * 16, rows * 8192 * 16)
        );
        assert!(half.weights > full.weights && half.weights <= full.weights / 4 * 6);
    }

    #[test]
    fn the_cpu_keeps_less_and_one_micro_batch_adds_up_nothing() {
        let config = preset("85m").unwrap();
        let cpu = |batch, micro_batches| {
            config.estimated_memory(&plan(batch, 512, micro_batches), Placement::Cpu)
        };
        assert!(cpu(1, 16).total() < config.estimated_vram(1, 512, Precision::F32).total());
        assert_eq!(
            (
                cpu(1, 16).accumulated_gradients,
                cpu(1, 1).accumulated_gradients
            ),
            (4 * config.num_parameters(), 0)
        );
        // A block of logits, however large the batch.
        assert_eq!(cpu(64, 1).logits, 16 << 20);
    }

    #[test]
    fn segments_keep_one_of_them_and_the_inputs_of_the_others() {
        let config = preset("85m").unwrap();
        let with = |text: &str, micro_batches| {
            let checkpointing = text.parse().unwrap();
            let plan = StepPlan {
                checkpointing,
                ..plan(4, 512, micro_batches)
            };
            config.estimated_memory(&plan, Placement::Cpu)
        };
        let (off, balanced, aggressive) =
            (with("off", 1), with("balanced", 1), with("aggressive", 1));
        assert!(off.activations > balanced.activations);
        assert!(balanced.activations > aggressive.activations);
        let layer = 18 * 768 + 2 * 3072;
        let passing = 8 * 768 + 4 * 3072;
        let rows = 2048 * 4;
        // Of one micro-batch most is held at the end of the way back: all gradients, and the first layer with what passes by.
        assert_eq!(aggressive.activations, rows * (layer + passing));
        // Of several, whose gradients are in the sum, at its beginning: the inputs of eleven layers, and the last one.
        assert_eq!(
            with("aggressive", 4).activations,
            rows * (11 * 768 + layer + passing)
        );
        assert_eq!(off.activations, rows * (12 * layer + passing));
        // The promise of docs/benchmarks.md: at most 35 % of what is above weights, gradients and moments.
        let above = |e: MemoryEstimate| e.total() - 16 * config.num_parameters();
        assert!(above(aggressive) * 100 < above(off) * 35);
        // Several micro-batches: beside the sum there are only the gradients of the segment at hand, here the last layer and the head.
        let layer = 11 * 768 + 5 * 768 * 768 + 2 * 768 * 3072;
        assert_eq!(with("aggressive", 4).gradients, 4 * (32_000 * 768 + layer));
    }

    #[test]
    fn muon_keeps_one_moment_of_the_matrices_of_the_blocks() {
        let config = preset("85m").unwrap();
        let moments = |optimizer| {
            let plan = StepPlan {
                optimizer,
                ..plan(1, 512, 1)
            };
            config.estimated_memory(&plan, Placement::Cpu).moments
        };
        let matrices = 12 * (5 * 768 * 768 + 2 * 768 * 3072);
        assert_eq!(
            moments(Optimizer::AdamW) - moments(Optimizer::Muon),
            4 * matrices
        );
    }

    #[test]
    fn moments_in_bytes_take_a_quarter() {
        let config = preset("85m").unwrap();
        let bytes = StepPlan {
            moments: MomentFormat::EightBit,
            ..plan(1, 512, 1)
        };
        let bytes = config.estimated_memory(&bytes, Placement::Cpu).moments;
        let full = config
            .estimated_memory(&plan(1, 512, 1), Placement::Cpu)
            .moments;
        // Two bytes and 8/256 in place of eight; vectors stay.
        let ratio = bytes as f64 / full as f64;
        assert!((0.2539..0.255).contains(&ratio), "{ratio}");
    }

    #[test]
    fn absurd_sizes_saturate() {
        let estimate = preset("1b")
            .unwrap()
            .estimated_vram(usize::MAX, usize::MAX, Precision::F32);
        assert_eq!(estimate.total(), u64::MAX);
    }
}
