//! Token shift with a learned mix: `y_t = x_t · mix + x_{t-1} · (1 - mix)`, the row before a sequence's first being zero, one row that
//! all sequences share, or one of its own.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use super::host::{self, BackwardContext, Forward, HostOp};
use super::rows::{for_row_blocks, for_row_blocks_summing};

/// What stands before the first row of each sequence.
#[derive(Debug, Clone)]
pub enum Before {
    /// Zeros.
    Nothing,
    /// The same row before all of them, `[C]`.
    Row(Tensor<1>),
    /// A row for each of them, `[N / seq_len, C]`; and zeros before every row that is marked (`[N]`), wherever it stands.
    Rows(Tensor<2>, Arc<Vec<bool>>),
}

/// x: `[N, C]` with N a multiple of `seq_len`, mix: `[C]`; with three inputs, the row before each sequence, or one for all: `[·, C]`.
#[derive(Debug)]
struct TokenShift {
    channels: usize,
    seq_len: usize,
    /// Rows with zeros before them, `[N]`; empty for none.
    fresh: Arc<Vec<bool>>,
    /// `[C]`.
    zeros: Vec<f32>,
}

impl TokenShift {
    fn shift(&self, x: &[f32], mix: &[f32], start: Option<&[f32]>) -> Forward {
        let c = self.channels;
        let start = start.unwrap_or(&self.zeros);
        let mut y = vec![0.0; x.len()];
        for_row_blocks(&mut y, c, |first, rows| {
            for (n, y) in (first..).zip(rows.chunks_exact_mut(c)) {
                let (now, before) = (&x[n * c..][..c], self.before(x, start, n));
                for i in 0..c {
                    y[i] = before[i] + mix[i] * (now[i] - before[i]);
                }
            }
        });
        Forward::plain(y)
    }

