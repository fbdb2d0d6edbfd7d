//! The forward pass of RWKV-4 for one step: the rows of several texts together.
//!
//! Formulas: RWKV (Peng et al. 2023, arXiv:2305.13048), as in the published `RWKV-v4neo` model:
//! ```text
//! x  = LN0(emb[token])
//! a  = LN1(x)    k, v, r = Wk·shift_k(a), Wv·shift_v(a), σ(Wr·shift_r(a))     x += Wo·(r ⊙ wkv(k, v))
//! b  = LN2(x)    k, r    = max(0, Wk·shift_k(b))², σ(Wr·shift_r(b))           x += r ⊙ (Wv·k)
//! logits = head·LN_out(x)
//! ```
//! Shapes: N rows, C = d_model, F = d_ffn, V = vocab_size; linear weights `[out, in]`.

mod channel_mixing;
mod layout;
mod linear;

mod scratch;
mod time_mixing;
mod wkv;

use super::matmul::Isa;
use super::ops;
use crate::RuntimeError;
use crate::engine::{Part, Rows, Wanted};
use crate::model::rwkv4::{LayerMatrix, Rwkv4Matrix, Rwkv4Weights};
use crate::model::{Matrix, Weights};
use linear::Linear;
pub(crate) use scratch::Scratch;

/// Vectors of C in a layer's state, in the order of `StateSpec`: att_x, ffn_x, aa, bb, pp.
const STATE_VECTORS: usize = 5;

/// A step's view of a model.
pub(crate) struct Forward<'a> {
    pub isa: Isa,
    pub weights: &'a Weights,
    pub model: &'a Rwkv4Weights,
}

impl Forward<'_> {
    /// Reads every part's tokens and advances its state; `logits [rows wanted, V]`.
    pub(crate) fn step(
        &self,
        parts: &mut [Part<'_>],
        scratch: &mut Scratch,
        logits: &mut Vec<f32>,
    ) -> Result<(), RuntimeError> {
        logits.clear();
        if parts.is_empty() {
            return Ok(());
        }
        self.embed(parts, scratch);
        for (index, layer) in self.model.layers.iter().enumerate() {
            self.time_mixing(index, layer, parts, scratch)?;
            self.channel_mixing(index, layer, parts, scratch);
        }
        self.head(parts, scratch, logits);
        Ok(())
    }

    /// The residual stream before the first layer.
    fn embed(&self, parts: &[Part<'_>], scratch: &mut Scratch) {
        let c = self.model.d_model;
        let n = scratch.layout.set(parts);
        let Scratch { x, normed, .. } = scratch;
        normed.resize(n * c, 0.0);
        let embedding = self.weights.matrix(&self.model.embedding);
        let tokens = parts.iter().flat_map(|part| part.tokens);
        for (&token, row) in tokens.zip(normed.chunks_exact_mut(c)) {
            embedding.dequantize(usize::from(token) * c, row);
        }
        x.resize(n * c, 0.0);
        let ln0 = &self.model.ln0;
        ops::layer_norm(normed, &ln0.weight, &ln0.bias, self.model.eps, x);
    }

    /// Logits of the rows that are wanted.
    fn head(&self, parts: &[Part<'_>], scratch: &mut Scratch, logits: &mut Vec<f32>) {
        if parts.iter().all(|part| part.wanted == Wanted::None) {
            return;
        }
        let c = self.model.d_model;
        let Scratch {
            x,
            normed,
            branches: [branch, ..],
            ..
        } = scratch;
        branch.mixed.clear();
        let mut end = 0;
        for part in parts {
            end += part.count(Rows::Read);
            let first = end - part.count(Rows::Wanted);
            branch.mixed.extend_from_slice(&x[first * c..end * c]);
        }
        normed.resize(branch.mixed.len(), 0.0);
        let ln = &self.model.ln_out;
        ops::layer_norm(&branch.mixed, &ln.weight, &ln.bias, self.model.eps, normed);
        Linear {
            isa: self.isa,
            weights: self.weights.matrix(&self.model.head),
            matrix: Rwkv4Matrix::Head,
            out: self.model.vocab_size,
            cols: c,
        }
        .apply(normed, parts, Rows::Wanted, &mut branch.products, logits);
    }

    /// A matrix of layer `index`.
    fn linear<'m>(&'m self, weights: &'m Matrix, index: usize, name: LayerMatrix) -> Linear<'m> {
        Linear {
            isa: self.isa,
            weights: self.weights.matrix(weights),
            matrix: Rwkv4Matrix::Layer(index, name),
            out: weights.rows,
            cols: weights.cols,
        }
    }
}
