//! The forward pass of RWKV-4.
//!
//! Formulas: RWKV (Peng et al. 2023, arXiv:2305.13048), as in the published `RWKV-v4neo` model:
//! ```text
//! x  = LN0(emb[token])
//! a  = LN1(x)    k, v, r = Wk·shift_k(a), Wv·shift_v(a), σ(Wr·shift_r(a))     x += Wo·(r ⊙ wkv(k, v))
//! b  = LN2(x)    k, r    = max(0, Wk·shift_k(b))², σ(Wr·shift_r(b))           x += r ⊙ (Wv·k)
//! logits = head·LN_out(x)
//! ```
//! Shapes: T tokens, C = d_model, F = d_ffn, V = vocab_size; linear weights `[out, in]`.

use super::matmul::{Isa, Product, Workspace, matmul};
use super::ops;
use super::parallel::join;
use super::work::Work;
use crate::RuntimeError;
use crate::model::Weights;
use crate::model::rwkv4::{Layer, Rwkv4Weights};
use ptbr_kernels::{Sequence, WkvDims, cpu};
use ptbr_model::MatrixData;
use ptbr_tokenizer::TokenId;

/// Vectors of C in a layer's state, in the order of `StateSpec`: att_x, ffn_x, aa, bb, pp.
const STATE_VECTORS: usize = 5;

/// Memory for one chunk; kept by the session, so that decoding allocates nothing.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Residual stream `[T, C]`.
    x: Vec<f32>,
    /// After a layer norm `[T, C]`.
    normed: Vec<f32>,
    /// Token shifts `[T, C]`.
    mixed: [Vec<f32>; 3],
    /// Keys `[T, C]`, in channel mixing `[T, F]`.
    k: Vec<f32>,
    v: Vec<f32>,
    r: Vec<f32>,
    /// WKV `[T, C]`, then its final state `[3, C]`.
    wkv: Vec<f32>,
    workspaces: [Workspace; 3],
    /// What the products have cost.
    pub(crate) work: Work,
}

/// One chunk's view of a model.
pub(crate) struct Forward<'a> {
    pub isa: Isa,
    pub weights: &'a Weights,
    pub model: &'a Rwkv4Weights,
}

