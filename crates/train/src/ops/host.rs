//! The bridge between burn's CPU backend and operations on plain slices.
//!
//! burn's CPU backend is eager: a layer norm or a token shift written in tensor operations walks memory a dozen times and allocates
//! as often. A [`HostOp`] is such an operation written once as loops over slices, with its hand-written backward; this file is the
//! only place that knows how burn wants it registered. Other devices run the composed form beside each operation.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::{Bytes, DType, Device, Shape, Tensor};
use burn_flex::{Flex, FlexTensor, Layout};

/// What a forward pass leaves behind: the output and whatever the backward pass wants to find again.
pub struct Forward {
    /// The output's elements, row-major in the shape given to [`run`].
    pub out: Vec<f32>,
    /// Buffers kept for the backward pass; empty when nothing is tracked.
    pub saved: Vec<Vec<f32>>,
}

impl Forward {
    /// An output with nothing to remember.
    pub fn plain(out: Vec<f32>) -> Self {
        Self {
            out,
            saved: Vec::new(),
        }
    }
}

/// What the backward pass of a [`HostOp`] can see.
pub struct BackwardContext<'a, const N: usize> {
    /// The inputs of the forward pass; empty where [`HostOp::keeps`] gave one up.
    pub inputs: [&'a [f32]; N],
    /// The buffers that the forward pass saved, handed over.
    pub saved: Vec<Vec<f32>>,
    /// The gradient of the loss with respect to the output.
    pub grad: &'a [f32],
    /// Which inputs want a gradient.
    pub wanted: [bool; N],
}

/// A differentiable operation on contiguous f32 slices with `N` inputs and one output.
///
/// Both directions must give the same bits whatever the number of threads: split work in fixed blocks and add partial sums in a
/// fixed order.
pub trait HostOp<const N: usize>: Debug + Send + Sync + 'static {
    /// Computes the output. `wanted` says which inputs a backward pass will ask the gradient of; without any there is none.
    fn forward(&self, inputs: [&[f32]; N], wanted: [bool; N]) -> Forward;

    /// Which inputs the backward pass reads when it is asked for the gradients of `wanted`: the memory of a training step is what
    /// its operations keep.
    fn keeps(&self, _wanted: [bool; N]) -> [bool; N] {
        [true; N]
    }

    /// The gradient for each input that wants one, in the input's shape.
    fn backward(&self, context: BackwardContext<'_, N>) -> [Option<Vec<f32>>; N];
}

/// The operation as burn's macro wants it passed: cloned, shared between threads.
type SharedOp<const N: usize> = Arc<dyn HostOp<N>>;

/// Host operations by number of inputs, on the CPU backend and under autodiff.
#[backend_extension(Autodiff, Flex)]
pub trait HostOps: Backend {
    /// Runs an operation of one input; the output has `shape`.
    fn host1(a: FloatTensor<Self>, op: Arc<dyn HostOp<1>>, shape: Vec<usize>) -> FloatTensor<Self>;
    /// Runs an operation of two inputs; the output has `shape`.
    fn host2(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        op: Arc<dyn HostOp<2>>,
        shape: Vec<usize>,
    ) -> FloatTensor<Self>;
    /// Runs an operation of three inputs; the output has `shape`.
    fn host3(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        op: Arc<dyn HostOp<3>>,
        shape: Vec<usize>,
    ) -> FloatTensor<Self>;
}

/// A CPU tensor over `data`, which holds exactly the elements of `shape`.
pub fn flex_tensor(data: Vec<f32>, shape: &[usize]) -> FlexTensor {
    assert_eq!(data.len(), shape.iter().product::<usize>(), "{shape:?}");
    FlexTensor::new(
        Bytes::from_elems(data),
        Layout::contiguous(Shape::from(shape.to_vec())),
        DType::F32,
    )
}

/// The elements of a CPU tensor; copies only when a view is not contiguous.
pub(crate) fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    match tensor.as_slice::<f32>() {
        Some(_) => tensor.clone(),
        None => tensor.to_contiguous(),
    }
}

/// The elements of a tensor that [`contiguous`] returned.
pub(crate) fn elements(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().unwrap_or(&[])
}

