//! Text files and JSON lines from anywhere, made into clean documents: characters, broken lines, repetitions.

mod chars;
mod wrap;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::document::{LineReader, TextFile, list_text_files};
use crate::error::CorpusError;
use crate::output::AtomicFile;
use chars::{CharCounts, clean_line};
use wrap::{Layout, SAMPLE_BYTES, is_page_number};

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

/// Longest plain-text document that is kept together, bytes; a longer one goes on as the next.
const MAX_DOCUMENT_BYTES: usize = 16 << 20;

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
    let mut cleaner = Cleaner {
        options,
        summary: CleanSummary::default(),
        seen: FxHashSet::default(),
        counts: CharCounts::default(),
    };
    cleaner.summary.output = output_dir.to_path_buf();
    for (done, file) in files.iter().enumerate() {
        cleaner.file(file, output_dir)?;
        progress(&CleanProgress {
            files_done: done as u64 + 1,
            files: files.len() as u64,
            documents_kept: cleaner.summary.documents_kept,
        });
    }
    let Cleaner {
        mut summary,
        counts,
        ..
    } = cleaner;
    summary.files = files.len() as u64;
    summary.characters_removed = counts.removed;
    summary.soft_hyphens = counts.soft_hyphens;
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

struct Cleaner<'a> {
    options: &'a CleanOptions,
    summary: CleanSummary,
    /// Halves of SHA-256 of paragraphs that were kept.
    seen: FxHashSet<u128>,
    counts: CharCounts,
}

