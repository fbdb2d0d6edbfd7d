//! The texts of a domain: which files of a data folder belong to a split, and their documents without the lines that other splits hold out.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ptbr_model::{DataSource, Domain, Split};
use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::clean::fingerprint;
use crate::document::{Document, FileReader, TextFile, list_text_files};
use crate::error::CorpusError;
use crate::output::AtomicFile;
use crate::sources::files_of;

/// The documents of a split below the data folder `root`, one at a time, in the order of the domain's sources and, in each, of the paths.
///
/// Lines that a more held out split has are left out (see [`ptbr_model::DomainData`]), and documents of which nothing remains. In memory is a fingerprint of every held-out line, 16 bytes, and
/// one document.
///
/// # Errors
/// At once when the split names no texts, or a source none that are there, and when a held-out text cannot be read. While reading as [`read_documents`](crate::read_documents).
pub fn domain_documents(
    domain: &Domain,
    root: &Path,
    split: Split,
) -> Result<DomainDocuments, CorpusError> {
    let sources = domain.data().sources(split);
    if sources.is_empty() {
        return Err(CorpusError::Unsupported {
            path: root.to_owned(),
            reason: format!(
                "the domain `{}` names no texts for {split}; name some in `{split}` of its file",
                domain.name()
            ),
        });
    }
    let mut held_out = FxHashSet::default();
    for document in Parts::of(domain, root, domain.data().held_out_from(split))? {
        let lines = document?.text;
        held_out.extend(lines.lines().map(str::trim).filter_map(line_key));
    }
    Ok(DomainDocuments {
        parts: Parts::of(domain, root, sources)?,
        held_out,
        removed_lines: 0,
    })
}

/// What a line is recognised by; an empty one by nothing.
fn line_key(line: &str) -> Option<u128> {
    (!line.is_empty()).then(|| fingerprint(line))
}

/// Iterator over the documents of a split, made by [`domain_documents`].
#[derive(Debug)]
pub struct DomainDocuments {
    parts: Parts,
    held_out: FxHashSet<u128>,
    removed_lines: u64,
}

impl DomainDocuments {
    /// Files that the split is read from.
    pub fn files(&self) -> u64 {
        self.parts.files
    }

    /// Bytes of these files; of some of them only a part may belong to the split.
    pub fn file_bytes(&self) -> u64 {
        self.parts.bytes
    }

    /// Lines left out so far because another split holds them out.
    pub fn removed_lines(&self) -> u64 {
        self.removed_lines
    }

    /// `text` without held-out lines.
    fn without_held_out(&mut self, text: String) -> String {
        let is_held_out =
            |line: &str| line_key(line.trim()).is_some_and(|key| self.held_out.contains(&key));
        if self.held_out.is_empty() || !text.lines().any(is_held_out) {
            return text;
        }
        let kept: Vec<&str> = text.lines().filter(|line| !is_held_out(line)).collect();
        self.removed_lines += (text.lines().count() - kept.len()) as u64;
        kept.join("\n")
    }
}

impl Iterator for DomainDocuments {
    type Item = Result<Document, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut document = match self.parts.next()? {
                Ok(document) => document,
                Err(error) => return Some(Err(error)),
            };
            document.text = self.without_held_out(document.text);
            if !document.text.trim().is_empty() {
                return Some(Ok(document));
            }
        }
    }
}

/// Documents of some sources, whatever is held out.
#[derive(Debug)]
struct Parts {
    waiting: std::vec::IntoIter<Part>,
    current: Option<Reading>,
    files: u64,
    bytes: u64,
}

/// A file, and which of its documents count.
#[derive(Debug)]
struct Part {
    file: TextFile,
    source: DataSource,
}

#[derive(Debug)]
struct Reading {
    reader: FileReader,
    /// Documents yet to be passed over, and to be handed out after them.
    skip: u64,
    take: u64,
}

