//! What a run tells whoever watches it.

use std::path::Path;

use serde::Serialize;

use crate::EvalMetrics;

/// Said once, before the first step.
#[derive(Debug, Clone, Serialize)]
pub struct RunInfo {
    /// The device's name.
    pub device: String,
    /// Numbers that are trained.
    pub parameters: u64,
    /// Steps already done: 0 unless the run was resumed.
    pub step: u64,
    /// The last step.
    pub max_steps: u64,
    /// Tokens that a step learns from.
    pub tokens_per_step: u64,
}

/// Said after each step.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// The last step.
    pub max_steps: u64,
    /// Mean training loss of the step, nats per token.
    pub loss: f64,
    /// Its exponential moving average.
    pub ema_loss: f64,
    /// Lowest loss of a step so far.
    pub best_loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Factor of the loss, and of the gradients before they were unscaled; `None` in f32.
    pub loss_scale: Option<f64>,
    /// Tokens a second over the last steps.
    pub tokens_per_second: f64,
    /// Tokens learnt from since the run began.
    pub tokens_seen: u64,
    /// Seconds of training since the run began.
    pub elapsed_seconds: f64,
    /// Seconds left at this pace.
    pub eta_seconds: f64,
    /// Whether the step was skipped, its loss or gradient not being a number.
    pub skipped: bool,
    /// Seconds of the step in which this process waited for others: for the slower ones, and for what they sent. `None` without others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_seconds: Option<f64>,
}

/// Said after each evaluation.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EvaluationReport {
    /// Steps done.
    pub step: u64,
    /// Mean cross-entropy, nats per token.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Bits per byte of text.
    pub bits_per_byte: f64,
    /// Share of tokens that were the most likely one.
    pub accuracy: f64,
    /// Tokens predicted.
    pub tokens: u64,
    /// Whether the loss is the lowest so far.
    pub is_best: bool,
}

impl EvaluationReport {
    pub(super) fn new(step: u64, metrics: EvalMetrics, is_best: bool) -> Self {
        let EvalMetrics {
            loss,
            perplexity,
            bits_per_byte,
            accuracy,
            tokens,
        } = metrics;
        Self {
            step,
            loss,
            perplexity,
            bits_per_byte,
            accuracy,
            tokens,
            is_best,
        }
    }
}

/// Said after each evaluation, once for each source of the validation text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceReport {
    /// Steps done.
    pub step: u64,
    /// The source.
    pub source: String,
    /// What was found on its tokens.
    #[serde(flatten)]
    pub metrics: EvalMetrics,
}

/// Watches a run. Every method does nothing unless it is overridden.
pub trait TrainObserver {
    /// Before the first step.
    fn on_start(&mut self, _info: &RunInfo) {}
    /// After each step.
    fn on_step(&mut self, _report: &StepReport) {}
    /// After each evaluation.
    fn on_evaluation(&mut self, _report: &EvaluationReport) {}
    /// After each evaluation, for each source of the validation text.
    fn on_source(&mut self, _report: &SourceReport) {}
    /// After each checkpoint, with its folder.
    fn on_checkpoint(&mut self, _path: &Path) {}
}

/// Watches nothing.
impl TrainObserver for () {}
