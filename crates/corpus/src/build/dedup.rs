//! The stage that looks across sources: documents and lines that are held out are not trained on, and what is there twice is there once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ptbr_model::Split;
use rayon::prelude::*;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::clean::fingerprint;
use crate::dedup::{
    DedupOptions, Deduplicator, Duplicate, DuplicateKind, Shingler, Signature, TextStore,
};
use crate::document::{Document, LineReader, MAX_LINE_BYTES};
use crate::error::CorpusError;
use crate::output::AtomicFile;

/// Text whose signatures are made together.
const BATCH_BYTES: usize = 8 << 20;

/// The file that says which document removed which.
pub(crate) const REMOVED: &str = "removed.jsonl";

/// Documents of one source and split, as the filters left them.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub source: String,
    pub split: Split,
    pub path: PathBuf,
}

/// The file of the documents of a source and split that are left.
pub(crate) fn output_file(source: &str, split: Split) -> String {
    format!("{split}-{source}.jsonl")
}

/// What deduplication did with a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupCounts {
    /// Documents that came from the filters.
    pub documents: u64,
    /// Documents left.
    pub kept: u64,
    /// Bytes of their texts.
    pub kept_bytes: u64,
    /// Removed: the same text as a document before, blanks aside.
    pub exact: u64,
    /// Removed: nearly the same text as a document before.
    pub near: u64,
    /// Of training documents, lines taken out because validation or test hold them; of validation those of test.
    pub held_out_lines: u64,
    /// Documents of which nothing was left then.
    pub held_out: u64,
}

/// A row of [`REMOVED`].
#[derive(Debug, Serialize)]
struct Removed<'a> {
    source: &'a str,
    id: &'a str,
    split: Split,
    kind: DuplicateKind,
    /// Jaccard similarity of 5-word shingles.
    similarity: f64,
    by: RemovedBy<'a>,
}

/// The document that was kept.
#[derive(Debug, Serialize)]
struct RemovedBy<'a> {
    source: &'a str,
    id: &'a str,
}

/// Where the kept documents are: 16 bytes each.
#[derive(Debug, Default)]
struct KeptTexts {
    files: Vec<(PathBuf, File)>,
    places: Vec<(u32, u32, u64)>,
}

impl KeptTexts {
    fn document(&mut self, number: u32) -> Result<Document, CorpusError> {
        let (file, length, offset) = self.places[number as usize];
        let (path, file) = &mut self.files[file as usize];
        let mut line = vec![0; length as usize];
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut line))
            .map_err(CorpusError::io("read", path))?;
        serde_json::from_slice(&line).map_err(|e| CorpusError::io("read", path)(e.into()))
    }
}

impl TextStore for KeptTexts {
    fn text(&mut self, number: u32) -> Result<String, CorpusError> {
        Ok(self.document(number)?.text)
    }
}

/// A line of an input and what it says.
struct Line {
    offset: u64,
    bytes: Vec<u8>,
    document: Document,
}

