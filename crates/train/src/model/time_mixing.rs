//! Time mixing: `Wo (sigmoid(r) · wkv(w, u, k, v))` over token-shifted inputs.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::Projection;
use crate::ops::activation::gate;
use crate::ops::token_shift::token_shift;
use crate::ops::wkv::{WkvBatch, wkv};

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
    /// x `[N, C]`, windows of `seq_len` rows → `[N, C]`.
    pub fn forward(&self, x: Tensor<2>, seq_len: usize) -> Tensor<2> {
        let [rows, channels] = x.dims();
        let k = self
            .key
            .forward(token_shift(x.clone(), self.time_mix_k.val(), seq_len));
        let v = self
            .value
            .forward(token_shift(x.clone(), self.time_mix_v.val(), seq_len));
        let r = self
            .receptance
            .forward(token_shift(x, self.time_mix_r.val(), seq_len));
        let log_decay = self.time_decay.val().exp().neg();
        let batch = WkvBatch::rectangle(rows / seq_len, seq_len, channels);
        let y = wkv(log_decay, self.time_first.val(), k, v, batch);
        self.output.forward(gate(r, y))
    }
}
