//! Token shift with a learned mix: `y_t = x_t · mix + x_{t-1} · (1 - mix)`, the row before a sequence's first being zero.

use burn::tensor::Tensor;

use super::host::{self, BackwardContext, Forward, HostOp};
use super::rows::{for_row_blocks, for_row_blocks_summing};

/// x: `[N, C]` with N a multiple of `seq_len`, mix: `[C]`.
#[derive(Debug)]
struct TokenShift {
    channels: usize,
    seq_len: usize,
}

impl HostOp<2> for TokenShift {
    fn forward(&self, [x, mix]: [&[f32]; 2], _tracked: bool) -> Forward {
        let c = self.channels;
        let mut y = vec![0.0; x.len()];
        for_row_blocks(&mut y, c, |first, rows| {
            for (n, y) in (first..).zip(rows.chunks_exact_mut(c)) {
                let now = &x[n * c..][..c];
                if n % self.seq_len == 0 {
                    for i in 0..c {
                        y[i] = now[i] * mix[i];
                    }
                } else {
                    let before = &x[(n - 1) * c..][..c];
                    for i in 0..c {
                        y[i] = before[i] + mix[i] * (now[i] - before[i]);
                    }
                }
            }
        });
        Forward::plain(y)
    }

    /// dx_t = g_t · mix + g_{t+1} · (1 - mix), dmix = Σ g_t · (x_t - x_{t-1}).
    fn backward(&self, context: BackwardContext<'_, 2>) -> [Option<Vec<f32>>; 2] {
        let c = self.channels;
        let [x, mix] = context.inputs;
        let grad = context.grad;
        let mut dx = vec![0.0; x.len()];
        let dmix = for_row_blocks_summing(&mut dx, c, c, |first, rows, dmix| {
            for (n, dx) in (first..).zip(rows.chunks_exact_mut(c)) {
                let (g, now) = (&grad[n * c..][..c], &x[n * c..][..c]);
                if n % self.seq_len == 0 {
                    for i in 0..c {
                        dmix[i] += g[i] * now[i];
                    }
                } else {
                    let before = &x[(n - 1) * c..][..c];
                    for i in 0..c {
                        dmix[i] += g[i] * (now[i] - before[i]);
                    }
                }
                if (n + 1) % self.seq_len == 0 {
                    for i in 0..c {
                        dx[i] = g[i] * mix[i];
                    }
                } else {
                    let after = &grad[(n + 1) * c..][..c];
                    for i in 0..c {
                        dx[i] = after[i] + mix[i] * (g[i] - after[i]);
                    }
                }
            }
        });
        [Some(dx), Some(dmix)]
    }
}

/// Token shift of x `[N, C]`, sequences of `seq_len` rows, with mix `[C]`.
pub fn token_shift(x: Tensor<2>, mix: Tensor<1>, seq_len: usize) -> Tensor<2> {
    if host::is_host(&x.device()) {
        let shape = x.dims();
        return host::run2(
            x,
            mix,
            TokenShift {
                channels: shape[1],
                seq_len,
            },
            shape,
        );
    }
    token_shift_composed(x, mix, seq_len)
}

/// The same in tensor operations: what other devices run, and the oracle of the fused form.
pub(super) fn token_shift_composed(x: Tensor<2>, mix: Tensor<1>, seq_len: usize) -> Tensor<2> {
    let [n, c] = x.dims();
    let batch = n / seq_len;
    let x = x.reshape([batch, seq_len, c]);
    let first = Tensor::zeros([batch, 1, c], &x.device());
    let before = match seq_len {
        1 => first,
        _ => Tensor::cat(vec![first, x.clone().slice([0..batch, 0..seq_len - 1])], 1),
    };
    let mix = mix.unsqueeze::<3>();
    (before.clone() + (x - before) * mix).reshape([n, c])
}
