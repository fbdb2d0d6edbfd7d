//! The two activations of RWKV-4: the gate `sigmoid(r) · y` and `max(0, x)²`.

use burn::tensor::{Tensor, activation};
use ptbr_kernels::cpu;

use super::host::{self, BackwardContext, Forward, HostOp};
use super::rows::for_element_blocks;

/// sigmoid(r) · y; both `[N, C]`.
#[derive(Debug)]
struct Gate;

impl HostOp<2> for Gate {
    fn forward(&self, [r, y]: [&[f32]; 2], wanted: [bool; 2]) -> Forward {
        let tracked = wanted.contains(&true);
        let mut gate = r.to_vec();
        for_element_blocks(&mut gate, |_, block| cpu::sigmoid(block));
        let mut out = if tracked {
            gate.clone()
        } else {
            std::mem::take(&mut gate)
        };
        for_element_blocks(&mut out, |first, block| {
            for (o, y) in block.iter_mut().zip(&y[first..]) {
                *o *= y;
            }
        });
        Forward {
            out,
            saved: if tracked { vec![gate] } else { Vec::new() },
        }
    }

    fn keeps(&self, wanted: [bool; 2]) -> [bool; 2] {
        [false, wanted[0]]
    }

    fn backward(&self, context: BackwardContext<'_, 2>) -> [Option<Vec<f32>>; 2] {
        let (y, grad, gate) = (context.inputs[1], context.grad, &context.saved[0]);
        let dr = context.wanted[0].then(|| {
            let mut dr = vec![0.0; gate.len()];
            for_element_blocks(&mut dr, |first, block| {
                for (i, d) in block.iter_mut().enumerate() {
                    let s = gate[first + i];
                    *d = grad[first + i] * y[first + i] * s * (1.0 - s);
                }
            });
            dr
        });
        let mut dy = vec![0.0; gate.len()];
        for_element_blocks(&mut dy, |first, block| {
            for (i, d) in block.iter_mut().enumerate() {
                *d = grad[first + i] * gate[first + i];
            }
        });
        [dr, Some(dy)]
    }
}

/// `sigmoid(r) · y`, element by element.
pub fn gate(r: Tensor<2>, y: Tensor<2>) -> Tensor<2> {
    if host::is_host(&r.device()) {
        let shape = r.dims();
        return host::run2(r, y, Gate, shape);
    }
    activation::sigmoid(r) * y
}

/// max(0, x)².
#[derive(Debug)]
struct ReluSquared;

impl HostOp<1> for ReluSquared {
    fn forward(&self, [x]: [&[f32]; 1], _wanted: [bool; 1]) -> Forward {
        let mut out = x.to_vec();
        for_element_blocks(&mut out, |_, block| {
            for o in block {
                let positive = o.max(0.0);
                *o = positive * positive;
            }
        });
        Forward::plain(out)
    }

    fn backward(&self, context: BackwardContext<'_, 1>) -> [Option<Vec<f32>>; 1] {
        let x = context.inputs[0];
        let mut dx = context.grad.to_vec();
        for_element_blocks(&mut dx, |first, block| {
            for (d, x) in block.iter_mut().zip(&x[first..]) {
                *d *= 2.0 * x.max(0.0);
            }
        });
        [Some(dx)]
    }
}

/// `max(0, x)²`, element by element.
pub fn relu_squared(x: Tensor<2>) -> Tensor<2> {
    if host::is_host(&x.device()) {
        let shape = x.dims();
        return host::run1(x, ReluSquared, shape);
    }
    activation::relu(x).square()
}
