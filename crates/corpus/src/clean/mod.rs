//! Text files and JSON lines from anywhere, made into clean documents: characters, broken lines, repetitions.

mod chars;
mod texts;
mod wrap;

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::document::{TextFile, list_text_files};
use crate::error::CorpusError;
use crate::output::AtomicFile;
use crate::sources::plain_name;

pub(crate) use texts::{JsonFields, TextCleaner};

/// How lines of plain text become paragraphs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinLines {
    /// Each file is judged by its own first megabyte.
    #[default]
    Auto,
    /// A line is a paragraph.
    Never,
}

/// What blank lines in a plain text file separate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlankLines {
    /// Documents, unless most blocks are single lines or the file is hard-wrapped; then paragraphs of one document.
    #[default]
    Auto,
    /// Documents.
    Documents,
    /// Paragraphs: a file is one document.
    Paragraphs,
}

/// How [`clean_corpus`] works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanOptions {
    /// Documents with fewer characters are dropped.
    pub min_chars: usize,
    /// Paragraphs of at least this many characters are kept once in the whole corpus. Shorter ones (dialogue, titles) may repeat.
    pub min_duplicate_chars: usize,
    /// Whether hard-wrapped lines are joined.
    pub join_lines: JoinLines,
    /// What blank lines mean.
    pub blank_lines: BlankLines,
    /// Bytes that are not UTF-8 are left out and counted instead of being an error.
    pub replace_invalid_utf8: bool,
}

impl Default for CleanOptions {
    fn default() -> Self {
        Self {
            min_chars: 20,
            min_duplicate_chars: 80,
            join_lines: JoinLines::Auto,
            blank_lines: BlankLines::Auto,
            replace_invalid_utf8: false,
        }
    }
}

/// Where [`clean_corpus`] stands; given after each file and about every megabyte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanProgress {
    /// Files finished.
    pub files_done: u64,
    /// Files found.
    pub files: u64,
    /// Documents written so far.
    pub documents_kept: u64,
}

/// What [`clean_corpus`] did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CleanSummary {
    /// The folder written to.
    pub output: PathBuf,
    /// Files read.
    pub files: u64,
    /// Files of which something was left to write.
    pub files_written: u64,
    /// Files whose lines were broken for a page and were joined.
    pub files_joined: u64,
    /// Documents read.
    pub documents_seen: u64,
    /// Documents written.
    pub documents_kept: u64,
    /// Documents left out: fewer characters than the limit.
    pub dropped_too_short: u64,
    /// Documents left out: everything in them was seen before.
    pub dropped_duplicate: u64,
    /// Paragraphs left out inside kept documents: seen before.
    pub paragraphs_duplicate: u64,
    /// Line breaks inside paragraphs that were taken out.
    pub lines_joined: u64,
    /// Words that a hyphen at a line end had split.
    pub words_rejoined: u64,
    /// Lines that were page numbers.
    pub page_numbers: u64,
    /// Control and invisible characters taken out.
    pub characters_removed: u64,
    /// Soft hyphens taken out.
    pub soft_hyphens: u64,
    /// Byte sequences that were not UTF-8.
    pub invalid_utf8: u64,
    /// Bytes read.
    pub input_bytes: u64,
    /// Bytes written.
    pub output_bytes: u64,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// Cleans `input` (a `.txt` or `.jsonl` file, or a folder of them) into `output_dir`, file by file under the same names. Plain text comes out with a
/// paragraph a line and a blank line between documents; JSON lines keep all their fields. Each output appears whole or not at all.
///
/// Paragraphs and documents that repeat are kept where they stand first, in the order of the file names. Memory: 16 bytes per distinct paragraph and the
/// largest document.
///
/// # Errors
/// A missing or empty input, an output folder that is the input, text that is not UTF-8 (file and byte) unless
/// [`CleanOptions::replace_invalid_utf8`], a broken JSON line (file and line), an output that cannot be written.
pub fn clean_corpus(
    input: &Path,
    output_dir: &Path,
    options: &CleanOptions,
    progress: &mut dyn FnMut(&CleanProgress),
) -> Result<CleanSummary, CorpusError> {
    let started = Instant::now();
    let files = list_text_files(input)?;
    refuse_same_folder(input, output_dir)?;
    let mut texts = TextCleaner::new(options);
    let mut cleaner = Cleaner {
        options,
        summary: CleanSummary::default(),
        seen: FxHashSet::default(),
    };
    cleaner.summary.output = output_dir.to_path_buf();
    for (done, file) in files.iter().enumerate() {
        cleaner.file(&mut texts, file, output_dir)?;
        progress(&CleanProgress {
            files_done: done as u64 + 1,
            files: files.len() as u64,
            documents_kept: cleaner.summary.documents_kept,
        });
    }
    let Cleaner { mut summary, .. } = cleaner;
    let counts = texts.counts;
    summary.files = files.len() as u64;
    summary.files_joined = counts.files_joined;
    summary.lines_joined = counts.lines_joined;
    summary.words_rejoined = counts.words_rejoined;
    summary.page_numbers = counts.page_numbers;
    summary.invalid_utf8 = counts.invalid_utf8;
    summary.characters_removed = counts.characters.removed;
    summary.soft_hyphens = counts.characters.soft_hyphens;
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

fn refuse_same_folder(input: &Path, output_dir: &Path) -> Result<(), CorpusError> {
    let folder = if input.is_dir() {
        Some(input)
    } else {
        input.parent().map(|p| {
            if p.as_os_str().is_empty() {
                Path::new(".")
            } else {
                p
            }
        })
    };
    let same = match (
        folder.and_then(|f| f.canonicalize().ok()),
        output_dir.canonicalize().ok(),
    ) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    };
    if same {
        return Err(CorpusError::Unsupported {
            path: output_dir.to_path_buf(),
            reason: "the output folder is the input's: name another one, so that nothing of yours is overwritten".into(),
        });
    }
    Ok(())
}

