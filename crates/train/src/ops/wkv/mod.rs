//! The WKV recurrence as a burn operation: hand-written WGSL on the GPU, its CubeCL twin where a GPU takes no WGSL, its CPU twin on the
//! CPU, and a hand-written backward.

mod cube;
mod cubecl_twin;
mod flex;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{
    Autodiff, Backend, Dispatch, ExtensionType, backend_extension, tensor::FloatTensor,
};
use burn::tensor::Tensor;
use ptbr_kernels::{NO_STATE, Sequence, WkvDims};

pub use cube::wgsl_launches;
pub use cubecl_twin::cubecl_launches;

/// Which rows form which sequence, and the sizes that go with it.
#[derive(Debug, Clone)]
pub struct WkvBatch {
    /// Rows, channels and state slots.
    pub dims: WkvDims,
    /// The sequences; no row belongs to two.
    pub sequences: Arc<Vec<Sequence>>,
}

impl WkvBatch {
    /// `batch` sequences of `seq_len` rows each that start without history and whose final state nobody asks for.
    pub fn rectangle(batch: usize, seq_len: usize, channels: usize) -> Self {
        let sequences = (0..batch)
            .map(|b| Sequence {
                first: (b * seq_len) as u32,
                len: seq_len as u32,
                slot_in: NO_STATE,
                slot_out: NO_STATE,
            })
            .collect();
        Self {
            dims: WkvDims {
                n: batch * seq_len,
                c: channels,
                slots: 0,
            },
            sequences: Arc::new(sequences),
        }
    }

    /// The same sequences, each beginning with the state in slot 0, the only one.
    pub fn rectangle_from_state(batch: usize, seq_len: usize, channels: usize) -> Self {
        let mut from = Self::rectangle(batch, seq_len, channels);
        from.dims.slots = 1;
        let sequences = from.sequences.iter().map(|s| Sequence { slot_in: 0, ..*s });
        from.sequences = Arc::new(sequences.collect());
        from
    }

    /// Rows of the operation's output: y, then aa, bb, pp of each slot.
    pub fn out_rows(&self) -> usize {
        self.dims.n + ptbr_kernels::STATE_ROWS * self.dims.slots
    }
}

/// Gradients of the four inputs.
#[derive(ExtensionType)]
pub struct WkvGrads<B: Backend> {
    /// `[2, C]`.
    pub wu: FloatTensor<B>,
    /// `[N, C]`.
    pub k: FloatTensor<B>,
    /// `[N, C]`.
    pub v: FloatTensor<B>,
    /// `[3·S, C]` (one unused row of zeros when there are no slots).
    pub state: FloatTensor<B>,
}

/// WKV forward, differentiable.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait WkvOps: Backend {
    /// wu `[2, C]`, k and v `[N, C]` (on a GPU with WGSL each f32 or f16), state `[3·S, C]` (any one row when S is 0) →
    /// `[N + 3·S, C]`. All but k and v is f32, and so are all gradients.
    fn wkv(
        wu: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        state: FloatTensor<Self>,
        batch: WkvBatch,
    ) -> FloatTensor<Self>;
}

/// WKV backward, on the backends that have a kernel: there is no second derivative.
#[backend_extension(Cube, Flex)]
pub trait WkvBackwardOps: Backend {
    /// Inputs as for [`WkvOps::wkv`]; grad `[N + 3·S, C]`.
    fn wkv_backward(
        wu: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        state: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        batch: WkvBatch,
    ) -> WkvGrads<Self>;
}

#[derive(Debug)]
struct WkvBackward;

impl<B: WkvBackwardOps> Backward<B, 4> for WkvBackward {
    type State = ([FloatTensor<B>; 4], WkvBatch);

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let ([wu, k, v, state], batch) = ops.state;
        let results = B::wkv_backward(wu, k, v, state, grad, batch);
        let results = [results.wu, results.k, results.v, results.state];
        for (node, result) in ops.parents.into_iter().zip(results) {
            if let Some(node) = node {
                grads.register::<B>(node.id, result);
            }
        }
    }
}

impl<B: WkvOps + WkvBackwardOps, C: CheckpointStrategy> WkvOps for Autodiff<B, C> {
    fn wkv(
        wu: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        state: FloatTensor<Self>,
        batch: WkvBatch,
    ) -> FloatTensor<Self> {
        let nodes = [wu.node(), k.node(), v.node(), state.node()];
        let inputs = [
            wu.into_primitive(),
            k.into_primitive(),
            v.into_primitive(),
            state.into_primitive(),
        ];
        let [wu, k, v, state] = inputs.clone();
        match WkvBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let out = B::wkv(wu, k, v, state, batch.clone());
                prep.finish((inputs, batch), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::wkv(wu, k, v, state, batch)),
        }
    }
}

/// WKV over ragged sequences with initial and final states.
///
/// w `[C]` (log decay per step, below zero) and u `[C]` (bonus of the current token), k and v `[N, C]`, state `[3·S, C]`
/// → `[N + 3·S, C]`: y, then the final aa, bb, pp of each slot.
pub fn wkv_with_state(
    w: Tensor<1>,
    u: Tensor<1>,
    k: Tensor<2>,
    v: Tensor<2>,
    state: Tensor<2>,
    batch: WkvBatch,
) -> Tensor<2> {
    let wu = Tensor::stack::<2>(vec![w, u], 0);
    Tensor::from_dispatch(<Dispatch as WkvOps>::wkv(
        wu.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        state.into_dispatch(),
        batch,
    ))
}

/// WKV over sequences that start without history: w and u `[C]`, k and v `[N, C]` → `[N, C]`.
pub fn wkv(w: Tensor<1>, u: Tensor<1>, k: Tensor<2>, v: Tensor<2>, batch: WkvBatch) -> Tensor<2> {
    let unused = Tensor::zeros([1, batch.dims.c], &k.device());
    wkv_with_state(w, u, k, v, unused, batch)
}
