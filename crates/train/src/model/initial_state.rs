//! A trained memory: what every sequence begins with in place of an empty state.
//!
//! WKV's sums of a state are `A = aa·e^pp` and `B = bb·e^pp`, and y = (A + e^(u+k) v) / (B + e^(u+k)) needs B > 0. Training aa and bb
//! freely would let B cross zero, and with the empty state's pp no gradient would reach them at all. So bb is 1 and aa and pp are
//! trained: the state is one token that was never read, with the value aa and the weight e^pp. Every state with B > 0 has this form
//! (aa = A/B, pp = ln B).

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

/// Weight of the token that was never read, at the beginning, as a logarithm: a fiftieth of a token whose u + k is 0. Small enough to
/// start next to the base, large enough that a gradient reaches aa.
pub const INITIAL_PP: f32 = -4.0;

/// The trained memory of one layer; all vectors are `[C]`.
#[derive(Module, Debug)]
pub struct LayerState {
    /// Input of time mixing before the first token.
    pub att_x: Param<Tensor<1>>,
    /// Input of channel mixing before the first token.
    pub ffn_x: Param<Tensor<1>>,
    /// WKV's numerator divided by `e^pp`; the denominator, divided the same way, is 1.
    pub aa: Param<Tensor<1>>,
    /// Logarithm of WKV's denominator.
    pub pp: Param<Tensor<1>>,
}

impl LayerState {
    /// Names of the vectors, in the order of [`LayerState::new`].
    pub const PARTS: [&'static str; 4] = ["att_x", "ffn_x", "aa", "pp"];

    /// A trainable state with the given elements.
    pub fn new([att_x, ffn_x, aa, pp]: [Vec<f32>; 4], device: &Device) -> Self {
        let parameter = |values: Vec<f32>| {
            let shape = [values.len()];
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
        };
        Self {
            att_x: parameter(att_x),
            ffn_x: parameter(ffn_x),
            aa: parameter(aa),
            pp: parameter(pp),
        }
    }

    /// The elements that training begins with.
    pub fn initial(channels: usize) -> [Vec<f32>; 4] {
        let zeros = || vec![0.0; channels];
        [zeros(), zeros(), zeros(), vec![INITIAL_PP; channels]]
    }

    /// As WKV takes it: aa, bb, pp, `[3, C]`.
    pub fn wkv(&self) -> Tensor<2> {
        let aa = self.aa.val();
        let bb = Tensor::ones(aa.dims(), &aa.device());
        Tensor::stack(vec![aa, bb, self.pp.val()], 0)
    }
}
