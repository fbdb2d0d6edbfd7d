//! States carried from window to window: truncated backpropagation through time (Williams & Peng 1990) over texts longer than a window.
//!
//! Each lane of a batch walks through the text ([`LaneSampler`](ptbr_dataset::LaneSampler)); the state that one of its windows ends with is what
//! the next begins with, and gradients end at the window. Every micro-batch of a step has lanes of its own, so that a step sees as much
//! different text as it does without. A state that was computed with the weights of some steps ago cannot be computed again: checkpoints
//! hold it.

use std::io;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use ptbr_dataset::Batch;
use ptbr_model::{CARRIED_ROWS, RwkvConfig, TensorError, TensorFile, TensorSpec, TrainingConfig};

use crate::model::{CarriedLayer, Carry};

/// The states of all lanes.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    /// By micro-batch of a step, then by layer.
    groups: Vec<Vec<CarriedLayer>>,
    batch_size: usize,
    channels: usize,
    /// Without autodiff.
    device: Device,
}

impl Lanes {
    /// Lanes that have read nothing; `None` unless the run carries states.
    pub fn new(training: &TrainingConfig, config: &RwkvConfig, device: &Device) -> Option<Self> {
        if !training.carry_state {
            return None;
        }
        let (batch_size, channels) = (training.batch_size, config.d_model);
        let device = device.clone().inner();
        let empty = CarriedLayer::empty(batch_size, channels, &device);
        Some(Self {
            groups: vec![vec![empty; config.n_layers]; training.gradient_accumulation_steps],
            batch_size,
            channels,
            device,
        })
    }

    /// What the windows of `batch` begin with.
    pub fn carry(&self, batch: &Batch) -> Arc<Carry> {
        let mut fresh = vec![false; batch.inputs.len()];
        let jumps = (0..).step_by(batch.seq_len).zip(&batch.continues);
        let jumps = jumps.filter(|(_, goes_on)| !**goes_on).map(|(row, _)| row);
        let documents = batch.document_starts.iter().map(|row| *row as usize);
        documents.chain(jumps).for_each(|row| fresh[row] = true);
        Arc::new(Carry::new(self.groups[self.group(batch)].clone(), fresh))
    }

    /// Keeps what the windows of `batch` ended with.
    pub fn keep(&mut self, batch: &Batch, carry: &Carry) {
        if let Some(end) = carry.end() {
            let group = self.group(batch);
            self.groups[group] = end;
        }
    }

    /// Forgets everything: after a step that was no number, its states are none either.
    pub fn forget(&mut self) {
        let empty = CarriedLayer::empty(self.batch_size, self.channels, &self.device);
        for group in &mut self.groups {
            group.fill(empty.clone());
        }
    }

    /// Batches are dealt out to the micro-batches of a step in their order.
    fn group(&self, batch: &Batch) -> usize {
        (batch.index % self.groups.len() as u64) as usize
    }

    /// The states of one layer in all lanes, as a checkpoint holds them: `[groups, 5 · batch size, C]`.
    pub fn write(
        &self,
        layer: usize,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        for group in &self.groups {
            let Some(state) = group.get(layer) else {
                return Err(io::ErrorKind::NotFound.into());
            };
            let values = state.rows().into_data().try_into_vec::<f32>();
            sink(&values.map_err(|error| {
                io::Error::other(format!(
                    "reading a carried state from the device: {error:?}"
                ))
            })?)?;
        }
        Ok(())
    }

    /// Puts the states of a checkpoint in place, `specs` being those of
    /// [`carried_specs`](ptbr_model::TrainingConfig::carried_specs).
    pub fn restore(&mut self, file: &TensorFile, specs: &[TensorSpec]) -> Result<(), TensorError> {
        let (rows, groups) = (CARRIED_ROWS * self.batch_size, self.groups.len());
        for (layer, spec) in specs.iter().enumerate() {
            let values = file.tensor(&spec.name)?.to_vec();
            let data = TensorData::new(values, [groups * rows, self.channels]);
            let all = Tensor::<2>::from_data(data, &self.device);
            for (index, group) in self.groups.iter_mut().enumerate() {
                let of_group = all.clone().slice(index * rows..(index + 1) * rows);
                group[layer] = CarriedLayer::from_rows(of_group, self.batch_size);
            }
        }
        Ok(())
    }
}