impl Parts {
    fn of<'a>(
        domain: &Domain,
        root: &Path,
        sources: impl IntoIterator<Item = &'a DataSource>,
    ) -> Result<Self, CorpusError> {
        let mut parts = Vec::new();
        let mut seen = HashSet::new();
        for source in sources {
            let owner = format!("the domain `{}`", domain.name());
            let files = files_of(&owner, root, source, list_text_files)?;
            // Named twice, a file is still one text.
            parts.extend(
                files
                    .into_iter()
                    .filter(|file| seen.insert((file.name.clone(), source.documents_percent())))
                    .map(|file| Part {
                        file,
                        source: source.clone(),
                    }),
            );
        }
        let bytes = parts
            .iter()
            .filter_map(|part| std::fs::metadata(&part.file.path).ok())
            .map(|metadata| metadata.len())
            .sum();
        Ok(Self {
            files: parts.len() as u64,
            bytes,
            waiting: parts.into_iter(),
            current: None,
        })
    }

    fn next_document(&mut self) -> Result<Option<Document>, CorpusError> {
        loop {
            let Some(reading) = &mut self.current else {
                match self.waiting.next() {
                    Some(part) => self.current = Some(Reading::open(&part)?),
                    None => return Ok(None),
                }
                continue;
            };
            if let Some(document) = reading.next_document()? {
                return Ok(Some(document));
            }
            self.current = None;
        }
    }
}

impl Iterator for Parts {
    type Item = Result<Document, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        let answer = self.next_document();
        if answer.is_err() {
            // Nothing comes after an error.
            self.current = None;
            self.waiting = Vec::new().into_iter();
        }
        answer.transpose()
    }
}

impl Reading {
    fn open(part: &Part) -> Result<Self, CorpusError> {
        let [from, to] = match part.source.documents_percent() {
            None => [0, u64::MAX],
            Some(_) => {
                // A percentage is one of a number: read once to count.
                let mut counted = FileReader::open(&part.file)?;
                let mut documents = 0;
                while counted.next_document()?.is_some() {
                    documents += 1;
                }
                part.source.documents_of(documents)
            }
        };
        Ok(Self {
            reader: FileReader::open(&part.file)?,
            skip: from,
            take: to - from,
        })
    }

    fn next_document(&mut self) -> Result<Option<Document>, CorpusError> {
        while self.skip > 0 {
            self.skip -= 1;
            if self.reader.next_document()?.is_none() {
                return Ok(None);
            }
        }
        if self.take == 0 {
            return Ok(None);
        }
        self.take -= 1;
        self.reader.next_document()
    }
}

/// What [`export_split`] wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SplitSummary {
    /// The domain.
    pub domain: String,
    /// The part of it.
    pub split: Split,
    /// The file.
    pub path: PathBuf,
    /// Files read.
    pub files: u64,
    /// Documents written.
    pub documents: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Lines left out because another split holds them out.
    pub removed_lines: u64,
}

/// Writes a split as the plain text file `path`, a blank line between documents, which appears whole or not at all. Blank lines inside
/// documents, which only JSON lines have, are left out.
///
/// # Errors
/// Those of [`domain_documents`]; a split without text; and when the file cannot be written.
pub fn export_split(
    domain: &Domain,
    root: &Path,
    split: Split,
    path: &Path,
) -> Result<SplitSummary, CorpusError> {
    let mut documents = domain_documents(domain, root, split)?;
    let mut file = AtomicFile::create(path)?;
    let mut count = 0u64;
    for document in &mut documents {
        let document = document?;
        if count > 0 {
            file.write(b"\n")?;
        }
        for line in document.text.lines().filter(|line| !line.trim().is_empty()) {
            file.write(line.as_bytes())?;
            file.write(b"\n")?;
        }
        count += 1;
    }
    if count == 0 {
        return Err(CorpusError::Unsupported {
            path: root.to_owned(),
            reason: format!(
                "the {split} texts of the domain `{}` are empty",
                domain.name()
            ),
        });
    }
    let bytes = file.bytes();
    file.commit()?;
    Ok(SplitSummary {
        domain: domain.name().to_owned(),
        split,
        path: path.to_owned(),
        files: documents.files(),
        documents: count,
        bytes,
        removed_lines: documents.removed_lines(),
    })
}
