//! Rows of the embedding matrix by token.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::host::{self, BackwardContext, Forward, HostOp};
use super::rows::for_row_blocks;
use super::stored::StoredMatrix;

/// weight: `[V, C]`, tokens: `[N]` → `[N, C]`.
#[derive(Debug)]
struct Embedding {
    tokens: Arc<Vec<u16>>,
    channels: usize,
}

impl HostOp<1> for Embedding {
    fn forward(&self, [weight]: [&[f32]; 1], _wanted: [bool; 1]) -> Forward {
        let c = self.channels;
        let mut out = vec![0.0; self.tokens.len() * c];
        for_row_blocks(&mut out, c, |first, rows| {
            for (row, &token) in rows.chunks_exact_mut(c).zip(&self.tokens[first..]) {
                row.copy_from_slice(&weight[usize::from(token) * c..][..c]);
            }
        });
        Forward::plain(out)
    }

    /// Rows are added one after another: two positions may hold the same token, and the order of a sum is part of the result.
    fn backward(&self, context: BackwardContext<'_, 1>) -> [Option<Vec<f32>>; 1] {
        let c = self.channels;
        let mut out = vec![0.0; context.inputs[0].len()];
        for (row, &token) in context.grad.chunks_exact(c).zip(self.tokens.iter()) {
            for (o, g) in out[usize::from(token) * c..][..c].iter_mut().zip(row) {
                *o += g;
            }
        }
        [Some(out)]
    }
}

/// The rows of weight `[V, C]` that `tokens` name: `[N, C]`. Tokens lie below V: [`crate::Rwkv`] checks its input.
pub fn embedding(weight: Tensor<2>, tokens: &Arc<Vec<u16>>) -> Tensor<2> {
    let ([_, channels], rows) = (weight.dims(), tokens.len());
    if host::is_host(&weight.device()) {
        return host::run1(
            weight,
            Embedding {
                tokens: tokens.clone(),
                channels,
            },
            [rows, channels],
        );
    }
    weight.clone().select(0, indices(tokens, &weight.device()))
}

/// The same rows of a frozen matrix on the CPU, which no gradient reaches.
pub fn stored_rows(weight: &StoredMatrix, tokens: &[u16], device: &Device) -> Tensor<2> {
    let shape = [tokens.len(), weight.dims()[1]];
    let mut rows = vec![0.0; shape[0] * shape[1]];
    for (row, &token) in rows.chunks_exact_mut(shape[1]).zip(tokens) {
        weight.read_rows(usize::from(token), row);
    }
    Tensor::from_data(TensorData::new(rows, shape), device)
}

/// Token ids as an integer tensor `[N]`.
pub(super) fn indices(tokens: &[u16], device: &Device) -> Tensor<1, Int> {
    let ids: Vec<i32> = tokens.iter().map(|&t| i32::from(t)).collect();
    Tensor::from_data(TensorData::new(ids, [tokens.len()]), device)
}
