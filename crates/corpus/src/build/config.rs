//! What a corpus consists of and how it is made: `configs/corpus/*.toml`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dedup::DedupOptions;
use crate::error::CorpusError;
use crate::filters::FilterConfig;
use crate::sources::SourceConfig;

/// More than any configuration has; a longer file is not read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A corpus: its sources and what is done with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildConfig {
    /// The folder below which the sources are, from where this file is; the caller may name another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// Drop nothing: what the filters and deduplication would drop carries the reason.
    #[serde(default)]
    pub tag_only: bool,
    /// Whose tokens are written.
    #[serde(default)]
    pub tokenizer: TokenizerChoice,
    /// What is held out of the training texts.
    #[serde(default)]
    pub split: SplitOptions,
    /// How duplicates are told.
    #[serde(default)]
    pub dedup: DedupOptions,
    /// Rules that differ from `filters.toml`, for all sources.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub filters: toml::Table,
    /// The sources, in the order in which the first of two equal documents is kept.
    #[serde(rename = "source")]
    pub sources: Vec<SourceConfig>,
}

/// A tokenizer that there is, or one that is learned from the training documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerChoice {
    /// A `tokenizer.json`, from where the configuration is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Tokens to learn where no tokenizer is named.
    pub vocab_size: usize,
    /// Pairs that occur less often are not merged.
    pub min_frequency: u64,
}

impl Default for TokenizerChoice {
    fn default() -> Self {
        Self {
            path: None,
            vocab_size: 32_000,
            min_frequency: 2,
        }
    }
}

/// What is held out of the training texts, by document.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitOptions {
    /// Share of each source's training documents that goes into validation, drawn by the document's name, so that it stays where it is when others come.
    pub validation: f64,
    /// Another number draws others.
    pub seed: u64,
    /// Lines of at least so many characters that validation or test hold are taken out of what is trained on.
    pub min_held_out_line_chars: usize,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self {
            validation: 0.0,
            seed: 0,
            min_held_out_line_chars: 20,
        }
    }
}

impl BuildConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, or says something that cannot be; the message names the field.
    pub fn from_file(path: &Path) -> Result<Self, CorpusError> {
        let wrong = |reason: String| CorpusError::Config {
            path: path.to_owned(),
            reason,
        };
        let length = std::fs::metadata(path)
            .map_err(CorpusError::io("open", path))?
            .len();
        if length > MAX_FILE_BYTES {
            return Err(wrong(format!(
                "{length} bytes are too many for a configuration"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(CorpusError::io("read", path))?;
        let mut config = Self::from_toml(&text).map_err(wrong)?;
        // What a file names is seen from where the file is.
        let folder = path.parent().unwrap_or(Path::new(""));
        for named in [&mut config.root, &mut config.tokenizer.path]
            .into_iter()
            .flatten()
        {
            *named = folder.join(&*named);
        }
        Ok(config)
    }

    /// As [`from_file`](Self::from_file), from its text; the error says what is wrong.
    pub(crate) fn from_toml(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        if self.sources.is_empty() {
            return Err("it has no `[[source]]`".to_owned());
        }
        for (at, source) in self.sources.iter().enumerate() {
            source.validate()?;
            if self.sources[..at]
                .iter()
                .any(|other| other.name == source.name)
            {
                return Err(format!("two sources are called `{}`", source.name));
            }
            self.filters_of(source)?;
        }
        if !(0.0..1.0).contains(&self.split.validation) {
            return Err("`split.validation` is a share: from 0 to under 1".to_owned());
        }
        if !(0.5..=1.0).contains(&self.dedup.similarity) {
            return Err("`dedup.similarity` must be from 0.5 to 1".to_owned());
        }
        Ok(())
    }

    /// The rules for a source: the defaults, what this file changes, what the source changes.
    pub(crate) fn filters_of(&self, source: &SourceConfig) -> Result<FilterConfig, String> {
        FilterConfig::with_changes(&self.filters)
            .and_then(|config| config.changed(&source.filters))
            .map_err(|reason| format!("filters of source `{}`: {reason}", source.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "[[source]]\nname = \"a\"\ntrain = [\"textos\"]\n";

    #[test]
    fn sources_may_differ_in_their_rules() {
        let text = format!(
            "[filters.quality]\nmin_words = 10\n{SMALL}[source.filters.quality]\nmin_sentences = 1\n[[source]]\nname = \"b\"\ntest = [\"x.txt\"]\n"
        );
        let config = BuildConfig::from_toml(&text).unwrap();
        let [a, b] = [0, 1].map(|at| config.filters_of(&config.sources[at]).unwrap().quality);
        assert_eq!((a.min_words, a.min_sentences), (10, 1));
        assert_eq!((b.min_words, b.min_sentences), (10, 3));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, part) in [
            ("", "source"),
            ("[[source]]\nname = \"a\"", "names no texts"),
            (
                "[[source]]\nname = \"A b\"\ntrain = [\"x\"]",
                "small letters",
            ),
            (
                "[[source]]\nname = \"a\"\ntrain = [\"../x\"]",
                "below the data folder",
            ),
            (
                "[[source]]\nname = \"a\"\ntrain = [\"x\"]\nweight = -1.0",
                "weight",
            ),
            (
                "[[source]]\nname = \"a\"\nkind = \"wiki\"\ntrain = [{ path = \"x\", documents_percent = [0, 5] }]",
                "documents_percent",
            ),
            (&format!("{SMALL}{SMALL}"), "two sources"),
            (
                &format!("{SMALL}[source.filters.quality]\nmin_word = 1"),
                "min_word",
            ),
            (
                &format!("[split]\nvalidation = 1.5\n{SMALL}"),
                "split.validation",
            ),
            (
                &format!("[dedup]\nsimilarity = 0.1\n{SMALL}"),
                "dedup.similarity",
            ),
            (&format!("seed = 1\n{SMALL}"), "seed"),
        ] {
            let said = BuildConfig::from_toml(text).unwrap_err();
            assert!(said.contains(part), "{text}\n{said}");
        }
    }

    #[test]
    fn the_files_of_the_repository_are_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/corpus");
        for name in ["data-folder.toml", "wikipedia.toml"] {
            BuildConfig::from_file(&folder.join(name)).unwrap();
        }
    }
}