/// Reads `inputs` and writes what is left of them into `folder`. The most held out is read first and never gives way: test, validation, training; inside each
/// the sources in their order. `progress` is told how many bytes were read.
pub(crate) fn deduplicate(
    inputs: &[Input],
    folder: &Path,
    options: DedupOptions,
    min_line_chars: usize,
    tag_only: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<BTreeMap<String, DedupCounts>, CorpusError> {
    let mut work = Work {
        dedup: Deduplicator::new(options),
        kept: KeptTexts::default(),
        held_out: FxHashSet::default(),
        min_line_chars,
        tag_only,
        removed: AtomicFile::create(&folder.join(REMOVED))?,
    };
    let mut counts: BTreeMap<String, DedupCounts> = BTreeMap::new();
    for split in [Split::Test, Split::Validation, Split::Train] {
        let mut lines_of_split = FxHashSet::default();
        for input in inputs.iter().filter(|input| input.split == split) {
            let counts = counts.entry(input.source.clone()).or_default();
            work.input(input, folder, counts, &mut lines_of_split, progress)?;
        }
        work.held_out.extend(lines_of_split);
    }
    work.removed.commit()?;
    Ok(counts)
}

struct Work {
    dedup: Deduplicator,
    kept: KeptTexts,
    /// Fingerprints of the lines of splits that are held out further, 16 bytes each.
    held_out: FxHashSet<u128>,
    min_line_chars: usize,
    tag_only: bool,
    removed: AtomicFile,
}

impl Work {
    fn input(
        &mut self,
        input: &Input,
        folder: &Path,
        counts: &mut DedupCounts,
        lines_of_split: &mut FxHashSet<u128>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), CorpusError> {
        let file = File::open(&input.path).map_err(CorpusError::io("open", &input.path))?;
        self.kept.files.push((input.path.clone(), file));
        let mut output = AtomicFile::create(&folder.join(output_file(&input.source, input.split)))?;
        let mut reader = LineReader::open(&input.path, false)?;
        let mut offset = 0;
        loop {
            let batch = read_batch(&mut reader, &mut offset, &input.path)?;
            if batch.is_empty() {
                break;
            }
            let signatures: Vec<Signature> = batch
                .par_iter()
                .map_init(Shingler::default, |shingler, line| {
                    shingler.signature(&line.document.text)
                })
                .collect();
            for (line, signature) in batch.iter().zip(&signatures) {
                self.document(input, line, signature, counts, lines_of_split, &mut output)?;
            }
            progress(batch.iter().map(|line| line.bytes.len() as u64).sum());
        }
        output.commit()
    }

    fn document(
        &mut self,
        input: &Input,
        line: &Line,
        signature: &Signature,
        counts: &mut DedupCounts,
        lines_of_split: &mut FxHashSet<u128>,
        output: &mut AtomicFile,
    ) -> Result<(), CorpusError> {
        let document = &line.document;
        counts.documents += 1;
        if input.split != Split::Train {
            let long =
                |line: &&str| line.chars().take(self.min_line_chars).count() >= self.min_line_chars;
            let lines = document.text.lines().map(str::trim).filter(long);
            lines_of_split.extend(lines.map(fingerprint));
        }
        if let Some(found) = self
            .dedup
            .check(&document.text, signature, &mut self.kept)?
        {
            match found.kind {
                DuplicateKind::Exact => counts.exact += 1,
                DuplicateKind::Near => counts.near += 1,
            }
            let by = self.kept.document(found.of)?;
            self.record(input, document, found, &by)?;
            if self.tag_only {
                self.write(line, &document.text, Some(&by.id), counts, output)?;
            }
            return Ok(());
        }
        let file = (self.kept.files.len() - 1) as u32;
        // A line is at most 64 MiB.
        self.kept
            .places
            .push((file, line.bytes.len() as u32, line.offset));
        let text = self.without_held_out(&document.text, counts);
        if text.trim().is_empty() && !document.text.trim().is_empty() {
            counts.held_out += 1;
            return Ok(());
        }
        self.write(line, &text, None, counts, output)
    }

    /// The text without lines that a more held out split has.
    fn without_held_out(&self, text: &str, counts: &mut DedupCounts) -> String {
        let is_held_out = |line: &&str| {
            let line = line.trim();
            line.len() >= self.min_line_chars && self.held_out.contains(&fingerprint(line))
        };
        if self.tag_only {
            return text.to_owned();
        }
        let lost = text
            .lines()
            .filter(|line| !self.held_out.is_empty() && is_held_out(line))
            .count();
        if lost == 0 {
            return text.to_owned();
        }
        counts.held_out_lines += lost as u64;
        let kept: Vec<&str> = text.lines().filter(|line| !is_held_out(line)).collect();
        kept.join("\n")
    }

    fn write(
        &self,
        line: &Line,
        text: &str,
        duplicate_of: Option<&str>,
        counts: &mut DedupCounts,
        output: &mut AtomicFile,
    ) -> Result<(), CorpusError> {
        counts.kept += 1;
        counts.kept_bytes += text.len() as u64;
        if text == line.document.text && duplicate_of.is_none() {
            output.write(&line.bytes)?;
            return output.write(b"\n");
        }
        let unreadable = |e: serde_json::Error| {
            CorpusError::io("write", Path::new(&line.document.source))(e.into())
        };
        let mut fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&line.bytes).map_err(unreadable)?;
        fields.insert("text".to_owned(), text.into());
        if let Some(id) = duplicate_of {
            fields.insert("duplicate_of".to_owned(), id.into());
        }
        output.write(&serde_json::to_vec(&fields).map_err(unreadable)?)?;
        output.write(b"\n")
    }

    fn record(
        &mut self,
        input: &Input,
        document: &Document,
        found: Duplicate,
        by: &Document,
    ) -> Result<(), CorpusError> {
        let row = Removed {
            source: &document.source,
            id: &document.id,
            split: input.split,
            kind: found.kind,
            similarity: found.similarity,
            by: RemovedBy {
                source: &by.source,
                id: &by.id,
            },
        };
        let json = serde_json::to_vec(&row)
            .map_err(|e| CorpusError::io("write", Path::new(REMOVED))(e.into()))?;
        self.removed.write(&json)?;
        self.removed.write(b"\n")
    }
}

/// The next lines, up to [`BATCH_BYTES`]; none at the end.
fn read_batch(
    reader: &mut LineReader,
    offset: &mut u64,
    path: &Path,
) -> Result<Vec<Line>, CorpusError> {
    debug_assert!(MAX_LINE_BYTES <= u32::MAX as usize);
    let mut batch = Vec::new();
    let mut bytes = 0;
    while bytes < BATCH_BYTES {
        let Some(line) = reader.next_line()? else {
            break;
        };
        let document = serde_json::from_str(line).map_err(|e| e.to_string());
        let line = line.as_bytes().to_vec();
        let document = document.map_err(|detail| CorpusError::Json {
            path: path.to_owned(),
            line: reader.number,
            detail,
        })?;
        bytes += line.len();
        let start = *offset;
        // Written by the stage before: one `\n` ends each line.
        *offset += line.len() as u64 + 1;
        batch.push(Line {
            offset: start,
            bytes: line,
            document,
        });
    }
    Ok(batch)
}
