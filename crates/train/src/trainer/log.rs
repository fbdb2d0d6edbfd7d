//! `metrics.csv` and `metrics.jsonl` beside the checkpoints: one row a step, one a validation, one a source of its text. The events of TensorBoard
//! say the same.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::observer::{EvaluationReport, SourceReport, StepReport};
use super::tensorboard::EventFile;
use crate::TrainError;

const COLUMNS: &str = "step,kind,loss,ema_loss,learning_rate,grad_norm,tokens_per_second,tokens_seen,elapsed_seconds,skipped,\
                       perplexity,bits_per_byte,accuracy";

/// The metric files of a run.
pub struct TrainLogger {
    csv: MetricsCsv,
    jsonl: LineFile,
    events: EventFile,
}

/// `metrics.csv`: the columns above; cells that a kind of row does not have are empty.
pub struct MetricsCsv(LineFile);

/// A file that only grows, a line at a time.
struct LineFile {
    path: PathBuf,
    file: File,
}

impl LineFile {
    /// Opens `path`, keeping the lines that `keep` accepts: rows after the checkpoint that a run resumes from will be written again.
    fn open(path: PathBuf, keep: &dyn Fn(&str) -> bool) -> Result<Self, TrainError> {
        let failed = |source| TrainError::Log {
            path: path.clone(),
            source,
        };
        if path.exists() {
            let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
            rewrite(&path, &temporary, keep).map_err(failed)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        Ok(Self { path, file })
    }

    fn line(&mut self, line: &str) -> Result<(), TrainError> {
        // One write a line: a killed run leaves whole lines, but for the last.
        let result = self.file.write_all(format!("{line}\n").as_bytes());
        result.map_err(|source| TrainError::Log {
            path: self.path.clone(),
            source,
        })
    }
}

fn rewrite(path: &Path, temporary: &Path, keep: &dyn Fn(&str) -> bool) -> io::Result<()> {
    let mut kept = File::create(temporary)?;
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        if keep(&line) {
            writeln!(kept, "{line}")?;
        }
    }
    kept.sync_all()?;
    fs::rename(temporary, path)
}

impl MetricsCsv {
    fn open(folder: &Path, step: u64) -> Result<Self, TrainError> {
        let keep = move |line: &str| {
            line.split(',')
                .next()
                .is_some_and(|first| first.parse::<u64>().is_ok_and(|s| s <= step))
        };
        let mut file = LineFile::open(folder.join("metrics.csv"), &|line| {
            line == COLUMNS || keep(line)
        })?;
        let empty = file.file.metadata().is_ok_and(|m| m.len() == 0);
        if empty {
            file.line(COLUMNS)?;
        }
        Ok(Self(file))
    }

    fn step(&mut self, r: &StepReport) -> Result<(), TrainError> {
        self.0.line(&format!(
            "{},train,{},{},{},{},{:.1},{},{:.3},{},,,",
            r.step,
            r.loss,
            r.ema_loss,
            r.learning_rate,
            r.grad_norm,
            r.tokens_per_second,
            r.tokens_seen,
            r.elapsed_seconds,
            u8::from(r.skipped)
        ))
    }

    fn evaluation(
        &mut self,
        r: &EvaluationReport,
        tokens_seen: u64,
        elapsed: f64,
    ) -> Result<(), TrainError> {
        self.0.line(&format!(
            "{},validation,{},,,,,{tokens_seen},{elapsed:.3},,{},{},{}",
            r.step, r.loss, r.perplexity, r.bits_per_byte, r.accuracy
        ))
    }

    fn source(
        &mut self,
        r: &SourceReport,
        tokens_seen: u64,
        elapsed: f64,
    ) -> Result<(), TrainError> {
        let m = &r.metrics;
        self.0.line(&format!(
            "{},{},{},,,,,{tokens_seen},{elapsed:.3},,{},{},{}",
            r.step,
            kind_of(r),
            m.loss,
            m.perplexity,
            m.bits_per_byte,
            m.accuracy
        ))
    }
}

/// The kind of a source's row.
fn kind_of(report: &SourceReport) -> String {
    format!("validation:{}", report.source)
}

impl TrainLogger {
    /// Opens the files in `folder`; rows of steps after `step` are dropped.
    pub fn open(folder: &Path, step: u64) -> Result<Self, TrainError> {
        let keep = move |line: &str| {
            let value = serde_json::from_str::<serde_json::Value>(line);
            value.is_ok_and(|v| v["step"].as_u64().is_some_and(|s| s <= step))
        };
        Ok(Self {
            csv: MetricsCsv::open(folder, step)?,
            jsonl: LineFile::open(folder.join("metrics.jsonl"), &keep)?,
            events: EventFile::create(folder, step)?,
        })
    }

    /// Writes the row of a step.
    pub fn step(&mut self, report: &StepReport) -> Result<(), TrainError> {
        self.csv.step(report)?;
        self.events.step(report)?;
        self.jsonl.line(&tagged("train", json!(report)).to_string())
    }

    /// Writes the row of an evaluation.
    pub fn evaluation(
        &mut self,
        report: &EvaluationReport,
        tokens_seen: u64,
        elapsed: f64,
    ) -> Result<(), TrainError> {
        self.csv.evaluation(report, tokens_seen, elapsed)?;
        self.events.evaluation(report)?;
        let mut row = tagged("validation", json!(report));
        row["tokens_seen"] = json!(tokens_seen);
        row["elapsed_seconds"] = json!(elapsed);
        self.jsonl.line(&row.to_string())
    }

    /// Writes the row of a source.
    pub fn source(
        &mut self,
        report: &SourceReport,
        tokens_seen: u64,
        elapsed: f64,
    ) -> Result<(), TrainError> {
        self.csv.source(report, tokens_seen, elapsed)?;
        self.events.source(report)?;
        let mut row = tagged(&kind_of(report), json!(report));
        row["tokens_seen"] = json!(tokens_seen);
        row["elapsed_seconds"] = json!(elapsed);
        self.jsonl.line(&row.to_string())
    }
}

fn tagged(kind: &str, mut row: serde_json::Value) -> serde_json::Value {
    row["kind"] = json!(kind);
    row
}
