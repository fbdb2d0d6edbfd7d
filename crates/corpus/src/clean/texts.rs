//! Files in, the clean text of one document after the other out.

use std::io::Read;
use std::path::Path;

use super::chars::{CharCounts, clean_line};
use super::wrap::{Layout, SAMPLE_BYTES, is_page_number};
use super::{BlankLines, CleanOptions, JoinLines};
use crate::document::{LineReader, TextFile};
use crate::error::CorpusError;
use crate::sources::open_text;

/// The fields of a JSON line beside its text.
pub(crate) type JsonFields = serde_json::Map<String, serde_json::Value>;

/// Longest plain-text document that is kept together, bytes; a longer one goes on as the next.
const MAX_DOCUMENT_BYTES: usize = 16 << 20;

/// What was mended on the way.
#[derive(Debug, Default)]
pub(crate) struct TextCounts {
    pub files_joined: u64,
    pub lines_joined: u64,
    pub words_rejoined: u64,
    pub page_numbers: u64,
    pub invalid_utf8: u64,
    pub characters: CharCounts,
}

/// Reads files as [`CleanOptions`] says and counts what it mends.
pub(crate) struct TextCleaner<'a> {
    options: &'a CleanOptions,
    pub counts: TextCounts,
}

impl<'a> TextCleaner<'a> {
    pub(crate) fn new(options: &'a CleanOptions) -> Self {
        Self {
            options,
            counts: TextCounts::default(),
        }
    }

    /// Calls `take` with each document of a plain text file, a paragraph a line.
    pub(crate) fn text_documents(
        &mut self,
        file: &TextFile,
        take: &mut dyn FnMut(&str) -> Result<(), CorpusError>,
    ) -> Result<(), CorpusError> {
        let sample = read_sample(&file.path)?;
        let layout = Layout::learn(sample.lines());
        drop(sample);
        let width = match self.options.join_lines {
            JoinLines::Auto => layout.wrap_width,
            JoinLines::Never => None,
        };
        self.counts.files_joined += u64::from(width.is_some());
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
                builder.line(line, &mut self.counts.characters);
                if builder.text.len() < MAX_DOCUMENT_BYTES {
                    continue;
                }
            }
            self.end_text_document(&mut builder, take)?;
        }
        self.end_text_document(&mut builder, take)?;
        self.counts.invalid_utf8 += lines.invalid;
        Ok(())
    }

    fn end_text_document(
        &mut self,
        builder: &mut ParagraphBuilder<'_>,
        take: &mut dyn FnMut(&str) -> Result<(), CorpusError>,
    ) -> Result<(), CorpusError> {
        builder.end_paragraph();
        if builder.text.is_empty() {
            return Ok(());
        }
        self.take_counts(builder);
        take(&builder.text)?;
        builder.text.clear();
        Ok(())
    }

    fn take_counts(&mut self, builder: &mut ParagraphBuilder<'_>) {
        self.counts.lines_joined += std::mem::take(&mut builder.lines_joined);
        self.counts.words_rejoined += std::mem::take(&mut builder.words_rejoined);
        self.counts.page_numbers += std::mem::take(&mut builder.page_numbers);
    }

    /// Calls `take` with each document of a JSON lines file: its other fields and its clean text.
    pub(crate) fn json_documents(
        &mut self,
        file: &TextFile,
        take: &mut dyn FnMut(JsonFields, String) -> Result<(), CorpusError>,
    ) -> Result<(), CorpusError> {
        let mut lines = LineReader::open(&file.path, self.options.replace_invalid_utf8)?;
        while let Some(line) = lines.next_line()? {
            if line.trim().is_empty() {
                continue;
            }
            let parsed: Result<JsonFields, _> = serde_json::from_str(line);
            let (fields, text) = match parsed
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
            take(fields, self.clean_text(&text))?;
        }
        self.counts.invalid_utf8 += lines.invalid;
        Ok(())
    }

    /// One text, as the text of a JSON line.
    fn clean_text(&mut self, text: &str) -> String {
        let layout = match self.options.join_lines {
            JoinLines::Auto => Layout::learn(text.lines()),
            JoinLines::Never => Layout::default(),
        };
        let mut builder = ParagraphBuilder::new(&layout, layout.wrap_width);
        for line in text.lines() {
            if line.trim().is_empty() {
                builder.end_paragraph()
            } else {
                builder.line(line, &mut self.counts.characters)
            }
        }
        builder.end_paragraph();
        self.take_counts(&mut builder);
        builder.text
    }
}

/// The first megabyte of a file; an unfinished or invalid character in it does not matter here.
fn read_sample(path: &Path) -> Result<String, CorpusError> {
    let mut bytes = Vec::new();
    open_text(path)?
        .take(SAMPLE_BYTES as u64)
        .read_to_end(&mut bytes)
        .map_err(CorpusError::io("read", path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
