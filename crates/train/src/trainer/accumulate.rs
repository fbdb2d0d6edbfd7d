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
    /// Runs the micro-batches of the next step forward and backward.
    pub(super) fn accumulate(&mut self, loader: &mut DataLoader) -> Accumulated {
        let mut lanes = self.lanes.take();
        let training = &self.state.config;
        let micro_batches = training.gradient_accumulation_steps;
        let dropout = training.effective_dropout(&self.config);
        let mut gradients = GradientSum::default();
        let mut loss = 0.0;
        for _ in 0..micro_batches {
            let batch = loader.next();
            let options = ForwardOptions {
                dropout,
                seed: self.state.seed,
                micro_batch: batch.index,
                l2_wrap: training.l2_wrap as f32,
            };
            let carry = lanes.as_ref().map(|lanes| lanes.carry(&batch));
            let windows = Windows {
                inputs: Arc::new(batch.inputs.clone()),
                targets: Arc::new(batch.targets.clone()),
                seq_len: batch.seq_len,
                carry: carry.clone(),
            };
            let output = self.model.forward(&self.config, &windows, options);
            if let (Some(lanes), Some(carry)) = (&mut lanes, carry) {
                lanes.keep(&batch, &carry);
            }
            gradients.add(&self.model, output.objective.backward());
            loss += output.read().loss / micro_batches as f64;
        }
        self.lanes = lanes;
        Accumulated { gradients, loss }
    }
}
