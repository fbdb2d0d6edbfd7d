//! The gradients of one optimizer step: the micro-batches, one after the other.

use std::sync::Arc;

use ptbr_dataset::DataLoader;

use super::Trainer;
use crate::model::{ForwardOptions, Windows};
use crate::optim::GradientSum;

/// What the micro-batches of a step gave.
pub(super) struct Accumulated {
    /// The sum of their gradients.
    pub gradients: GradientSum,
    /// The mean of their losses.
    pub loss: f64,
}

impl Trainer {
    /// Runs the micro-batches of the next step that fall to this process forward and backward.
    pub(super) fn accumulate(&self, loader: &mut DataLoader) -> Accumulated {
        let training = &self.state.config;
        let micro_batches = training.gradient_accumulation_steps;
        let dropout = training.effective_dropout(&self.config);
        let mut gradients = GradientSum::default();
        let mut loss = 0.0;
        for _ in 0..self.batches.len() {
            let batch = loader.next();
            let options = ForwardOptions {
                dropout,
                seed: self.state.seed,
                micro_batch: batch.index,
                l2_wrap: training.l2_wrap as f32,
            };
            let windows = Windows {
                inputs: Arc::new(batch.inputs),
                targets: Arc::new(batch.targets),
                seq_len: batch.seq_len,
            };
            let output = self.model.forward(&self.config, &windows, options);
            gradients.add(&self.model, output.objective.backward());
            loss += output.read().loss / micro_batches as f64;
        }
        Accumulated { gradients, loss }
    }
}
