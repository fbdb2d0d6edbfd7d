//! A dump in parts: which bytes are whose, which parts are complete, and how they become one output.
//!
//! Part i of n takes the pages that begin in the i-th of n equal ranges of the file's bytes (in the bz2 blocks that begin there). No part needs to
//! know anything of another, so that n processes on n machines do the work with no word between them.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::journal::Recipe;
use super::{REPORTED_TEMPLATES, WikiSummary, output_stem};
use crate::error::CorpusError;
use crate::output::AtomicFile;
use crate::wikitext::TemplateReport;

/// One part of a dump, written `i/n`: part i, from 0, of n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u32,
    count: u32,
}

/// Most parts of a dump: a part of a 2 GB dump then has two bz2 blocks.
const MAX_SHARDS: u32 = 10_000;

impl Shard {
    /// Part `index`, from 0, of `count`; `None` when there is none such, or more than 10,000.
    pub fn new(index: u32, count: u32) -> Option<Self> {
        (index < count && count <= MAX_SHARDS).then_some(Self { index, count })
    }

    /// Which part, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Of how many.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Its bytes of a file of `length` bytes; the last part has no end.
    pub(super) fn bytes_of(self, length: u64) -> Range<u64> {
        let border = |n: u32| {
            let byte = u128::from(length) * u128::from(n) / u128::from(self.count);
            u64::try_from(byte).unwrap_or(u64::MAX)
        };
        let end = match self.index + 1 == self.count {
            true => u64::MAX,
            false => border(self.index + 1),
        };
        border(self.index)..end
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| {
            Some((index.trim().parse().ok()?, count.trim().parse().ok()?))
        });
        numbers
            .and_then(|(index, count)| Self::new(index, count))
            .ok_or_else(|| {
                format!("`{text}` is not i/n with i from 0 to n − 1 and n at most {MAX_SHARDS}")
            })
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}

/// What stands beside a part when it is complete.
#[derive(Serialize, Deserialize)]
struct Mark {
    recipe: Recipe,
    summary: WikiSummary,
}

fn folder(output_dir: &Path, stem: &str) -> PathBuf {
    output_dir.join(format!("{stem}.shards"))
}

/// Where a part is written.
pub(super) fn output(output_dir: &Path, stem: &str, shard: Shard) -> PathBuf {
    folder(output_dir, stem).join(format!("{:05}-of-{:05}.jsonl", shard.index, shard.count))
}

fn mark_of(output: &Path) -> PathBuf {
    output.with_extension("done")
}

/// The number of parts in a file name as `00003-of-00008.jsonl`.
fn count_in(name: &str) -> Option<u32> {
    let (index, rest) = name.split_once("-of-")?;
    let count = rest.split('.').next()?;
    index.parse::<u32>().ok()?;
    count.parse().ok()
}

/// Refuses a part where parts of another number of parts lie: both would end in one output.
pub(super) fn check_count(output: &Path, shard: Shard) -> Result<(), CorpusError> {
    let Some(folder) = output.parent() else {
        return Ok(());
    };
    match counts_in(folder).into_iter().find(|n| *n != shard.count) {
        None => Ok(()),
        Some(other) => Err(CorpusError::Shards {
            folder: folder.to_path_buf(),
            reason: format!(
                "this is part {shard}, and parts of {other} lie there; keep to {other}, or remove the folder"
            ),
        }),
    }
}

/// The numbers of parts that files in `folder` speak of, each once.
fn counts_in(folder: &Path) -> Vec<u32> {
    let mut counts: Vec<u32> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| count_in(&entry.file_name().to_string_lossy()))
        .collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}

fn read_mark(output: &Path) -> Option<Mark> {
    let text = std::fs::read(mark_of(output)).ok()?;
    let mark: Mark = serde_json::from_slice(&text).ok()?;
    let bytes = std::fs::metadata(output).ok()?.len();
    (bytes == mark.summary.output_bytes).then_some(mark)
}

/// The summary of a part that is complete and made of the same.
pub(super) fn completed(output: &Path, recipe: &Recipe) -> Option<WikiSummary> {
    read_mark(output)
        .filter(|mark| mark.recipe == *recipe)
        .map(|mark| mark.summary)
}

/// Says that a part is complete.
pub(super) fn mark_complete(recipe: &Recipe, summary: &WikiSummary) -> Result<(), CorpusError> {
    let path = mark_of(&summary.output);
    let mark = Mark {
        recipe: recipe.clone(),
        summary: summary.clone(),
    };
    let mut file = AtomicFile::create(&path)?;
    let text = serde_json::to_vec(&mark)
        .map_err(|e| CorpusError::io("write", &path)(std::io::Error::from(e)))?;
    file.write(&text)?;
    file.commit()
}

