//! Documents and how they are read from disk: JSON lines, plain text, folders of both.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::CorpusError;
use crate::sources::{TextStream, open_text, plain_name};

/// Longest line that is believed to be text, bytes. A JSON line holds a whole document.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// A plain-text document is handed over in parts of at most about this size, bytes, cut at a line end.
const MAX_TEXT_DOCUMENT_BYTES: usize = 16 << 20;

/// One text with where it comes from. One JSON line each; fields that are not named here are ignored when reading.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Identity inside the source: a page id, or `file#n` for the n-th document of a text file.
    #[serde(default)]
    pub id: String,
    /// Title, empty when there is none.
    #[serde(default)]
    pub title: String,
    /// Where it can be read, empty when unknown.
    #[serde(default)]
    pub url: String,
    /// Name of the source, as `ptwiki`, or the path of the file inside the folder that was read.
    #[serde(default)]
    pub source: String,
    /// The text, paragraphs ended by `\n`.
    pub text: String,
}

/// Reads documents from `path` one at a time, memory bounded by the largest document:
///
/// - a `.jsonl` file: one document a line, empty lines skipped;
/// - a `.txt` file: documents separated by blank lines;
/// - one of these packed by gzip or zstd, as `.jsonl.gz` or `.txt.zst`;
/// - a folder: every such file in it and below, sorted by path, byte by byte.
///
/// # Errors
/// At once when the path is missing, empty or of another kind. While reading: a line that is not a document (file, line), bytes that are
/// not UTF-8 (file, byte offset), a line over [`MAX_LINE_BYTES`]. After an error the iterator ends.
pub fn read_documents(path: &Path) -> Result<Documents, CorpusError> {
    let files = list_text_files(path)?;
    Ok(Documents {
        files: files.into_iter(),
        current: None,
        failed: false,
    })
}

/// A text file found below the path given.
#[derive(Debug, Clone)]
pub(crate) struct TextFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its path inside the folder that was given, with `/`; the file name when a file was given.
    pub name: String,
    /// JSON lines, as opposed to plain text.
    pub jsonl: bool,
}

fn text_kind(path: &Path) -> Option<bool> {
    let name = plain_name(path.file_name()?.to_str()?);
    let extension = Path::new(name).extension()?.to_str()?;
    match extension {
        e if e.eq_ignore_ascii_case("jsonl") => Some(true),
        e if e.eq_ignore_ascii_case("txt") => Some(false),
        _ => None,
    }
}

/// The text files of `path`, sorted by name.
pub(crate) fn list_text_files(path: &Path) -> Result<Vec<TextFile>, CorpusError> {
    list_files(path, text_kind, ".jsonl or .txt")
}

