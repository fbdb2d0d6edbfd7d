//! Matrix products in f16 on a GPU: both operands rounded to f16, two elements to a word, every sum in f32 (`shaders/matmul_f16.wgsl`).
//!
//! A tensor of dtype F16 holds packed halves. Only the kernels of `shaders/` touch it, so that no adapter needs the optional
//! `shader-f16`; handing one to an operation of burn's is a mistake that `expect_dtype` finds where the operand comes back.
//!
//! Where the build compiles something else than WGSL, burn's own f16 product takes the place of the kernels.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::{DType, FloatDType, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use ptbr_kernels::cpu::{LinearProduct, MatmulF16Params, f32_to_f16_params};
use ptbr_kernels::{Kernel, table};

use super::kernels::{expect_dtype, filled, launch, runs_wgsl, sized};

/// Rounding to f16 and products of the result, on the GPU backend, outside of autodiff.
#[backend_extension(Cube)]
pub trait HalfOps: Backend {
    /// f32 → f16, to the nearest and ties to even, from 65,520 on infinity; f16 stays as it is.
    fn to_half(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// One of the three products of a layer, from operands in f32, which are rounded, or f16; all widths are even. The result is f32;
    /// that of a forward product is f16 where `packed` asks for it and WGSL runs.
    fn half_product(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        product: LinearProduct,
        packed: bool,
    ) -> FloatTensor<Self>;
}

/// `x Wᵀ` in f16 on the GPU backend, differentiable.
#[backend_extension(Autodiff, Cube)]
pub trait HalfLinearOps: Backend {
    /// x `[N, I]` and weight `[O, I]`, each f32 or f16, O and I even → `[N, O]` in the format that [`HalfOps::half_product`] gives.
    /// Gradients are f32.
    fn half_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: bool,
    ) -> FloatTensor<Self>;
}

impl HalfOps for CubeBackend {
    fn to_half(x: FloatTensor<Self>) -> FloatTensor<Self> {
        if x.dtype == DType::F16 {
            return x;
        }
        expect_dtype("what is rounded to f16", x.dtype, DType::F32);
        if !runs_wgsl(&x.client) {
            return Self::float_cast(x, FloatDType::F16);
        }
        let x = into_contiguous(x);
        let elements = x.shape().num_elements();
        let params = sized(f32_to_f16_params(elements));
        let out = x.client.empty(elements.div_ceil(2) * size_of::<u32>());
        launch(
            &x.client,
            &table::F32_TO_F16_READ_WRITE,
            &[&x.handle, &out],
            &params,
            [params[1], 1, 1],
        );
        filled(&x.client, &x.device, x.shape(), out, DType::F16)
    }

    fn half_product(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        product: LinearProduct,
        packed: bool,
    ) -> FloatTensor<Self> {
        let [a, b] = [a, b].map(Self::to_half);
        if !runs_wgsl(&a.client) {
            return Self::float_cast(burn_product(a, b, product), FloatDType::F32);
        }
        let [of_a, of_b] = [&a, &b].map(|t| [0, 1].map(|dim| t.shape()[dim]));
        let packed = packed && product == LinearProduct::Forward;
        let ([rows, inputs, outputs], terms, kernel): (_, _, &'static Kernel) = match product {
            LinearProduct::Forward => (
                [of_a[0], of_a[1], of_b[0]],
                [of_a[1], of_b[1]],
                match packed {
                    true => &table::MATMUL_F16_FORWARD_F16_READ_WRITE,
                    false => &table::MATMUL_F16_FORWARD_F32_READ_WRITE,
                },
            ),
            LinearProduct::InputGradient => (
                [of_a[0], of_b[1], of_a[1]],
                [of_a[1], of_b[0]],
                &table::MATMUL_F16_INPUT_GRADIENT_F32_READ_WRITE,
            ),
            LinearProduct::WeightGradient => (
                [of_a[0], of_b[1], of_a[1]],
                [of_a[0], of_b[0]],
                &table::MATMUL_F16_WEIGHT_GRADIENT_F32_READ_WRITE,
            ),
        };
        assert!(
            terms[0] == terms[1],
            "{product:?} of {of_a:?} and {of_b:?}: the sums have {} and {} terms",
            terms[0],
            terms[1]
        );
        // Sizes beyond 32 bits are refused below, by what they are capped to.
        let [n, i, o] = [rows, inputs, outputs].map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        let params = MatmulF16Params {
            product,
            rows: n,
            inputs: i,
            outputs: o,
            add: false,
        };
        let workgroups = sized(params.workgroups(packed));
        let shape = match product {
            LinearProduct::Forward => [rows, outputs],
            LinearProduct::InputGradient => [rows, inputs],
            LinearProduct::WeightGradient => [outputs, inputs],
        };
        let dtype = if packed { DType::F16 } else { DType::F32 };
        let out = a.client.empty(shape[0] * shape[1] * dtype.size());
        let buffers = [&a.handle, &b.handle, &out];
        launch(&a.client, kernel, &buffers, &params.words(), workgroups);
        let shape = Shape::from(shape.to_vec());
        filled(&a.client, &a.device, shape, out, dtype)
    }
}

