//! The stage that reads a source, asks the filters, and writes what is kept, by split, and samples of what is not.

use std::collections::BTreeMap;
use std::path::Path;

use ptbr_model::Split;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::SplitOptions;
use crate::error::CorpusError;
use crate::filters::scan::RollingHash;
use crate::filters::{Assessment, FilterScratch, Filters, Reason, StubLimiter, Variant};
use crate::output::AtomicFile;
use crate::sources::Record;

/// Text that is looked at together: enough for all cores.
const BATCH_BYTES: usize = 8 << 20;

/// Rejected documents of each reason of which a sample is kept.
const SAMPLES_PER_REASON: usize = 20;

/// Characters of a sample.
const SAMPLE_CHARS: usize = 2000;

/// The file of samples.
pub(crate) const REJECTS: &str = "rejects.jsonl";

/// The file of the kept documents of a split.
pub(crate) fn documents_file(split: Split) -> String {
    format!("documents-{split}.jsonl")
}

/// What the filters did with a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterCounts {
    /// Documents read.
    pub documents: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Documents kept.
    pub kept: u64,
    /// Bytes of their texts.
    pub kept_bytes: u64,
    /// Documents that broke a rule, by the first that they broke; dropped, but for `tag_only`.
    pub reasons: BTreeMap<Reason, u64>,
    /// Kept documents by language, ISO 639-1; "" where it cannot be told.
    pub languages: BTreeMap<String, u64>,
    /// Kept documents by variant of Portuguese.
    pub variants: BTreeMap<Variant, u64>,
}

/// A document with what the filters found, as a JSON line.
#[derive(Debug, Serialize)]
struct Tagged<'a> {
    #[serde(flatten)]
    document: &'a crate::document::Document,
    #[serde(flatten)]
    extra: &'a serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: &'a Option<String>,
    variant: Variant,
    words: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<Reason>,
}

/// Where a document is from 0 to 1, by its name and nothing else.
pub(crate) fn draw(seed: u64, source: &str, id: &str) -> f64 {
    let mut hash = RollingHash::new();
    hash.push(seed);
    for part in [source, "\0", id] {
        part.bytes().for_each(|byte| hash.push(u64::from(byte)));
    }
    // 53 bits, as many as an f64 holds.
    (hash.finish() >> 11) as f64 / (1u64 << 53) as f64
}

/// Takes records one by one and writes what the filters keep.
pub(crate) struct FilterStage<'a> {
    filters: &'a Filters,
    tag_only: bool,
    split: SplitOptions,
    stubs: StubLimiter,
    outputs: BTreeMap<&'static str, AtomicFile>,
    folder: &'a Path,
    rejects: BTreeMap<Reason, BTreeMap<u64, Vec<u8>>>,
    batch: Vec<(Split, Record)>,
    batch_bytes: usize,
    counts: FilterCounts,
}

impl<'a> FilterStage<'a> {
    /// Writes into `folder`.
    pub(crate) fn new(
        filters: &'a Filters,
        tag_only: bool,
        split: SplitOptions,
        folder: &'a Path,
    ) -> Self {
        Self {
            filters,
            tag_only,
            split,
            stubs: StubLimiter::new(filters.config().stubs.clone()),
            outputs: BTreeMap::new(),
            folder,
            rejects: BTreeMap::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            counts: FilterCounts::default(),
        }
    }

    /// Takes the next record of a split. Of the training split some go to validation.
    pub(crate) fn push(&mut self, split: Split, record: Record) -> Result<(), CorpusError> {
        self.batch_bytes += record.document.text.len();
        self.batch.push((split, record));
        if self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CorpusError> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let found: Vec<Assessment> = batch
            .par_iter()
            .map_init(FilterScratch::default, |scratch, (_, record)| {
                self.filters.assess(&record.document.text, scratch)
            })
            .collect();
        // Stubs and the order of the output depend on the documents before.
        for ((split, record), found) in batch.iter().zip(found) {
            self.one(*split, record, found)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        split: Split,
        record: &Record,
        mut found: Assessment,
    ) -> Result<(), CorpusError> {
        let document = &record.document;
        self.counts.documents += 1;
        self.counts.bytes += document.text.len() as u64;
        if found.reason.is_none()
            && self.filters.asks(Reason::Stub)
            && !self.stubs.keeps(&document.text, found.words)
        {
            found.reason = Some(Reason::Stub);
        }
        let mut line = serde_json::to_vec(&Tagged {
            document,
            extra: &record.extra,
            language: &found.language,
            variant: found.variant,
            words: found.words,
            filter: found.reason,
        })
        .map_err(|e| CorpusError::io("write into", self.folder)(e.into()))?;
        line.push(b'\n');
        if let Some(reason) = found.reason {
            *self.counts.reasons.entry(reason).or_insert(0) += 1;
            self.sample(reason, record)?;
            if !self.tag_only {
                return Ok(());
            }
        }
        self.counts.kept += 1;
        self.counts.kept_bytes += document.text.len() as u64;
        let language = found.language.unwrap_or_default();
        *self.counts.languages.entry(language).or_insert(0) += 1;
        *self.counts.variants.entry(found.variant).or_insert(0) += 1;
        let held_out = split == Split::Train
            && draw(self.split.seed, &document.source, &document.id) < self.split.validation;
        let split = if held_out { Split::Validation } else { split };
        let name = split.name();
        if !self.outputs.contains_key(name) {
            let path = self.folder.join(documents_file(split));
            self.outputs.insert(name, AtomicFile::create(&path)?);
        }
        match self.outputs.get_mut(name) {
            Some(output) => output.write(&line),
            None => Ok(()),
        }
    }

    /// Keeps those that a hash of their name puts first: a sample of all, the same in every run.
    fn sample(&mut self, reason: Reason, record: &Record) -> Result<(), CorpusError> {
        let document = &record.document;
        let samples = self.rejects.entry(reason).or_default();
        let place = (draw(1, &document.source, &document.id) * (1u64 << 53) as f64) as u64;
        let last = samples.last_key_value().map(|(place, _)| *place);
        if samples.len() >= SAMPLES_PER_REASON && last.is_some_and(|last| place > last) {
            return Ok(());
        }
        let text: String = document.text.chars().take(SAMPLE_CHARS).collect();
        let row = serde_json::json!({
            "reason": reason, "id": document.id, "title": document.title, "source": document.source, "text": text,
        });
        samples.insert(place, row.to_string().into_bytes());
        if samples.len() > SAMPLES_PER_REASON {
            samples.pop_last();
        }
        Ok(())
    }

    /// Ends the stage: everything is on disk.
    pub(crate) fn finish(mut self) -> Result<FilterCounts, CorpusError> {
        self.flush()?;
        let mut rejects = AtomicFile::create(&self.folder.join(REJECTS))?;
        for row in self.rejects.values().flat_map(BTreeMap::values) {
            rejects.write(row)?;
            rejects.write(b"\n")?;
        }
        rejects.commit()?;
        for output in self.outputs.into_values() {
            output.commit()?;
        }
        Ok(self.counts)
    }
}
