//! Which learning rate should a run be given?
//!
//! The rate grows from step to step, exponentially, and the loss is watched (L. N. Smith, "Cyclical Learning Rates for Training Neural
//! Networks", 2017): it falls, faster and faster, until steps become too long for the surface, and then it rises. What a run wants is
//! read off that curve in `curve.rs`.

mod curve;

use ptbr_model::ConfigError;
use serde::Serialize;

use crate::{TrainError, Trainer};
pub use curve::{LrCurveEnd, LrPoint, Smoothed};
use curve::{choose, exploded};

/// How a learning rate is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LrFinder {
    /// Learning rate of the first step.
    pub start: f64,
    /// Learning rate of the last step, should the loss not explode before.
    pub end: f64,
    /// Steps at most.
    pub steps: u64,
    /// Weight of the past in the moving average of the loss, from 0 (none) to below 1.
    pub smoothing: f64,
}

impl Default for LrFinder {
    /// Five decades in 100 steps: what the suggestion was measured with (`docs/benchmarks.md`).
    fn default() -> Self {
        Self {
            start: 1e-5,
            end: 1.0,
            steps: 100,
            smoothing: 0.8,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LrFinderResult {
    /// The peak learning rate to give to a run; `None` where the curve does not show one.
    pub suggestion: Option<f64>,
    /// Why this one, or why none.
    pub reason: String,
    /// Why the ramp ended.
    pub ended: LrCurveEnd,
    /// One a step.
    pub points: Vec<LrPoint>,
}

impl LrFinder {
    /// Checks the ramp; the error names the first bad value and says what is allowed.
    ///
    /// # Errors
    /// When a rate is no positive number, the ramp does not rise, it has fewer than 10 steps, or the smoothing is not below 1.
    pub fn validate(&self) -> Result<(), TrainError> {
        let invalid = |field, value: f64, reason: &str| {
            Err(TrainError::Config(ConfigError::Invalid {
                field,
                value: value.to_string(),
                reason: reason.to_owned(),
            }))
        };
        if !(self.start.is_finite() && self.start > 0.0) {
            return invalid("start_lr", self.start, "must be greater than 0");
        }
        if !(self.end.is_finite() && self.end > self.start) {
            return invalid("end_lr", self.end, "must be greater than start_lr");
        }
        if !(10..=100_000).contains(&self.steps) {
            return invalid("steps", self.steps as f64, "must be from 10 to 100000");
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            return invalid(
                "smoothing",
                self.smoothing,
                "must be at least 0 and below 1",
            );
        }
        Ok(())
    }

    /// Learning rate of step `step` of the ramp, from 0.
    fn rate(&self, step: u64) -> f64 {
        let progress = step as f64 / (self.steps - 1) as f64;
        self.start * (self.end / self.start).powf(progress)
    }

    /// Takes the steps of the ramp on the trainer's own data, with its batch size and accumulation, and leaves it as it was, bit for bit.
    /// `watch` sees each point and says whether to go on.
    ///
    /// # Errors
    /// When the ramp is not possible, or the device fails.
    pub fn run(
        &self,
        trainer: &mut Trainer,
        watch: &mut dyn FnMut(&LrPoint) -> bool,
    ) -> Result<LrFinderResult, TrainError> {
        self.validate()?;
        let mut rehearsal = trainer.rehearse()?;
        let mut average = Smoothed::new(self.smoothing);
        let mut points: Vec<LrPoint> = Vec::new();
        let mut ended = LrCurveEnd::Finished;
        for step in 0..self.steps {
            let learning_rate = self.rate(step);
            let report = rehearsal.step(learning_rate)?;
            if report.skipped {
                ended = LrCurveEnd::Exploded;
                break;
            }
            let point = LrPoint {
                learning_rate,
                loss: report.loss,
                average: average.add(report.loss),
                smoothed: report.loss,
            };
            points.push(point);
            if !watch(&point) {
                ended = LrCurveEnd::Stopped;
                break;
            }
            if exploded(&points) {
                ended = LrCurveEnd::Exploded;
                break;
            }
        }
        drop(rehearsal);
        curve::smooth(&mut points, self.smoothing);
        let (suggestion, reason) = match ended {
            // The end of a curve that goes on looks like a valley, or like none.
            LrCurveEnd::Stopped => (None, "the ramp was stopped before its end".to_owned()),
            _ => choose(&points),
        };
        Ok(LrFinderResult {
            suggestion,
            reason,
            ended,
            points,
        })
    }
}
