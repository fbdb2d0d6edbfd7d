//! Layer norm and weight matrices.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use ptbr_model::Precision;

use super::LoraAdapter;
use crate::ops::embedding::{embedding, stored_rows};
use crate::ops::frozen::{adapted_linear, frozen_linear};
use crate::ops::head_loss::{HeadOutput, frozen_head_loss, head_loss, loss_of_logits};
use crate::ops::layer_norm::layer_norm;
use crate::ops::linear::{linear, linear_to_kernel};
use crate::ops::stored::StoredMatrix;

/// Layer norm over the channels.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[C]`.
    pub weight: Param<Tensor<1>>,
    /// `[C]`.
    pub bias: Param<Tensor<1>>,
}

impl LayerNorm {
    /// x `[N, C]` → `[N, C]`.
    pub fn forward(&self, x: Tensor<2>, eps: f64) -> Tensor<2> {
        layer_norm(x, self.weight.val(), self.bias.val(), eps)
    }
}

/// A weight matrix `[out, in]` without bias: a tensor that may be trained, or frozen in its file's form; and a low-rank change of it.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[out, in]`, unless it is stored.
    weight: Option<Param<Tensor<2>>>,
    /// `[out, in]`, on the CPU.
    #[module(skip)]
    stored: Option<StoredMatrix>,
    /// What is trained in place of the matrix.
    lora: Option<LoraAdapter>,
}

/// Where the elements of a projection are.
enum Weight<'a> {
    Tensor(&'a Param<Tensor<2>>),
    Stored(&'a StoredMatrix),
}

impl Projection {
    /// A matrix in a tensor.
    pub fn of_tensor(weight: Param<Tensor<2>>) -> Self {
        Self {
            weight: Some(weight),
            stored: None,
            lora: None,
        }
    }

    /// A frozen matrix on the CPU, in the form that its file has.
    pub fn of_stored(weight: StoredMatrix) -> Self {
        Self {
            weight: None,
            stored: Some(weight),
            lora: None,
        }
    }

    /// `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match self.weight() {
            Weight::Tensor(weight) => weight.val().dims(),
            Weight::Stored(weight) => weight.dims(),
        }
    }

    /// The low-rank change.
    pub fn lora(&self) -> Option<&LoraAdapter> {
        self.lora.as_ref()
    }

    /// Puts a low-rank change beside the matrix, in place of one that was there.
    pub fn set_lora(&mut self, lora: Option<LoraAdapter>) {
        self.lora = lora;
    }

    /// x `[N, in]` → `[N, out]`, the products in `precision`.
    pub fn forward(&self, x: Tensor<2>, precision: Precision) -> Tensor<2> {
        match (self.weight(), &self.lora) {
            (Weight::Tensor(weight), None) => linear(x, weight.val(), precision),
            (Weight::Tensor(weight), Some(lora)) => {
                linear(x.clone(), weight.val(), precision) + lora.forward(x, precision)
            }
            (Weight::Stored(weight), None) => frozen_linear(x, weight),
            (Weight::Stored(weight), Some(lora)) => {
                let [a, b] = lora.factors();
                adapted_linear(x, weight, a, b, lora.scale())
            }
        }
    }

    /// [`Projection::forward`] for WKV, which reads f16 as well as f32: what is f16 anyway stays so.
    pub fn forward_to_wkv(&self, x: Tensor<2>, precision: Precision) -> Tensor<2> {
        match (self.weight(), &self.lora) {
            (Weight::Tensor(weight), None) => linear_to_kernel(x, weight.val(), precision),
            _ => self.forward(x, precision),
        }
    }

    /// The loss of hidden rows x `[N, in]` against `targets` `[N]`, this being the head; the products in `precision`.
    pub fn loss(
        &self,
        x: Tensor<2>,
        targets: &Arc<Vec<u16>>,
        l2_wrap: f32,
        precision: Precision,
    ) -> HeadOutput {
        let lora = self.lora.as_ref();
        match (self.weight(), lora) {
            (Weight::Tensor(weight), None) => {
                head_loss(x, weight.val(), targets, l2_wrap, precision)
            }
            (Weight::Stored(weight), lora) => {
                let lora = lora.map(|lora| {
                    let [a, b] = lora.factors();
                    (a, b, lora.scale())
                });
                frozen_head_loss(x, weight, lora, targets, l2_wrap)
            }
            (Weight::Tensor(_), Some(_)) => {
                loss_of_logits(self.forward(x, precision), targets, l2_wrap)
            }
        }
    }

    /// The rows that `tokens` name, this being the embedding: `[N, in]`.
    pub fn rows(&self, tokens: &Arc<Vec<u16>>, device: &Device) -> Tensor<2> {
        match self.weight() {
            Weight::Tensor(weight) => embedding(weight.val(), tokens),
            Weight::Stored(weight) => stored_rows(weight, tokens, device),
        }
    }

    fn weight(&self) -> Weight<'_> {
        match (&self.weight, &self.stored) {
            (Some(weight), _) => Weight::Tensor(weight),
            (None, Some(stored)) => Weight::Stored(stored),
            (None, None) => unreachable!("both constructors give it a matrix"),
        }
    }
}
