//! What is shown of a training run: a dashboard in a terminal; otherwise a line now and then, and text from each checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ptbr_runtime::{Model, SamplerConfig};
use ptbr_train::{EvaluationReport, RunInfo, SourceReport, StepReport, TrainObserver};

use super::dashboard::Dashboard;
use super::screen::Screen;
use crate::commands::generate;
use crate::memory;
use crate::ui::{self, Ui};

/// How often the dashboard is drawn at most.
const REDRAW: Duration = Duration::from_millis(150);

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

/// How a run is shown.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Display")]
pub struct DisplayFlags {
    /// Lines instead of the dashboard, as where the output is no terminal
    #[arg(long)]
    pub plain: bool,
}

/// Prints a training run.
pub struct Console {
    ui: Ui,
    sample: SampleText,
    log_every: u64,
    screen: Screen,
    bar: ProgressBar,
    /// None where lines are printed.
    dashboard: Option<Dashboard>,
    drawn: Option<Instant>,
    checkpoints: Vec<PathBuf>,
}

impl Console {
    /// A printer on `screen`: of a dashboard where that is possible and not `plain`, else of a line every `log_every` steps (0: never).
    pub fn new(ui: Ui, screen: &Screen, sample: SampleText, log_every: u64, plain: bool) -> Self {
        Self {
            ui,
            sample,
            log_every,
            screen: screen.clone(),
            bar: screen.bar(),
            dashboard: (!plain && ui.can_redraw()).then(|| Dashboard::new(ui.plane().1)),
            drawn: None,
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
        self.screen.clear();
        // What the dashboard showed last is worth keeping.
        if let Some(dashboard) = &self.dashboard {
            for line in dashboard.lines(ui::terminal_size()) {
                self.say(&line);
            }
        }
    }

    /// A remark on stderr, above the bar.
    pub fn note(&self, text: &str) {
        self.screen.above(|| self.ui.note(text));
    }

    /// A line above the bar.
    fn say(&self, text: &str) {
        let ui = self.ui;
        // A closed stdout is noticed by the command itself at its next line; training does not stop for it.
        self.screen.above(|| {
            let _ = ui.line(text);
        });
    }

    /// Draws the dashboard, if there is one and it was not drawn a moment ago.
    fn draw(&mut self, now: bool) {
        let Some(dashboard) = &mut self.dashboard else {
            return;
        };
        if now || self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            dashboard.memory = memory::resident();
            self.screen.show(dashboard.lines(ui::terminal_size()));
            self.drawn = Some(Instant::now());
        }
    }

    fn line_of_step(&self, step: &StepReport) {
        self.bar.set_position(step.step);
        let eta = ui::duration(Duration::from_secs_f64(step.eta_seconds.max(0.0)));
        self.bar.set_message(format!(
            "loss {:.3}  {} tok/s  {eta} left",
            step.ema_loss,
            ui::thousands(step.tokens_per_second as u64)
        ));
        let due = self.log_every > 0
            && (step.step.is_multiple_of(self.log_every) || step.step == step.max_steps);
        if due && !step.skipped {
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
}

impl TrainObserver for Console {
    fn on_start(&mut self, info: &RunInfo) {
        if self.dashboard.is_some() {
            return;
        }
        self.bar.set_length(info.max_steps);
        self.bar.set_position(info.step);
        let template = "{msg} {wide_bar} step {human_pos}/{human_len}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
    }

    fn on_step(&mut self, step: &StepReport) {
        if step.skipped {
            self.say(&match step.loss_scale {
                Some(scale) => format!(
                    "step {}: the gradient overflows at the loss scale {}; skipped",
                    step.step,
                    ui::thousands(scale as u64)
                ),
                None => format!("step {}: the gradient is not a number; skipped", step.step),
            });
        }
        match &mut self.dashboard {
            Some(dashboard) => dashboard.step(step),
            None => self.line_of_step(step),
        }
        self.draw(step.step == step.max_steps);
    }

    fn on_evaluation(&mut self, report: &EvaluationReport) {
        if let Some(dashboard) = &mut self.dashboard {
            dashboard.evaluation(report);
            return self.draw(true);
        }
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

    fn on_source(&mut self, report: &SourceReport) {
        if let Some(dashboard) = &mut self.dashboard {
            dashboard.source(report);
            return self.draw(true);
        }
        self.say(&format!(
            "step {:>6}    {}: loss {:.4}  bits per byte {:.4}",
            report.step, report.source, report.metrics.loss, report.metrics.bits_per_byte
        ));
    }

    fn on_checkpoint(&mut self, path: &Path) {
        self.checkpoints.push(path.to_owned());
        match &mut self.dashboard {
            Some(dashboard) => dashboard.checkpoint(path),
            None => self.say(&format!("saved {}", path.display())),
        }
        if self.sample.tokens > 0 && !self.ui.is_silent() {
            // A sample is a courtesy: training goes on when there is none.
            let text = match sample(path, &self.sample) {
                Ok(text) => format!("“{}{}”", self.sample.prompt, text.replace('\n', " / ")),
                Err(error) => format!("no sample text: {error:#}"),
            };
            match &mut self.dashboard {
                Some(dashboard) => dashboard.sample(printable(&text)),
                None => self.say(&format!("  {text}")),
            }
        }
        self.draw(true);
    }
}

/// `text` without what would move the cursor.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
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
