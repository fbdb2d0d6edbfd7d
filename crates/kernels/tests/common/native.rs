//! A kernel of the table on an adapter that wgpu finds.

use std::cell::RefCell;
use std::collections::HashMap;

use ptbr_kernels::{Access, Kernel};

use super::gpu::{Device, Gpu};

/// A device on one adapter.
struct Native {
    /// Pipelines by kernel and permutation: compiling takes longer than running.
    pipelines: RefCell<HashMap<(&'static str, &'static str), wgpu::ComputePipeline>>,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

/// Every adapter found. None is an error: a shader test that ran nowhere proves nothing.
pub fn adapters() -> Vec<Gpu> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    assert!(
        !found.is_empty(),
        "no GPU adapter, not even a software one; on Debian: apt-get install mesa-vulkan-drivers libvulkan1"
    );
    found.iter().map(open).collect()
}

fn open(adapter: &wgpu::Adapter) -> Gpu {
    let info = adapter.get_info();
    let name = format!("{} ({:?}, {:?})", info.name, info.device_type, info.backend);
    // Default limits: what every WebGPU implementation grants is all that a kernel may need.
    let required_features = adapter.features() & wgpu::Features::SUBGROUP;
    let device = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features,
        ..Default::default()
    }));
    let (device, queue) = device.unwrap_or_else(|e| panic!("{name}: {e}"));
    Gpu::new(
        name,
        Native {
            pipelines: RefCell::default(),
            device,
            queue,
        },
    )
}

impl Device for Native {
    fn has_subgroups(&self) -> bool {
        self.device.features().contains(wgpu::Features::SUBGROUP)
    }

    /// No bounds checks are compiled in where the bindings are slices of one buffer: the trainer's way.
    fn dispatch(
        &self,
        kernel: &Kernel,
        contents: &[Vec<u32>],
        workgroups: [u32; 3],
    ) -> Vec<Vec<u32>> {
        let shared = kernel
            .bindings
            .iter()
            .all(|b| b.access == Access::ReadWrite);
        let starts: Vec<usize> = contents
            .iter()
            .scan(0, |at, words| {
                let start = *at;
                *at += if shared { words.len() } else { 0 };
                Some(start)
            })
            .collect();
        let buffers: Vec<wgpu::Buffer> = if shared {
            let one = self.buffer("all", &contents.concat());
            contents.iter().map(|_| one.clone()).collect()
        } else {
            contents
                .iter()
                .zip(kernel.bindings)
                .map(|(words, b)| self.buffer(b.name, words))
                .collect()
        };

        let pipeline = self.pipeline(kernel, !shared);
        let entries: Vec<wgpu::BindGroupEntry<'_>> = kernel
            .bindings
            .iter()
            .zip(&buffers)
            .zip(contents.iter().zip(&starts))
            .map(|((b, buffer), (words, &start))| wgpu::BindGroupEntry {
                binding: b.index,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: 4 * start as u64,
                    size: std::num::NonZeroU64::new(4 * words.len() as u64),
                }),
            })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                label: Some(kernel.name),
            });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            let [x, y, z] = workgroups;
            pass.dispatch_workgroups(x, y, z);
        }
        let written = kernel
            .bindings
            .iter()
            .zip(&buffers)
            .zip(contents.iter().zip(&starts))
            .filter(|((b, _), _)| b.written);
        let downloads: Vec<wgpu::Buffer> = written
            .map(|((_, buffer), (words, &start))| {
                let size = 4 * words.len() as u64;
                let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
                let descriptor = wgpu::BufferDescriptor {
                    label: Some("download"),
                    size,
                    usage,
                    mapped_at_creation: false,
                };
                let download = self.device.create_buffer(&descriptor);
                encoder.copy_buffer_to_buffer(buffer, 4 * start as u64, &download, 0, size);
                download
            })
            .collect();
        self.queue.submit([encoder.finish()]);
        downloads
            .iter()
            .map(|download| self.read(download))
            .collect()
    }
}

impl Native {
    /// The layout is derived from the shader, as burn does for source kernels.
    fn pipeline(&self, kernel: &Kernel, checked: bool) -> wgpu::ComputePipeline {
        let mut pipelines = self.pipelines.borrow_mut();
        let pipeline = pipelines
            .entry((kernel.name, kernel.permutation))
            .or_insert_with(|| self.compile(kernel, checked));
        pipeline.clone()
    }

    fn compile(&self, kernel: &Kernel, checked: bool) -> wgpu::ComputePipeline {
        let label = Some(kernel.name);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(kernel.source.into()),
        };
        let module = if checked {
            self.device.create_shader_module(descriptor)
        } else {
            // SAFETY: the kernel guards its indices and its loops end; that they do is what this test would show.
            unsafe {
                self.device.create_shader_module_trusted(
                    descriptor,
                    wgpu::ShaderRuntimeChecks::unchecked(),
                )
            }
        };
        self.device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label,
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            })
    }

    fn buffer(&self, label: &str, words: &[u32]) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let size = 4 * words.len() as u64;
        let descriptor = wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        };
        let buffer = self.device.create_buffer(&descriptor);
        self.queue
            .write_buffer(&buffer, 0, bytemuck::cast_slice(words));
        buffer
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<u32> {
        let slice = buffer.slice(..);
        slice.map_async(wgpu::MapMode::Read, |result| result.expect("mapping"));
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("polling");
        let words = bytemuck::pod_collect_to_vec(&slice.get_mapped_range().expect("mapped"));
        buffer.unmap();
        words
    }
}
