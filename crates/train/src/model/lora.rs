//! A low-rank change of a matrix: `W + s·B A`, of which only A and B are trained (Hu et al. 2021, LoRA).

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use ptbr_model::Precision;

use super::orthogonal::uniform;
use crate::ops::dropout::mix64;
use crate::ops::linear::linear;

/// The factors of a change of a matrix `[O, I]`.
#[derive(Module, Debug)]
pub struct LoraAdapter {
    /// `[r, I]`.
    a: Param<Tensor<2>>,
    /// `[O, r]`.
    b: Param<Tensor<2>>,
    /// s.
    scale: f32,
}

impl LoraAdapter {
    /// Trainable factors with the given elements: a `[rank, I]`, b `[O, rank]`.
    pub fn new(rank: usize, scale: f32, a: Vec<f32>, b: Vec<f32>, device: &Device) -> Self {
        let (inputs, outputs) = (a.len() / rank, b.len() / rank);
        let parameter = |values, shape: [usize; 2]| {
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
        };
        Self {
            a: parameter(a, [rank, inputs]),
            b: parameter(b, [outputs, rank]),
            scale,
        }
    }

    /// A and B.
    pub fn factors(&self) -> [Tensor<2>; 2] {
        [self.a.val(), self.b.val()]
    }

    /// s.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// s·(x Aᵀ) Bᵀ, two products in `precision`: x `[N, I]` → `[N, O]`.
    pub fn forward(&self, x: Tensor<2>, precision: Precision) -> Tensor<2> {
        let [a, b] = self.factors();
        linear(linear(x, a, precision), b, precision) * self.scale
    }
}

/// The initial elements of A `[rank, inputs]` of the matrix `target`: uniform in ±1/√inputs, as PEFT has them (Kaiming with a = √5),
/// and a pure function of (seed, name, position). B begins with zeros, so that the first step computes what the base does.
pub fn initial_a(rank: usize, inputs: usize, target: &str, seed: u64) -> Vec<f32> {
    let name = target
        .bytes()
        .fold(0, |hash, byte| mix64(hash ^ u64::from(byte)));
    let scale = 1.0 / (inputs.max(1) as f64).sqrt();
    uniform(rank * inputs, scale, mix64(seed ^ name))
}
