//! One optimizer step.

use std::sync::Arc;

use ptbr_dataset::DataLoader;

use super::{EMA_WEIGHT, Pace, StepReport, Trainer};
use crate::TrainError;
use crate::model::{ForwardOptions, Windows};
use crate::optim::{AdamWStep, GradientSum};

impl Trainer {
    /// Adds up the gradients of the micro-batches, clips their mean by its global norm and updates the parameters. A step whose loss or
    /// gradient is not finite changes nothing but the counters.
    pub(super) fn step(
        &mut self,
        loader: &mut DataLoader,
        pace: &mut Pace,
    ) -> Result<StepReport, TrainError> {
        let training = &self.state.config;
        let micro_batches = training.gradient_accumulation_steps;
        let dropout = training.effective_dropout(&self.config);
        let learning_rate = training.learning_rate_at(self.state.step);
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
            let windows = Windows {
                inputs: Arc::new(batch.inputs),
                targets: Arc::new(batch.targets),
                seq_len: batch.seq_len,
            };
            let output = self.model.forward(&self.config, &windows, options);
            gradients.add(&self.model, output.objective.backward());
            loss += output.read().loss / micro_batches as f64;
        }
        let mean = 1.0 / micro_batches as f64;
        let grad_norm = gradients.norm(mean);
        let finite = loss.is_finite() && grad_norm.is_finite();
        if finite {
            let clip = training.gradient_clip;
            let scale = if clip > 0.0 && grad_norm > clip {
                clip / grad_norm
            } else {
                1.0
            };
            let update = AdamWStep {
                learning_rate,
                gradient_scale: scale * mean,
                updates: self.state.optimizer_steps,
            };
            self.optimizer
                .step(&mut self.model, &mut gradients, training, update);
        }
        let tokens = training.tokens_per_step();
        let (batches, max_steps) = (micro_batches as u64, training.max_steps);
        let state = &mut self.state;
        state.step += 1;
        state.batches_seen += batches;
        state.tokens_seen += tokens;
        if finite {
            state.optimizer_steps += 1;
            state.best_loss = Some(state.best_loss.map_or(loss, |best| best.min(loss)));
            state.ema_loss = Some(
                state
                    .ema_loss
                    .map_or(loss, |ema| ema + EMA_WEIGHT * (loss - ema)),
            );
        } else {
            state.nan_steps += 1;
        }
        pace.step(tokens);
        state.elapsed_seconds = pace.elapsed();
        let tokens_per_second = pace.recent();
        Ok(StepReport {
            step: state.step,
            max_steps,
            loss,
            ema_loss: state.ema_loss.unwrap_or(loss),
            best_loss: state.best_loss.unwrap_or(loss),
            learning_rate,
            grad_norm,
            tokens_per_second,
            tokens_seen: state.tokens_seen,
            elapsed_seconds: state.elapsed_seconds,
            eta_seconds: ((max_steps - state.step) * tokens) as f64 / tokens_per_second.max(1e-9),
            skipped: !finite,
        })
    }
}
