//! Does an adapter compute what it should? Runs the WKV shaders on a small case whose answer is known.

use std::fmt;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use ptbr_kernels::{Kernel, WKV_KNOWN_ANSWER, WkvKnownAnswer, table};
use serde::Serialize;

/// What an output holds before the shader writes it: a NaN, so that a value that was not written is found.
const POISON: u32 = 0x7fc0_dead;

/// The largest errors of an adapter, relative to the answer or to 1 where the answer is smaller.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct WkvErrors {
    /// Of the forward pass.
    pub forward: f32,
    /// Of the backward pass.
    pub backward: f32,
}

impl WkvErrors {
    /// Whether both are within what rounding explains.
    pub fn is_right(&self) -> bool {
        self.forward <= WkvKnownAnswer::TOLERANCE && self.backward <= WkvKnownAnswer::TOLERANCE
    }
}

impl fmt::Display for WkvErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "largest error {:.1e} forward, {:.1e} backward ({:.0e} allowed)",
            self.forward,
            self.backward,
            WkvKnownAnswer::TOLERANCE
        )
    }
}

/// Runs both WKV shaders, compiled as the trainer compiles them, on the adapter of this name and backend (as in
/// `ptbr_train::device::Adapter`).
///
/// # Errors
/// When there is no such adapter, or it fails instead of computing.
pub fn check_wkv(name: &str, backend: &str) -> Result<WkvErrors> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = adapters
        .iter()
        .find(|adapter| {
            let info = adapter.get_info();
            info.name == name && format!("{:?}", info.backend) == backend
        })
        .with_context(|| format!("the adapter {name} ({backend}) has gone"))?;
    let gpu = Gpu::open(adapter)?;
    let case = &WKV_KNOWN_ANSWER;
    let params = case.dims.params(case.seqs.len())?;
    let workgroups = case.dims.workgroups(case.seqs.len())?;
    let words = bytemuck::cast_slice::<f32, u32>;
    let sequences = bytemuck::cast_slice(case.seqs);
    let (wu, k, v, state) = (
        words(case.wu),
        words(case.k),
        words(case.v),
        words(case.state_in),
    );
    let out = gpu.run(
        &table::WKV_FORWARD_READ_WRITE,
        &[wu, k, v, sequences, state, &params],
        case.out.len(),
        workgroups,
    )?;
    let grads = gpu.run(
        &table::WKV_BACKWARD_READ_WRITE,
        &[wu, k, v, sequences, state, words(case.grad_out), &params],
        case.grads.len(),
        workgroups,
    )?;
    Ok(WkvErrors {
        forward: WkvKnownAnswer::error(&out, case.out),
        backward: WkvKnownAnswer::error(&grads, case.grads),
    })
}

/// A device whose errors are kept instead of ending the program.
struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    first_error: Arc<Mutex<Option<String>>>,
}

impl Gpu {
    fn open(adapter: &wgpu::Adapter) -> Result<Self> {
        // Default limits: what every WebGPU implementation grants is all that the kernels may need.
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("WKV check"),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .context("the adapter gives no device")?;
        let first_error = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&first_error);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            if let Ok(mut first) = kept.lock() {
                first.get_or_insert_with(|| error.to_string());
            }
        }));
        Ok(Self {
            device,
            queue,
            first_error,
        })
    }

    /// Runs a kernel with one output of `length` words; `inputs` go to its other bindings in order.
    fn run(
        &self,
        kernel: &Kernel,
        inputs: &[&[u32]],
        length: usize,
        [x, y, z]: [u32; 3],
    ) -> Result<Vec<f32>> {
        let label = Some(kernel.name);
        let mut inputs = inputs.iter();
        let mut output = None;
        let mut buffers = Vec::with_capacity(kernel.bindings.len());
        for binding in kernel.bindings {
            let buffer = if binding.written {
                let buffer = self.upload(binding.name, &vec![POISON; length]);
                output = Some(buffer.clone());
                buffer
            } else {
                let words = inputs
                    .next()
                    .context("a kernel has more inputs than were given")?;
                self.upload(binding.name, words)
            };
            buffers.push((binding.index, buffer));
        }
        let output = output.context("a kernel writes nothing")?;

        let module = self
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label,
                source: wgpu::ShaderSource::Wgsl(kernel.source.into()),
            });
        let pipeline = self
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label,
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            });
        let entries: Vec<_> = buffers
            .iter()
            .map(|(index, buffer)| wgpu::BindGroupEntry {
                binding: *index,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let download = self.buffer(
            "download",
            output.size(),
            wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        );
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label,
                timestamp_writes: None,
            });
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(x, y, z);
        }
        encoder.copy_buffer_to_buffer(&output, 0, &download, 0, output.size());
        self.queue.submit([encoder.finish()]);
        self.read(&download)
    }

    fn upload(&self, label: &str, words: &[u32]) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let buffer = self.buffer(label, 4 * words.len() as u64, usage);
        self.queue
            .write_buffer(&buffer, 0, bytemuck::cast_slice(words));
        buffer
    }

    fn buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<f32>> {
        let slice = buffer.slice(..);
        // A failed mapping shows as an error of the range below.
        slice.map_async(wgpu::MapMode::Read, |_| ());
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .context("the adapter was lost")?;
        if let Some(error) = self.first_error.lock().ok().and_then(|first| first.clone()) {
            bail!("the driver refuses the shader: {error}");
        }
        let range = slice
            .get_mapped_range()
            .context("the result cannot be read back")?;
        let values = bytemuck::pod_collect_to_vec(&range);
        drop(range);
        buffer.unmap();
        Ok(values)
    }
}
