//! The three products of a layer outside of autodiff, in f32 or f16: for operations whose backward pass is their own.

use burn::tensor::Tensor;
use ptbr_kernels::cpu::LinearProduct;
use ptbr_model::Precision;

use super::half::{even_halves, half_product};
use super::host;

/// A weight matrix `[O, I]`, ready to be multiplied: in f16 it is rounded once, however often it is used. On the CPU everything is f32.
pub struct Weight {
    /// In f32, or in f16 with both dimensions made even.
    operand: Tensor<2>,
    /// `[O, I]`.
    dims: [usize; 2],
    precision: Precision,
}

impl Weight {
    /// Of a tensor in f32 outside of autodiff.
    pub fn new(weight: Tensor<2>, precision: Precision) -> Self {
        let dims = weight.dims();
        let precision = effective(&weight, precision);
        let operand = match precision {
            Precision::F32 => weight,
            Precision::F16 => even_halves(weight),
        };
        Self {
            operand,
            dims,
            precision,
        }
    }

    /// y = x Wᵀ: x `[N, I]` → `[N, O]`, f32.
    pub fn product(&self, x: Tensor<2>) -> Tensor<2> {
        let (shape, weight) = ([x.dims()[0], self.dims[0]], self.operand.clone());
        match self.precision {
            Precision::F32 => x.matmul(weight.transpose()),
            Precision::F16 => half_product(x, weight, LinearProduct::Forward, shape),
        }
    }

    /// dx = dy W: dy `[N, O]` → `[N, I]`, f32.
    pub fn input_gradient(&self, dy: Tensor<2>) -> Tensor<2> {
        let (shape, weight) = ([dy.dims()[0], self.dims[1]], self.operand.clone());
        match self.precision {
            Precision::F32 => dy.matmul(weight),
            Precision::F16 => half_product(dy, weight, LinearProduct::InputGradient, shape),
        }
    }
}

/// dW = dyᵀ x: dy `[N, O]`, x `[N, I]` → `[O, I]`, all f32 and outside of autodiff.
pub fn weight_gradient(dy: Tensor<2>, x: Tensor<2>, precision: Precision) -> Tensor<2> {
    let shape = [dy.dims()[1], x.dims()[1]];
    match effective(&dy, precision) {
        Precision::F32 => dy.transpose().matmul(x),
        Precision::F16 => half_product(dy, x, LinearProduct::WeightGradient, shape),
    }
}

/// What the device of `x` computes in.
fn effective(x: &Tensor<2>, precision: Precision) -> Precision {
    match host::is_host(&x.device()) {
        true => Precision::F32,
        false => precision,
    }
}