    /// The row before row `n`.
    fn before<'a>(&'a self, x: &'a [f32], start: &'a [f32], n: usize) -> &'a [f32] {
        let c = self.channels;
        match n % self.seq_len {
            _ if self.is_fresh(n) => &self.zeros,
            0 => &start[n / self.seq_len * c % start.len()..][..c],
            _ => &x[(n - 1) * c..][..c],
        }
    }

    /// Whether row `n` has zeros before it, though it may be inside a sequence.
    fn is_fresh(&self, n: usize) -> bool {
        self.fresh.get(n).is_some_and(|fresh| *fresh)
    }

    /// dx_t = g_t · mix + g_{t+1} · (1 - mix), dmix = Σ g_t · (x_t - x_{t-1}).
    fn gradients(
        &self,
        (x, mix): (&[f32], &[f32]),
        start: Option<&[f32]>,
        grad: &[f32],
        wanted: [bool; 2],
    ) -> [Option<Vec<f32>>; 2] {
        let c = self.channels;
        let dx = wanted[0].then(|| {
            let mut dx = vec![0.0; grad.len()];
            for_row_blocks(&mut dx, c, |first, rows| {
                for (n, dx) in (first..).zip(rows.chunks_exact_mut(c)) {
                    let g = &grad[n * c..][..c];
                    if (n + 1) % self.seq_len == 0 || self.is_fresh(n + 1) {
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
            dx
        });
        let dmix = wanted[1].then(|| {
            let start = start.unwrap_or(&self.zeros);
            sum_rows(grad, c, |n, g, sums| {
                let (now, before) = (&x[n * c..][..c], self.before(x, start, n));
                for i in 0..c {
                    sums[i] += g[i] * (now[i] - before[i]);
                }
            })
        });
        [dx, dmix]
    }

    /// The gradient of the `len` elements before the sequences: Σ over the first rows that follow them of g · (1 - mix).
    fn start_gradient(&self, len: usize, mix: &[f32], grad: &[f32]) -> Vec<f32> {
        let c = self.channels;
        let mut sums = vec![0.0; len];
        let firsts = grad.chunks(self.seq_len * c).enumerate();
        for (sequence, first) in firsts.filter(|(i, _)| !self.is_fresh(i * self.seq_len)) {
            let sums = &mut sums[sequence * c % len..][..c];
            for ((sum, g), mix) in sums.iter_mut().zip(first).zip(mix) {
                *sum += g * (1.0 - mix);
            }
        }
        sums
    }
}

/// A vector of `width` sums over the rows of `grad`, block by block in a fixed order.
fn sum_rows(
    grad: &[f32],
    width: usize,
    row: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    // One number a row to write to: the blocks are those of the rows.
    let mut none = vec![0.0; grad.len() / width.max(1)];
    for_row_blocks_summing(&mut none, 1, width, |first, rows, sums| {
        for n in first..first + rows.len() {
            row(n, &grad[n * width..][..width], sums);
        }
    })
}

impl HostOp<2> for TokenShift {
    fn forward(&self, [x, mix]: [&[f32]; 2], _wanted: [bool; 2]) -> Forward {
        self.shift(x, mix, None)
    }

    fn keeps(&self, wanted: [bool; 2]) -> [bool; 2] {
        [wanted[1], true]
    }

    fn backward(&self, context: BackwardContext<'_, 2>) -> [Option<Vec<f32>>; 2] {
        let [x, mix] = context.inputs;
        self.gradients((x, mix), None, context.grad, context.wanted)
    }
}

impl HostOp<3> for TokenShift {
    fn forward(&self, [x, mix, start]: [&[f32]; 3], _wanted: [bool; 3]) -> Forward {
        self.shift(x, mix, Some(start))
    }

    fn keeps(&self, wanted: [bool; 3]) -> [bool; 3] {
        [wanted[1], true, wanted[1] || wanted[2]]
    }

    fn backward(&self, context: BackwardContext<'_, 3>) -> [Option<Vec<f32>>; 3] {
        let ([x, mix, start], [wants_x, wants_mix, wants_start]) = (context.inputs, context.wanted);
        let wanted = [wants_x, wants_mix];
        let [dx, dmix] = self.gradients((x, mix), Some(start), context.grad, wanted);
        let dstart = wants_start.then(|| self.start_gradient(start.len(), mix, context.grad));
        [dx, dmix, dstart]
    }
}

/// Token shift of x `[N, C]`, sequences of `seq_len` rows, with mix `[C]`.
pub fn token_shift(x: Tensor<2>, mix: Tensor<1>, before: Before, seq_len: usize) -> Tensor<2> {
    if !host::is_host(&x.device()) {
        return token_shift_composed(x, mix, before, seq_len);
    }
    let shape = x.dims();
    let op = |fresh| TokenShift {
        channels: shape[1],
        seq_len,
        fresh,
        zeros: vec![0.0; shape[1]],
    };
    match before {
        Before::Nothing => host::run2(x, mix, op(Arc::default()), shape),
        Before::Row(row) => host::run3((x, mix, row), op(Arc::default()), shape),
        Before::Rows(rows, fresh) => host::run3((x, mix, rows), op(fresh), shape),
    }
}

/// The same in tensor operations: what other devices run, and the oracle of the fused form.
pub(super) fn token_shift_composed(
    x: Tensor<2>,
    mix: Tensor<1>,
    before: Before,
    seq_len: usize,
) -> Tensor<2> {
    let [n, c] = x.dims();
    let batch = n / seq_len;
    let x = x.reshape([batch, seq_len, c]);
    let (first, fresh) = match before {
        Before::Nothing => (Tensor::zeros([batch, 1, c], &x.device()), None),
        Before::Row(row) => (row.reshape([1, 1, c]).repeat_dim(0, batch), None),
        Before::Rows(rows, fresh) => (rows.reshape([batch, 1, c]), Some(fresh)),
    };
    let mut before = match seq_len {
        1 => first,
        _ => Tensor::cat(vec![first, x.clone().slice([0..batch, 0..seq_len - 1])], 1),
    };
    if let Some(fresh) = fresh {
        let kept: Vec<f32> = fresh.iter().map(|f| if *f { 0.0 } else { 1.0 }).collect();
        let data = TensorData::new(kept, [batch, seq_len, 1]);
        before = before * Tensor::from_data(data, &x.device());
    }
    let mix = mix.unsqueeze::<3>();
    (before.clone() + (x - before) * mix).reshape([n, c])
}
