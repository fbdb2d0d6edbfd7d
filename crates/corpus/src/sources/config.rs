//! What a configuration says of a source.

use ptbr_model::{DataSource, Split};
use serde::{Deserialize, Serialize};

/// A kind of source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Plain text and JSON lines, packed or not, told apart by their names.
    #[default]
    Text,
    /// MediaWiki dumps: Wikipedia, Wikibooks, Wikisource, Wikinews.
    Wiki,
    /// Consolidated statutes as plain text, a file each.
    Statutes,
}

/// What one document of a plain text file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentUnit {
    /// As `clean-corpus` judges each file: what stands between blank lines, unless these separate paragraphs.
    #[default]
    Auto,
    /// What stands between blank lines.
    BlankLines,
    /// The file.
    Files,
    /// A line.
    Lines,
}

/// A source: table `[[source]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Small letters, digits, `-` and `_`; `source` of its documents and part of file names.
    pub name: String,
    /// What it consists of.
    #[serde(default)]
    pub kind: SourceKind,
    /// What is learned from: paths below the data folder, as in the files of domains.
    #[serde(default)]
    pub train: Vec<DataSource>,
    /// What goes into `val.bin` and `val-<name>.bin`, whole.
    #[serde(default)]
    pub validation: Vec<DataSource>,
    /// Held out: never written, and nothing that it holds is learned from.
    #[serde(default)]
    pub test: Vec<DataSource>,
    /// How often its training documents are written: 2 twice, 0.5 every other one, drawn by the document's name.
    #[serde(default = "one")]
    pub weight: f64,
    /// What one document is, in plain text.
    #[serde(default)]
    pub documents: DocumentUnit,
    /// Of a dump, the namespaces whose pages are documents. Wikisource has its scanned pages in 104.
    #[serde(default = "articles")]
    pub namespaces: Vec<i32>,
    /// Whether lines that were broken at the width of a page are joined.
    #[serde(default = "yes")]
    pub join_lines: bool,
    /// Whether the notes of statutes on which act changed them are kept.
    #[serde(default)]
    pub amendment_notes: bool,
    /// Rules that differ for this source, as in `filters.toml`.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub filters: toml::Table,
}

fn one() -> f64 {
    1.0
}

fn articles() -> Vec<i32> {
    vec![0]
}

fn yes() -> bool {
    true
}

impl SourceConfig {
    /// The source called `name` that consists of these training texts.
    pub(crate) fn of_texts(name: &str, train: Vec<DataSource>) -> Self {
        Self {
            name: name.to_owned(),
            kind: SourceKind::Text,
            train,
            validation: Vec::new(),
            test: Vec::new(),
            weight: one(),
            documents: DocumentUnit::Auto,
            namespaces: articles(),
            join_lines: yes(),
            amendment_notes: false,
            filters: toml::Table::new(),
        }
    }

    /// Where a split's texts are.
    pub fn texts(&self, split: Split) -> &[DataSource] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// What is wrong with it, if anything.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let named = |reason: &str| Err(format!("source `{}`: {reason}", self.name));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            return named("a name has 1 to 64 small letters, digits, - and _");
        }
        if !(0.0..=1000.0).contains(&self.weight) {
            return named("its weight must be from 0 to 1000");
        }
        if Split::ALL.iter().all(|&split| self.texts(split).is_empty()) {
            return named("it names no texts; give it `train`, `validation` or `test`");
        }
        for text in Split::ALL.iter().flat_map(|&split| self.texts(split)) {
            if let Err(error) = text.validate() {
                return named(&error.to_string());
            }
            if self.kind == SourceKind::Wiki && text.documents_percent().is_some() {
                return named(
                    "`documents_percent` is for text files; a dump is split by `[split]`",
                );
            }
        }
        Ok(())
    }
}