impl Cleaner<'_> {
    fn file(&mut self, file: &TextFile, output_dir: &Path) -> Result<(), CorpusError> {
        let mut output = LazyFile {
            path: output_dir.join(&file.name),
            file: None,
        };
        self.summary.input_bytes += std::fs::metadata(&file.path)
            .map_err(CorpusError::io("open", &file.path))?
            .len();
        if file.jsonl {
            self.json_lines(file, &mut output)?
        } else {
            self.plain_text(file, &mut output)?
        }
        if let Some(file) = output.file {
            self.summary.files_written += 1;
            self.summary.output_bytes += file.bytes();
            file.commit()?;
        }
        Ok(())
    }

    fn plain_text(&mut self, file: &TextFile, output: &mut LazyFile) -> Result<(), CorpusError> {
        let sample = read_sample(&file.path)?;
        let layout = Layout::learn(sample.lines());
        drop(sample);
        let width = match self.options.join_lines {
            JoinLines::Auto => layout.wrap_width,
            JoinLines::Never => None,
        };
        self.summary.files_joined += u64::from(width.is_some());
        let one_document = match self.options.blank_lines {
            BlankLines::Auto => layout.blank_between_paragraphs || width.is_some(),
            BlankLines::Documents => false,
            BlankLines::Paragraphs => true,
        };
        let mut lines = LineReader::open(&file.path, self.options.replace_invalid_utf8)?;
        let mut builder = ParagraphBuilder::new(&layout, width);
        while let Some(line) = lines.next_line()? {
            if line.trim().is_empty() {
                if one_document {
                    builder.end_paragraph();
                    continue;
                }
            } else {
                builder.line(line, &mut self.counts);
                if builder.text.len() < MAX_DOCUMENT_BYTES {
                    continue;
                }
            }
            self.end_text_document(&mut builder, output)?;
        }
        self.end_text_document(&mut builder, output)?;
        self.summary.invalid_utf8 += lines.invalid;
        Ok(())
    }

    fn end_text_document(
        &mut self,
        builder: &mut ParagraphBuilder<'_>,
        output: &mut LazyFile,
    ) -> Result<(), CorpusError> {
        builder.end_paragraph();
        if builder.text.is_empty() {
            return Ok(());
        }
        self.take_counts(builder);
        let kept = self.keep(&builder.text);
        builder.text.clear();
        if let Some(text) = kept {
            let file = output.get()?;
            if file.bytes() > 0 {
                file.write(b"\n")?;
            }
            file.write(text.as_bytes())?;
            file.write(b"\n")?;
        }
        Ok(())
    }

    fn take_counts(&mut self, builder: &mut ParagraphBuilder<'_>) {
        self.summary.lines_joined += std::mem::take(&mut builder.lines_joined);
        self.summary.words_rejoined += std::mem::take(&mut builder.words_rejoined);
        self.summary.page_numbers += std::mem::take(&mut builder.page_numbers);
    }

    fn json_lines(&mut self, file: &TextFile, output: &mut LazyFile) -> Result<(), CorpusError> {
        let mut lines = LineReader::open(&file.path, self.options.replace_invalid_utf8)?;
        while let Some(line) = lines.next_line()? {
            if line.trim().is_empty() {
                continue;
            }
            let parsed: Result<serde_json::Map<String, serde_json::Value>, _> =
                serde_json::from_str(line);
            let (mut fields, text) = match parsed
                .map(|mut fields| (fields.get_mut("text").map(serde_json::Value::take), fields))
            {
                Ok((Some(serde_json::Value::String(text)), fields)) => (fields, text),
                other => {
                    let detail = other.err().map_or_else(
                        || "`text` is missing or not a string".to_string(),
                        |e| e.to_string(),
                    );
                    return Err(CorpusError::Json {
                        path: file.path.clone(),
                        line: lines.number,
                        detail,
                    });
                }
            };
            let layout = match self.options.join_lines {
                JoinLines::Auto => Layout::learn(text.lines()),
                JoinLines::Never => Layout::default(),
            };
            let mut builder = ParagraphBuilder::new(&layout, layout.wrap_width);
            for line in text.lines() {
                if line.trim().is_empty() {
                    builder.end_paragraph()
                } else {
                    builder.line(line, &mut self.counts)
                }
            }
            builder.end_paragraph();
            self.take_counts(&mut builder);
            let Some(text) = self.keep(&builder.text) else {
                continue;
            };
            fields.insert("text".into(), serde_json::Value::String(text));
            let mut bytes = serde_json::to_vec(&fields).map_err(|e| CorpusError::Json {
                path: file.path.clone(),
                line: lines.number,
                detail: e.to_string(),
            })?;
            bytes.push(b'\n');
            output.get()?.write(&bytes)?;
        }
        self.summary.invalid_utf8 += lines.invalid;
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

/// The first megabyte of a file; an unfinished or invalid character in it does not matter here.
fn read_sample(path: &Path) -> Result<String, CorpusError> {
    let file = std::fs::File::open(path).map_err(CorpusError::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(SAMPLE_BYTES as u64)
        .read_to_end(&mut bytes)
        .map_err(CorpusError::io("read", path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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

/// Lines in, paragraphs out.
struct ParagraphBuilder<'a> {
    layout: &'a Layout,
    width: Option<usize>,
    /// Finished paragraphs, one a line.
    text: String,
    paragraph: String,
    line: String,
    /// The last line as it stood: its length and its end decide about the break after it.
    previous: String,
    previous_chars: usize,
    lines_joined: u64,
    words_rejoined: u64,
    page_numbers: u64,
}

impl<'a> ParagraphBuilder<'a> {
    fn new(layout: &'a Layout, width: Option<usize>) -> Self {
        Self {
            layout,
            width,
            text: String::new(),
            paragraph: String::new(),
            line: String::new(),
            previous: String::new(),
            previous_chars: 0,
            lines_joined: 0,
            words_rejoined: 0,
            page_numbers: 0,
        }
    }

    fn line(&mut self, raw: &str, counts: &mut CharCounts) {
        self.line.clear();
        clean_line(raw, &mut self.line, counts);
        if self.line.is_empty() {
            return;
        }
        let Some(width) = self.width else {
            self.paragraph.push_str(&self.line);
            self.end_paragraph();
            return;
        };
        if is_page_number(&self.line) {
            self.page_numbers += 1;
            return;
        }
        if !self.paragraph.is_empty() {
            if self
                .layout
                .ends_paragraph(width, &self.previous, self.previous_chars, &self.line)
            {
                self.end_paragraph();
                self.paragraph.push_str(&self.line);
            } else {
                self.lines_joined += 1;
                self.words_rejoined += u64::from(self.layout.join(&mut self.paragraph, &self.line));
            }
        } else {
            self.paragraph.push_str(&self.line);
        }
        self.previous_chars = self.line.chars().count();
        std::mem::swap(&mut self.previous, &mut self.line);
    }

    fn end_paragraph(&mut self) {
        let paragraph = self.paragraph.trim_end_matches('\u{AD}');
        if !paragraph.is_empty() {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            self.text.push_str(paragraph);
        }
        self.paragraph.clear();
    }
}
