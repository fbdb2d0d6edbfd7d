//! `plot`: the curves of training runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args as ClapArgs, ValueEnum};
use ptbr_model::write_whole_file;
use ptbr_train::Smoothed;
use serde_json::json;

use crate::Outcome;
use crate::chart::{self, Chart, Series};
use crate::options::Common;
use crate::training::metrics::{Column, Rows};

/// Draw the curves of training runs
///
/// Reads the metrics.csv of each run, draws them into the terminal and, with --output, into an SVG file.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm plot run\n  ptbr-slm plot run-1 run-2 --metric validation --x tokens --output curves.svg"
)]
pub struct Args {
    /// Training output folders, or metrics.csv files
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The SVG file
    #[arg(long, value_name = "FILE.svg")]
    pub output: Option<PathBuf>,
    /// What to draw
    #[arg(long, value_enum, default_value_t = Metric::Loss)]
    pub metric: Metric,
    /// Over what
    #[arg(long, value_enum, default_value_t = Over::Steps)]
    pub x: Over,
    /// Weight of the past in a moving average, from 0 (the values themselves) to below 1 [default: 0.9 for the loss, 0 otherwise]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub smooth: Option<f64>,
    #[command(flatten)]
    common: Common,
}

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Training loss, nats a token
    Loss,
    /// Validation loss, nats a token, of each source too
    Validation,
    /// Learning rate
    LearningRate,
    /// Norm of the gradient before clipping
    GradNorm,
    /// Tokens a second
    TokensPerSecond,
}

/// What it is drawn over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Over {
    /// Optimizer steps
    Steps,
    /// Tokens learnt from
    Tokens,
    /// Hours of training
    Hours,
}

impl Metric {
    fn label(self) -> &'static str {
        match self {
            Self::Loss => "training loss (nats a token)",
            Self::Validation => "validation loss (nats a token)",
            Self::LearningRate => "learning rate",
            Self::GradNorm => "norm of the gradient",
            Self::TokensPerSecond => "tokens a second",
        }
    }

    fn column(self) -> Column {
        match self {
            Self::Loss | Self::Validation => Column::Loss,
            Self::LearningRate => Column::LearningRate,
            Self::GradNorm => Column::GradNorm,
            Self::TokensPerSecond => Column::TokensPerSecond,
        }
    }
}

impl Over {
    fn label(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Tokens => "tokens",
            Self::Hours => "hours",
        }
    }

    /// The column, and what one of its units is worth.
    fn column(self) -> (Column, f64) {
        match self {
            Self::Steps => (Column::Step, 1.0),
            Self::Tokens => (Column::TokensSeen, 1.0),
            Self::Hours => (Column::ElapsedSeconds, 1.0 / 3600.0),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When a run has no metrics, none of this kind, or the file cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let smooth = args.smooth.unwrap_or(match args.metric {
        Metric::Loss => 0.9,
        _ => 0.0,
    });
    ensure!(
        (0.0..1.0).contains(&smooth),
        "--smooth is {smooth}: it must be at least 0 and below 1"
    );
    let mut series = Vec::new();
    for (run, name) in args.runs.iter().zip(names(&args.runs)) {
        series.extend(curves(run, &name, args, smooth)?);
    }
    let chart = Chart {
        title: match args.runs.as_slice() {
            [_] => series.first().map(|s| s.name.clone()).unwrap_or_default(),
            _ => args.metric.label().to_owned(),
        },
        x_label: args.x.label().to_owned(),
        y_label: args.metric.label().to_owned(),
        series,
        ..Chart::default()
    };
    let (size, glyphs) = ui.plane();
    for line in chart::draw(&chart, size, glyphs) {
        ui.line(line)?;
    }
    if let Some(path) = &args.output {
        write_whole_file(path, chart::svg(&chart).as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        ui.line(format!("drawn into {}", path.display()))?;
    }
    let curve = |series: &Series| {
        let last = series.points.last();
        json!({ "name": series.name, "points": series.points.len(), "last": last.map(|p| [p.0, p.1]) })
    };
    ui.result(&json!({
        "output": args.output,
        "curves": chart.series.iter().map(curve).collect::<Vec<_>>(),
    }))?;
    Ok(Outcome::Done)
}

/// The curves of one run: one, or with sources one more for each.
fn curves(run: &Path, name: &str, args: &Args, smooth: f64) -> Result<Vec<Series>> {
    let rows = Rows::read(run)?;
    let (x, unit) = args.x.column();
    let kinds: Vec<String> = match args.metric {
        Metric::Validation => rows.validation_kinds(),
        _ => vec!["train".to_owned()],
    };
    let mut found = Vec::new();
    for kind in kinds {
        let mut average = Smoothed::new(smooth);
        let points: Vec<(f64, f64)> = rows
            .values(&kind, x, args.metric.column())
            .map(|(x, y)| (x * unit, if y.is_finite() { average.add(y) } else { y }))
            .collect();
        let source = kind.split_once(':').map(|(_, source)| source);
        found.push(Series {
            name: source.map_or_else(|| name.to_owned(), |source| format!("{name} {source}")),
            points,
        });
    }
    found.retain(|series| !series.points.is_empty());
    if found.is_empty() {
        let what = args.metric.label();
        bail!("{} has no {what} yet", run.display());
    }
    Ok(found)
}

/// A short name for each run: its last folder, or, where two would be called the same, its path.
fn names(runs: &[PathBuf]) -> Vec<String> {
    let short = |run: &PathBuf| {
        let folder = if run.is_file() { run.parent() } else { None };
        let named = folder.unwrap_or(run).file_name();
        named.map_or_else(
            || run.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        )
    };
    let shorts: Vec<String> = runs.iter().map(short).collect();
    let twice = |name: &String| shorts.iter().filter(|other| *other == name).count() > 1;
    runs.iter()
        .zip(&shorts)
        .map(|(run, name)| {
            if twice(name) {
                run.display().to_string()
            } else {
                name.clone()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_called_by_their_folders_unless_two_share_a_name() {
        let names = |runs: &[&str]| names(&runs.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["a/one", "b/two/"]), ["one", "two"]);
        assert_eq!(names(&["a/run", "b/run", "c"]), ["a/run", "b/run", "c"]);
        assert_eq!(names(&["/"]), ["/"]);
    }
}
