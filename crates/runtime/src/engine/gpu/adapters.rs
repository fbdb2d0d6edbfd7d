//! The bank: every resident adapter's numbers in one buffer, and a table that says where.

use super::GpuError;
use super::arena::{Sizes, buffer};
use super::device::Device;
use super::plan::{AdapterBuffers, LAYER_MODULES};
use super::weights::MAX_BINDING;
use ptbr_model::Adapter;

/// Names of a layer's modules in the order of the table.
const NAMES: [&str; LAYER_MODULES] = [
    "att.key",
    "att.value",
    "att.receptance",
    "att.output",
    "ffn.key",
    "ffn.receptance",
    "ffn.value",
];

/// Adapters that are on the GPU.
pub(super) struct Bank {
    buffers: AdapterBuffers,
    /// A and B of every module of every adapter.
    numbers: Vec<f32>,
    /// For each adapter and module: first element of A, of B, rank, bits of the scale.
    table: Vec<[u32; 4]>,
}

impl Bank {
    /// None yet.
    pub(super) fn new(device: &Device, sizes: &Sizes) -> Self {
        Self {
            buffers: AdapterBuffers {
                table: buffer(device, "adapters.table", 4),
                bank: buffer(device, "adapters.bank", 4),
                low: buffer(device, "adapters.low", 4),
                rank: 0,
                modules: sizes.layers * LAYER_MODULES,
            },
            numbers: Vec::new(),
            table: Vec::new(),
        }
    }

    pub(super) fn buffers(&self) -> &AdapterBuffers {
        &self.buffers
    }

    /// Adds an adapter that fits the model; its number.
    pub(super) fn add(
        &mut self,
        device: &Device,
        sizes: &Sizes,
        adapter: &Adapter,
    ) -> Result<u32, GpuError> {
        let modules = self.buffers.modules;
        let number = self.table.len() / modules;
        let new: usize = adapter.modules.iter().map(|m| m.a.len() + m.b.len()).sum();
        let rank = self.buffers.rank.max(adapter.config.rank);
        let limit = |what: &str, elements: usize| {
            let bytes = elements as u64 * 4;
            if bytes <= MAX_BINDING {
                return Ok(());
            }
            Err(GpuError::TooLarge {
                what: what.to_owned(),
                bytes,
                limit: MAX_BINDING,
            })
        };
        limit(
            "the numbers of all resident adapters",
            self.numbers.len() + new,
        )?;
        let low = sizes.max_rows() * 3 * (rank + 2);
        limit("an adapter's low-rank activations", low)?;
        if let Some(module) = adapter
            .modules
            .iter()
            .find(|m| place(&m.target, sizes.layers).is_none())
        {
            return Err(GpuError::Adapter {
                target: module.target.clone(),
            });
        }
        self.table.resize((number + 1) * modules, [0; 4]);
        for module in &adapter.modules {
            let Some(at) = place(&module.target, sizes.layers) else {
                continue;
            };
            let a = self.numbers.len() as u32;
            self.numbers.extend_from_slice(&module.a);
            let b = self.numbers.len() as u32;
            self.numbers.extend_from_slice(&module.b);
            self.table[number * modules + at] = [
                a,
                b,
                adapter.config.rank as u32,
                adapter.config.scale().to_bits(),
            ];
        }
        let bank = buffer(device, "adapters.bank", self.numbers.len());
        device
            .queue
            .write_buffer(&bank, 0, bytemuck::cast_slice(&self.numbers));
        let table = buffer(device, "adapters.table", self.table.len() * 4);
        device
            .queue
            .write_buffer(&table, 0, bytemuck::cast_slice(&self.table));
        self.buffers = AdapterBuffers {
            table,
            bank,
            low: buffer(device, "adapters.low", low),
            rank,
            modules,
        };
        Ok(number as u32)
    }
}

/// Where a target is in an adapter's table.
fn place(target: &str, layers: usize) -> Option<usize> {
    let (layer, name) = target.strip_prefix("blocks.")?.split_once('.')?;
    let layer: usize = layer.parse().ok().filter(|&layer| layer < layers)?;
    let module = NAMES.iter().position(|known| *known == name)?;
    Some(layer * LAYER_MODULES + module)
}
