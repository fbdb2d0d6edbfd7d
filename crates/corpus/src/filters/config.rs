//! The rules and their figures: `configs/corpus/filters.toml`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::reason::Reason;
use crate::error::CorpusError;

/// The file with the defaults and what each key means.
const DEFAULTS: &str = include_str!("../../../../configs/corpus/filters.toml");

/// Figures of all rules; [`FilterConfig::default`] is `configs/corpus/filters.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "configs/corpus/filters.toml says what each key means"
)]
pub struct FilterConfig {
    pub skip: Vec<Reason>,
    pub language: LanguageRules,
    pub quality: QualityRules,
    pub repetition: RepetitionRules,
    pub stubs: StubRules,
}

/// Table `[language]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "configs/corpus/filters.toml says what each key means"
)]
pub struct LanguageRules {
    pub keep: Vec<String>,
    pub min_latin: f64,
    pub min_common_words: f64,
    pub max_deficit: f32,
}

/// Table `[quality]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "configs/corpus/filters.toml says what each key means"
)]
pub struct QualityRules {
    pub min_words: u64,
    pub max_words: u64,
    pub min_mean_word_length: f64,
    pub max_mean_word_length: f64,
    pub max_word_chars: u32,
    pub max_symbols_per_word: f64,
    pub max_bullet_lines: f64,
    pub bullets: String,
    pub max_ellipsis_lines: f64,
    pub min_words_with_letters: f64,
    pub min_stop_words: u32,
    pub stop_words: Vec<String>,
    pub min_sentences: u64,
    pub boilerplate: Vec<String>,
    pub end_marks: String,
    pub min_end_mark_lines: f64,
    pub short_line_chars: u32,
    pub max_short_lines: f64,
    pub max_line_breaks_per_word: f64,
    pub max_digits: f64,
    pub max_urls_per_word: f64,
    pub max_whitespace: f64,
    pub max_brackets: f64,
}

/// Table `[repetition]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "configs/corpus/filters.toml says what each key means"
)]
pub struct RepetitionRules {
    pub max_repeated_lines: f64,
    pub max_repeated_line_chars: f64,
    pub max_top_ngram: Vec<f64>,
    pub max_repeated_ngrams: Vec<f64>,
}

/// Table `[stubs]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "configs/corpus/filters.toml says what each key means"
)]
pub struct StubRules {
    pub cap: u32,
    pub max_words: u64,
    pub min_sentence_words: u32,
    pub min_share: f64,
}

impl Default for FilterConfig {
    /// The embedded file.
    ///
    /// # Panics
    /// Never: the file is part of the program, and a test reads it.
    fn default() -> Self {
        match toml::from_str(DEFAULTS) {
            Ok(config) => config,
            Err(error) => unreachable!("configs/corpus/filters.toml: {error}"),
        }
    }
}

impl FilterConfig {
    /// Reads a file that need only name what differs from the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, has a key that does not exist, or a figure that cannot be.
    pub fn from_file(path: &Path) -> Result<Self, CorpusError> {
        let text = std::fs::read_to_string(path).map_err(CorpusError::io("read", path))?;
        Self::from_toml(&text).map_err(|reason| CorpusError::Config {
            path: path.to_owned(),
            reason,
        })
    }

    /// As [`from_file`](Self::from_file), from the text of the file; the error says what is wrong with it.
    pub(crate) fn from_toml(text: &str) -> Result<Self, String> {
        let table: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
        Self::with_changes(&table)
    }

    /// The defaults with what `changes` names instead.
    pub(crate) fn with_changes(changes: &toml::Table) -> Result<Self, String> {
        Self::default().changed(changes)
    }

    /// This configuration with what `changes` names instead.
    pub(crate) fn changed(&self, changes: &toml::Table) -> Result<Self, String> {
        let mut all = toml::Table::try_from(self).map_err(|error| error.to_string())?;
        for (key, value) in changes {
            match (all.get_mut(key), value) {
                (Some(toml::Value::Table(old)), toml::Value::Table(new)) => {
                    old.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
                }
                _ => {
                    all.insert(key.clone(), value.clone());
                }
            }
        }
        let config: Self = all
            .try_into()
            .map_err(|error: toml::de::Error| error.to_string())?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        let (q, r) = (&self.quality, &self.repetition);
        let shares = [
            ("language.min_latin", self.language.min_latin),
            ("language.min_common_words", self.language.min_common_words),
            ("quality.max_bullet_lines", q.max_bullet_lines),
            ("quality.max_ellipsis_lines", q.max_ellipsis_lines),
            ("quality.min_words_with_letters", q.min_words_with_letters),
            ("quality.min_end_mark_lines", q.min_end_mark_lines),
            ("quality.max_short_lines", q.max_short_lines),
            ("quality.max_digits", q.max_digits),
            ("quality.max_whitespace", q.max_whitespace),
            ("quality.max_brackets", q.max_brackets),
            ("repetition.max_repeated_lines", r.max_repeated_lines),
            (
                "repetition.max_repeated_line_chars",
                r.max_repeated_line_chars,
            ),
            ("stubs.min_share", self.stubs.min_share),
        ];
        let lists = [
            ("repetition.max_top_ngram", &r.max_top_ngram),
            ("repetition.max_repeated_ngrams", &r.max_repeated_ngrams),
        ];
        let listed = lists
            .iter()
            .flat_map(|(name, list)| list.iter().map(move |x| (*name, *x)));
        for (name, share) in shares.into_iter().chain(listed) {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("`{name}` is {share}: it is a share, from 0 to 1"));
            }
        }
        if self.language.keep.is_empty() {
            return Err("`language.keep` is empty: name a language, as \"pt\"".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_what_differs() {
        let config =
            FilterConfig::from_toml("skip = [\"stub\"]\n[quality]\nmin_words = 7\n").unwrap();
        assert_eq!(config.skip, [Reason::Stub]);
        assert_eq!(config.quality.min_words, 7);
        let mut expected = FilterConfig {
            skip: vec![Reason::Stub],
            ..FilterConfig::default()
        };
        expected.quality.min_words = 7;
        assert_eq!(config, expected);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, part) in [
            ("skip = [\"stubs\"]", "stubs"),
            ("[quality]\nmin_word = 3", "min_word"),
            ("[qualidade]\nx = 3", "qualidade"),
            ("[quality]\nmax_digits = 15", "quality.max_digits"),
            ("[repetition]\nmax_top_ngram = [0.2, 2.0]", "max_top_ngram"),
            ("[language]\nkeep = []", "language.keep"),
        ] {
            let said = FilterConfig::from_toml(text).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }
}
