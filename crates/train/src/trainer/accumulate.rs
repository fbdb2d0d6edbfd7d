//! The gradients of one optimizer step: the micro-batches, one after the other.

use std::sync::Arc;

use burn::tensor::Tensor;
use ptbr_dataset::DataLoader;

use super::Trainer;
use crate::model::{BLOCK_LOGITS, BackwardOptions, ForwardOptions, Windows};
use crate::optim::GradientSum;

/// What the micro-batches of a step gave.
pub(super) struct Accumulated {
    /// The sum of the gradients of their losses, each times the loss scale.
    pub gradients: GradientSum,
    /// What each of them reports, still on its device.
    pub reports: Vec<Tensor<1>>,
}

impl Trainer {
    /// Runs the micro-batches of the next step that fall to this process forward and backward, their losses times `loss_scale`.
    pub(super) fn accumulate(&mut self, loader: &mut DataLoader, loss_scale: f64) -> Accumulated {
        let mut lanes = self.lanes.take();
        let training = &self.state.config;
        let dropout = training.effective_dropout(&self.config);
        let segments = training
            .gradient_checkpointing
            .segments(self.config.n_layers);
        let backward = BackwardOptions {
            segments: &segments,
            loss_scale,
            block_logits: BLOCK_LOGITS,
        };
        let mut gradients = GradientSum::default();
        let mut reports = Vec::new();
        for _ in 0..self.batches.len() {
            let batch = loader.next();
            let options = ForwardOptions {
                dropout,
                seed: self.state.seed,
                micro_batch: batch.index,
                l2_wrap: training.l2_wrap as f32,
                precision: self.precision,
            };
            let carry = lanes.as_ref().map(|lanes| lanes.carry(&batch));
            let windows = Windows {
                inputs: Arc::new(batch.inputs.clone()),
                targets: Arc::new(batch.targets.clone()),
                seq_len: batch.seq_len,
                carry: carry.clone(),
            };
            let (model, config) = (&self.model, &self.config);
            let report = model.backward(config, &windows, options, backward, &mut gradients);
            reports.push(report.into_tensor());
            if let (Some(lanes), Some(carry)) = (&mut lanes, carry) {
                lanes.keep(&batch, &carry);
            }
        }
        self.lanes = lanes;
        Accumulated { gradients, reports }
    }
}
