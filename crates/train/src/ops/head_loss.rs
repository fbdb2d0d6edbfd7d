//! Head and cross-entropy in one operation: the logits `[N, V]` never exist whole.
//!
//! loss = mean over rows of `logsumexp(z) - z[target]` with z = x Wᵀ. As this is the last operation of the graph, the gradients of x
//! and W are computed while a block of logits is at hand and only scaled in the backward pass.
//!
//! L2Wrap (RWKV-LM) adds `coefficient / N · max(z)` to the gradient of each row's largest logit, which keeps logits from drifting;
//! it is no part of the reported loss.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, activation};
use ptbr_kernels::cpu;
use ptbr_model::Precision;
use rayon::prelude::*;

use super::embedding::indices;
use super::frozen::LowRank;
use super::gemm::{Matrix, matmul};
use super::host::{self, BackwardContext, Forward, HostOp};
use super::linear::linear;
use super::rows::for_element_blocks;
use super::stored::StoredMatrix;

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

impl HeadLoss {
    /// For a head `[V, C]`.
    fn new([vocab, channels]: [usize; 2], targets: &Arc<Vec<u16>>, l2_wrap: f32) -> Self {
        Self {
            targets: targets.clone(),
            channels,
            vocab,
            l2_wrap,
        }
    }
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

/// What multiplies the hidden rows.
enum HeadWeights<'a> {
    /// `[V, C]` in f32.
    Dense(&'a [f32]),
    /// Frozen in its file's form, with a low-rank change or without.
    Frozen(&'a StoredMatrix, Option<LowRank<'a>>),
}

/// The gradients of x and of what is trained in the head, the latter in the order of the operation's inputs.
#[derive(Default)]
struct HeadGrads {
    x: Vec<f32>,
    weights: Vec<Vec<f32>>,
}

impl HeadLoss {
    /// The loss, and the gradients where they are wanted: of x, of the head's tensors.
    fn compute(
        &self,
        x: &[f32],
        head: &HeadWeights<'_>,
        [wants_x, wants_head]: [bool; 2],
    ) -> ([f32; 2], HeadGrads) {
        let (n, c, v) = (self.targets.len(), self.channels, self.vocab);
        let block_rows = (BLOCK_ELEMENTS / v).clamp(1, n.max(1));
        let tracked = wants_x || wants_head;
        let scale = tracked.then_some(1.0 / n as f32);
        let mut logits = vec![0.0; block_rows * v];
        let mut grads = HeadGrads::default();
        if wants_x {
            grads.x = vec![0.0; n * c];
        }
        if wants_head {
            grads.weights = match head {
                HeadWeights::Dense(weight) => vec![vec![0.0; weight.len()]],
                HeadWeights::Frozen(_, Some(lora)) => {
                    vec![vec![0.0; lora.a.len()], vec![0.0; lora.b.len()]]
                }
                HeadWeights::Frozen(_, None) => Vec::new(),
            };
        }
        let (mut loss, mut correct) = (0.0f64, 0usize);
        for first in (0..n).step_by(block_rows) {
            let rows = block_rows.min(n - first);
            let x = &x[first * c..][..rows * c];
            let logits = &mut logits[..rows * v];
            let down = head.logits(x, [rows, c, v], logits);
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
                let dx = wants_x.then(|| &mut grads.x[first * c..][..rows * c]);
                head.add_gradients((x, &down), logits, [rows, c, v], dx, &mut grads.weights);
            }
        }
        ([(loss / n as f64) as f32, correct as f32], grads)
    }

    /// What the forward pass of an operation returns: the gradients are the saved buffers, x's first.
    fn forward_of<const N: usize>(
        &self,
        x: &[f32],
        head: &HeadWeights<'_>,
        wanted: [bool; N],
    ) -> Forward {
        let wants = [wanted[0], wanted[1..].contains(&true)];
        let (out, grads) = self.compute(x, head, wants);
        let saved = std::iter::once(grads.x).chain(grads.weights).collect();
        Forward {
            out: out.to_vec(),
            saved: if wants.contains(&true) {
                saved
            } else {
                Vec::new()
            },
        }
    }
}