fn forward<const N: usize>(
    inputs: [FlexTensor; N],
    op: &SharedOp<N>,
    shape: &[usize],
    wanted: [bool; N],
) -> (FlexTensor, Kept<N>) {
    let inputs = inputs.map(|input| contiguous(&input));
    let Forward { out, saved } = op.forward(std::array::from_fn(|i| elements(&inputs[i])), wanted);
    let keeps = op.keeps(wanted);
    let shapes = std::array::from_fn(|i| inputs[i].layout().shape().as_ref().to_vec());
    let mut inputs = inputs.into_iter();
    let kept = Kept {
        op: op.clone(),
        inputs: keeps.map(|kept| inputs.next().filter(|_| kept)),
        shapes,
        saved: Arc::new(saved),
    };
    (flex_tensor(out, shape), kept)
}

/// What burn keeps between the two passes.
#[derive(Clone, Debug)]
struct Kept<const N: usize> {
    op: SharedOp<N>,
    inputs: [Option<FlexTensor>; N],
    shapes: [Vec<usize>; N],
    saved: Arc<Vec<Vec<f32>>>,
}

#[derive(Debug)]
struct HostBackward<const N: usize>;

impl<const N: usize> Backward<Flex, N> for HostBackward<N> {
    type State = Kept<N>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = contiguous(&grads.consume::<Flex>(&ops.node));
        let kept = ops.state;
        let wanted = std::array::from_fn(|i| ops.parents[i].is_some());
        let results = kept.op.backward(BackwardContext {
            inputs: std::array::from_fn(|i| kept.inputs[i].as_ref().map_or(&[][..], elements)),
            saved: Arc::try_unwrap(kept.saved).unwrap_or_else(|shared| (*shared).clone()),
            grad: elements(&grad),
            wanted,
        });
        for ((node, result), shape) in ops.parents.into_iter().zip(results).zip(&kept.shapes) {
            if let (Some(node), Some(result)) = (node, result) {
                grads.register::<Flex>(node.id, flex_tensor(result, shape));
            }
        }
    }
}

macro_rules! host_ops {
    ($($name:ident $n:literal ($($arg:ident),+);)+) => {
        impl HostOps for Flex {
            $(fn $name($($arg: FloatTensor<Self>,)+ op: SharedOp<$n>, shape: Vec<usize>) -> FloatTensor<Self> {
                forward([$($arg),+], &op, &shape, [false; $n]).0
            })+
        }

        impl<C: CheckpointStrategy> HostOps for Autodiff<Flex, C> {
            $(fn $name($($arg: FloatTensor<Self>,)+ op: SharedOp<$n>, shape: Vec<usize>) -> FloatTensor<Self> {
                let nodes = [$($arg.node()),+];
                let wanted = [$($arg.is_tracked()),+];
                match HostBackward::<$n>.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => {
                        let (out, kept) = forward([$($arg.into_primitive()),+], &op, &shape, wanted);
                        prep.finish(kept, out)
                    }
                    OpsKind::UnTracked(prep) => prep.finish(forward([$($arg.into_primitive()),+], &op, &shape, wanted).0),
                }
            })+
        }
    };
}

host_ops! {
    host1 1 (a);
    host2 2 (a, b);
    host3 3 (a, b, c);
}

/// Whether tensors of `device` live on burn's CPU backend, where host operations run.
pub fn is_host(device: &Device) -> bool {
    Tensor::<1>::empty([1], &device.clone().inner())
        .try_into_primitive::<Flex>()
        .is_ok()
}

/// Runs an operation of one input.
pub fn run1<const A: usize, const D: usize>(
    a: Tensor<A>,
    op: impl HostOp<1>,
    shape: [usize; D],
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as HostOps>::host1(
        a.into_dispatch(),
        Arc::new(op),
        shape.to_vec(),
    ))
}

/// Runs an operation of two inputs.
pub fn run2<const A: usize, const B: usize, const D: usize>(
    a: Tensor<A>,
    b: Tensor<B>,
    op: impl HostOp<2>,
    shape: [usize; D],
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as HostOps>::host2(
        a.into_dispatch(),
        b.into_dispatch(),
        Arc::new(op),
        shape.to_vec(),
    ))
}

/// Runs an operation of three inputs.
pub fn run3<const A: usize, const B: usize, const C: usize, const D: usize>(
    (a, b, c): (Tensor<A>, Tensor<B>, Tensor<C>),
    op: impl HostOp<3>,
    shape: [usize; D],
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as HostOps>::host3(
        a.into_dispatch(),
        b.into_dispatch(),
        c.into_dispatch(),
        Arc::new(op),
        shape.to_vec(),
    ))
}
