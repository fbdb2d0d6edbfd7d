//! Which device trains.

use std::collections::HashMap;

use burn::tensor::{Device, DeviceKind};
use ptbr_model::RwkvConfig;

use crate::TrainError;
use crate::collective::ProcessGroup;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrainDevice {
    /// A hardware GPU when there is one, otherwise the CPU; never a software adapter, which is slower than the CPU itself.
    #[default]
    Auto,
    /// burn's CPU backend.
    Cpu,
    /// Any GPU adapter, a software one too.
    Gpu,
    /// The CUDA device with this number.
    #[cfg(feature = "cuda")]
    Cuda(usize),
    /// The ROCm device with this number.
    #[cfg(feature = "rocm")]
    Rocm(usize),
}

/// A GPU adapter as the system lists it.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Name of the card or of the software that stands for one.
    pub name: String,
    /// `Vulkan`, `Metal`, `Dx12`, `Gl`.
    pub backend: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu`, `Cpu` or `Other`.
    pub kind: String,
    /// Name and version of its driver, as the driver calls itself.
    pub driver: String,
    /// Whether it is hardware.
    pub is_hardware: bool,
    /// Its place among the adapters of its kind and backend.
    pub index: usize,
    /// Largest storage buffer that a kernel can bind, in bytes.
    pub max_binding_bytes: u64,
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Storage buffers that a kernel can bind.
    pub max_storage_buffers: u32,
    /// Whether kernels may compute in f16.
    pub shader_f16: bool,
    /// Whether kernels have subgroup operations, and of which sizes.
    pub subgroups: Option<(u32, u32)>,
}

/// Storage buffers that the hand-written kernels bind at most: the WebGPU default.
pub const STORAGE_BUFFERS: u32 = 8;

/// All adapters, hardware first.
pub fn adapters() -> Vec<Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    let mut found: Vec<Adapter> =
        pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY))
            .iter()
            .map(|adapter| {
                let (info, limits, features) =
                    (adapter.get_info(), adapter.limits(), adapter.features());
                let (backend, kind) = (
                    format!("{:?}", info.backend),
                    format!("{:?}", info.device_type),
                );
                let count = counts.entry((backend.clone(), kind.clone())).or_default();
                let index = *count;
                *count += 1;
                Adapter {
                    name: info.name,
                    backend,
                    driver: format!("{} {}", info.driver, info.driver_info)
                        .trim()
                        .to_owned(),
                    kind,
                    index,
                    is_hardware: !matches!(
                        info.device_type,
                        wgpu::DeviceType::Cpu | wgpu::DeviceType::Other
                    ),
                    max_binding_bytes: limits.max_storage_buffer_binding_size,
                    max_buffer_bytes: limits.max_buffer_size,
                    max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
                    shader_f16: features.contains(wgpu::Features::SHADER_F16),
                    subgroups: features
                        .contains(wgpu::Features::SUBGROUP)
                        .then_some((info.subgroup_min_size, info.subgroup_max_size)),
                }
            })
            .filter(|adapter| adapter.max_storage_buffers >= STORAGE_BUFFERS)
            .collect();
    found.sort_by_key(|adapter| !adapter.is_hardware);
    found
}

/// The device of a run.
#[derive(Debug, Clone)]
pub struct Selected {
    /// burn's device, without autodiff.
    pub device: Device,
    /// What to call it.
    pub name: String,
    /// The adapter behind it; `None` on the CPU.
    pub adapter: Option<Adapter>,
}

impl TrainDevice {
    /// The device that this asks for on this machine.
    pub fn select(self) -> Result<Selected, TrainError> {
        let cpu = || Selected {
            device: Device::flex(),
            name: "cpu".to_owned(),
            adapter: None,
        };
        let gpu = |adapter: Adapter| Selected {
            device: Device::wgpu(DeviceKind::DefaultDevice),
            name: format!("{} ({})", adapter.name, adapter.backend),
            adapter: Some(adapter),
        };
        match self {
            Self::Cpu => Ok(cpu()),
            Self::Auto => Ok(adapters()
                .into_iter()
                .find(|a| a.is_hardware)
                .map_or_else(cpu, gpu)),
            Self::Gpu => adapters()
                .into_iter()
                .next()
                .map(gpu)
                .ok_or(TrainError::NoAdapter),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Ok(Selected::beside_wgpu("CUDA", index, Device::cuda(index))),
            #[cfg(feature = "rocm")]
            Self::Rocm(index) => Ok(Selected::beside_wgpu("ROCm", index, Device::rocm(index))),
        }
    }
}

impl TrainDevice {
    /// The device of this one of the processes that share a run.
    pub fn select_among(self, group: &ProcessGroup) -> Result<Selected, TrainError> {
        match group.has_others() {
            true => self.select_in_turn(group.place().local_rank),
            false => self.select(),
        }
    }

    /// The device where several processes share the machine: they take its hardware adapters in turn, or the others where there is no
    /// hardware; this is process `local_rank` of them.
    pub fn select_in_turn(self, local_rank: usize) -> Result<Selected, TrainError> {
        let mut selected = self.select()?;
        if selected.adapter.is_none() {
            return Ok(selected);
        }
        let all = adapters();
        let hardware = all.iter().filter(|adapter| adapter.is_hardware).count();
        let turns = if hardware > 0 { hardware } else { all.len() };
        if let Some(adapter) = all.into_iter().nth(local_rank % turns.max(1)) {
            let kind = match adapter.kind.as_str() {
                "DiscreteGpu" => DeviceKind::DiscreteGpu(adapter.index),
                "IntegratedGpu" => DeviceKind::IntegratedGpu(adapter.index),
                "VirtualGpu" => DeviceKind::VirtualGpu(adapter.index),
                "Cpu" => DeviceKind::Cpu,
                _ => DeviceKind::DefaultDevice,
            };
            selected = Selected {
                device: Device::wgpu(kind),
                name: format!("{} ({})", adapter.name, adapter.backend),
                adapter: Some(adapter),
            };
        }
        Ok(selected)
    }
}

impl Selected {
    /// A GPU that is not reached through wgpu, whose limits it does not have.
    #[cfg(any(feature = "cuda", feature = "rocm"))]
    fn beside_wgpu(runtime: &str, index: usize, device: Device) -> Self {
        let name = format!("{runtime} device {index}");
        Self {
            device,
            name: name.clone(),
            adapter: Some(Adapter {
                name,
                backend: runtime.to_owned(),
                kind: "DiscreteGpu".to_owned(),
                driver: String::new(),
                is_hardware: true,
                index,
                max_binding_bytes: u64::MAX,
                max_buffer_bytes: u64::MAX,
                max_storage_buffers: u32::MAX,
                shader_f16: true,
                subgroups: None,
            }),
        }
    }

    /// Refuses, before anything is allocated, what would not fit one binding of the adapter.
    pub fn check_buffers(
        &self,
        config: &RwkvConfig,
        batch: usize,
        seq_len: usize,
    ) -> Result<(), TrainError> {
        let Some(adapter) = &self.adapter else {
            return Ok(());
        };
        let rows = batch as u64 * seq_len as u64;
        let parameters = config.tensor_specs().into_iter().map(|spec| {
            let elements = spec
                .shape
                .iter()
                .fold(1u64, |product, dim| product.saturating_mul(*dim as u64));
            (spec.name, elements)
        });
        // The widest rows that exist for a whole micro-batch: logits are made in blocks.
        let inner = (
            "the inner rows of channel mixing".to_owned(),
            rows.saturating_mul(config.d_ffn as u64),
        );
        for (tensor, elements) in parameters.chain([inner]) {
            let bytes = elements.saturating_mul(4);
            if bytes > adapter.max_binding_bytes {
                let (adapter, limit) = (adapter.name.clone(), adapter.max_binding_bytes);
                return Err(TrainError::BufferTooLarge {
                    tensor,
                    bytes,
                    adapter,
                    limit,
                });
            }
        }
        Ok(())
    }
}
