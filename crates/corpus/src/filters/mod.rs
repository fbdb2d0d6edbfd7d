//! Which documents are worth learning from: each is kept, or dropped with a [`Reason`]. Thresholds and the published rules that they come from are in
//! `configs/corpus/filters.toml`.
//!
//! A document is read once (`scan`); every rule works on what was counted there. [`Filters::assess`] looks at one document alone and can run in many
//! threads; [`StubLimiter`] remembers the documents before and runs in their order.

mod config;
mod language;
mod lexicon;
mod reason;
mod repetition;
pub(crate) mod scan;
mod stubs;

pub use config::{FilterConfig, LanguageRules, QualityRules, RepetitionRules, StubRules};
pub use language::Variant;
pub use reason::Reason;
pub use stubs::StubLimiter;

use memchr::memmem::Finder;

use language::{WordSigns, read_signs};
use lexicon::Lexicon;
use repetition::{HashCounts, repeated_lines, repeated_ngrams_over, top_ngram_over};
use scan::Scan;

/// What the filters found in one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// The first rule that it breaks; `None` keeps it.
    pub reason: Option<Reason>,
    /// ISO 639-1 code of its language, where it can be told.
    pub language: Option<String>,
    /// Variant of Portuguese.
    pub variant: Variant,
    /// Its words.
    pub words: u64,
}

/// The rules of a configuration, ready to be asked. Shared by threads; each has a [`FilterScratch`] of its own.
#[derive(Debug)]
pub struct Filters {
    config: FilterConfig,
    lexicon: Lexicon,
    /// Indices of the languages that are kept.
    wanted: Vec<usize>,
    boilerplate: Vec<Finder<'static>>,
    skip: u32,
}

/// Memory that is used again for the next document.
#[derive(Debug, Default)]
pub struct FilterScratch {
    scan: Scan,
    counts: HashCounts,
}

