//! Which texts a domain consists of, and which of them are held out.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::ConfigError;

/// A part of a domain's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What is learned from.
    Train,
    /// By which the best of a run is chosen.
    Validation,
    /// Held out: what is measured in the end, and seen by nothing before.
    Test,
}

impl Split {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The texts of a domain: table `[data]` of its file.
///
/// Of a line that occurs in several splits the most held out keeps it: training never sees a line of validation or test, validation none of test. Lines are compared without the blanks around
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainData {
    train: Vec<DataSource>,
    #[serde(default)]
    validation: Vec<DataSource>,
    #[serde(default)]
    test: Vec<DataSource>,
    /// Held out by another domain that draws on the same texts: their lines are kept out of training too.
    #[serde(default)]
    held_out_elsewhere: Vec<DataSource>,
}

impl DomainData {
    /// Where a split's texts are, in the order in which they are read.
    pub fn sources(&self, split: Split) -> &[DataSource] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// Where the lines are that `split` must not hold.
    pub fn held_out_from(&self, split: Split) -> impl Iterator<Item = &DataSource> {
        let parts: &[&[DataSource]] = match split {
            Split::Train => &[&self.validation, &self.test, &self.held_out_elsewhere],
            Split::Validation => &[&self.test],
            Split::Test => &[],
        };
        let parts: Vec<&[DataSource]> = parts.to_vec();
        parts.into_iter().flatten()
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.train.is_empty() {
            return Err(ConfigError::invalid(
                "train",
                "empty",
                "name the files or folders to learn from, relative to the data folder",
            ));
        }
        let lists = [
            &self.train,
            &self.validation,
            &self.test,
            &self.held_out_elsewhere,
        ];
        lists
            .into_iter()
            .flatten()
            .try_for_each(DataSource::validate)
    }
}

/// Some text files below the data folder. In TOML a string, or a table when it needs more than a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataSource {
    path: String,
    first: Option<String>,
    last: Option<String>,
    except: Vec<String>,
    documents_percent: Option<[u8; 2]>,
}

impl DataSource {
    /// A file, a folder with all below it, or a pattern of them: parts separated by `/`, where `*` stands for any number of characters.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Of each file the documents from this percentage of their number to that, `[0, 80]`; both round down. `None` is all.
    pub fn documents_percent(&self) -> Option<[u8; 2]> {
        self.documents_percent
    }

    /// Which of `documents` documents of a file belong to it: from the first number, before the second.
    pub fn documents_of(&self, documents: u64) -> [u64; 2] {
        match self.documents_percent {
            None => [0, documents],
            Some(percent) => percent.map(|percent| {
                // Through u128, so that no number of documents is too large.
                (u128::from(documents) * u128::from(percent) / 100) as u64
            }),
        }
    }

    /// Whether a file of this path below the data folder, parts separated by `/`, is one of them.
    pub fn takes(&self, file: &str) -> bool {
        let name = file.rsplit('/').next().unwrap_or(file);
        is_at_or_below(&self.path, file)
            && self.first.as_deref().is_none_or(|first| name >= first)
            && self.last.as_deref().is_none_or(|last| name <= last)
            && !self
                .except
                .iter()
                .any(|except| is_at_or_below(except, file))
    }

    /// The deepest folder, or the file, under which all of them lie: the path up to its first `*`.
    pub fn root(&self) -> &str {
        match self.path.find('*') {
            None => &self.path,
            Some(star) => self.path[..star]
                .rsplit_once('/')
                .map_or("", |(root, _)| root),
        }
    }

    /// Refuses paths that lead out of the data folder, and percentages and names that are no range.
    ///
    /// # Errors
    /// [`ConfigError`] names the field and its value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for path in std::iter::once(&self.path).chain(&self.except) {
            let plain =
                |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
            if !path.split('/').all(plain) {
                return Err(ConfigError::invalid(
                    "path",
                    format!("\"{path}\""),
                    "must be a path below the data folder, its parts separated by /",
                ));
            }
        }
        if let Some([from, to]) = self.documents_percent
            && !(from < to && to <= 100)
        {
            return Err(ConfigError::invalid(
                "documents_percent",
                format!("[{from}, {to}]"),
                "must be two percentages, the first below the second, e.g. [0, 80]",
            ));
        }
        if let (Some(first), Some(last)) = (&self.first, &self.last)
            && first > last
        {
            return Err(ConfigError::invalid(
                "first",
                format!("\"{first}\""),
                format!("must come before last, \"{last}\""),
            ));
        }
        Ok(())
    }
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// Whether `pattern` matches `file` or a folder above it, part by part.
fn is_at_or_below(pattern: &str, file: &str) -> bool {
    let mut parts = file.split('/');
    pattern
        .split('/')
        .all(|pattern| parts.next().is_some_and(|part| matches(pattern, part)))
}

/// Whether `pattern`, in which `*` stands for any characters, is `part`. What stands before the first star and after the last is fixed; the pieces between are found one after the other, each
/// as early as possible, which misses nothing.
fn matches(pattern: &str, part: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == part;
    };
    let Some(mut part) = part.strip_prefix(start) else {
        return false;
    };
    let mut pieces = rest.split('*');
    let Some(end) = pieces.next_back() else {
        return true;
    };
    for piece in pieces {
        match part.find(piece) {
            Some(at) => part = &part[at + piece.len()..],
            None => return false,
        }
    }
    part.ends_with(end)
}

impl<'de> Deserialize<'de> for DataSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

