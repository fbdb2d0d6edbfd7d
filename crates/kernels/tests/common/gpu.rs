//! Runs a kernel of the table on a wgpu adapter.

use std::cell::RefCell;
use std::collections::HashMap;

use ptbr_kernels::{Access, Kernel};

use super::POISON;

/// A device on one adapter.
pub struct Gpu {
    pub name: String,
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
    println!("adapter: {name}");
    // Default limits: what every WebGPU implementation grants is all that a kernel may need.
    let required_features = adapter.features() & wgpu::Features::SUBGROUP;
    if required_features.is_empty() {
        println!("{name}: no subgroups, so the kernels that need them do not run here");
    }
    let device = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features,
        ..Default::default()
    }));
    let (device, queue) = device.unwrap_or_else(|e| panic!("{name}: {e}"));
    Gpu {
        name,
        pipelines: RefCell::default(),
        device,
        queue,
    }
}

impl Gpu {
    /// Whether this device has what the kernel needs beyond the default.
    pub fn can_run(&self, kernel: &Kernel) -> bool {
        !kernel.permutation.ends_with("_subgroups")
            || self.device.features().contains(wgpu::Features::SUBGROUP)
    }

    /// Runs a kernel; `inputs` go to the bindings that it does not write, in order, each of `outputs` (lengths in words) to those
    /// that it writes, poisoned before.
    pub fn run(
        &self,
        kernel: &Kernel,
        inputs: &[&[u32]],
        outputs: &[usize],
        workgroups: [u32; 3],
    ) -> Vec<Vec<f32>> {
        let (mut inputs, mut lengths) = (inputs.iter(), outputs.iter());
        let contents: Vec<Vec<u32>> = kernel
            .bindings
            .iter()
            .map(|b| match b.written {
                true => vec![POISON; *lengths.next().expect("an output for each binding written")],
                false => inputs
                    .next()
                    .expect("an input for each binding read")
                    .to_vec(),
            })
            .collect();
        assert!(
            inputs.next().is_none() && lengths.next().is_none(),
            "more arguments than bindings"
        );
        let contents: Vec<&[u32]> = contents.iter().map(Vec::as_slice).collect();
        let written = self.run_in_place(kernel, &contents, workgroups);
        written
            .into_iter()
            .map(|words| words.into_iter().map(f32::from_bits).collect())
            .collect()
    }

    /// Runs a kernel on the contents of its bindings, in order; what those that it writes hold afterwards. Bindings are slices of one
    /// buffer when the kernel declares all of them `read_write`, and then no bounds checks are compiled in: the trainer's way.
    pub fn run_in_place(
        &self,
        kernel: &Kernel,
        contents: &[&[u32]],
        workgroups: [u32; 3],
    ) -> Vec<Vec<u32>> {
        assert_eq!(
            contents.len(),
            kernel.bindings.len(),
            "contents for each binding of {}",
            kernel.name
        );
        let shared = kernel
            .bindings
            .iter()
            .all(|b| b.access == Access::ReadWrite);

        // Poison behind each, so that what a kernel writes there is seen; and slices start at multiples of 256 bytes.
        let padded: Vec<Vec<u32>> = contents
            .iter()
            .map(|words| {
                let mut padded = words.to_vec();
                padded.resize(words.len().div_ceil(64) * 64 + 64, POISON);
                padded
            })
            .collect();
        let starts: Vec<usize> = padded
            .iter()
            .scan(0, |at, words| {
                let start = *at;
                *at += if shared { words.len() } else { 0 };
                Some(start)
            })
            .collect();
        let buffers: Vec<wgpu::Buffer> = if shared {
            let one = self.buffer("all", &padded.concat());
            contents.iter().map(|_| one.clone()).collect()
        } else {
            padded
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
            .zip(padded.iter().zip(&starts))
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
            .zip(padded.iter().zip(contents).zip(&starts))
            .filter(|((b, _), _)| b.written);
        let downloads: Vec<(wgpu::Buffer, &str, usize)> = written
            .map(|((b, buffer), ((words, contents), &start))| {
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
                (download, b.name, contents.len())
            })
            .collect();
        self.queue.submit([encoder.finish()]);
        let read = |(download, name, len): &(wgpu::Buffer, &str, usize)| {
            let mut words = self.read(download);
            assert!(
                words[*len..].iter().all(|&word| word == POISON),
                "{} {} writes behind the end of {name}",
                kernel.name,
                kernel.permutation
            );
            words.truncate(*len);
            words
        };
        downloads.iter().map(read).collect()
    }

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