impl Filters {
    /// The rules of `config`.
    ///
    /// # Errors
    /// When a language that is to be kept is not one that can be told.
    pub fn new(config: FilterConfig) -> Result<Self, crate::CorpusError> {
        let lexicon = Lexicon::new(&config.quality.stop_words);
        let mut wanted = Vec::new();
        for code in &config.language.keep {
            match lexicon.languages.iter().position(|known| known == code) {
                Some(index) => wanted.push(index),
                None => {
                    return Err(crate::CorpusError::UnknownLanguage {
                        code: code.clone(),
                        known: lexicon.languages.join(", "),
                    });
                }
            }
        }
        let boilerplate = config
            .quality
            .boilerplate
            .iter()
            .map(|phrase| Finder::new(phrase.as_bytes()).into_owned())
            .collect();
        let skip = config
            .skip
            .iter()
            .fold(0, |skip, &reason| skip | 1 << reason as u32);
        Ok(Self {
            config,
            lexicon,
            wanted,
            boilerplate,
            skip,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &FilterConfig {
        &self.config
    }

    /// Asks every rule but that of stubs about `text`.
    pub fn assess(&self, text: &str, scratch: &mut FilterScratch) -> Assessment {
        let FilterScratch { scan, counts } = scratch;
        scan.read(text);
        let wanted = self.wanted.iter().fold(0, |bits, l| bits | 1 << l);
        let signs = read_signs(&scan.words, &self.lexicon, wanted);
        let best = signs.best_language(self.lexicon.languages.len());
        let reason = self
            .language_broken(scan, &signs, best)
            .or_else(|| self.size_broken(scan))
            .or_else(|| self.words_broken(scan, &signs))
            .or_else(|| self.text_broken(text, scan))
            .or_else(|| self.characters_broken(scan, &signs))
            .or_else(|| self.repetition_broken(scan, counts));
        Assessment {
            reason,
            language: best.map(|best| self.lexicon.languages[best].clone()),
            variant: signs.variant,
            words: scan.words.len() as u64,
        }
    }

    /// The first of `rules` that is asked and broken.
    fn first(&self, rules: &[(Reason, bool)]) -> Option<Reason> {
        rules
            .iter()
            .find(|&&(reason, broken)| broken && self.asks(reason))
            .map(|&(reason, _)| reason)
    }

    /// Whether the rule is asked at all.
    pub fn asks(&self, reason: Reason) -> bool {
        self.skip & (1 << reason as u32) == 0
    }

    fn language_broken(
        &self,
        scan: &Scan,
        signs: &WordSigns,
        best: Option<usize>,
    ) -> Option<Reason> {
        let rules = &self.config.language;
        let other = best.is_some_and(|best| {
            !self
                .wanted
                .iter()
                .any(|&l| signs.deficit(l, best) <= rules.max_deficit)
        });
        self.first(&[
            (
                Reason::Script,
                share(scan.latin, scan.letters) < rules.min_latin,
            ),
            (Reason::OtherLanguage, other),
            (
                Reason::UnknownLanguage,
                share(signs.wanted.into(), signs.words.into()) < rules.min_common_words,
            ),
        ])
    }

    fn size_broken(&self, scan: &Scan) -> Option<Reason> {
        let rules = &self.config.quality;
        let words = scan.words.len() as u64;
        self.first(&[
            (Reason::TooFewWords, words < rules.min_words),
            (Reason::TooManyWords, words > rules.max_words),
        ])
    }

    fn words_broken(&self, scan: &Scan, signs: &WordSigns) -> Option<Reason> {
        let rules = &self.config.quality;
        let words = scan.words.len() as u64;
        let length = share(scan.word_chars, words);
        let bullets = lines_where(scan, |line| rules.bullets.contains(line.first));
        let ellipses = lines_where(scan, |line| line.ellipsis);
        self.first(&[
            (
                Reason::WordLength,
                !(rules.min_mean_word_length..=rules.max_mean_word_length).contains(&length),
            ),
            (Reason::LongWord, scan.longest_word > rules.max_word_chars),
            (
                Reason::Symbols,
                share(scan.symbols, words) > rules.max_symbols_per_word,
            ),
            (Reason::Bullets, bullets > rules.max_bullet_lines),
            (Reason::EllipsisLines, ellipses > rules.max_ellipsis_lines),
            (
                Reason::WordsWithoutLetters,
                share(signs.words.into(), words) < rules.min_words_with_letters,
            ),
            (Reason::StopWords, signs.stop_words < rules.min_stop_words),
        ])
    }

    fn text_broken(&self, text: &str, scan: &Scan) -> Option<Reason> {
        let rules = &self.config.quality;
        let words = scan.words.len() as u64;
        let ended = lines_where(scan, |line| rules.end_marks.contains(line.last));
        let short = lines_where(scan, |line| line.chars <= rules.short_line_chars);
        let boilerplate = self.asks(Reason::Boilerplate)
            && self
                .boilerplate
                .iter()
                .any(|phrase| phrase.find(text.as_bytes()).is_some());
        self.first(&[
            (Reason::FewSentences, scan.sentences < rules.min_sentences),
            (Reason::Boilerplate, boilerplate),
            (Reason::EndMarks, ended < rules.min_end_mark_lines),
            (Reason::ShortLines, short > rules.max_short_lines),
            (
                Reason::LineBreaks,
                share(scan.line_breaks, words) > rules.max_line_breaks_per_word,
            ),
        ])
    }

    fn characters_broken(&self, scan: &Scan, signs: &WordSigns) -> Option<Reason> {
        let rules = &self.config.quality;
        self.first(&[
            (
                Reason::Digits,
                share(scan.digits, scan.chars) > rules.max_digits,
            ),
            (
                Reason::Urls,
                share(signs.urls.into(), scan.words.len() as u64) > rules.max_urls_per_word,
            ),
            (
                Reason::Whitespace,
                share(scan.whitespace, scan.chars) > rules.max_whitespace,
            ),
            (
                Reason::Brackets,
                share(scan.brackets, scan.chars) > rules.max_brackets,
            ),
        ])
    }

    fn repetition_broken(&self, scan: &Scan, counts: &mut HashCounts) -> Option<Reason> {
        let rules = &self.config.repetition;
        let lines = repeated_lines(&scan.lines, counts);
        let lines = lines.lines > rules.max_repeated_lines
            || lines.line_chars > rules.max_repeated_line_chars;
        if lines && self.asks(Reason::RepeatedLines) {
            return Some(Reason::RepeatedLines);
        }
        if self.asks(Reason::TopNgram)
            && top_ngram_over(&scan.words, &rules.max_top_ngram, counts).is_some()
        {
            return Some(Reason::TopNgram);
        }
        if self.asks(Reason::RepeatedNgrams)
            && repeated_ngrams_over(&scan.words, &rules.max_repeated_ngrams, counts).is_some()
        {
            return Some(Reason::RepeatedNgrams);
        }
        None
    }
}

/// `part` of `whole`, 0 of nothing.
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn lines_where(scan: &Scan, is: impl Fn(&scan::Line) -> bool) -> f64 {
    let lines = scan.lines.iter().filter(|line| is(line)).count();
    share(lines as u64, scan.lines.len() as u64)
}

#[cfg(test)]
mod tests;
