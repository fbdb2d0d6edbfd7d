//! `y = x Wᵀ` with the weight as checkpoints hold it, `[out, in]`.

use burn::tensor::Tensor;
use ptbr_model::Precision;

use super::gemm::{Matrix, matmul};
use super::half::half_linear;
use super::host::{self, BackwardContext, Forward, HostOp};

/// x: `[N, I]`, weight: `[O, I]` → `[N, O]`.
#[derive(Debug)]
struct Linear {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl HostOp<2> for Linear {
    fn forward(&self, [x, weight]: [&[f32]; 2], _wanted: [bool; 2]) -> Forward {
        let mut y = vec![0.0; self.rows * self.outputs];
        let x = Matrix::new(x, self.rows, self.inputs);
        matmul(
            &mut y,
            x,
            Matrix::new(weight, self.outputs, self.inputs).transposed(),
            false,
        );
        Forward::plain(y)
    }

    fn keeps(&self, wanted: [bool; 2]) -> [bool; 2] {
        [wanted[1], wanted[0]]
    }

    fn backward(&self, context: BackwardContext<'_, 2>) -> [Option<Vec<f32>>; 2] {
        let [x, weight] = context.inputs;
        let grad = Matrix::new(context.grad, self.rows, self.outputs);
        let grad_x = context.wanted[0].then(|| {
            let mut out = vec![0.0; self.rows * self.inputs];
            matmul(
                &mut out,
                grad,
                Matrix::new(weight, self.outputs, self.inputs),
                false,
            );
            out
        });
        let grad_weight = context.wanted[1].then(|| {
            let mut out = vec![0.0; self.outputs * self.inputs];
            matmul(
                &mut out,
                grad.transposed(),
                Matrix::new(x, self.rows, self.inputs),
                false,
            );
            out
        });
        [grad_x, grad_weight]
    }
}

/// `x Wᵀ`: x `[N, I]`, weight `[O, I]` → `[N, O]`, all f32. On a GPU the product may be one of f16 with sums in f32: what its backward
/// pass keeps is f16 then. The CPU computes in f32 whatever `precision` says.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, precision: Precision) -> Tensor<2> {
    if !host::is_host(&x.device()) {
        return match precision {
            Precision::F32 => x.matmul(weight.transpose()),
            Precision::F16 => half_linear(x, weight, false),
        };
    }
    let ([rows, inputs], [outputs, _]) = (x.dims(), weight.dims());
    host::run2(
        x,
        weight,
        Linear {
            rows,
            inputs,
            outputs,
        },
        [rows, outputs],
    )
}

/// [`linear`] for a reader that takes f16 as well as f32, as [`wkv`](super::wkv::wkv) does for k and v: a product in f16 stays in f16
/// where the kernels of `shaders/` run, and is never f32 in memory.
pub fn linear_to_kernel(x: Tensor<2>, weight: Tensor<2>, precision: Precision) -> Tensor<2> {
    match precision {
        Precision::F16 if !host::is_host(&x.device()) => half_linear(x, weight, true),
        _ => linear(x, weight, precision),
    }
}
