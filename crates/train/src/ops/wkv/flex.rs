//! WKV on burn's CPU backend: the twins of the shaders.

use burn::backend::tensor::FloatTensor;
use burn_flex::{Flex, FlexTensor};
use ptbr_kernels::{GRAD_ROWS, KernelError, cpu};

use super::{WkvBackwardOps, WkvBatch, WkvGrads, WkvOps};
use crate::ops::host::{contiguous, elements, flex_tensor};

/// The sizes were checked where the batch was built; a kernel that refuses them now is a bug of this crate.
fn checked(result: Result<(), KernelError>) {
    if let Err(error) = result {
        panic!("the trainer gave the WKV kernel sizes that do not fit: {error}");
    }
}

/// The initial states, or nothing when there are no slots.
fn states<'a>(state: &'a FlexTensor, batch: &WkvBatch) -> &'a [f32] {
    if batch.dims.slots == 0 {
        &[]
    } else {
        elements(state)
    }
}

impl WkvOps for Flex {
    fn wkv(
        wu: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        state: FloatTensor<Self>,
        batch: WkvBatch,
    ) -> FloatTensor<Self> {
        let [wu, k, v, state] = [wu, k, v, state].map(|t| contiguous(&t));
        let shape = [batch.out_rows(), batch.dims.c];
        let mut out = vec![0.0; shape[0] * shape[1]];
        checked(cpu::wkv_forward(
            elements(&wu),
            elements(&k),
            elements(&v),
            &batch.sequences,
            states(&state, &batch),
            &mut out,
            batch.dims,
        ));
        flex_tensor(out, &shape)
    }
}

impl WkvBackwardOps for Flex {
    fn wkv_backward(
        wu: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        state: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        batch: WkvBatch,
    ) -> WkvGrads<Self> {
        let [wu, k, v, state, grad] = [wu, k, v, state, grad].map(|t| contiguous(&t));
        let (n, c) = (batch.dims.n, batch.dims.c);
        let mut grads = vec![0.0; (2 * n + GRAD_ROWS * batch.sequences.len()) * c];
        checked(cpu::wkv_backward(
            elements(&wu),
            elements(&k),
            elements(&v),
            &batch.sequences,
            states(&state, &batch),
            elements(&grad),
            &mut grads,
            batch.dims,
        ));
        let per_sequence = grads.split_off(2 * n * c);
        let gv = grads.split_off(n * c);
        let mut gwu = vec![0.0; 2 * c];
        let mut gstate = vec![0.0; elements(&state).len()];
        for (sequence, rows) in batch
            .sequences
            .iter()
            .zip(per_sequence.chunks_exact(GRAD_ROWS * c))
        {
            let (of_wu, of_state) = rows.split_at(2 * c);
            add(&mut gwu, of_wu);
            if let Some(slot) = gstate
                .chunks_exact_mut(3 * c)
                .nth(sequence.slot_in as usize)
            {
                add(slot, of_state);
            }
        }
        WkvGrads {
            wu: flex_tensor(gwu, &[2, c]),
            k: flex_tensor(grads, &[n, c]),
            v: flex_tensor(gv, &[n, c]),
            state: flex_tensor(gstate, state.layout().shape().as_ref()),
        }
    }
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
}