/// Joins the parts of the dump `input` that [`process_wiki`](super::process_wiki) wrote under `output_dir` into `output_dir/<dump name>.jsonl`, the
/// same bytes as without parts, and removes them.
///
/// # Errors
/// A part is missing or not complete (all that are, are named), parts are of different dumps or made with different options, or a file cannot be
/// read or written. The parts stay then.
pub fn merge_shards(input: &Path, output_dir: &Path) -> Result<WikiSummary, CorpusError> {
    let stem = output_stem(input);
    let folder = folder(output_dir, &stem);
    let refuse = |reason: String| CorpusError::Shards {
        folder: folder.clone(),
        reason,
    };
    let count = match counts_in(&folder).as_slice() {
        [] => return Err(refuse("there are none".into())),
        [count] => *count,
        counts => return Err(refuse(format!("they are parts of {counts:?} parts"))),
    };
    let parts: Vec<PathBuf> = (0..count)
        .filter_map(|index| Shard::new(index, count))
        .map(|shard| output(output_dir, &stem, shard))
        .collect();
    let marks: Vec<Option<Mark>> = parts.iter().map(|part| read_mark(part)).collect();
    let missing: Vec<String> = marks
        .iter()
        .enumerate()
        .filter(|(_, mark)| mark.is_none())
        .map(|(index, _)| format!("{index}/{count}"))
        .collect();
    if !missing.is_empty() {
        let names = missing[..missing.len().min(20)].join(", ");
        let more = if missing.len() > 20 { " and more" } else { "" };
        return Err(refuse(format!(
            "not complete: {names}{more}; run them first"
        )));
    }
    let path = output_dir.join(format!("{stem}.jsonl"));
    let mut file = AtomicFile::create(&path)?;
    let mut whole = WikiSummary::default();
    let mut templates = TemplateReport::default();
    let mut first: Option<Recipe> = None;
    for (part, mark) in parts.iter().zip(marks.into_iter().flatten()) {
        let recipe = Recipe {
            shard: None,
            ..mark.recipe
        };
        if first.get_or_insert_with(|| recipe.clone()) != &recipe {
            return Err(refuse(format!(
                "`{}` is of another dump, or made with other options, than the first part",
                part.display()
            )));
        }
        append(&mut file, part)?;
        add(&mut whole, &mark.summary);
        templates.merge(mark.summary.templates);
    }
    whole.output = path;
    whole.output_bytes = file.bytes();
    whole.mb_per_second = super::mb_per_second(whole.xml_bytes, whole.seconds);
    whole.templates = templates.most_frequent(REPORTED_TEMPLATES);
    file.commit()?;
    std::fs::remove_dir_all(&folder).map_err(CorpusError::io("remove", &folder))?;
    Ok(whole)
}

fn append(file: &mut AtomicFile, part: &Path) -> Result<(), CorpusError> {
    let read = CorpusError::io("read", part);
    let mut buffer = vec![0; 1 << 20];
    let mut input = match File::open(part) {
        Ok(input) => input,
        Err(e) => return Err(read(e)),
    };
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => file.write(&buffer[..n])?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(read(e)),
        }
    }
}

/// Adds a part to the whole; seconds are those of all processes together.
fn add(whole: &mut WikiSummary, part: &WikiSummary) {
    whole.source.clone_from(&part.source);
    whole.pages_seen += part.pages_seen;
    whole.pages_kept += part.pages_kept;
    whole.dropped.add(&part.dropped);
    whole.input_bytes = part.input_bytes;
    whole.xml_bytes += part.xml_bytes;
    whole.text_bytes += part.text_bytes;
    whole.invalid_utf8 += part.invalid_utf8;
    whole.invalid_utf8_pages += part.invalid_utf8_pages;
    if whole.invalid_utf8_first.is_none() {
        whole
            .invalid_utf8_first
            .clone_from(&part.invalid_utf8_first);
    }
    whole.seconds += part.seconds;
    whole.templates_dropped += part.templates_dropped;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file_once() {
        for (length, count) in [(0, 3), (10, 3), (2_000_000_007, 8), (5, 7)] {
            let mut end = 0;
            for index in 0..count {
                let bytes = Shard::new(index, count).expect("a part").bytes_of(length);
                assert_eq!(bytes.start, end.min(length), "{index}/{count} of {length}");
                end = bytes.end;
            }
            assert_eq!(end, u64::MAX);
        }
    }

    #[test]
    fn written_as_i_of_n() {
        assert_eq!("3/8".parse(), Ok(Shard { index: 3, count: 8 }));
        for wrong in ["8/8", "0/0", "1", "a/b", "-1/2", "0/20000", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
        assert_eq!(count_in("00003-of-00008.jsonl.partial"), Some(8));
        assert_eq!(count_in("x-of-8.jsonl"), None);
    }
}
