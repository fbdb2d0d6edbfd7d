//! One optimizer step.

use ptbr_dataset::DataLoader;
use ptbr_model::ScaledStep;

use super::accumulate::Accumulated;
use super::{EMA_WEIGHT, Pace, StepReport, Trainer};
use crate::TrainError;
use crate::optim::{AdamWStep, GradientSum};

/// What has become of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The parameters moved.
    Taken,
    /// The loss scale was too large: the next step has a smaller one.
    Rescaled,
    /// The loss or a gradient is no number, and no smaller scale is left to try.
    NotANumber,
}

impl Trainer {
    /// Adds up the gradients of the micro-batches, clips their mean by its global norm and updates the parameters. A step whose loss or
    /// gradient is not finite changes nothing but the counters and the loss scale.
    pub(super) fn step(
        &mut self,
        loader: &mut DataLoader,
        pace: &mut Pace,
    ) -> Result<StepReport, TrainError> {
        let learning_rate = self.state.config.learning_rate_at(self.state.step);
        let micro_batches = self.state.config.gradient_accumulation_steps;
        let loss_scale = self.scaler.map(|scaler| scaler.scale());
        let Accumulated {
            mut gradients,
            reports,
        } = self.accumulate(loader, loss_scale.unwrap_or(1.0));
        self.reduce(&mut gradients)?;
        let unscale = match &self.scaler {
            Some(scaler) => scaler.unscale(micro_batches),
            None => 1.0 / micro_batches as f64,
        };
        let measured = gradients.measure(unscale, reports);
        let losses = measured.reports.iter().map(|report| report.loss);
        let loss = losses.map(|loss| loss / micro_batches as f64).sum::<f64>();
        let (loss, grad_norm) = self.of_all(loss, measured.norm)?;
        let outcome = self.judge_step(loss.is_finite() && grad_norm.is_finite());
        if outcome == Outcome::Taken {
            self.update(&mut gradients, learning_rate, grad_norm, unscale);
            self.share_parameters()?;
        }
        if let (Some(lanes), false) = (&mut self.lanes, loss.is_finite()) {
            // The states that such a forward pass left are no numbers either.
            lanes.forget();
        }
        self.count(loss, outcome, pace);
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
            loss_scale,
            tokens_per_second,
            tokens_seen: state.tokens_seen,
            elapsed_seconds: state.elapsed_seconds,
            eta_seconds: left as f64 / tokens_per_second.max(1e-9),
            skipped: outcome != Outcome::Taken,
            waited_seconds: self.seconds_waited(),
        })
    }

    /// Decides about a step whose loss and gradient are `finite`, and moves the loss scale.
    fn judge_step(&mut self, finite: bool) -> Outcome {
        let Some(scaler) = &mut self.scaler else {
            return match finite {
                true => Outcome::Taken,
                false => Outcome::NotANumber,
            };
        };
        let smallest = scaler.is_at_floor();
        let decision = scaler.update(!finite);
        self.state.loss_scale = Some(scaler.state());
        match decision {
            ScaledStep::Apply => Outcome::Taken,
            ScaledStep::Skip if smallest => Outcome::NotANumber,
            ScaledStep::Skip => Outcome::Rescaled,
        }
    }

    /// Moves the parameters by the sum of `gradients`, of which `unscale` makes the mean of the micro-batches' own, whose norm is
    /// `grad_norm`.
    fn update(
        &mut self,
        gradients: &mut GradientSum,
        learning_rate: f64,
        grad_norm: f64,
        unscale: f64,
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
            gradient_scale: gradients.unscale(scale * unscale),
            updates: self.state.optimizer_steps,
        };
        self.optimizer
            .step(&mut self.model, gradients, training, step);
    }

    /// Counts a step that was taken or skipped.
    fn count(&mut self, loss: f64, outcome: Outcome, pace: &mut Pace) {
        let state = &mut self.state;
        let tokens = state.config.tokens_per_step();
        state.step += 1;
        state.batches_seen += state.config.gradient_accumulation_steps as u64;
        state.tokens_seen += tokens;
        match outcome {
            Outcome::Taken => {
                state.optimizer_steps += 1;
                state.best_loss = Some(state.best_loss.map_or(loss, |best| best.min(loss)));
                let moved = |ema: f64| ema + EMA_WEIGHT * (loss - ema);
                state.ema_loss = Some(state.ema_loss.map_or(loss, moved));
            }
            // The search for a scale that fits is no sign of a run that diverges.
            Outcome::Rescaled => {}
            Outcome::NotANumber => state.nan_steps += 1,
        }
        pace.step(tokens);
        state.elapsed_seconds = pace.elapsed();
    }
}