/// What is kept and what was seen, beside what [`TextCleaner`] reads.
struct Cleaner<'a> {
    options: &'a CleanOptions,
    summary: CleanSummary,
    /// Halves of SHA-256 of paragraphs that were kept.
    seen: FxHashSet<u128>,
}

impl Cleaner<'_> {
    fn file(
        &mut self,
        texts: &mut TextCleaner,
        file: &TextFile,
        output_dir: &Path,
    ) -> Result<(), CorpusError> {
        let mut output = LazyFile {
            path: output_dir.join(plain_name(&file.name)),
            file: None,
        };
        self.summary.input_bytes += std::fs::metadata(&file.path)
            .map_err(CorpusError::io("open", &file.path))?
            .len();
        if file.jsonl {
            texts.json_documents(file, &mut |fields, text| {
                self.json_line(fields, &text, &mut output)
            })?
        } else {
            texts.text_documents(file, &mut |text| self.text_document(text, &mut output))?
        }
        if let Some(file) = output.file {
            self.summary.files_written += 1;
            self.summary.output_bytes += file.bytes();
            file.commit()?;
        }
        Ok(())
    }

    fn text_document(&mut self, text: &str, output: &mut LazyFile) -> Result<(), CorpusError> {
        if let Some(text) = self.keep(text) {
            let file = output.get()?;
            if file.bytes() > 0 {
                file.write(b"\n")?;
            }
            file.write(text.as_bytes())?;
            file.write(b"\n")?;
        }
        Ok(())
    }

    fn json_line(
        &mut self,
        mut fields: JsonFields,
        text: &str,
        output: &mut LazyFile,
    ) -> Result<(), CorpusError> {
        if let Some(text) = self.keep(text) {
            fields.insert("text".into(), serde_json::Value::String(text));
            let mut bytes = serde_json::to_vec(&fields)
                .map_err(|e| CorpusError::io("write", &output.path)(e.into()))?;
            bytes.push(b'\n');
            output.get()?.write(&bytes)?;
        }
        Ok(())
    }

    /// The document without paragraphs that were seen before, or `None` when it is not kept; counts why.
    fn keep(&mut self, text: &str) -> Option<String> {
        self.summary.documents_seen += 1;
        let mut kept = String::with_capacity(text.len());
        let mut repeated = 0;
        for paragraph in text.lines() {
            let long = paragraph.len() >= self.options.min_duplicate_chars
                && paragraph.chars().count() >= self.options.min_duplicate_chars;
            if long && !self.seen.insert(fingerprint(paragraph)) {
                repeated += 1;
                continue;
            }
            if !kept.is_empty() {
                kept.push('\n');
            }
            kept.push_str(paragraph);
        }
        let long_enough = kept.chars().take(self.options.min_chars).count()
            >= self.options.min_chars
            && !kept.is_empty();
        if !long_enough {
            let reason = if repeated > 0 {
                &mut self.summary.dropped_duplicate
            } else {
                &mut self.summary.dropped_too_short
            };
            *reason += 1;
            return None;
        }
        // Documents of short paragraphs only are compared as a whole.
        if !kept
            .lines()
            .any(|p| p.chars().count() >= self.options.min_duplicate_chars)
            && !self.seen.insert(fingerprint(&kept))
        {
            self.summary.dropped_duplicate += 1;
            return None;
        }
        self.summary.paragraphs_duplicate += repeated;
        self.summary.documents_kept += 1;
        Some(kept)
    }
}

/// Half of a SHA-256: two different paragraphs with one fingerprint are not to be expected among 2^60.
pub(crate) fn fingerprint(text: &str) -> u128 {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(16)
        .fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

/// An output file that is made when there is something to write.
struct LazyFile {
    path: PathBuf,
    file: Option<AtomicFile>,
}

impl LazyFile {
    fn get(&mut self) -> Result<&mut AtomicFile, CorpusError> {
        match &mut self.file {
            Some(file) => Ok(file),
            empty => Ok(empty.insert(AtomicFile::create(&self.path)?)),
        }
    }
}
