//! From sources to token files: dumps and files are read, filtered, deduplicated, split, tokenized. Every stage is kept under the hash of what it depends on, so
//! a build that was killed goes on where it was, and one whose configuration changed does only what that changes.

mod config;
mod dedup;
mod filter;
mod filter_corpus;
mod stage;
mod steps;
mod tokens;

pub use config::{BuildConfig, SplitOptions, TokenizerChoice};
pub use dedup::DedupCounts;
pub use filter::FilterCounts;
pub use filter_corpus::{FilterOptions, FilterSummary, filter_corpus};
pub use tokens::TokenFile;

pub(crate) use filter::draw;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ptbr_model::{CheckpointError, OutputLock, Split};
use ptbr_tokenizer::BpeTokenizer;
use serde::Serialize;

use crate::error::CorpusError;
use steps::Build;

/// Where a build is and how much it has read in its stage, bytes.
#[derive(Debug, Clone, Copy)]
pub struct BuildProgress<'a> {
    /// "read ptwiki", "filter ptwiki", "deduplicate", "tokenizer", "train.bin", …
    pub stage: &'a str,
    /// Bytes read in it so far.
    pub done: u64,
    /// Bytes that there are to read; 0 where that is not known.
    pub total: u64,
}

/// How and where a corpus is built.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The folder below which the sources are, instead of the configuration's.
    pub root: Option<PathBuf>,
    /// A `tokenizer.json` instead of the configuration's.
    pub tokenizer: Option<PathBuf>,
    /// Where stages are kept; without one `cache` in the output folder.
    pub cache: Option<PathBuf>,
}

/// A stage of a build, for the summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageSummary {
    /// What it was.
    pub stage: String,
    /// It was done before, by a build with the same input.
    pub cached: bool,
    /// Wall time, seconds; 0 when it was cached.
    pub seconds: f64,
}

/// What [`build_dataset`] did, also `build.json` in the output folder.
#[derive(Debug, Clone, Serialize)]
pub struct BuildSummary {
    /// The output folder.
    pub output: PathBuf,
    /// What the filters did, by source.
    pub filters: BTreeMap<String, FilterCounts>,
    /// What deduplication did, by source.
    pub dedup: BTreeMap<String, DedupCounts>,
    /// The tokenizer's file.
    pub tokenizer: PathBuf,
    /// SHA-256 of the tokenizer.
    pub tokenizer_sha256: String,
    /// Token files, in the order in which they were written.
    pub files: Vec<TokenFile>,
    /// The stages, in their order.
    pub stages: Vec<StageSummary>,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// Builds the corpus of `config` into `output`: `train.bin`, `val.bin`, `val-<source>.bin`, `tokenizer.json`, `removed.jsonl` (which document removed which),
/// `rejects/<source>.jsonl` (samples of what the filters dropped) and `build.json`.
///
/// # Errors
/// When a source is missing or cannot be read, a dump ends early, nothing is left to train on, another build writes into the folder, or an output cannot be
/// written. Finished stages are kept.
pub fn build_dataset(
    config: &BuildConfig,
    output: &Path,
    options: &BuildOptions,
    progress: &mut dyn FnMut(&BuildProgress<'_>),
) -> Result<BuildSummary, CorpusError> {
    let start = Instant::now();
    let root = options.root.as_ref().or(config.root.as_ref());
    let Some(root) = root else {
        return Err(CorpusError::NoRoot);
    };
    let _lock = OutputLock::acquire(output).map_err(|error| match error {
        CheckpointError::Locked { path } => CorpusError::Busy { path },
        other => CorpusError::Output(Box::new(other)),
    })?;
    let mut build = Build {
        config,
        root,
        cache: options
            .cache
            .clone()
            .unwrap_or_else(|| output.join("cache")),
        stages: Vec::new(),
        progress,
    };
    let mut filtered = BTreeMap::new();
    for source in &config.sources {
        let dumps = build.read_dumps(source)?;
        filtered.insert(source.name.clone(), build.filter(source, &dumps)?);
    }
    let left = build.deduplicate(&filtered)?;
    let parts = build.parts(&left, Split::Train);
    if left
        .result
        .values()
        .map(|counts| counts.kept_bytes)
        .sum::<u64>()
        == 0
        || parts.is_empty()
    {
        return Err(CorpusError::NothingLeft(output.to_owned()));
    }
    let chosen = options
        .tokenizer
        .as_ref()
        .or(config.tokenizer.path.as_ref());
    let tokenizer = match chosen {
        Some(path) => BpeTokenizer::from_file(path)?,
        None => build.tokenizer(&left, &parts)?,
    };
    let tokenizer_path = output.join("tokenizer.json");
    tokenizer.save(&tokenizer_path)?;
    let files = build.token_files(&left, &tokenizer, output)?;
    for (name, done) in &filtered {
        copy(
            &done.path(filter::REJECTS),
            &output.join("rejects").join(format!("{name}.jsonl")),
        )?;
    }
    copy(&left.path(dedup::REMOVED), &output.join(dedup::REMOVED))?;
    let summary = BuildSummary {
        output: output.to_owned(),
        filters: filtered
            .into_iter()
            .map(|(name, done)| (name, done.result))
            .collect(),
        dedup: left.result,
        tokenizer: tokenizer_path,
        tokenizer_sha256: ptbr_model::hex(&tokenizer.sha256()),
        files,
        stages: build.stages,
        seconds: start.elapsed().as_secs_f64(),
    };
    stage::write_json(&output.join("build.json"), &summary)?;
    Ok(summary)
}

fn copy(from: &Path, to: &Path) -> Result<(), CorpusError> {
    let mut file = crate::output::AtomicFile::create(to)?;
    file.write(&std::fs::read(from).map_err(CorpusError::io("read", from))?)?;
    file.commit()
}
