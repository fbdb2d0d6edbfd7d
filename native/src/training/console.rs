//! What is shown of a training run: a bar, a line now and then, and text from each checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ptbr_runtime::{Model, SamplerConfig};
use ptbr_train::{EvaluationReport, RunInfo, StepReport, TrainObserver};

use crate::commands::generate;
use crate::ui::{self, Ui};

/// The text that each checkpoint writes.
#[derive(Debug, Clone)]
pub struct SampleText {
    /// What it goes on from.
    pub prompt: String,
    /// How many tokens; 0 writes none.
    pub tokens: usize,
}

/// The flags that choose the sample text.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sample text")]
pub struct SampleFlags {
    /// Each checkpoint goes on from this text
    #[arg(long, value_name = "TEXT", default_value = "O Brasil é")]
    pub sample_prompt: String,
    /// Tokens that each checkpoint writes; 0 writes none
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub sample_tokens: usize,
}

impl SampleFlags {
    /// What the flags ask for.
    pub fn sample(&self) -> SampleText {
        SampleText {
            prompt: self.sample_prompt.clone(),
            tokens: self.sample_tokens,
        }
    }
}

/// Prints a training run.
pub struct Console {
    ui: Ui,
    sample: SampleText,
    log_every: u64,
    bar: ProgressBar,
    checkpoints: Vec<PathBuf>,
}

impl Console {
    /// A printer that logs every `log_every` steps (0: never).
    pub fn new(ui: Ui, sample: SampleText, log_every: u64) -> Self {
        Self {
            ui,
            sample,
            log_every,
            bar: ui.count_bar(0, "training"),
            checkpoints: Vec::new(),
        }
    }

    /// The last checkpoint that was saved.
    pub fn last_checkpoint(&self) -> Option<&Path> {
        self.checkpoints.last().map(PathBuf::as_path)
    }

    /// Takes the bar away: before anything else is printed, and at the end.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// A line above the bar.
    fn say(&self, text: &str) {
        let ui = self.ui;
        // A closed stdout is noticed by the command itself at its next line; training does not stop for it.
        self.bar.suspend(|| ui.line(text).ok());
    }
}

impl TrainObserver for Console {
    fn on_start(&mut self, info: &RunInfo) {
        self.bar.set_length(info.max_steps);
        self.bar.set_position(info.step);
        if let Ok(style) =
            ProgressStyle::with_template("{msg} {wide_bar} step {human_pos}/{human_len}")
        {
            self.bar.set_style(style.progress_chars("=> "));
        }
    }

    fn on_step(&mut self, step: &StepReport) {
        self.bar.set_position(step.step);
        let eta = ui::duration(Duration::from_secs_f64(step.eta_seconds.max(0.0)));
        self.bar.set_message(format!(
            "loss {:.3}  {} tok/s  {eta} left",
            step.ema_loss,
            ui::thousands(step.tokens_per_second as u64)
        ));
        if step.skipped {
            self.say(&format!(
                "step {}: the gradient is not a number; skipped",
                step.step
            ));
        } else if self.log_every > 0
            && (step.step.is_multiple_of(self.log_every) || step.step == step.max_steps)
        {
            self.say(&format!(
                "step {:>6}/{}  loss {:.4}  mean {:.4}  lr {:.2e}  gradient {:.3}  {} tok/s  {eta} left",
                step.step,
                step.max_steps,
                step.loss,
                step.ema_loss,
                step.learning_rate,
                step.grad_norm,
                ui::thousands(step.tokens_per_second as u64),
            ));
        }
    }

    fn on_evaluation(&mut self, report: &EvaluationReport) {
        self.say(&format!(
            "step {:>6}  validation: loss {:.4}  perplexity {:.2}  bits per byte {:.4}  accuracy {:.1} %{}",
            report.step,
            report.loss,
            report.perplexity,
            report.bits_per_byte,
            100.0 * report.accuracy,
            if report.is_best { "  (best so far)" } else { "" }
        ));
    }

    fn on_checkpoint(&mut self, path: &Path) {
        self.say(&format!("saved {}", path.display()));
        self.checkpoints.push(path.to_owned());
        if self.sample.tokens == 0 || self.ui.is_silent() {
            return;
        }
        // A sample is a courtesy: training goes on when there is none.
        match sample(path, &self.sample) {
            Ok(text) => self.say(&format!(
                "  “{}{}”",
                self.sample.prompt,
                text.replace('\n', " / ")
            )),
            Err(error) => self.say(&format!("  no sample text: {error:#}")),
        }
    }
}

fn sample(checkpoint: &Path, sample: &SampleText) -> anyhow::Result<String> {
    let model: Arc<Model> = Model::load(checkpoint)?;
    let mut text = String::new();
    generate::continue_text(
        &model,
        &sample.prompt,
        sample.tokens,
        SamplerConfig::default(),
        &mut |piece| {
            text.push_str(piece);
            Ok(())
        },
    )?;
    Ok(text)
}
