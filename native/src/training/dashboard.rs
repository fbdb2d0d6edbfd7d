//! The state of a run at a glance: a few lines that are written anew in place.

use std::path::Path;
use std::time::Duration;

use ptbr_train::{EvaluationReport, SourceReport, StepReport};

use crate::chart::{self, Chart, Glyphs, Series, Size};
use crate::ui;

/// Points of the loss curve at most: more than a terminal shows.
const POINTS: usize = 512;

/// Lines of the curve.
const ROWS: usize = 7;

/// Terminals with fewer lines than this get no curve: it would leave no room for what is said above.
const FEW_LINES: usize = 20;

/// Everything that is shown.
#[derive(Debug)]
pub struct Dashboard {
    glyphs: Glyphs,
    losses: History,
    last: Option<StepReport>,
    validation: Option<EvaluationReport>,
    /// Step and loss of the best validation.
    best: Option<(u64, f64)>,
    sources: Vec<(String, f64)>,
    sample: String,
    checkpoint: String,
    /// Bytes that the process holds, where the system says.
    pub memory: Option<u64>,
}

impl Dashboard {
    /// Nothing seen yet; drawn with `glyphs`.
    pub fn new(glyphs: Glyphs) -> Self {
        Self {
            glyphs,
            losses: History::default(),
            last: None,
            validation: None,
            best: None,
            sources: Vec::new(),
            sample: String::new(),
            checkpoint: String::new(),
            memory: None,
        }
    }

    /// A step was taken.
    pub fn step(&mut self, report: &StepReport) {
        if !report.skipped {
            self.losses.add(report.step as f64, report.loss);
        }
        self.last = Some(*report);
    }

    /// The model was judged.
    pub fn evaluation(&mut self, report: &EvaluationReport) {
        if report.is_best {
            self.best = Some((report.step, report.loss));
        }
        self.validation = Some(*report);
        self.sources.clear();
    }

    /// The model was judged by one source.
    pub fn source(&mut self, report: &SourceReport) {
        self.sources
            .push((report.source.clone(), report.metrics.loss));
    }

    /// A checkpoint was written.
    pub fn checkpoint(&mut self, path: &Path) {
        let name = path.file_name().unwrap_or_default();
        self.checkpoint = name.to_string_lossy().into_owned();
    }

    /// The last checkpoint wrote this.
    pub fn sample(&mut self, text: String) {
        self.sample = text;
    }

    /// The lines for a terminal of this size, each narrower than it.
    pub fn lines(&self, (rows, columns): (usize, usize)) -> Vec<String> {
        let Some(step) = &self.last else {
            return Vec::new();
        };
        // The last column stays free: some terminals break the line when it is written to.
        let columns = columns.saturating_sub(1);
        let mut out = flowed(&self.progress(step), columns);
        if rows >= FEW_LINES && self.losses.points.len() > 1 {
            let size = Size {
                columns,
                rows: ROWS,
            };
            out.extend(chart::draw(&self.curve(), size, self.glyphs));
        }
        out.extend(flowed(&self.figures(step), columns));
        out.extend(flowed(&self.judged(), columns));
        if !self.sample.is_empty() {
            out.push(chart::cut(&self.sample, columns));
        }
        out
    }

    fn curve(&self) -> Chart {
        Chart {
            series: vec![Series {
                points: self.losses.points.clone(),
                ..Series::default()
            }],
            ..Chart::default()
        }
    }

    fn progress(&self, step: &StepReport) -> Vec<String> {
        let share = 100.0 * step.step as f64 / step.max_steps.max(1) as f64;
        let time = |seconds: f64| ui::duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        vec![
            format!(
                "step {} of {} ({share:.0} %)",
                ui::thousands(step.step),
                ui::thousands(step.max_steps)
            ),
            format!("{} gone", time(step.elapsed_seconds)),
            format!("{} left", time(step.eta_seconds)),
        ]
    }

    fn figures(&self, step: &StepReport) -> Vec<String> {
        let speed = ui::thousands(step.tokens_per_second as u64);
        let mut figures = vec![
            format!("loss {:.4}", step.loss),
            format!("mean {:.4}", step.ema_loss),
            format!("lr {:.2e}", step.learning_rate),
            format!("gradient {:.3}", step.grad_norm),
            format!("{speed} tok/s"),
        ];
        figures.extend(
            self.memory
                .map(|bytes| format!("memory {}", ui::bytes(bytes))),
        );
        figures
    }

