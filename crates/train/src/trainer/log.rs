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
                       perplexity,bits_per_byte,accuracy,loss_scale";

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
    /// Opens `path`, which begins with `header` and goes on with the lines that `keep` accepts: rows after the checkpoint that a run
    /// resumes from will be written again.
    fn open(
        path: PathBuf,
        header: &str,
        keep: &dyn Fn(String) -> Option<String>,
    ) -> Result<Self, TrainError> {
        let failed = |source| TrainError::Log {
            path: path.clone(),
            source,
        };
        let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
        rewrite(&path, &temporary, header, keep).map_err(failed)?;
        let file = OpenOptions::new()
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

fn rewrite(
    path: &Path,
    temporary: &Path,
    header: &str,
    keep: &dyn Fn(String) -> Option<String>,
) -> io::Result<()> {
    let mut kept = File::create(temporary)?;
    kept.write_all(header.as_bytes())?;
    let lines = match File::open(path) {
        Ok(file) => Some(BufReader::new(file).lines()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    for line in lines.into_iter().flatten() {
        if let Some(line) = keep(line?) {
            writeln!(kept, "{line}")?;
        }
    }
    kept.sync_all()?;
    fs::rename(temporary, path)
}

impl MetricsCsv {
    fn open(folder: &Path, step: u64) -> Result<Self, TrainError> {
        let columns = COLUMNS.matches(',').count();
        // Rows of a version that had fewer columns get empty cells.
        let keep = |mut row: String| {
            let of = row.split(',').next()?.parse::<u64>().ok()?;
            let missing = columns.saturating_sub(row.matches(',').count());
            row.push_str(&",".repeat(missing));
            (of <= step).then_some(row)
        };
        let path = folder.join("metrics.csv");
        LineFile::open(path, &format!("{COLUMNS}\n"), &keep).map(Self)
    }

    fn step(&mut self, r: &StepReport) -> Result<(), TrainError> {
        self.0.line(&format!(
            "{},train,{},{},{},{},{:.1},{},{:.3},{},,,,{}",
            r.step,
            r.loss,
            r.ema_loss,
            r.learning_rate,
            r.grad_norm,
            r.tokens_per_second,
            r.tokens_seen,
            r.elapsed_seconds,
            u8::from(r.skipped),
            r.loss_scale
                .map_or_else(String::new, |scale| scale.to_string())
        ))
    }

    fn evaluation(
        &mut self,
        r: &EvaluationReport,
        tokens_seen: u64,
        elapsed: f64,
    ) -> Result<(), TrainError> {
        self.0.line(&format!(
            "{},validation,{},,,,,{tokens_seen},{elapsed:.3},,{},{},{},",
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
            "{},{},{},,,,,{tokens_seen},{elapsed:.3},,{},{},{},",
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
        let keep = |line: String| {
            let row = serde_json::from_str::<serde_json::Value>(&line).ok()?;
            (row["step"].as_u64()? <= step).then_some(line)
        };
        Ok(Self {
            csv: MetricsCsv::open(folder, step)?,
            jsonl: LineFile::open(folder.join("metrics.jsonl"), "", &keep)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_an_older_version_goes_on_under_todays_columns() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.csv");
        let old = COLUMNS.rsplit_once(',').expect("columns").0;
        let rows = [
            "1,train,2,2,1,1,9,8,0.1,0,,,",
            "2,train,3,2,1,1,9,16,0.2,0,,,",
        ];
        fs::write(&path, format!("{old}\n{}\n{}\n", rows[0], rows[1])).expect("written");
        let mut csv = MetricsCsv::open(folder.path(), 1).expect("opened");
        csv.0.line("2,train").expect("written");
        let found = fs::read_to_string(&path).expect("read");
        assert_eq!(found, format!("{COLUMNS}\n{},\n2,train\n", rows[0]));
    }
}
