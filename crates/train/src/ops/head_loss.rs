//! Head and cross-entropy in one operation: the logits `[N, V]` never exist whole.
//!
//! loss = mean over rows of `logsumexp(z) - z[target]` with z = x Wᵀ. As this is the last operation of the graph, the gradients of x
//! and W are computed while a block of logits is at hand and only scaled in the backward pass.
//!
//! L2Wrap (RWKV-LM) adds `coefficient / N · max(z)` to the gradient of each row's largest logit, which keeps logits from drifting;
//! it is no part of the reported loss.

use std::sync::Arc;

use burn::tensor::{Tensor, activation};
use ptbr_kernels::cpu;
use rayon::prelude::*;

use super::embedding::indices;
use super::gemm::{Matrix, matmul};
use super::host::{self, BackwardContext, Forward, HostOp};
use super::rows::for_element_blocks;

/// Elements of logits in a block: 16 MB, which stays near the cores.
const BLOCK_ELEMENTS: usize = 4 << 20;

/// x: `[N, C]`, weight: `[V, C]`, targets: `[N]` → `[2]`: the mean loss, and how many targets were the most likely token.
#[derive(Debug)]
struct HeadLoss {
    targets: Arc<Vec<u16>>,
    channels: usize,
    vocab: usize,
    l2_wrap: f32,
}

/// What one row of logits gives.
struct Row {
    loss: f64,
    correct: bool,
}

impl HeadLoss {
    /// The loss of a row of logits; with `scale`, the row becomes its gradient times `scale`.
    fn row(&self, logits: &mut [f32], target: usize, scale: Option<f32>) -> Row {
        let (best, max) = arg_max(logits);
        let of_target = logits[target];
        for z in logits.iter_mut() {
            *z -= max;
        }
        cpu::exp_f32(logits);
        let total = sum_f64(logits);
        if let Some(scale) = scale {
            let factor = scale / total as f32;
            for z in logits.iter_mut() {
                *z *= factor;
            }
            logits[target] -= scale;
            logits[best] += scale * self.l2_wrap * max;
        }
        Row {
            loss: total.ln() + f64::from(max) - f64::from(of_target),
            correct: best == target,
        }
    }
}

/// The largest element and its first place.
fn arg_max(values: &[f32]) -> (usize, f32) {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (values.iter().position(|v| *v == max).unwrap_or(0), max)
}

/// A sum in f64 in sixteen fixed lanes.
fn sum_f64(values: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 16];
    let chunks = values.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*v);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|v| f64::from(*v)).sum::<f64>()
}

impl HostOp<2> for HeadLoss {
    fn forward(&self, [x, weight]: [&[f32]; 2], tracked: bool) -> Forward {
        let (n, c, v) = (self.targets.len(), self.channels, self.vocab);
        let block_rows = (BLOCK_ELEMENTS / v).clamp(1, n.max(1));
        let scale = tracked.then_some(1.0 / n as f32);
        let mut logits = vec![0.0; block_rows * v];
        let mut dx = vec![0.0; if tracked { n * c } else { 0 }];
        let mut dweight = vec![0.0; if tracked { v * c } else { 0 }];
        let (mut loss, mut correct) = (0.0f64, 0usize);
        let head = Matrix::new(weight, v, c);
        for first in (0..n).step_by(block_rows) {
            let rows = block_rows.min(n - first);
            let x = Matrix::new(&x[first * c..][..rows * c], rows, c);
            let logits = &mut logits[..rows * v];
            matmul(logits, x, head.transposed(), false);
            let targets = &self.targets[first..first + rows];
            let results: Vec<Row> = logits
                .par_chunks_exact_mut(v)
                .zip(targets)
                .map(|(row, target)| self.row(row, usize::from(*target), scale))
                .collect();
            for row in results {
                loss += row.loss;
                correct += usize::from(row.correct);
            }
            if tracked {
                let grad = Matrix::new(logits, rows, v);
                matmul(&mut dx[first * c..][..rows * c], grad, head, false);
                matmul(&mut dweight, grad.transposed(), x, first > 0);
            }
        }
        let out = vec![(loss / n as f64) as f32, correct as f32];
        Forward {
            out,
            saved: if tracked {
                vec![dx, dweight]
            } else {
                Vec::new()
            },
        }
    }

    fn backward(&self, context: BackwardContext<'_, 2>) -> [Option<Vec<f32>>; 2] {
        let scale = context.grad[0];
        let mut saved = context.saved.into_iter();
        std::array::from_fn(|_| {
            let mut grad = saved.next()?;
            if scale != 1.0 {
                for_element_blocks(&mut grad, |_, block| {
                    block.iter_mut().for_each(|g| *g *= scale)
                });
            }
            Some(grad)
        })
    }
}

/// What the head makes of the hidden rows.
pub struct HeadOutput {
    /// `[1]`: what to differentiate.
    pub objective: Tensor<1>,
    /// `[2]`: mean cross-entropy in nats, and how many targets were the most likely token.
    report: Tensor<1>,
}

/// The report of [`HeadOutput`], read back from its device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossReport {
    /// Mean cross-entropy, nats per token; NaN when the device could not be read.
    pub loss: f64,
    /// Targets that were the most likely token.
    pub correct: f64,
}

impl HeadOutput {
    /// Reads the report, which waits for the device.
    pub fn read(&self) -> LossReport {
        let values = self
            .report
            .clone()
            .into_data()
            .try_into_vec::<f32>()
            .unwrap_or_default();
        let value = |i: usize| values.get(i).map_or(f64::NAN, |v| f64::from(*v));
        LossReport {
            loss: value(0),
            correct: value(1),
        }
    }
}

/// Cross-entropy of x `[N, C]` under the head `[V, C]` against `targets` `[N]`.
pub fn head_loss(
    x: Tensor<2>,
    weight: Tensor<2>,
    targets: &Arc<Vec<u16>>,
    l2_wrap: f32,
) -> HeadOutput {
    let [vocab, channels] = weight.dims();
    if host::is_host(&x.device()) {
        let op = HeadLoss {
            targets: targets.clone(),
            channels,
            vocab,
            l2_wrap,
        };
        let out: Tensor<1> = host::run2(x, weight, op, [2]);
        return HeadOutput {
            objective: out.clone().slice(0..1),
            report: out.inner(),
        };
    }
    head_loss_composed(x, weight, targets, l2_wrap)
}

/// The same in tensor operations: what other devices run, and the oracle of the fused form.
pub(super) fn head_loss_composed(
    x: Tensor<2>,
    weight: Tensor<2>,
    targets: &[u16],
    l2_wrap: f32,
) -> HeadOutput {
    let n = targets.len();
    let logits = x.matmul(weight.transpose());
    let targets = indices(targets, &logits.device()).reshape([n, 1]);
    let loss = activation::log_softmax(logits.clone(), 1)
        .gather(1, targets.clone())
        .mean()
        .neg();
    let best = logits.clone().inner().argmax(1);
    let correct = best.equal(targets.inner()).int().sum().float();
    let report = Tensor::cat(vec![loss.clone().inner(), correct], 0);
    let objective = match l2_wrap > 0.0 {
        // d/dz (c/2 · max²) = c · max at the largest logit.
        true => loss + logits.max_dim(1).square().sum() * (0.5 * l2_wrap / n as f32),
        false => loss,
    };
    HeadOutput { objective, report }
}
