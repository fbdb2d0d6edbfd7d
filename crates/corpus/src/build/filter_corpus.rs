//! The filters and deduplication on their own, documents in and documents out: for text that is tokenized elsewhere or later.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ptbr_model::Split;
use serde::Serialize;

use super::config::SplitOptions;
use super::dedup::{DedupCounts, Input, REMOVED, deduplicate, output_file};
use super::filter::{FilterCounts, FilterStage, REJECTS, documents_file};
use super::{BuildProgress, copy};
use crate::dedup::DedupOptions;
use crate::document::list_text_files;
use crate::error::CorpusError;
use crate::filters::{FilterConfig, Filters};
use crate::sources::{SourceConfig, records_of};

/// How [`filter_corpus`] works.
#[derive(Debug, Clone, Default)]
pub struct FilterOptions {
    /// The rules.
    pub filters: FilterConfig,
    /// How duplicates are told; `None` leaves them.
    pub dedup: Option<DedupOptions>,
    /// Drop nothing: documents carry `filter` and `duplicate_of` instead.
    pub tag_only: bool,
}

/// What [`filter_corpus`] did.
#[derive(Debug, Clone, Serialize)]
pub struct FilterSummary {
    /// The documents that are left.
    pub output: PathBuf,
    /// What the filters did.
    pub filters: FilterCounts,
    /// What deduplication did.
    pub dedup: Option<DedupCounts>,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// The name under which the stages know the texts.
const SOURCE: &str = "corpus";

/// Filters the text files and JSON lines of `inputs` into `output`: `documents.jsonl` with every field that a document had and `language`, `variant` and `words`;
/// `rejects.jsonl`, samples of what was dropped, with the reasons; `removed.jsonl`, which document removed which.
///
/// # Errors
/// When an input is missing, empty or cannot be read, or an output cannot be written. The outputs appear one by one, each whole.
pub fn filter_corpus(
    inputs: &[PathBuf],
    output: &Path,
    options: &FilterOptions,
    progress: &mut dyn FnMut(&BuildProgress<'_>),
) -> Result<FilterSummary, CorpusError> {
    let start = Instant::now();
    let mut files = Vec::new();
    for input in inputs {
        files.extend(list_text_files(input)?);
    }
    let sizes: Vec<u64> = files
        .iter()
        .map(|file| std::fs::metadata(&file.path).map_or(0, |metadata| metadata.len()))
        .collect();
    let total = sizes.iter().sum();
    let filters = Filters::new(options.filters.clone())?;
    std::fs::create_dir_all(output).map_err(CorpusError::io("make the folder", output))?;
    let work = tempfile::Builder::new()
        .prefix(".ptbr-")
        .tempdir_in(output)
        .map_err(CorpusError::io("write into", output))?;
    let source = SourceConfig::of_texts(SOURCE, Vec::new());
    let mut stage = FilterStage::new(
        &filters,
        options.tag_only,
        SplitOptions::default(),
        work.path(),
    );
    let mut read = 0;
    for (file, size) in files.iter().zip(sizes) {
        records_of(&source, file, None, &mut |record| {
            stage.push(Split::Train, record)
        })?;
        read += size;
        progress(&BuildProgress {
            stage: "filter",
            done: read,
            total,
        });
    }
    let counts = stage.finish()?;
    let mut documents = work.path().join(documents_file(Split::Train));
    let mut dedup = None;
    if let Some(dedup_options) = options.dedup
        && counts.kept > 0
    {
        let input = Input {
            source: SOURCE.to_owned(),
            split: Split::Train,
            path: documents,
        };
        let (mut read, total) = (0, counts.kept_bytes);
        let mut found = deduplicate(
            &[input],
            work.path(),
            dedup_options,
            0,
            options.tag_only,
            &mut |bytes| {
                read += bytes;
                progress(&BuildProgress {
                    stage: "deduplicate",
                    done: read,
                    total,
                });
            },
        )?;
        dedup = found.remove(SOURCE);
        documents = work.path().join(output_file(SOURCE, Split::Train));
        copy(&work.path().join(REMOVED), &output.join(REMOVED))?;
    }
    copy(&work.path().join(REJECTS), &output.join(REJECTS))?;
    let target = output.join("documents.jsonl");
    if counts.kept == 0 {
        return Err(CorpusError::NothingLeft(output.to_owned()));
    }
    // On the same file system, complete and synced.
    std::fs::rename(&documents, &target)
        .map_err(CorpusError::io("rename the output to", &target))?;
    Ok(FilterSummary {
        output: target,
        filters: counts,
        dedup,
        seconds: start.elapsed().as_secs_f64(),
    })
}
