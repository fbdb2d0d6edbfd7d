//! The bank: every resident adapter's numbers in one buffer, and a table that says where.

use super::GpuError;
use super::arena::{Sizes, buffer};
use super::device::Device;
use super::plan::{AdapterBuffers, LAYER_MODULES};
use crate::LoadedAdapter;
use crate::engine::Part;
use crate::model::rwkv4::{LayerMatrix, Rwkv4Matrix};
use std::sync::Arc;

/// Adapters that are on the GPU.
pub(super) struct Bank {
    buffers: AdapterBuffers,
    /// Ids of the adapters, by number.
    ids: Vec<Arc<str>>,
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
            ids: Vec::new(),
            numbers: Vec::new(),
            table: Vec::new(),
        }
    }

    pub(super) fn buffers(&self) -> &AdapterBuffers {
        &self.buffers
    }

    /// An adapter's number.
    pub(super) fn number(&self, adapter: &LoadedAdapter) -> Option<u32> {
        let id = adapter.shared_id();
        (0..)
            .zip(&self.ids)
            .find(|(_, own)| *own == id)
            .map(|(number, _)| number)
    }

    /// The number of each part's adapter; nothing when one of them is not on the GPU.
    pub(super) fn numbers(&self, parts: &[Part<'_>]) -> Option<Vec<Option<u32>>> {
        parts
            .iter()
            .map(|part| match part.adapter {
                None => Some(None),
                Some(adapter) => self.number(adapter).map(Some),
            })
            .collect()
    }

    /// Whether one of these is not on the GPU.
    pub(super) fn lacks(&self, wanted: &[&LoadedAdapter]) -> bool {
        wanted.iter().any(|adapter| self.number(adapter).is_none())
    }

    /// Brings these to the GPU. Others stay there while there is room: sessions come back to them. Fails with [`GpuError::TooLarge`] when these alone do not fit, and with
    /// [`GpuError::Adapter`].
    pub(super) fn hold(
        &mut self,
        device: &Device,
        sizes: &Sizes,
        wanted: &[&LoadedAdapter],
    ) -> Result<(), GpuError> {
        let kept = (
            self.ids.len(),
            self.numbers.len(),
            self.table.len(),
            self.buffers.rank,
        );
        let mut result = self.add(sizes, wanted);
        if matches!(result, Err(GpuError::TooLarge { .. })) && kept.0 > 0 {
            (self.ids, self.numbers, self.table) = Default::default();
            self.buffers.rank = 0;
            result = self.add(sizes, wanted);
        } else if result.is_err() {
            self.ids.truncate(kept.0);
            self.numbers.truncate(kept.1);
            self.table.truncate(kept.2);
            self.buffers.rank = kept.3;
        }
        let filled = |label: &str, words: &[u32]| {
            let buffer = buffer(device, label, words.len());
            device
                .queue
                .write_buffer(&buffer, 0, bytemuck::cast_slice(words));
            buffer
        };
        self.buffers.bank = filled("adapters.bank", bytemuck::cast_slice(&self.numbers));
        self.buffers.table = filled("adapters.table", self.table.as_flattened());
        self.buffers.low = buffer(device, "adapters.low", low_words(sizes, self.buffers.rank));
        result
    }

    fn add(&mut self, sizes: &Sizes, wanted: &[&LoadedAdapter]) -> Result<(), GpuError> {
        for adapter in wanted {
            if self.number(adapter).is_some() {
                continue;
            }
            check(adapter)?;
            let rank = self.buffers.rank.max(adapter.config().rank);
            fits(
                sizes,
                "the numbers of all resident adapters",
                self.numbers.len() + adapter.num_parameters(),
            )?;
            fits(
                sizes,
                "an adapter's low-rank activations",
                low_words(sizes, rank),
            )?;
            self.buffers.rank = rank;
            for layer in 0..sizes.layers {
                for (matrix, _) in LayerMatrix::ALL {
                    let entry =
                        adapter
                            .lora(Rwkv4Matrix::Layer(layer, matrix))
                            .map_or([0; 4], |lora| {
                                let a = self.numbers.len() as u32;
                                self.numbers.extend_from_slice(lora.a);
                                let b = self.numbers.len() as u32;
                                self.numbers.extend_from_slice(lora.b);
                                [a, b, lora.rank as u32, lora.scale.to_bits()]
                            });
                    self.table.push(entry);
                }
            }
            self.ids.push(Arc::clone(adapter.shared_id()));
        }
        Ok(())
    }
}

/// Whether the engine can apply an adapter: the head's rows are not the step's, so it has none.
pub(crate) fn check(adapter: &LoadedAdapter) -> Result<(), GpuError> {
    match adapter.lora(Rwkv4Matrix::Head) {
        None => Ok(()),
        Some(_) => Err(GpuError::Adapter {
            target: "head".to_owned(),
        }),
    }
}

/// Words of `[N, 3, 2 + rank]`.
fn low_words(sizes: &Sizes, rank: usize) -> usize {
    sizes.max_rows() * 3 * (rank + 2)
}

fn fits(sizes: &Sizes, what: &str, words: usize) -> Result<(), GpuError> {
    let (bytes, limit) = (words as u64 * 4, sizes.max_binding as u64);
    if bytes <= limit {
        return Ok(());
    }
    Err(GpuError::TooLarge {
        what: what.to_owned(),
        bytes,
        limit,
    })
}
