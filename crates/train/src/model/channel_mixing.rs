//! Channel mixing: `sigmoid(Wr xr) · (Wv max(0, Wk xk)²)` over token-shifted inputs.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use ptbr_model::Precision;

use super::{LayerStart, Projection};
use crate::ops::activation::{gate, relu_squared};
use crate::ops::token_shift::token_shift;

/// The parameters of channel mixing; vectors are `[C]`.
#[derive(Module, Debug)]
pub struct ChannelMixing {
    /// Share of the current token in the input of `key`.
    pub time_mix_k: Param<Tensor<1>>,
    /// Share of the current token in the input of `receptance`.
    pub time_mix_r: Param<Tensor<1>>,
    /// `[F, C]`.
    pub key: Projection,
    /// `[C, C]`.
    pub receptance: Projection,
    /// `[C, F]`.
    pub value: Projection,
}

impl ChannelMixing {
    /// x `[N, C]`, windows of `seq_len` rows that begin with `start` → `[N, C]`; the products in `precision`.
    pub fn forward(
        &self,
        x: Tensor<2>,
        seq_len: usize,
        start: LayerStart<'_>,
        precision: Precision,
    ) -> Tensor<2> {
        let device = x.device();
        let shift = |mix: &Param<Tensor<1>>| {
            token_shift(x.clone(), mix.val(), start.ffn_x(&device), seq_len)
        };
        let k = self.key.forward(shift(&self.time_mix_k), precision);
        let r = self.receptance.forward(shift(&self.time_mix_r), precision);
        gate(r, self.value.forward(relu_squared(k), precision))
    }
}
