//! The gradients of one optimizer step: the micro-batches, one after the other.

use std::sync::Arc;

use burn::tensor::Tensor;
use ptbr_dataset::DataLoader;

use super::Trainer;
use crate::model::{ForwardOptions, Windows};
use crate::optim::GradientSum;

/// What the micro-batches of a step gave.
pub(super) struct Accumulated {
    /// The sum of the gradients of their losses, each times the loss scale.
    pub gradients: GradientSum,
    /// What each of them reports, still on its device.
    pub reports: Vec<Tensor<1>>,
}

impl Trainer {
    /// Runs the micro-batches of the next step forward and backward, their losses times `loss_scale`.
    pub(super) fn accumulate(&self, loader: &mut DataLoader, loss_scale: f64) -> Accumulated {
        let training = &self.state.config;
        let micro_batches = training.gradient_accumulation_steps;
        let dropout = training.effective_dropout(&self.config);
        let mut gradients = GradientSum::default();
        let mut reports = Vec::with_capacity(micro_batches);
        for _ in 0..micro_batches {
            let batch = loader.next();
            let options = ForwardOptions {
                dropout,
                seed: self.state.seed,
                micro_batch: batch.index,
                l2_wrap: training.l2_wrap as f32,
                precision: self.precision,
            };
            let windows = Windows {
                inputs: Arc::new(batch.inputs),
                targets: Arc::new(batch.targets),
                seq_len: batch.seq_len,
            };
            let output = self.model.forward(&self.config, &windows, options);
            let (mut objective, report) = output.into_parts();
            if loss_scale != 1.0 {
                objective = objective * loss_scale;
            }
            gradients.add(&self.model, objective.backward());
            reports.push(report);
        }
        Accumulated { gradients, reports }
    }
}