/// The same products by burn's own kernels, from and to f16 (which it sums in f32).
fn burn_product(a: CubeTensor, b: CubeTensor, product: LinearProduct) -> CubeTensor {
    let transposed = |x| CubeBackend::float_swap_dims(x, 0, 1);
    match product {
        LinearProduct::Forward => CubeBackend::float_matmul(a, transposed(b)),
        LinearProduct::InputGradient => CubeBackend::float_matmul(a, b),
        LinearProduct::WeightGradient => CubeBackend::float_matmul(transposed(a), b),
    }
}

impl HalfLinearOps for CubeBackend {
    fn half_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: bool,
    ) -> FloatTensor<Self> {
        Self::half_product(x, weight, LinearProduct::Forward, packed)
    }
}

/// What a product keeps for its gradients: the operand that the other's gradient is made of, in f16. The f32 tensors go.
#[derive(Debug, Clone)]
struct Kept<B: Backend> {
    x: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
}

#[derive(Debug)]
struct HalfLinearBackward;

impl<B: HalfOps> Backward<B, 2> for HalfLinearBackward {
    type State = Kept<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        expect_dtype("the gradient of a product", grad.dtype(), DType::F32);
        let grad = B::to_half(grad);
        let Kept { x, weight } = ops.state;
        let [of_x, of_weight] = ops.parents;
        if let (Some(node), Some(weight)) = (of_x, weight) {
            let product =
                B::half_product(grad.clone(), weight, LinearProduct::InputGradient, false);
            grads.register::<B>(node.id, product);
        }
        if let (Some(node), Some(x)) = (of_weight, x) {
            let product = B::half_product(grad, x, LinearProduct::WeightGradient, false);
            grads.register::<B>(node.id, product);
        }
    }
}

impl<B: HalfLinearOps + HalfOps, C: CheckpointStrategy> HalfLinearOps for Autodiff<B, C> {
    fn half_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: bool,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let [x_wants, weight_wants] = [x.is_tracked(), weight.is_tracked()];
        let x = B::to_half(x.into_primitive());
        let weight = B::to_half(weight.into_primitive());
        match HalfLinearBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let kept = Kept {
                    x: weight_wants.then(|| x.clone()),
                    weight: x_wants.then(|| weight.clone()),
                };
                prep.finish(kept, B::half_linear(x, weight, packed))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::half_linear(x, weight, packed)),
        }
    }
}

/// `x Wᵀ` in f16 with sums in f32: x `[N, I]`, weight `[O, I]` → `[N, O]`. Of any width: an odd one is padded. The result is f32; where
/// `packed` asks for it, WGSL runs and O is even it is f16, for a kernel of `shaders/` to read.
pub(super) fn half_linear(x: Tensor<2>, weight: Tensor<2>, packed: bool) -> Tensor<2> {
    let ([rows, _], [outputs, _]) = (x.dims(), weight.dims());
    let packed = packed && outputs.is_multiple_of(2);
    let (x, weight) = (even(x, 1), even(even(weight, 1), 0));
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let y = <Dispatch as HalfLinearOps>::half_linear(x, weight, packed);
    cropped(Tensor::from_dispatch(y), [rows, outputs])
}

/// x with zeros behind its last row (`dim` 0) or column (1) where their number is odd: rows of packed halves are whole words.
fn even(x: Tensor<2>, dim: usize) -> Tensor<2> {
    let mut shape = x.dims();
    if shape[dim].is_multiple_of(2) {
        return x;
    }
    shape[dim] = 1;
    let zeros = Tensor::zeros(shape, &x.device());
    Tensor::cat(vec![x, zeros], dim)
}

/// The first rows and columns of x.
fn cropped(x: Tensor<2>, [rows, columns]: [usize; 2]) -> Tensor<2> {
    if x.dims() == [rows, columns] {
        return x;
    }
    x.slice([0..rows, 0..columns])
}
