//! Products with a frozen matrix on the CPU, alone and with a low-rank change beside it: no gradient of the matrix is ever formed.

use burn::tensor::Tensor;

use super::gemm::{Matrix, matmul};
use super::host::{self, BackwardContext, Forward, HostOp};
use super::stored::StoredMatrix;

/// x: `[N, I]` → x Wᵀ: `[N, O]`.
#[derive(Debug)]
struct FrozenLinear(StoredMatrix);

impl HostOp<1> for FrozenLinear {
    fn forward(&self, [x]: [&[f32]; 1], _wanted: [bool; 1]) -> Forward {
        let [outputs, inputs] = self.0.dims();
        let rows = x.len() / inputs;
        let mut y = vec![0.0; rows * outputs];
        self.0.product(Matrix::new(x, rows, inputs), rows, &mut y);
        Forward::plain(y)
    }

    fn keeps(&self, _wanted: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, context: BackwardContext<'_, 1>) -> [Option<Vec<f32>>; 1] {
        let [outputs, inputs] = self.0.dims();
        let rows = context.grad.len() / outputs;
        let mut dx = vec![0.0; rows * inputs];
        self.0
            .gradient(Matrix::new(context.grad, rows, outputs), &mut dx);
        [Some(dx)]
    }
}

/// `x Wᵀ`: x `[N, I]`, weight `[O, I]` → `[N, O]`, on the CPU.
pub fn frozen_linear(x: Tensor<2>, weight: &StoredMatrix) -> Tensor<2> {
    let shape = [x.dims()[0], weight.dims()[0]];
    host::run1(x, FrozenLinear(weight.clone()), shape)
}

/// The low-rank part of a product, on slices; the same for a layer's matrix and for the head.
///
/// With h = s·x Aᵀ `[N, r]`: y += h Bᵀ, and for the gradient dy of y: dB = dyᵀ h, dh = s·dy B, dA = dhᵀ x, dx += dh A
/// (Hu et al. 2021, LoRA, equation 3).
#[derive(Debug, Clone, Copy)]
pub(super) struct LowRank<'a> {
    /// `[r, I]`.
    pub a: &'a [f32],
    /// `[O, r]`.
    pub b: &'a [f32],
    pub rank: usize,
    /// s.
    pub scale: f32,
}

impl LowRank<'_> {
    /// h of x `[n, I]`.
    pub fn down(&self, x: &[f32], n: usize) -> Vec<f32> {
        let inputs = self.a.len() / self.rank;
        let mut h = vec![0.0; n * self.rank];
        let a = Matrix::new(self.a, self.rank, inputs);
        matmul(&mut h, Matrix::new(x, n, inputs), a.transposed(), false);
        h.iter_mut().for_each(|h| *h *= self.scale);
        h
    }

    /// Adds h Bᵀ to y `[n, O]`.
    pub fn add_up(&self, h: &[f32], n: usize, y: &mut [f32]) {
        let b = Matrix::new(self.b, self.b.len() / self.rank, self.rank);
        matmul(y, Matrix::new(h, n, self.rank), b.transposed(), true);
    }

    /// Adds dyᵀ h to the gradient of B.
    pub fn add_grad_b(&self, dy: &[f32], h: &[f32], n: usize, grad_b: &mut [f32]) {
        let dy = Matrix::new(dy, n, self.b.len() / self.rank);
        matmul(grad_b, dy.transposed(), Matrix::new(h, n, self.rank), true);
    }

    /// dh of dy `[n, O]`.
    pub fn grad_down(&self, dy: &[f32], n: usize) -> Vec<f32> {
        let outputs = self.b.len() / self.rank;
        let mut dh = vec![0.0; n * self.rank];
        let b = Matrix::new(self.b, outputs, self.rank);
        matmul(&mut dh, Matrix::new(dy, n, outputs), b, false);
        dh.iter_mut().for_each(|dh| *dh *= self.scale);
        dh
    }

    /// Adds dhᵀ x to the gradient of A.
    pub fn add_grad_a(&self, dh: &[f32], x: &[f32], n: usize, grad_a: &mut [f32]) {
        let (dh, x) = (
            Matrix::new(dh, n, self.rank),
            Matrix::new(x, n, self.a.len() / self.rank),
        );
        matmul(grad_a, dh.transposed(), x, true);
    }

    /// Adds dh A to dx.
    pub fn add_grad_x(&self, dh: &[f32], n: usize, dx: &mut [f32]) {
        let a = Matrix::new(self.a, self.rank, self.a.len() / self.rank);
        matmul(dx, Matrix::new(dh, n, self.rank), a, true);
    }
}

/// x: `[N, I]`, A: `[r, I]`, B: `[O, r]` → x Wᵀ + s·(x Aᵀ) Bᵀ: `[N, O]`.
#[derive(Debug)]
struct AdaptedLinear {
    weight: StoredMatrix,
    rank: usize,
    scale: f32,
}

impl AdaptedLinear {
    fn low_rank<'a>(&self, a: &'a [f32], b: &'a [f32]) -> LowRank<'a> {
        LowRank {
            a,
            b,
            rank: self.rank,
            scale: self.scale,
        }
    }
}

impl HostOp<3> for AdaptedLinear {
    fn forward(&self, [x, a, b]: [&[f32]; 3], wanted: [bool; 3]) -> Forward {
        let [outputs, inputs] = self.weight.dims();
        let rows = x.len() / inputs;
        let mut y = vec![0.0; rows * outputs];
        self.weight
            .product(Matrix::new(x, rows, inputs), rows, &mut y);
        let low_rank = self.low_rank(a, b);
        let h = low_rank.down(x, rows);
        low_rank.add_up(&h, rows, &mut y);
        Forward {
            out: y,
            saved: if wanted[2] { vec![h] } else { Vec::new() },
        }
    }

    fn keeps(&self, wanted: [bool; 3]) -> [bool; 3] {
        [wanted[1], true, true]
    }

    fn backward(&self, context: BackwardContext<'_, 3>) -> [Option<Vec<f32>>; 3] {
        let [outputs, inputs] = self.weight.dims();
        let ([x, a, b], dy) = (context.inputs, context.grad);
        let rows = dy.len() / outputs;
        let low_rank = self.low_rank(a, b);
        let dh = low_rank.grad_down(dy, rows);
        let grad_x = context.wanted[0].then(|| {
            let mut dx = vec![0.0; rows * inputs];
            self.weight
                .gradient(Matrix::new(dy, rows, outputs), &mut dx);
            low_rank.add_grad_x(&dh, rows, &mut dx);
            dx
        });
        let grad_a = context.wanted[1].then(|| {
            let mut grad = vec![0.0; a.len()];
            low_rank.add_grad_a(&dh, x, rows, &mut grad);
            grad
        });
        let grad_b = context.saved.first().map(|h| {
            let mut grad = vec![0.0; b.len()];
            low_rank.add_grad_b(dy, h, rows, &mut grad);
            grad
        });
        [grad_x, grad_a, grad_b]
    }
}

/// `x Wᵀ + scale·(x Aᵀ) Bᵀ`: x `[N, I]`, weight `[O, I]`, a `[r, I]`, b `[O, r]` → `[N, O]`, on the CPU.
pub fn adapted_linear(
    x: Tensor<2>,
    weight: &StoredMatrix,
    a: Tensor<2>,
    b: Tensor<2>,
    scale: f32,
) -> Tensor<2> {
    let shape = [x.dims()[0], weight.dims()[0]];
    let op = AdaptedLinear {
        weight: weight.clone(),
        rank: a.dims()[0],
        scale,
    };
    host::run3((x, a, b), op, shape)
}
