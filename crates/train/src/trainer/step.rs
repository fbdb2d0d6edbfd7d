//! One optimizer step.

use ptbr_dataset::DataLoader;

use super::accumulate::Accumulated;
use super::{EMA_WEIGHT, Pace, StepReport, Trainer};
use crate::TrainError;
use crate::optim::{AdamWStep, GradientSum};

impl Trainer {
    /// Adds up the gradients of the micro-batches, clips their mean by its global norm and updates the parameters. A step whose loss or
    /// gradient is not finite changes nothing but the counters.
    pub(super) fn step(
        &mut self,
        loader: &mut DataLoader,
        pace: &mut Pace,
    ) -> Result<StepReport, TrainError> {
        let learning_rate = self.state.config.learning_rate_at(self.state.step);
        let Accumulated {
            mut gradients,
            loss,
        } = self.reduced(self.accumulate(loader))?;
        let mean = 1.0 / self.state.config.gradient_accumulation_steps as f64;
        let grad_norm = self.global_norm(&gradients, mean)?;
        let finite = loss.is_finite() && grad_norm.is_finite();
        if finite {
            self.update(&mut gradients, learning_rate, grad_norm, mean);
            self.share_parameters()?;
        }
        self.count(loss, finite, pace);
        let state = &self.state;
        let (max_steps, tokens_per_second) = (state.config.max_steps, pace.recent());
        let left = (max_steps - state.step) * state.config.tokens_per_step();
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
            eta_seconds: left as f64 / tokens_per_second.max(1e-9),
            skipped: !finite,
            waited_seconds: self.seconds_waited(),
        })
    }

    /// Moves the parameters by the sum of `gradients`, of which `mean` makes the mean, whose norm is `grad_norm`.
    fn update(
        &mut self,
        gradients: &mut GradientSum,
        learning_rate: f64,
        grad_norm: f64,
        mean: f64,
    ) {
        let training = &self.state.config;
        let clip = training.gradient_clip;
        let scale = if clip > 0.0 && grad_norm > clip {
            clip / grad_norm
        } else {
            1.0
        };
        let step = AdamWStep {
            learning_rate,
            gradient_scale: scale * mean,
            updates: self.state.optimizer_steps,
        };
        self.optimizer
            .step(&mut self.model, gradients, training, step);
    }

    /// Counts a step that was taken, or skipped because it was not finite.
    fn count(&mut self, loss: f64, finite: bool, pace: &mut Pace) {
        let state = &mut self.state;
        let tokens = state.config.tokens_per_step();
        state.step += 1;
        state.batches_seen += state.config.gradient_accumulation_steps as u64;
        state.tokens_seen += tokens;
        if finite {
            state.optimizer_steps += 1;
            state.best_loss = Some(state.best_loss.map_or(loss, |best| best.min(loss)));
            let moved = |ema: f64| ema + EMA_WEIGHT * (loss - ema);
            state.ema_loss = Some(state.ema_loss.map_or(loss, moved));
        } else {
            state.nan_steps += 1;
        }
        pace.step(tokens);
        state.elapsed_seconds = pace.elapsed();
    }
}
