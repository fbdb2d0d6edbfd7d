//! Layer norm and weight matrices.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::ops::{layer_norm::layer_norm, linear::linear};

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

/// A weight matrix `[out, in]` without bias.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
}

impl Projection {
    /// x `[N, in]` → `[N, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.val())
    }
}
