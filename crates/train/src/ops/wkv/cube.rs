//! WKV on burn's GPU backend: the WGSL of `shaders/`, launched as source kernels, or its twin where burn compiles to something else.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::tensor::{FloatTensor, IndexingUpdateOp};
use burn::tensor::{DType, Shape, Slice, TensorData};
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::{CubeBackend, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::prelude::*;
use cubecl::server::KernelArguments;
use ptbr_kernels::{GRAD_ROWS, Kernel, KernelError, NO_STATE, table};

use super::{WkvBackwardOps, WkvBatch, WkvGrads, WkvOps, cubecl_twin};

/// How often a WGSL kernel was launched since the program started.
static LAUNCHES: AtomicU64 = AtomicU64::new(0);

/// How often a hand-written WGSL kernel was launched by the trainer since the program started. Tests use it to know that a run took
/// the path it was meant to take.
pub fn wgsl_launches() -> u64 {
    LAUNCHES.load(Ordering::Relaxed)
}

/// A kernel of the table, as burn launches it.
struct TableKernel(&'static Kernel);

impl KernelSource for TableKernel {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0.source)
    }

    fn id(&self) -> KernelId {
        // burn caches pipelines by this alone, never by the text.
        KernelId::new::<Self>().info((self.0.name, self.0.source_hash))
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// Launches `kernel` with `inputs`, the new buffer of `out_len` elements and `params` bound in that order.
fn launch(
    kernel: &'static Kernel,
    batch: &WkvBatch,
    inputs: [&CubeTensor; 3],
    after_sequences: Vec<&CubeTensor>,
    out_shape: [usize; 2],
) -> CubeTensor {
    let [first, ..] = inputs;
    let client = first.client.clone();
    let name = client.name();
    assert!(
        name == "wgpu<wgsl>",
        "the WKV kernel is WGSL and this build compiles kernels for `{name}`: build without the features that choose another compiler"
    );
    let sequences = batch.sequences.len();
    let params = sized(batch.dims.params(sequences));
    let [x, y, z] = sized(batch.dims.workgroups(sequences));
    let bytes = |words: &[u32]| client.create_from_slice(bytemuck::cast_slice(words));
    let out = client.empty(out_shape[0] * out_shape[1] * size_of::<f32>());
    let mut buffers: Vec<_> = inputs.iter().map(|t| t.handle.clone().binding()).collect();
    buffers.push(bytes(bytemuck::cast_slice(&batch.sequences)).binding());
    buffers.extend(after_sequences.iter().map(|t| t.handle.clone().binding()));
    buffers.push(out.clone().binding());
    buffers.push(bytes(&params).binding());
    let [wx, wy, wz] = kernel.workgroup_size;
    let cube_dim = CubeDim::new_3d(wx, wy, wz);
    client.launch(
        Box::new(SourceKernel::new(TableKernel(kernel), cube_dim)),
        CubeCount::Static(x, y, z),
        KernelArguments::new().with_buffers(buffers),
    );
    LAUNCHES.fetch_add(1, Ordering::Relaxed);
    CubeTensor::new_contiguous(
        client,
        first.device.clone(),
        Shape::from(out_shape.to_vec()),
        out,
        DType::F32,
    )
}

/// Whether the device of `tensor` runs the kernels of `shaders/`: others compile SPIR-V, MSL, CUDA or HIP and refuse them.
pub(super) fn compiles_wgsl(tensor: &CubeTensor) -> bool {
    tensor.client.name() == "wgpu<wgsl>"
}

/// The sizes were checked where the batch was built; a kernel that refuses them now is a bug of this crate.
fn sized<T>(result: Result<T, KernelError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the trainer gave the WKV kernel sizes that do not fit: {error}"),
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
        let [wu, k, v, state] = [wu, k, v, state].map(into_contiguous);
        if !compiles_wgsl(&k) {
            return cubecl_twin::forward(&batch, [&wu, &k, &v, &state]);
        }
        let shape = [batch.out_rows(), batch.dims.c];
        launch(
            &table::WKV_FORWARD_READ_WRITE,
            &batch,
            [&wu, &k, &v],
            vec![&state],
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
        let [wu, k, v, state, grad] = [wu, k, v, state, grad].map(into_contiguous);
        let (n, c, sequences) = (batch.dims.n, batch.dims.c, batch.sequences.len());
        let shape = [2 * n + GRAD_ROWS * sequences, c];
        let grads = if compiles_wgsl(&k) {
            launch(
                &table::WKV_BACKWARD_READ_WRITE,
                &batch,
                [&wu, &k, &v],
                vec![&state, &grad],
                shape,
            )
        } else {
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