impl Forward<'_> {
    /// Reads `tokens` (at least one, all in the vocabulary), advances `state` (as `StateSpec` lays it out) and leaves the residual stream in `scratch`.
    pub(crate) fn run(
        &self,
        tokens: &[TokenId],
        state: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), RuntimeError> {
        let c = self.model.d_model;
        let t = tokens.len();
        let embedding = self.weights.matrix(&self.model.embedding);
        scratch.normed.resize(t * c, 0.0);
        for (&token, row) in tokens.iter().zip(scratch.normed.chunks_exact_mut(c)) {
            embedding.dequantize(usize::from(token) * c, row);
        }
        scratch.x.resize(t * c, 0.0);
        let ln0 = &self.model.ln0;
        ops::layer_norm(
            &scratch.normed,
            &ln0.weight,
            &ln0.bias,
            self.model.eps,
            &mut scratch.x,
        );
        for (layer, state) in self
            .model
            .layers
            .iter()
            .zip(state.chunks_exact_mut(STATE_VECTORS * c))
        {
            let (shifted, wkv_state) = state.split_at_mut(2 * c);
            let (att_x, ffn_x) = shifted.split_at_mut(c);
            self.time_mixing(layer, t, att_x, wkv_state, scratch)?;
            self.channel_mixing(layer, t, ffn_x, scratch);
        }
        Ok(())
    }

    /// Logits of the last `rows` tokens of the chunk that [`Forward::run`] read last; `logits [rows, V]`.
    pub(crate) fn head(&self, rows: usize, scratch: &mut Scratch, logits: &mut Vec<f32>) {
        let c = self.model.d_model;
        let last = &scratch.x[scratch.x.len() - rows * c..];
        scratch.normed.resize(rows * c, 0.0);
        let ln = &self.model.ln_out;
        ops::layer_norm(
            last,
            &ln.weight,
            &ln.bias,
            self.model.eps,
            &mut scratch.normed,
        );
        logits.resize(rows * self.model.vocab_size, 0.0);
        let head = self.weights.matrix(&self.model.head);
        scratch.work.count(head, rows);
        let [workspace, ..] = &mut scratch.workspaces;
        matmul(
            self.isa,
            Product {
                weights: head,
                input: &scratch.normed,
                output: logits,
                tokens: rows,
            },
            workspace,
        );
    }

    fn time_mixing(
        &self,
        layer: &Layer,
        t: usize,
        att_x: &mut [f32],
        wkv_state: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), RuntimeError> {
        let c = self.model.d_model;
        let Scratch {
            x,
            normed,
            mixed,
            k,
            v,
            r,
            wkv,
            workspaces,
            work,
        } = scratch;
        normed.resize(t * c, 0.0);
        ops::layer_norm(
            x,
            &layer.ln1.weight,
            &layer.ln1.bias,
            self.model.eps,
            normed,
        );
        let [mixed_k, mixed_v, mixed_r] = mixed;
        let [workspace_k, workspace_v, workspace_r] = workspaces;
        let (before, normed_now) = (&*att_x, &**normed);
        let project = |mix: &[f32],
                       weights: MatrixData<'_>,
                       mixed: &mut Vec<f32>,
                       output: &mut Vec<f32>,
                       workspace: &mut Workspace| {
            mixed.resize(t * c, 0.0);
            ops::token_shift(normed_now, before, mix, mixed);
            output.resize(t * c, 0.0);
            matmul(
                self.isa,
                Product {
                    weights,
                    input: mixed,
                    output,
                    tokens: t,
                },
                workspace,
            );
        };
        let (key, value, receptance) = (
            self.weights.matrix(&layer.att_key),
            self.weights.matrix(&layer.att_value),
            self.weights.matrix(&layer.att_receptance),
        );
        join(
            || project(&layer.att_mix_k, key, mixed_k, k, workspace_k),
            || {
                join(
                    || project(&layer.att_mix_v, value, mixed_v, v, workspace_v),
                    || {
                        project(&layer.att_mix_r, receptance, mixed_r, r, workspace_r);
                        ops::sigmoid(r);
                    },
                )
            },
        );
        att_x.copy_from_slice(&normed[(t - 1) * c..]);

        if t == 1 {
            wkv.resize(c, 0.0);
            cpu::wkv_step(&layer.wu, k, v, wkv_state, wkv)?;
        } else {
            wkv.resize((t + ptbr_kernels::STATE_ROWS) * c, 0.0);
            // A chunk is far shorter than 2^32: the session cuts it.
            let sequence = Sequence {
                first: 0,
                len: t as u32,
                slot_in: 0,
                slot_out: 0,
            };
            cpu::wkv_forward(
                &layer.wu,
                k,
                v,
                &[sequence],
                wkv_state,
                wkv,
                WkvDims { n: t, c, slots: 1 },
            )?;
            wkv_state.copy_from_slice(&wkv[t * c..]);
        }
        ops::multiply(r, &wkv[..t * c]);

        let output = self.weights.matrix(&layer.att_output);
        matmul(
            self.isa,
            Product {
                weights: output,
                input: r,
                output: k,
                tokens: t,
            },
            workspace_k,
        );
        ops::add(x, k);
        for weights in [key, value, receptance, output] {
            work.count(weights, t);
        }
        Ok(())
    }

    fn channel_mixing(&self, layer: &Layer, t: usize, ffn_x: &mut [f32], scratch: &mut Scratch) {
        let (c, f) = (self.model.d_model, self.model.d_ffn);
        let Scratch {
            x,
            normed,
            mixed,
            k,
            v,
            r,
            workspaces,
            work,
            ..
        } = scratch;
        ops::layer_norm(
            x,
            &layer.ln2.weight,
            &layer.ln2.bias,
            self.model.eps,
            normed,
        );
        let [mixed_k, _, mixed_r] = mixed;
        let [workspace_k, _, workspace_r] = workspaces;
        let (before, normed_now) = (&*ffn_x, &**normed);
        let (key, receptance, value) = (
            self.weights.matrix(&layer.ffn_key),
            self.weights.matrix(&layer.ffn_receptance),
            self.weights.matrix(&layer.ffn_value),
        );
        join(
            || {
                ops::token_shift(normed_now, before, &layer.ffn_mix_k, mixed_k);
                k.resize(t * f, 0.0);
                matmul(
                    self.isa,
                    Product {
                        weights: key,
                        input: mixed_k,
                        output: k,
                        tokens: t,
                    },
                    workspace_k,
                );
                ops::relu_squared(k);
            },
            || {
                ops::token_shift(normed_now, before, &layer.ffn_mix_r, mixed_r);
                matmul(
                    self.isa,
                    Product {
                        weights: receptance,
                        input: mixed_r,
                        output: r,
                        tokens: t,
                    },
                    workspace_r,
                );
                ops::sigmoid(r);
            },
        );
        ffn_x.copy_from_slice(&normed[(t - 1) * c..]);
        matmul(
            self.isa,
            Product {
                weights: value,
                input: k,
                output: v,
                tokens: t,
            },
            workspace_k,
        );
        ops::add_product(x, r, v);
        for weights in [key, receptance, value] {
            work.count(weights, t);
        }
    }
}