/// The files of `path` that are of a `kind`, sorted by name; `endings` says which names are. The kind is whether it is JSON lines.
pub(crate) fn list_files(
    path: &Path,
    kind_of: fn(&Path) -> Option<bool>,
    endings: &str,
) -> Result<Vec<TextFile>, CorpusError> {
    let meta = std::fs::metadata(path).map_err(CorpusError::io("open", path))?;
    if meta.is_file() {
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let Some(jsonl) = kind_of(path) else {
            return Err(CorpusError::Unsupported {
                path: path.to_path_buf(),
                reason: format!("the name must end in {endings}, or be a folder of such files"),
            });
        };
        if meta.len() == 0 {
            return Err(CorpusError::Empty(path.to_path_buf()));
        }
        return Ok(vec![TextFile {
            path: path.to_path_buf(),
            name,
            jsonl,
        }]);
    }
    let mut found = Vec::new();
    let mut folders = vec![(path.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(CorpusError::io("list", &folder))?;
        for entry in entries {
            let entry = entry.map_err(CorpusError::io("list", &folder))?;
            let file_name = entry.file_name().to_string_lossy().into_owned();
            let name = format!("{prefix}{file_name}");
            let kind = entry
                .file_type()
                .map_err(CorpusError::io("open", &entry.path()))?;
            // A link to a folder could lead back up and never end; links to files are followed.
            if kind.is_dir() {
                folders.push((entry.path(), format!("{name}/")));
            } else if let Some(jsonl) = kind_of(&entry.path())
                && !file_name.starts_with('.')
                && entry.path().is_file()
            {
                found.push(TextFile {
                    path: entry.path(),
                    name,
                    jsonl,
                });
            }
        }
    }
    if found.is_empty() {
        return Err(CorpusError::Unsupported {
            path: path.to_path_buf(),
            reason: format!("the folder holds no {endings} file"),
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    // Both would be one text, read twice, and one output.
    let mut names: Vec<&str> = found.iter().map(|file| plain_name(&file.name)).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(CorpusError::Unsupported {
            path: path.join(twice[0]),
            reason: "it is there packed and unpacked: take one away".into(),
        });
    }
    Ok(found)
}

/// Iterator over documents, made by [`read_documents`].
#[derive(Debug)]
pub struct Documents {
    files: std::vec::IntoIter<TextFile>,
    current: Option<FileReader>,
    failed: bool,
}

impl Iterator for Documents {
    type Item = Result<Document, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.failed {
                return None;
            }
            let answer = match &mut self.current {
                Some(reader) => reader.next_document(),
                None => match FileReader::open(&self.files.next()?) {
                    Ok(reader) => {
                        self.current = Some(reader);
                        continue;
                    }
                    Err(e) => Err(e),
                },
            };
            match answer {
                Ok(Some(document)) => return Some(Ok(document)),
                Ok(None) => self.current = None,
                Err(e) => {
                    self.failed = true;
                    return Some(Err(e));
                }
            }
        }
    }
}

/// Documents of one file.
#[derive(Debug)]
pub(crate) struct FileReader {
    lines: LineReader,
    name: String,
    jsonl: bool,
    count: u64,
}

impl FileReader {
    pub(crate) fn open(file: &TextFile) -> Result<Self, CorpusError> {
        let lines = LineReader::open(&file.path, false)?;
        Ok(Self {
            lines,
            name: file.name.clone(),
            jsonl: file.jsonl,
            count: 0,
        })
    }

    pub(crate) fn next_document(&mut self) -> Result<Option<Document>, CorpusError> {
        if self.jsonl {
            self.next_json()
        } else {
            self.next_text()
        }
    }

    fn next_json(&mut self) -> Result<Option<Document>, CorpusError> {
        while let Some(line) = self.lines.next_line()? {
            if line.trim().is_empty() {
                continue;
            }
            let document = serde_json::from_str(line).map_err(|e| e.to_string());
            return match document {
                Ok(document) => Ok(Some(document)),
                Err(detail) => Err(CorpusError::Json {
                    path: self.lines.path.clone(),
                    line: self.lines.number,
                    detail,
                }),
            };
        }
        Ok(None)
    }

    fn next_text(&mut self) -> Result<Option<Document>, CorpusError> {
        let mut text = String::new();
        while let Some(line) = self.lines.next_line()? {
            let line = line.trim_end();
            if line.is_empty() {
                if text.is_empty() {
                    continue;
                }
                break;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line);
            if text.len() > MAX_TEXT_DOCUMENT_BYTES {
                break;
            }
        }
        if text.is_empty() {
            return Ok(None);
        }
        self.count += 1;
        let title = Path::new(plain_name(&self.name))
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(Some(Document {
            id: format!("{}#{}", self.name, self.count),
            title,
            url: String::new(),
            source: self.name.clone(),
            text,
        }))
    }
}

/// Lines of a UTF-8 file, each at most [`MAX_LINE_BYTES`] long, with line numbers and byte offsets for messages.
#[derive(Debug)]
pub(crate) struct LineReader {
    reader: BufReader<TextStream>,
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    offset: u64,
    line: Vec<u8>,
    replaced: String,
    replace_invalid: bool,
    /// Invalid byte sequences replaced by U+FFFD so far.
    pub(crate) invalid: u64,
}

impl LineReader {
    /// Opens `path`. With `replace_invalid` bytes that are not UTF-8 become U+FFFD and are counted; without, they are an error.
    pub(crate) fn open(path: &Path, replace_invalid: bool) -> Result<Self, CorpusError> {
        Ok(Self {
            reader: BufReader::with_capacity(1 << 18, open_text(path)?),
            path: path.to_path_buf(),
            number: 0,
            offset: 0,
            line: Vec::new(),
            replaced: String::new(),
            replace_invalid,
            invalid: 0,
        })
    }

    /// The next line without its end (`\n` or `\r\n`), or `None` at the end of the file.
    pub(crate) fn next_line(&mut self) -> Result<Option<&str>, CorpusError> {
        self.line.clear();
        let start = self.offset;
        let limit = MAX_LINE_BYTES as u64 + 1;
        let read = (&mut self.reader)
            .take(limit)
            .read_until(b'\n', &mut self.line)
            .map_err(CorpusError::io("read", &self.path))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.offset += read as u64;
        if read as u64 == limit && self.line.last() != Some(&b'\n') {
            return Err(CorpusError::LineTooLong {
                path: self.path.clone(),
                line: self.number,
                limit: MAX_LINE_BYTES,
            });
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        let bom = usize::from(self.number == 1 && self.line.starts_with(b"\xEF\xBB\xBF")) * 3;
        match std::str::from_utf8(&self.line[bom..]) {
            Ok(line) => Ok(Some(line)),
            Err(e) if !self.replace_invalid => Err(CorpusError::Utf8 {
                path: self.path.clone(),
                offset: start + (bom + e.valid_up_to()) as u64,
            }),
            Err(_) => {
                self.replaced.clear();
                for chunk in self.line[bom..].utf8_chunks() {
                    self.replaced.push_str(chunk.valid());
                    if !chunk.invalid().is_empty() {
                        self.replaced.push('\u{FFFD}');
                        self.invalid += 1;
                    }
                }
                Ok(Some(&self.replaced))
            }
        }
    }
}