impl HeadWeights<'_> {
    /// `logits = x Wᵀ` and the low-rank part; returns h of the latter, empty without one.
    fn logits(&self, x: &[f32], [n, c, v]: [usize; 3], logits: &mut [f32]) -> Vec<f32> {
        let rows = Matrix::new(x, n, c);
        match self {
            Self::Dense(weight) => {
                matmul(logits, rows, Matrix::new(weight, v, c).transposed(), false);
                Vec::new()
            }
            Self::Frozen(weight, lora) => {
                weight.product(rows, n, logits);
                let Some(lora) = lora else {
                    return Vec::new();
                };
                let down = lora.down(x, n);
                lora.add_up(&down, n, logits);
                down
            }
        }
    }

    /// Writes the gradient of x and adds those of the head's tensors, where there is room for them.
    fn add_gradients(
        &self,
        (x, down): (&[f32], &[f32]),
        dy: &[f32],
        [n, c, v]: [usize; 3],
        dx: Option<&mut [f32]>,
        weights: &mut [Vec<f32>],
    ) {
        let grad = Matrix::new(dy, n, v);
        match self {
            Self::Dense(weight) => {
                if let Some(dx) = dx {
                    matmul(dx, grad, Matrix::new(weight, v, c), false);
                }
                if let [dweight] = weights {
                    matmul(dweight, grad.transposed(), Matrix::new(x, n, c), true);
                }
            }
            Self::Frozen(weight, lora) => {
                let dh = lora.map(|lora| (lora, lora.grad_down(dy, n)));
                if let Some(dx) = dx {
                    weight.gradient(grad, dx);
                    if let Some((lora, dh)) = &dh {
                        lora.add_grad_x(dh, n, dx);
                    }
                }
                if let ([da, db], Some((lora, dh))) = (weights, &dh) {
                    lora.add_grad_a(dh, x, n, da);
                    lora.add_grad_b(dy, down, n, db);
                }
            }
        }
    }
}

/// The saved gradients times the gradient of the loss.
fn scaled<const N: usize>(context: BackwardContext<'_, N>) -> [Option<Vec<f32>>; N] {
    let (scale, wanted) = (context.grad[0], context.wanted);
    let mut saved = context.saved.into_iter();
    wanted.map(|wanted| {
        let mut grad = saved.next().filter(|_| wanted)?;
        if scale != 1.0 {
            for_element_blocks(&mut grad, |_, block| {
                block.iter_mut().for_each(|g| *g *= scale)
            });
        }
        Some(grad)
    })
}

impl HostOp<2> for HeadLoss {
    fn forward(&self, [x, weight]: [&[f32]; 2], wanted: [bool; 2]) -> Forward {
        self.forward_of(x, &HeadWeights::Dense(weight), wanted)
    }

    fn keeps(&self, _wanted: [bool; 2]) -> [bool; 2] {
        [false, false]
    }

    fn backward(&self, context: BackwardContext<'_, 2>) -> [Option<Vec<f32>>; 2] {
        scaled(context)
    }
}

/// x: `[N, C]` → `[2]`, as [`HeadLoss`], with a frozen head.
#[derive(Debug)]
struct FrozenHeadLoss(HeadLoss, StoredMatrix);

impl HostOp<1> for FrozenHeadLoss {
    fn forward(&self, [x]: [&[f32]; 1], wanted: [bool; 1]) -> Forward {
        self.0
            .forward_of(x, &HeadWeights::Frozen(&self.1, None), wanted)
    }

    fn keeps(&self, _wanted: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, context: BackwardContext<'_, 1>) -> [Option<Vec<f32>>; 1] {
        scaled(context)
    }
}

/// x: `[N, C]`, A: `[r, C]`, B: `[V, r]` → `[2]`, as [`HeadLoss`], with a frozen head and a low-rank change of it.
#[derive(Debug)]
struct AdaptedHeadLoss {
    loss: HeadLoss,
    weight: StoredMatrix,
    rank: usize,
    scale: f32,
}

impl HostOp<3> for AdaptedHeadLoss {
    fn forward(&self, [x, a, b]: [&[f32]; 3], wanted: [bool; 3]) -> Forward {
        let lora = LowRank {
            a,
            b,
            rank: self.rank,
            scale: self.scale,
        };
        let head = HeadWeights::Frozen(&self.weight, Some(lora));
        self.loss.forward_of(x, &head, wanted)
    }

    fn keeps(&self, _wanted: [bool; 3]) -> [bool; 3] {
        [false; 3]
    }

    fn backward(&self, context: BackwardContext<'_, 3>) -> [Option<Vec<f32>>; 3] {
        scaled(context)
    }
}

/// What the head makes of the hidden rows.
pub struct HeadOutput {
    /// `[1]`: what to differentiate.
    pub objective: Tensor<1>,
    /// What to tell.
    pub report: PendingReport,
}

/// `[2]`, still on its device: mean cross-entropy in nats, and how many targets were the most likely token.
#[derive(Debug, Clone)]
pub struct PendingReport(Tensor<1>);

