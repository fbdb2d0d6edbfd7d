//! Time mixing: `Wo (sigmoid(r) · wkv(w, u, k, v))` over token-shifted inputs.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use ptbr_model::Precision;

use super::carried::outside;
use super::{LayerStart, Projection};
use crate::ops::activation::gate;
use crate::ops::token_shift::token_shift;
use crate::ops::wkv::{wkv, wkv_with_state};

/// The parameters of time mixing; all vectors are `[C]`.
#[derive(Module, Debug)]
pub struct TimeMixing {
    /// Raw: the decay per step is `exp(-exp(time_decay))`.
    pub time_decay: Param<Tensor<1>>,
    /// Bonus of the current token.
    pub time_first: Param<Tensor<1>>,
    /// Share of the current token in the input of `key`.
    pub time_mix_k: Param<Tensor<1>>,
    /// Share of the current token in the input of `value`.
    pub time_mix_v: Param<Tensor<1>>,
    /// Share of the current token in the input of `receptance`.
    pub time_mix_r: Param<Tensor<1>>,
    /// `[C, C]`.
    pub key: Projection,
    /// `[C, C]`.
    pub value: Projection,
    /// `[C, C]`.
    pub receptance: Projection,
    /// `[C, C]`.
    pub output: Projection,
}

impl TimeMixing {
    /// x `[N, C]`, windows of `seq_len` rows that begin with `start` → `[N, C]`, and where states are carried the states of WKV that the
    /// windows end with, `[3 · N / seq_len, C]`, outside autodiff; the products in `precision`.
    pub fn forward(
        &self,
        x: Tensor<2>,
        seq_len: usize,
        start: LayerStart<'_>,
        precision: Precision,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let ([rows, channels], device) = (x.dims(), x.device());
        let shift = |mix: &Param<Tensor<1>>| {
            token_shift(x.clone(), mix.val(), start.att_x(&device), seq_len)
        };
        let k = self.key.forward_to_wkv(shift(&self.time_mix_k), precision);
        let v = self
            .value
            .forward_to_wkv(shift(&self.time_mix_v), precision);
        let r = self.receptance.forward(shift(&self.time_mix_r), precision);
        let (w, u) = (self.time_decay.val().exp().neg(), self.time_first.val());
        let (y, end) = match start.wkv((rows / seq_len, seq_len, channels), &device) {
            (batch, None) => (wkv(w, u, k, v, batch), None),
            (batch, Some(state)) => {
                let all = batch.out_rows();
                let out = wkv_with_state(w, u, k, v, state, batch);
                let carried = matches!(start, LayerStart::Carried(..));
                let end = carried.then(|| outside(out.clone().slice(rows..all)));
                (out.slice(0..rows), end)
            }
        };
        (self.output.forward(gate(r, y), precision), end)
    }
}
