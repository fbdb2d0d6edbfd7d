//! WKV on burn's GPU backend: the WGSL of `shaders/`, launched as source kernels, or its twin where burn compiles to something else.

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::tensor::{FloatTensor, IndexingUpdateOp};
use burn::tensor::{DType, FloatDType, Shape, Slice, TensorData};
use burn_cubecl::{CubeBackend, kernel::into_contiguous, tensor::CubeTensor};
use ptbr_kernels::{GRAD_ROWS, Kernel, NO_STATE, table};

use super::{WkvBackwardOps, WkvBatch, WkvGrads, WkvOps, cubecl_twin};
use crate::ops::half::HalfOps;
use crate::ops::kernels::{self, expect_dtype, filled, runs_wgsl, sized, upload};

/// How often a WKV kernel was launched since the program started.
pub fn wgsl_launches() -> u64 {
    kernels::launches("wkv_forward") + kernels::launches("wkv_backward")
}

/// Launches the first of `permutations`, or the second where k and v are f16, with wu, k and v, the sequences, `after_sequences` and a new
/// buffer of f32 in `out_shape` bound in that order.
fn launch(
    permutations: [&'static Kernel; 2],
    batch: &WkvBatch,
    inputs: [&CubeTensor; 3],
    after_sequences: &[&CubeTensor],
    out_shape: [usize; 2],
) -> CubeTensor {
    let [wu, k, v] = inputs;
    for tensor in [wu].iter().chain(after_sequences) {
        expect_dtype("an input of WKV", tensor.dtype, DType::F32);
    }
    expect_dtype("v", v.dtype, k.dtype);
    let kernel = match k.dtype {
        DType::F16 => permutations[1],
        other => {
            expect_dtype("k", other, DType::F32);
            permutations[0]
        }
    };
    let client = &k.client;
    let sequences = batch.sequences.len();
    let params = sized(batch.dims.params(sequences));
    let workgroups = sized(batch.dims.workgroups(sequences));
    let out = client.empty(out_shape[0] * out_shape[1] * size_of::<f32>());
    let ranges = upload(client, &batch.sequences);
    let mut buffers: Vec<_> = inputs.iter().map(|t| &t.handle).collect();
    buffers.push(&ranges);
    buffers.extend(after_sequences.iter().map(|t| &t.handle));
    buffers.push(&out);
    kernels::launch(client, kernel, &buffers, &params, workgroups);
    let shape = Shape::from(out_shape.to_vec());
    filled(client, &k.device, shape, out, DType::F32)
}

/// k and v in f16 as soon as one of them is: there is a kernel for two of a kind.
fn same_format(k: CubeTensor, v: CubeTensor) -> [CubeTensor; 2] {
    match k.dtype == v.dtype {
        true => [k, v],
        false => [k, v].map(CubeBackend::to_half),
    }
}

/// What the CubeCL twin reads.
fn in_f32(tensor: CubeTensor) -> CubeTensor {
    match tensor.dtype {
        DType::F32 => tensor,
        _ => CubeBackend::float_cast(tensor, FloatDType::F32),
    }
}

impl WkvOps for CubeBackend {
    fn wkv(
        wu: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        state: FloatTensor<Self>,
        batch: WkvBatch,
    ) -> FloatTensor<Self> {
        let [k, v] = same_format(k, v);
        let [wu, k, v, state] = [wu, k, v, state].map(into_contiguous);
        if !runs_wgsl(&k.client) {
            let [k, v] = [k, v].map(in_f32);
            return cubecl_twin::forward(&batch, [&wu, &k, &v, &state]);
        }
        let shape = [batch.out_rows(), batch.dims.c];
        launch(
            [
                &table::WKV_FORWARD_READ_WRITE,
                &table::WKV_FORWARD_HALVES_READ_WRITE,
            ],
            &batch,
            [&wu, &k, &v],
            &[&state],
            shape,
        )
    }
}

impl WkvBackwardOps for CubeBackend {
    fn wkv_backward(
        wu: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        state: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        batch: WkvBatch,
    ) -> WkvGrads<Self> {
        let [k, v] = same_format(k, v);
        let [wu, k, v, state, grad] = [wu, k, v, state, grad].map(into_contiguous);
        let (n, c, sequences) = (batch.dims.n, batch.dims.c, batch.sequences.len());
        let shape = [2 * n + GRAD_ROWS * sequences, c];
        let grads = if runs_wgsl(&k.client) {
            launch(
                [
                    &table::WKV_BACKWARD_READ_WRITE,
                    &table::WKV_BACKWARD_HALVES_READ_WRITE,
                ],
                &batch,
                [&wu, &k, &v],
                &[&state, &grad],
                shape,
            )
        } else {
            let [k, v] = [k, v].map(in_f32);
            cubecl_twin::backward(&batch, [&wu, &k, &v, &state, &grad])
        };
        let rows = |first: usize, end: usize| {
            Self::float_slice(grads.clone(), &[Slice::from(first..end), Slice::from(0..c)])
        };
        let per_sequence = Self::float_reshape(
            rows(2 * n, shape[0]),
            Shape::from(vec![sequences, GRAD_ROWS * c]),
        );
        let part = |first: usize, end: usize| {
            let all = Slice::from(0..sequences);
            Self::float_slice(per_sequence.clone(), &[all, Slice::from(first..end)])
        };
        let gwu = Self::float_reshape(
            Self::float_sum_dim(part(0, 2 * c), 0),
            Shape::from(vec![2, c]),
        );
        WkvGrads {
            wu: gwu,
            k: rows(0, n),
            v: rows(n, 2 * n),
            state: state_grads(&batch, &state, part(2 * c, 5 * c)),
        }
    }
}

/// Adds the gradients of the sequences' initial states `[sequences, 3·C]` to the slots that they were read from.
fn state_grads(batch: &WkvBatch, state: &CubeTensor, of_sequences: CubeTensor) -> CubeTensor {
    let shape = state.meta.shape().clone();
    let zeros = CubeBackend::float_mul_scalar(state.clone(), 0.0.into());
    let readers: Vec<(i32, i32)> = (0i32..)
        .zip(batch.sequences.iter())
        .filter(|(_, s)| s.slot_in != NO_STATE)
        .map(|(index, s)| (index, s.slot_in as i32))
        .collect();
    if readers.is_empty() {
        return zeros;
    }
    let indices = |pick: fn(&(i32, i32)) -> i32| {
        let values: Vec<i32> = readers.iter().map(pick).collect();
        CubeBackend::int_from_data(TensorData::new(values, [readers.len()]), &state.device)
    };
    let slots =
        CubeBackend::float_reshape(zeros, Shape::from(vec![batch.dims.slots, 3 * batch.dims.c]));
    let rows = CubeBackend::float_select(of_sequences, 0, indices(|r| r.0));
    let summed =
        CubeBackend::float_select_assign(slots, 0, indices(|r| r.1), rows, IndexingUpdateOp::Add);
    CubeBackend::float_reshape(summed, shape)
}