/// A [`PendingReport`], read back from its device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossReport {
    /// Mean cross-entropy, nats per token; NaN when the device could not be read.
    pub loss: f64,
    /// Targets that were the most likely token.
    pub correct: f64,
}

impl PendingReport {
    /// The report of all rows, from those of blocks of them and each block's share of the rows.
    pub(crate) fn of_blocks(blocks: impl IntoIterator<Item = (Self, f64)>) -> Self {
        let of_block = |(Self(report), share): (Self, f64)| {
            let factors = [share as f32, 1.0];
            let factors = Tensor::from_data(factors, &report.device());
            report * factors
        };
        let blocks = blocks.into_iter().map(of_block);
        let sum = blocks.reduce(|sum, block| sum + block);
        Self(sum.unwrap_or_else(|| Tensor::zeros([2], &Device::flex())))
    }

    /// Reads it, which waits for the device.
    pub fn read(&self) -> LossReport {
        let values = self.0.clone().into_data().try_into_vec::<f32>();
        LossReport::of(&values.unwrap_or_default())
    }

    /// As it lies on its device, `[2]`: whoever wants several reads them together.
    pub fn into_tensor(self) -> Tensor<1> {
        self.0
    }
}

impl LossReport {
    /// Numbers of a report.
    pub const LEN: usize = 2;

    /// Of the numbers of a report; NaN for those that are missing.
    pub fn of(values: &[f32]) -> Self {
        let value = |i: usize| values.get(i).map_or(f64::NAN, |v| f64::from(*v));
        Self {
            loss: value(0),
            correct: value(1),
        }
    }
}

impl HeadOutput {
    /// Reads the report, which waits for the device.
    pub fn read(&self) -> LossReport {
        self.report.read()
    }

    /// Of the two numbers that the fused operations give.
    fn fused(out: Tensor<1>) -> Self {
        Self {
            objective: out.clone().slice(0..1),
            report: PendingReport(out.inner()),
        }
    }
}

/// Cross-entropy of x `[N, C]` under the head `[V, C]` against `targets` `[N]`; the logits are a product in `precision`, as in
/// [`linear`].
pub fn head_loss(
    x: Tensor<2>,
    weight: Tensor<2>,
    targets: &Arc<Vec<u16>>,
    l2_wrap: f32,
    precision: Precision,
) -> HeadOutput {
    if host::is_host(&x.device()) {
        let op = HeadLoss::new(weight.dims(), targets, l2_wrap);
        return HeadOutput::fused(host::run2(x, weight, op, [2]));
    }
    loss_of_logits(linear(x, weight, precision), targets, l2_wrap)
}

/// [`head_loss`] under a frozen head on the CPU, with a low-rank change A `[r, C]`, B `[V, r]`, scale, or without.
pub fn frozen_head_loss(
    x: Tensor<2>,
    weight: &StoredMatrix,
    lora: Option<(Tensor<2>, Tensor<2>, f32)>,
    targets: &Arc<Vec<u16>>,
    l2_wrap: f32,
) -> HeadOutput {
    let loss = HeadLoss::new(weight.dims(), targets, l2_wrap);
    let weight = weight.clone();
    HeadOutput::fused(match lora {
        None => host::run1(x, FrozenHeadLoss(loss, weight), [2]),
        Some((a, b, scale)) => {
            let rank = a.dims()[0];
            let op = AdaptedHeadLoss {
                loss,
                weight,
                rank,
                scale,
            };
            host::run3((x, a, b), op, [2])
        }
    })
}

/// The cross-entropy of logits `[N, V]` in tensor operations: what other devices run on one block of rows after the other, and the oracle of
/// the fused form.
pub fn loss_of_logits(logits: Tensor<2>, targets: &[u16], l2_wrap: f32) -> HeadOutput {
    let n = targets.len();
    let targets = indices(targets, &logits.device()).reshape([n, 1]);
    let loss = activation::log_softmax(logits.clone(), 1)
        .gather(1, targets.clone())
        .mean()
        .neg();
    let best = logits.clone().inner().argmax(1);
    let correct = best.equal(targets.inner()).int().sum().float();
    let report = PendingReport(Tensor::cat(vec![loss.clone().inner(), correct], 0));
    let objective = match l2_wrap > 0.0 {
        // d/dz (c/2 · max²) = c · max at the largest logit.
        true => loss + logits.max_dim(1).square().sum() * (0.5 * l2_wrap / n as f32),
        false => loss,
    };
    HeadOutput { objective, report }
}
