//! The kernels of `shaders/` on burn's GPU backend: launched as source kernels, and counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::prelude::*;
use cubecl::server::{Handle, KernelArguments};
use ptbr_kernels::{Kernel, KernelError};

/// How often each kernel was launched since the program started.
static LAUNCHES: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// How often the hand-written WGSL kernel of this name (its file without `.wgsl`) was launched by the trainer since the program started.
/// Tests use it to know that a run took the path it was meant to take.
pub fn launches(kernel: &str) -> u64 {
    let counts = LAUNCHES.lock().unwrap_or_else(PoisonError::into_inner);
    counts.get(kernel).copied().unwrap_or(0)
}

/// Whether the device behind `client` compiles WGSL. Builds with burn's other compilers refuse hand-written WGSL and take tensor
/// operations in its place.
pub(crate) fn runs_wgsl(client: &Client) -> bool {
    client.name() == "wgpu<wgsl>"
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

/// Launches `kernel` on `workgroups` with `buffers` bound in that order and `params` behind them, as the shader ABI wants it.
pub(crate) fn launch(
    client: &Client,
    kernel: &'static Kernel,
    buffers: &[&Handle],
    params: &[u32],
    workgroups: [u32; 3],
) {
    assert!(
        runs_wgsl(client),
        "the kernel {} is WGSL and this build compiles kernels for `{}`: build without the features that choose another compiler",
        kernel.name,
        client.name()
    );
    let params = upload(client, params);
    let all = buffers.iter().copied().chain([&params]);
    let bindings = all.map(|handle| handle.clone().binding()).collect();
    let [x, y, z] = kernel.workgroup_size;
    let source = SourceKernel::new(TableKernel(kernel), CubeDim::new_3d(x, y, z));
    let [x, y, z] = workgroups;
    client.launch(
        Box::new(source),
        CubeCount::Static(x, y, z),
        KernelArguments::new().with_buffers(bindings),
    );
    let mut counts = LAUNCHES.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(kernel.name).or_default() += 1;
}

/// A new buffer with these words.
pub(crate) fn upload<W: bytemuck::NoUninit>(client: &Client, words: &[W]) -> Handle {
    client.create_from_slice(bytemuck::cast_slice(words))
}

/// The tensor over a new buffer that a kernel fills.
pub(crate) fn filled(
    client: &Client,
    device: &CubeDevice,
    shape: Shape,
    buffer: Handle,
    dtype: DType,
) -> CubeTensor {
    CubeTensor::new_contiguous(client.clone(), device.clone(), shape, buffer, dtype)
}

/// The sizes were checked where the batch was built; a kernel that refuses them now is a bug of this crate.
pub(crate) fn sized<T>(result: Result<T, KernelError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the trainer gave a kernel sizes that do not fit: {error}"),
    }
}

/// Stops at an operand of another number format than its reader takes. burn's GPU backend would read the bytes of f16 as f32, or those
/// of f32 as f16, and go on with what comes out.
pub(crate) fn expect_dtype(what: &str, found: DType, expected: DType) {
    assert!(
        found == expected,
        "{what} has elements of {found:?} where {expected:?} is read: a cast is missing in the trainer"
    );
}
