//! `run.json`: how the run in a folder came about, for whoever finds it later.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ptbr_model::{ArchConfig, TrainingConfig, write_whole_file};
use ptbr_train::Trainer;
use serde::{Deserialize, Serialize};

/// Name of the file in a run's folder.
pub const FILE: &str = "run.json";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// Sizes of the model.
    pub model: ArchConfig,
    /// Hyper-parameters, as of the last start.
    pub training: TrainingConfig,
    /// What is read: the training tokens, then those to judge by.
    pub data: Vec<DataFile>,
    /// The tokenizer that made them.
    pub tokenizer: DataFile,
    /// One for each `train`, `finetune` or `resume`, first to last.
    pub starts: Vec<Start>,
}

/// A file that the run depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// `train`, `validation`, `validation:<source>` or `tokenizer`.
    pub what: String,
    /// Path as it was given; absent when the run got it from elsewhere.
    pub path: Option<String>,
    /// SHA-256: of the tokens, or of the tokenizer.
    pub sha256: String,
}

/// One start of the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// When, UTC: `2026-11-22T18:05:09Z`.
    pub time: String,
    /// The command line, word by word.
    pub command: Vec<String>,
    /// Step from which it went on; 0 for a new run.
    pub step: u64,
    /// The step to reach.
    pub max_steps: u64,
    /// Version of the program.
    pub version: String,
    /// The commit that it was built from; absent when it was not built from a checkout.
    pub revision: Option<String>,
    /// The device that trains.
    pub device: String,
    /// The GPU's driver; absent on the CPU.
    pub driver: Option<String>,
    /// Threads on the CPU.
    pub threads: usize,
    /// Operating system and processor, as Rust calls them.
    pub system: String,
}

/// The version of the program and the commit that it was built from.
pub fn program() -> (&'static str, Option<&'static str>) {
    (env!("CARGO_PKG_VERSION"), option_env!("PTBR_REVISION"))
}

impl RunFile {
    /// Reads the file of a run.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let run = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged", path.display()))?;
        Ok(Some(run))
    }

    /// Adds this start to the file in `folder`, or begins it. A file that cannot be read is replaced: it is a record and nothing hangs on it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(folder: &Path, trainer: &Trainer, tokenizer: Option<&Path>) -> Result<()> {
        let before = Self::read(folder).ok().flatten();
        let state = trainer.state();
        let file = |what: String, path: &str, sha256: String| DataFile {
            what,
            path: Some(path.to_owned()),
            sha256,
        };
        let known = before.as_ref().and_then(|run| run.tokenizer.path.clone());
        let run = Self {
            model: ArchConfig::Rwkv4(trainer.config().clone()),
            training: state.config.clone(),
            data: trainer
                .token_files()
                .into_iter()
                .map(|(what, data)| {
                    let path = data.path().display().to_string();
                    file(what, &path, ptbr_model::hex(&data.data_sha256()))
                })
                .collect(),
            tokenizer: DataFile {
                what: "tokenizer".to_owned(),
                path: tokenizer.map(|path| path.display().to_string()).or(known),
                sha256: state.tokenizer_sha256.clone(),
            },
            starts: before
                .map(|run| run.starts)
                .into_iter()
                .flatten()
                .chain([start(trainer)])
                .collect(),
        };
        let path = folder.join(FILE);
        let mut text = serde_json::to_string_pretty(&run)?;
        text.push('\n');
        write_whole_file(&path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn start(trainer: &Trainer) -> Start {
    let (version, revision) = program();
    let state = trainer.state();
    let adapter = trainer.device().adapter.as_ref();
    Start {
        time: utc(SystemTime::now()),
        command: std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        step: state.step,
        max_steps: state.config.max_steps,
        version: version.to_owned(),
        revision: revision.map(str::to_owned),
        device: trainer.device().name.clone(),
        driver: adapter.map(|adapter| adapter.driver.clone()),
        threads: rayon::current_num_threads(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

/// A moment as ISO 8601 writes it, to the second.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0, so that a leap day ends its year; 400 years have 146,097 days.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on: 31, 30, 31, 30, 31 days, over and over.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = 400 * era + year + carry;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        // By `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_370_709, "2026-11-22T18:05:09Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
