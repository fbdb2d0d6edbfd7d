//! Time mixing: `Wo (sigmoid(r) · wkv(w, u, k, v))` over token-shifted inputs.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use ptbr_model::Precision;

use super::{LayerState, Projection};
use crate::ops::activation::gate;
use crate::ops::token_shift::token_shift;
use crate::ops::wkv::{WkvBatch, wkv, wkv_with_state};

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
    /// x `[N, C]`, windows of `seq_len` rows that begin with `state`, or with none → `[N, C]`; the products in `precision`.
    pub fn forward(
        &self,
        x: Tensor<2>,
        seq_len: usize,
        state: Option<&LayerState>,
        precision: Precision,
    ) -> Tensor<2> {
        let [rows, channels] = x.dims();
        let shift = |mix: &Param<Tensor<1>>| {
            let start = state.map(|state| state.att_x.val());
            token_shift(x.clone(), mix.val(), start, seq_len)
        };
        let k = self.key.forward_to_wkv(shift(&self.time_mix_k), precision);
        let v = self
            .value
            .forward_to_wkv(shift(&self.time_mix_v), precision);
        let r = self.receptance.forward(shift(&self.time_mix_r), precision);
        let (w, u) = (self.time_decay.val().exp().neg(), self.time_first.val());
        let windows = rows / seq_len;
        let y = match state {
            None => wkv(w, u, k, v, WkvBatch::rectangle(windows, seq_len, channels)),
            Some(state) => {
                let batch = WkvBatch::rectangle_from_state(windows, seq_len, channels);
                wkv_with_state(w, u, k, v, state.wkv(), batch).slice(0..rows)
            }
        };
        self.output.forward(gate(r, y), precision)
    }
}
