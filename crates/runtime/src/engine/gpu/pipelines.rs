//! Compute pipelines of the kernel table, each made once.

use super::device::Device;
use ptbr_kernels::{Access, Kernel};
use ptbr_model::WeightFormat;
use std::collections::HashMap;

/// End of the names of permutations that sum within subgroups.
const SUBGROUPS: &str = "_subgroups";

/// A kernel ready to be dispatched.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub raw: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// Changes the text of a shader before it is compiled.
pub(crate) type ShaderEdit = fn(&str) -> String;

/// Pipelines made so far.
pub(super) struct Pipelines {
    made: HashMap<(&'static str, &'static str), Pipeline>,
    /// Layouts by the access of their bindings: kernels that agree in it share bind groups.
    layouts: HashMap<Vec<Access>, wgpu::BindGroupLayout>,
    edit: Option<ShaderEdit>,
}

impl Pipelines {
    pub(super) fn new(edit: Option<ShaderEdit>) -> Self {
        Self {
            made: HashMap::new(),
            layouts: HashMap::new(),
            edit,
        }
    }

    /// The pipeline of a kernel. Errors reach the caller's error scope.
    pub(super) fn get(&mut self, device: &Device, kernel: &'static Kernel) -> Pipeline {
        let key = (kernel.name, kernel.permutation);
        if let Some(pipeline) = self.made.get(&key) {
            return pipeline.clone();
        }
        let label = format!("{} {}", kernel.name, kernel.permutation);
        let layout = self.layout(device, kernel);
        let source = match self.edit {
            Some(edit) => edit(kernel.source),
            None => kernel.source.to_owned(),
        };
        // Browsers want it said, naga refuses the line.
        let source = if cfg!(target_arch = "wasm32") && kernel.permutation.ends_with(SUBGROUPS) {
            format!("enable subgroups;\n{source}")
        } else {
            source
        };
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        // SAFETY: the kernels guard every index by the sizes that the engine gives them, and every loop ends: tests run each of them on sizes that are easy to get wrong, poisoned on all
        // sides. Without this, a counter in every loop keeps drivers from unrolling it.
        let module = unsafe {
            device
                .raw
                .create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        };
        let pipeline_layout = device
            .raw
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&layout)],
                ..Default::default()
            });
        let raw = device
            .raw
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                // Every kernel writes what it reads of its workgroup memory.
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            });
        let pipeline = Pipeline { raw, layout };
        self.made.insert(key, pipeline.clone());
        pipeline
    }

    fn layout(&mut self, device: &Device, kernel: &Kernel) -> wgpu::BindGroupLayout {
        let accesses: Vec<Access> = kernel.bindings.iter().map(|b| b.access).collect();
        self.layouts
            .entry(accesses)
            .or_insert_with_key(|accesses| {
                let entries: Vec<wgpu::BindGroupLayoutEntry> = (0u32..)
                    .zip(accesses)
                    .map(|(binding, access)| wgpu::BindGroupLayoutEntry {
                        binding,
                        visibility: wgpu::ShaderStages::COMPUTE,
                        ty: wgpu::BindingType::Buffer {
                            ty: wgpu::BufferBindingType::Storage {
                                read_only: *access == Access::Read,
                            },
                            has_dynamic_offset: false,
                            min_binding_size: None,
                        },
                        count: None,
                    })
                    .collect();
                device
                    .raw
                    .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                        label: Some(kernel.name),
                        entries: &entries,
                    })
            })
            .clone()
    }
}

/// The permutation of a kernel by its name in the table.
pub(super) fn kernel(name: &str, permutation: &str) -> &'static Kernel {
    ptbr_kernels::table::KERNELS
        .iter()
        .find(|kernel| kernel.name == name && kernel.permutation == permutation)
        .unwrap_or_else(|| unreachable!("the table of kernels has no {name} {permutation}"))
}

/// How many inputs a product has, and so which kernel computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One vector.
    One,
    /// A few: decoding of several sessions.
    Few,
    /// Many: prefill.
    Many,
}

impl Shape {
    pub(super) const ALL: [Self; 3] = [Self::One, Self::Few, Self::Many];

    /// From this many rows on, a tile of 32 inputs is worth its spreading.
    const MANY: usize = 12;

    pub(super) fn of(rows: usize) -> Self {
        match rows {
            0..=1 => Self::One,
            2..Self::MANY => Self::Few,
            _ => Self::Many,
        }
    }

    /// The kernel for weights of this format.
    pub(super) fn kernel(self, format: WeightFormat, sums: Sums) -> &'static Kernel {
        let suffix = match sums {
            Sums::Teams => "",
            Sums::Subgroups(_) => SUBGROUPS,
            Sums::Dots => "_dots",
        };
        let inputs = match (self, sums) {
            (Self::One, _) => 1,
            (Self::Few, _) => 4,
            (Self::Many, Sums::Dots) => return kernel("matmul", &format!("{format}_dots")),
            (Self::Many, _) => return kernel("matmul", format.name()),
        };
        kernel("matvec", &format!("{format}_t{inputs}{suffix}"))
    }

    /// Weight rows of a workgroup and inputs of a workgroup.
    pub(super) fn tile(self, sums: Sums) -> (u32, u32) {
        let rows = match sums {
            // Four teams of sixteen invocations take four rows each, or eight.
            Sums::Teams => 16,
            Sums::Dots => 32,
            // A subgroup takes four, and a workgroup of 64 has as many as fit.
            Sums::Subgroups(lanes) => 4 * (64 / lanes.min(64)),
        };
        match self {
            Self::One => (rows, 1),
            Self::Few => (rows, 4),
            Self::Many => (128, 32),
        }
    }
}

/// How the sums of a product are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sums {
    /// By teams of sixteen invocations, through workgroup memory.
    Teams,
    /// Within subgroups of up to this many invocations.
    Subgroups(u32),
    /// By teams, of products of integers: inputs are rounded to bytes, as the CPU engine does.
    Dots,
}

impl Sums {
    /// Those of a matrix in this format.
    pub(super) fn of(device: &Device, format: WeightFormat) -> Self {
        let has_integers = matches!(format, WeightFormat::Int8 | WeightFormat::Int4);
        match device.subgroups {
            _ if device.integer_dots && has_integers => Self::Dots,
            Some(lanes) => Self::Subgroups(lanes),
            None => Self::Teams,
        }
    }
}
