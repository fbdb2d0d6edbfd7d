//! An output that grows over interruptions: the lines written so far, and beside them a journal of how far in the dump they reach.
//!
//! Both stand beside the final file, `x.jsonl.partial` and `x.jsonl.journal`. The journal's first line says what is being made of which dump; every
//! further line is written after the bytes it describes, with their SHA-256. After a kill or a crash the lines whose bytes are there, whole, are
//! taken over; the rest, at most what was read since, is made again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::pages::Counts;
use crate::dump::Restart;
use crate::error::CorpusError;
use crate::output::publish;
use crate::wikitext::DroppedTemplate;

/// What an output is made of: an interrupted run is only gone on with when all of this is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// The program's version: another one may clean differently.
    pub(super) program: String,
    pub(super) input_name: String,
    pub(super) input_bytes: u64,
    /// SHA-256 of the dump's first 64 KiB.
    pub(super) input_head: String,
    pub(super) min_chars: usize,
    pub(super) namespaces: Vec<i32>,
    pub(super) max_page_bytes: usize,
    pub(super) count_templates: bool,
    /// SHA-256 of the table of templates, when it is not the built-in one.
    pub(super) templates: Option<String>,
    /// Which part of how many.
    pub(super) shard: Option<(u32, u32)>,
}

/// A line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    /// Bytes of the output that this line adds.
    bytes: u64,
    /// Their SHA-256.
    sha256: String,
    /// Where reading goes on: the byte in the XML of this run's part, and the place in the file.
    xml: u64,
    restart: Restart,
    counts: Counts,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    templates: Vec<DroppedTemplate>,
}

/// What an interrupted run had done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Where to go on; `None` when nothing was done.
    pub(super) restart: Option<Restart>,
    /// XML read for it, bytes.
    pub(super) xml: u64,
    pub(super) counts: Counts,
    pub(super) templates: Vec<DroppedTemplate>,
}

/// The output while it is being written.
pub(super) struct Growing {
    file: File,
    journal: Option<File>,
    path: PathBuf,
    bytes: u64,
    /// Bytes, counts and templates since the last line of the journal.
    open: Open,
}

#[derive(Default)]
struct Open {
    bytes: u64,
    digest: Sha256,
    counts: Counts,
    templates: Vec<DroppedTemplate>,
}

pub(super) fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

impl Growing {
    /// Opens the output `path`, and takes over what an interrupted run with the same `recipe` left. Without one nothing is taken over and no
    /// journal is kept.
    pub(super) fn open(path: &Path, recipe: Option<&Recipe>) -> Result<(Self, Done), CorpusError> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(CorpusError::io("make the folder", folder))?;
        }
        let partial = beside(path, ".partial");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&partial)
            .map_err(CorpusError::io("write", &partial))?;
        if file.try_lock().is_err() {
            return Err(CorpusError::Busy { path: partial });
        }
        let at = beside(path, ".journal");
        let (mut done, mut bytes, mut kept) = (Done::default(), 0, 0);
        if let Some(recipe) = recipe {
            (done, bytes, kept) = read_journal(&at, recipe, &mut file);
        }
        let write = CorpusError::io("write", &partial);
        file.set_len(bytes)
            .and_then(|()| file.seek(SeekFrom::Start(bytes)))
            .map_err(write)?;
        let journal = match recipe {
            None => None,
            Some(recipe) => {
                Some(open_journal(&at, recipe, kept).map_err(CorpusError::io("write", &at))?)
            }
        };
        let growing = Self {
            file,
            journal,
            path: path.to_path_buf(),
            bytes,
            open: Open::default(),
        };
        Ok((growing, done))
    }

    /// Bytes written, with those taken over.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends lines; `after` is where reading goes on after them, when that is known.
    pub(super) fn write(
        &mut self,
        lines: &[u8],
        counts: &Counts,
        templates: &[DroppedTemplate],
        after: Option<(u64, Restart)>,
    ) -> Result<(), CorpusError> {
        self.file
            .write_all(lines)
            .map_err(CorpusError::io("write", &self.path))?;
        self.bytes += lines.len() as u64;
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let open = &mut self.open;
        open.bytes += lines.len() as u64;
        open.digest.update(lines);
        open.counts.add(counts);
        open.templates.extend_from_slice(templates);
        let Some((xml, restart)) = after else {
            return Ok(());
        };
        let open = std::mem::take(open);
        let entry = Entry {
            bytes: open.bytes,
            sha256: hex(open.digest.finalize()),
            xml,
            restart,
            counts: open.counts,
            templates: open.templates,
        };
        append(journal, &entry).map_err(CorpusError::io("write", &beside(&self.path, ".journal")))
    }

    /// Syncs the output, gives it its name and removes the journal.
    pub(super) fn commit(self) -> Result<(), CorpusError> {
        self.file
            .sync_all()
            .map_err(CorpusError::io("sync", &self.path))?;
        publish(&beside(&self.path, ".partial"), &self.path)?;
        if self.journal.is_some() {
            std::fs::remove_file(beside(&self.path, ".journal")).ok();
        }
        Ok(())
    }

    /// Removes what was written: the input was none.
    pub(super) fn discard(self) {
        drop(self.file);
        std::fs::remove_file(beside(&self.path, ".partial")).ok();
        std::fs::remove_file(beside(&self.path, ".journal")).ok();
    }
}

/// One JSON line, in one write.
fn append(journal: &mut File, line: &impl Serialize) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    journal.write_all(&text)
}

/// The journal with its first `kept` bytes, or a new one that begins with `recipe`.
fn open_journal(at: &Path, recipe: &Recipe, kept: u64) -> std::io::Result<File> {
    let mut journal = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(at)?;
    journal.set_len(kept)?;
    journal.seek(SeekFrom::Start(kept))?;
    if kept == 0 {
        append(&mut journal, recipe)?;
    }
    Ok(journal)
}

/// SHA-256 of all that a reader gives.
fn digest_of(reader: &mut impl BufRead) -> Option<String> {
    let mut digest = Sha256::new();
    loop {
        let bytes = reader.fill_buf().ok()?;
        if bytes.is_empty() {
            return Some(hex(digest.finalize()));
        }
        digest.update(bytes);
        let length = bytes.len();
        reader.consume(length);
    }
}

/// Longest line of a journal that is read.
const MAX_LINE: u64 = 64 << 20;

/// What the journal at `at` says was done and `file` holds; with the bytes of the output and of the journal that stay.
fn read_journal(at: &Path, recipe: &Recipe, file: &mut File) -> (Done, u64, u64) {
    let mut done = Done::default();
    let (mut bytes, mut kept) = (0, 0);
    let Ok(journal) = File::open(at) else {
        return (done, bytes, kept);
    };
    let mut journal = BufReader::new(journal);
    let mut output = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        let read = journal.by_ref().take(MAX_LINE).read_until(b'\n', line);
        read.is_ok() && line.ends_with(b"\n")
    };
    let same = next(&mut line)
        && serde_json::from_slice::<Recipe>(&line).is_ok_and(|written| written == *recipe);
    if !same {
        return (done, bytes, kept);
    }
    kept = line.len() as u64;
    while next(&mut line) {
        let Ok(entry) = serde_json::from_slice::<Entry>(&line) else {
            break;
        };
        if digest_of(&mut output.by_ref().take(entry.bytes)).as_ref() != Some(&entry.sha256) {
            break;
        }
        kept += line.len() as u64;
        bytes += entry.bytes;
        done.restart = Some(entry.restart);
        done.xml = entry.xml;
        done.counts.add(&entry.counts);
        done.templates.extend(entry.templates);
    }
    (done, bytes, kept)
}