    fn judged(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if let Some(report) = &self.validation {
            parts.push(format!(
                "validation {:.4} at step {}",
                report.loss,
                ui::thousands(report.step)
            ));
            parts.push(format!("{:.4} bits per byte", report.bits_per_byte));
        }
        if let Some((step, loss)) = self.best.filter(|best| {
            let last = self.validation.map(|report| report.step);
            last != Some(best.0)
        }) {
            parts.push(format!("best {loss:.4} at {}", ui::thousands(step)));
        }
        let source = |(name, loss): &(String, f64)| format!("{name} {loss:.4}");
        parts.extend(self.sources.iter().map(source));
        if !self.checkpoint.is_empty() {
            parts.push(format!("saved {}", self.checkpoint));
        }
        parts
    }
}

/// The parts one after another, in as few lines as fit.
fn flowed(parts: &[String], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let part = chart::cut(part, columns);
        let fits = |line: &&mut String| {
            console::measure_text_width(line) + 3 + console::measure_text_width(&part) <= columns
        };
        match lines.last_mut().filter(fits) {
            Some(line) => {
                line.push_str("   ");
                line.push_str(&part);
            }
            None => lines.push(part),
        }
    }
    lines
}

/// Losses over steps; when there are many, each point is the mean of as many steps.
#[derive(Debug)]
struct History {
    points: Vec<(f64, f64)>,
    /// Steps to a point.
    every: usize,
    pending: (usize, f64),
}

impl Default for History {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            every: 1,
            pending: (0, 0.0),
        }
    }
}

impl History {
    fn add(&mut self, step: f64, loss: f64) {
        self.pending = (self.pending.0 + 1, self.pending.1 + loss);
        if self.pending.0 < self.every {
            return;
        }
        self.points.push((step, self.pending.1 / self.every as f64));
        self.pending = (0, 0.0);
        if self.points.len() >= POINTS {
            let mean = |pair: &[(f64, f64)]| {
                Some((pair.last()?.0, (pair.first()?.1 + pair.last()?.1) / 2.0))
            };
            self.points = self.points.chunks_exact(2).filter_map(mean).collect();
            self.every *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> StepReport {
        StepReport {
            step,
            max_steps: 12_345,
            loss: 7.7 - step as f64 / 2000.0,
            ema_loss: 5.25,
            best_loss: 4.0,
            learning_rate: 3e-4,
            grad_norm: 1.25,
            loss_scale: None,
            tokens_per_second: 16_012.0,
            tokens_seen: 99,
            elapsed_seconds: 65.0,
            eta_seconds: 3725.0,
            skipped: false,
            waited_seconds: None,
        }
    }

    fn full() -> Dashboard {
        let mut board = Dashboard::new(Glyphs::Braille);
        (1..=3000).for_each(|i| board.step(&step(i)));
        board.memory = Some(190 << 20);
        board.checkpoint(Path::new("run/step-002000"));
        board.sample(
            "“O Brasil é um país 日本 de muitas águas e de muita gente que anda por elas”"
                .to_owned(),
        );
        board
    }

    #[test]
    fn every_line_is_narrower_than_the_terminal() {
        for columns in 1..130 {
            for rows in [5, 24, 50] {
                for line in full().lines((rows, columns)) {
                    let width = console::measure_text_width(&line);
                    assert!(width < columns.max(2), "{width} of {columns}: {line}");
                }
            }
        }
    }

    #[test]
    fn everything_is_there_at_80_columns() {
        let shown = full().lines((24, 80)).join("\n");
        for part in [
            "step 3,000 of 12,345 (24 %)",
            "1 h 02 min left",
            "loss 6.2000",
            "lr 3.00e-4",
            "gradient 1.250",
            "16,012 tok/s",
            "memory 190.0 MiB",
            "saved step-002000",
            "O Brasil é",
        ] {
            assert!(shown.contains(part), "{part} is missing:\n{shown}");
        }
        assert!(full().lines((24, 80)).len() <= 14, "{shown}");
        assert!(
            !full().lines((10, 80)).join("").contains('│'),
            "no room for a curve"
        );
    }

    #[test]
    fn a_long_history_keeps_its_means() {
        let mut history = History::default();
        (0..100_000).for_each(|i| history.add(f64::from(i), f64::from(i % 2)));
        assert!(history.points.len() < POINTS && history.points.len() >= POINTS / 4);
        assert!(history.points.iter().all(|point| point.1 == 0.5));
    }
}