/// The table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    path: String,
    /// The first and last file by name that count, both included.
    first: Option<String>,
    last: Option<String>,
    #[serde(default)]
    except: Vec<String>,
    documents_percent: Option<[u8; 2]>,
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = DataSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, or a table { path, first, last, except, documents_percent }")
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<DataSource, E> {
        Ok(DataSource {
            path: path.to_owned(),
            first: None,
            last: None,
            except: Vec::new(),
            documents_percent: None,
        })
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<DataSource, M::Error> {
        let table = SourceTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(DataSource {
            path: table.path,
            first: table.first,
            last: table.last,
            except: table.except,
            documents_percent: table.documents_percent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(toml: &str) -> Result<DomainData, String> {
        let data: DomainData = toml::from_str(toml).map_err(|error| error.to_string())?;
        data.validate().map_err(|error| error.to_string())?;
        Ok(data)
    }

    fn source(toml: &str) -> DataSource {
        data(&format!("train = [{toml}]")).unwrap().train.remove(0)
    }

    #[test]
    fn a_source_is_a_file_a_folder_or_a_pattern() {
        let folder = source("\"legal/leis\"");
        for inside in ["legal/leis", "legal/leis/a.txt", "legal/leis/b/c.txt"] {
            assert!(folder.takes(inside), "{inside}");
        }
        for outside in ["legal", "legal/leisx", "legal/a.txt", "x/legal/leis"] {
            assert!(!folder.takes(outside), "{outside}");
        }
        let pattern = source("\"news/*/train.*.txt\"");
        assert_eq!(pattern.root(), "news");
        assert!(pattern.takes("news/bosque/train.pt-br.txt"));
        assert!(!pattern.takes("news/bosque/train.txt"));
        assert!(!pattern.takes("news/train.pt.txt"));
        assert_eq!(source("\"*.txt\"").root(), "");
        assert_eq!(source("\"a/b.txt\"").root(), "a/b.txt");
    }

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, part, expected) in [
            ("*", "", true),
            ("*", "a.b", true),
            ("a*", "a", true),
            ("*a", "ba", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acbc", true),
            ("a*b*c", "acb", false),
            ("ab*b", "ab", false),
            ("*ab*ab*", "aab", false),
            ("*ação*", "uma ação só", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, part), expected, "{pattern} {part}");
        }
    }

    #[test]
    fn ranges_and_exceptions() {
        let minutes = source(
            "{ path = \"atas\", first = \"ata021.txt\", last = \"ata230.txt\", except = [\"atas/ata1*.txt\", \"atas/velhas\"] }",
        );
        for (file, expected) in [
            ("atas/ata021.txt", true),
            ("atas/ata230.txt", true),
            ("atas/ata020.txt", false),
            ("atas/ata231.txt", false),
            ("atas/ata100.txt", false),
            ("atas/velhas/ata050.txt", false),
            ("atas/novas/ata050.txt", true),
        ] {
            assert_eq!(minutes.takes(file), expected, "{file}");
        }
        let parts = [[0, 80], [80, 90], [90, 100]].map(|[from, to]| {
            source(&format!(
                "{{ path = \"a\", documents_percent = [{from}, {to}] }}"
            ))
        });
        for documents in [0, 1, 7, 31, u64::MAX] {
            let ends = parts.each_ref().map(|part| part.documents_of(documents));
            // Nothing lost, nothing twice.
            assert_eq!(ends[0][0], 0);
            assert_eq!(ends[0][1], ends[1][0]);
            assert_eq!(ends[1][1], ends[2][0]);
            assert_eq!(ends[2][1], documents);
        }
        assert_eq!(parts[0].documents_of(31), [0, 24]);
        assert_eq!(source("\"a\"").documents_of(5), [0, 5]);
    }

    #[test]
    fn what_is_held_out_from_what() {
        let data = data(
            "train = [\"a\"]\nvalidation = [\"b\"]\ntest = [\"c\"]\nheld_out_elsewhere = [\"d\"]",
        )
        .unwrap();
        let from =
            |split| -> Vec<&str> { data.held_out_from(split).map(DataSource::path).collect() };
        assert_eq!(from(Split::Train), ["b", "c", "d"]);
        assert_eq!(from(Split::Validation), ["c"]);
        assert!(from(Split::Test).is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        for (toml, expected) in [
            ("train = []", "`train` is empty"),
            ("train = [\"/etc\"]", "`path` is \"/etc\""),
            ("train = [\"a/../../b\"]", "below the data folder"),
            ("train = [\"\"]", "`path` is \"\""),
            ("train = [\"a\\\\b\"]", "separated by /"),
            (
                "train = [{ path = \"a\", except = [\"..\"] }]",
                "`path` is \"..\"",
            ),
            (
                "train = [{ path = \"a\", frist = \"b\" }]",
                "unknown field `frist`",
            ),
            ("train = [{ first = \"b\" }]", "missing field `path`"),
            ("train = [3]", "a path, or a table"),
            ("trian = [\"a\"]", "unknown field `trian`"),
            (
                "train = [{ path = \"a\", first = \"b\", last = \"a\" }]",
                "must come before last",
            ),
            (
                "train = [{ path = \"a\", documents_percent = [80, 80] }]",
                "`documents_percent` is [80, 80]",
            ),
            (
                "train = [{ path = \"a\", documents_percent = [0, 101] }]",
                "[0, 101]",
            ),
        ] {
            let message = data(toml).unwrap_err();
            assert!(message.contains(expected), "{toml}: {message}");
        }
    }
}
