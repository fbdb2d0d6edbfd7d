//! Layer norm over the channels: `y = (x - mean) / sqrt(variance + eps) · weight + bias`, biased variance.

use burn::tensor::Tensor;

use super::host::{self, BackwardContext, Forward, HostOp};
use super::rows::{for_row_blocks, for_row_blocks_summing};

/// x: `[N, C]`, weight and bias: `[C]`.
#[derive(Debug)]
struct LayerNorm {
    channels: usize,
    eps: f32,
}

impl LayerNorm {
    /// Mean and reciprocal standard deviation of one row.
    fn statistics(&self, row: &[f32]) -> (f32, f32) {
        let n = row.len() as f32;
        let mean = sum(row.iter().copied()) / n;
        let variance = sum(row.iter().map(|x| (x - mean) * (x - mean))) / n;
        (mean, 1.0 / (variance + self.eps).sqrt())
    }
}

/// A sum in eight fixed lanes: it vectorises, and its order never changes.
fn sum(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let mut lanes = [0.0f32; 8];
    for (i, value) in values.enumerate() {
        lanes[i & 7] += value;
    }
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6]))
        + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

impl HostOp<3> for LayerNorm {
    fn forward(&self, [x, weight, bias]: [&[f32]; 3], _wanted: [bool; 3]) -> Forward {
        let c = self.channels;
        let mut y = vec![0.0; x.len()];
        for_row_blocks(&mut y, c, |first, rows| {
            for (y, x) in rows.chunks_exact_mut(c).zip(x[first * c..].chunks_exact(c)) {
                let (mean, rstd) = self.statistics(x);
                for i in 0..c {
                    y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
                }
            }
        });
        Forward::plain(y)
    }

    fn keeps(&self, _wanted: [bool; 3]) -> [bool; 3] {
        [true, true, false]
    }

    /// With x̂ = (x - mean)·rstd and ĝ = g·weight:
    /// dx = rstd · (ĝ - mean(ĝ) - x̂ · mean(ĝ·x̂)), dweight = Σ g·x̂, dbias = Σ g.
    fn backward(&self, context: BackwardContext<'_, 3>) -> [Option<Vec<f32>>; 3] {
        let c = self.channels;
        let [x, weight, _] = context.inputs;
        let grad = context.grad;
        let mut dx = vec![0.0; x.len()];
        let sums = for_row_blocks_summing(&mut dx, c, 2 * c, |first, rows, sums| {
            let (dweight, dbias) = sums.split_at_mut(c);
            let inputs = x[first * c..]
                .chunks_exact(c)
                .zip(grad[first * c..].chunks_exact(c));
            for (dx, (x, g)) in rows.chunks_exact_mut(c).zip(inputs) {
                let (mean, rstd) = self.statistics(x);
                let n = c as f32;
                let mean_g = sum(g.iter().zip(weight).map(|(g, w)| g * w)) / n;
                for i in 0..c {
                    dx[i] = g[i] * weight[i] * (x[i] - mean);
                }
                let mean_gx = sum(dx.iter().copied()) * rstd / n;
                for i in 0..c {
                    let normal = (x[i] - mean) * rstd;
                    dx[i] = rstd * (g[i] * weight[i] - mean_g - normal * mean_gx);
                    dweight[i] += g[i] * normal;
                    dbias[i] += g[i];
                }
            }
        });
        let (dweight, dbias) = sums.split_at(c);
        [Some(dx), Some(dweight.to_vec()), Some(dbias.to_vec())]
    }
}

/// Layer norm of the rows of x `[N, C]` with weight and bias `[C]`.
pub fn layer_norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<2> {
    if host::is_host(&x.device()) {
        let shape = x.dims();
        return host::run3(
            (x, weight, bias),
            LayerNorm {
                channels: shape[1],
                eps: eps as f32,
            },
            shape,
        );
    }
    layer_norm_composed(x, weight, bias, eps)
}

/// The same in tensor operations: what other devices run, and the oracle of the fused form.
pub(super) fn layer_norm_composed(
    x: Tensor<2>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    centred / (variance + eps).sqrt() * weight.unsqueeze() + bias.unsqueeze()
}
