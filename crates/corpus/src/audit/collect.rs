//! What is counted while a corpus is read.

use std::collections::BTreeMap;

use super::alphabet::Alphabet;
use super::frequent::FrequentCounts;
use super::report::{
    AuditReport, Decile, DuplicateReport, LengthBin, LengthReport, ResidueExample, ResidueReport,
    Sample,
};
use crate::build::draw;
use crate::dedup::{DedupOptions, ExactDuplicates, NearDuplicates, SIGNATURE, Signature};
use crate::document::Document;
use crate::error::CorpusError;
use crate::filters::scan::{RollingHash, word_hash};
use crate::filters::{Assessment, Reason, Variant};
use crate::residue::{ResidueCounts, residue_places};

/// Different lines and phrases that are counted at a time: some 50 MB each.
const COUNTED: usize = 1 << 20;
/// Documents from which samples are drawn.
const SAMPLED: usize = 1000;
/// Samples of each tenth.
const PER_DECILE: usize = 2;
/// Characters of a sample.
const SAMPLE_CHARS: usize = 800;
/// Words of a phrase.
const PHRASE_WORDS: usize = 5;
/// Sources that are told apart.
const SOURCES: usize = 50;
/// Lines of fewer characters repeat in any text.
const MIN_LINE_CHARS: usize = 12;
/// Examples of each kind of residue.
const EXAMPLES: usize = 3;
/// Entries of each list.
const TOP: usize = 25;

/// What is found in one document alone, by many threads.
pub(super) struct Facts {
    pub assessment: Assessment,
    pub residue: ResidueCounts,
    pub signature: Signature,
}

/// Counts of a corpus, document by document.
pub(super) struct Collector {
    documents: u64,
    bytes: u64,
    lines: u64,
    sources: BTreeMap<String, u64>,
    /// Words of each document, 4 bytes each.
    lengths: Vec<u32>,
    languages: BTreeMap<String, u64>,
    variants: BTreeMap<Variant, u64>,
    filters: BTreeMap<Reason, u64>,
    alphabet: Alphabet,
    residue: ResidueReport,
    exact: ExactDuplicates,
    near: NearDuplicates,
    /// The low byte of each value of the signature of every document that is no duplicate: equal bytes estimate the similarity.
    signatures: Vec<[u8; SIGNATURE]>,
    duplicates: DuplicateReport,
    frequent_lines: FrequentCounts,
    frequent_phrases: FrequentCounts,
    /// By a hash of their names: the first thousand are a sample of all.
    samples: BTreeMap<u64, Sample>,
    phrase: Vec<u64>,
}

impl Collector {
    pub(super) fn new() -> Self {
        Self {
            documents: 0,
            bytes: 0,
            lines: 0,
            sources: BTreeMap::new(),
            lengths: Vec::new(),
            languages: BTreeMap::new(),
            variants: BTreeMap::new(),
            filters: BTreeMap::new(),
            alphabet: Alphabet::default(),
            residue: ResidueReport::default(),
            exact: ExactDuplicates::default(),
            near: NearDuplicates::new(DedupOptions::default()),
            signatures: Vec::new(),
            duplicates: DuplicateReport::default(),
            frequent_lines: FrequentCounts::new(COUNTED),
            frequent_phrases: FrequentCounts::new(COUNTED),
            samples: BTreeMap::new(),
            phrase: Vec::new(),
        }
    }

    /// Counts the next document.
    pub(super) fn add(&mut self, document: &Document, facts: Facts) -> Result<(), CorpusError> {
        let text = document.text.as_str();
        self.documents += 1;
        self.bytes += text.len() as u64;
        self.lengths
            .push(u32::try_from(facts.assessment.words).unwrap_or(u32::MAX));
        self.source(&document.source);
        let language = facts.assessment.language.unwrap_or_default();
        *self.languages.entry(language).or_insert(0) += 1;
        *self.variants.entry(facts.assessment.variant).or_insert(0) += 1;
        if let Some(reason) = facts.assessment.reason {
            *self.filters.entry(reason).or_insert(0) += 1;
        }
        self.alphabet.add(text);
        self.residue(document, &facts.residue);
        self.duplicate(text, &facts.signature)?;
        self.repeated(text);
        self.sample(document, facts.assessment.words);
        Ok(())
    }

    fn source(&mut self, source: &str) {
        let known = self.sources.contains_key(source) || self.sources.len() < SOURCES;
        let name = if known { source } else { "…" };
        *self.sources.entry(name.to_owned()).or_insert(0) += 1;
    }

    fn residue(&mut self, document: &Document, counts: &ResidueCounts) {
        if counts.total() == 0 {
            return;
        }
        self.residue.documents += 1;
        self.residue.counts.add(counts);
        for (kind, at) in residue_places(&document.text) {
            let examples = &mut self.residue.examples;
            if examples
                .iter()
                .filter(|example| example.kind == kind)
                .count()
                < EXAMPLES
            {
                examples.push(ResidueExample {
                    kind,
                    id: document.id.clone(),
                    excerpt: around(&document.text, at),
                });
            }
        }
    }

    fn duplicate(&mut self, text: &str, signature: &Signature) -> Result<(), CorpusError> {
        if self.exact.find(text).is_some() {
            self.duplicates.exact += 1;
            return Ok(());
        }
        let bytes = signature.map(|value| value as u8);
        let alike = |of: &u32| {
            let other = &self.signatures[*of as usize];
            let equal = bytes.iter().zip(other).filter(|(a, b)| a == b).count();
            // One byte in 256 is equal by chance.
            let chance = 1.0 / 256.0;
            let similarity = (equal as f64 / SIGNATURE as f64 - chance) / (1.0 - chance);
            similarity >= DedupOptions::default().similarity
        };
        if self.near.candidates(signature).iter().any(alike) {
            self.duplicates.near += 1;
            return Ok(());
        }
        let number = self.near.keep(signature)?;
        self.signatures.push(bytes);
        self.exact.keep(text, number);
        Ok(())
    }

    fn repeated(&mut self, text: &str) {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.lines += 1;
            if line.chars().take(MIN_LINE_CHARS).count() == MIN_LINE_CHARS {
                self.frequent_lines.add(word_hash(line), || line.to_owned());
            }
            self.phrase.clear();
            let words = line
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty());
            let first = line.as_ptr() as usize;
            let mut starts = [0; PHRASE_WORDS];
            for word in words {
                let mut hash = RollingHash::new();
                word.chars()
                    .for_each(|c| hash.push(u64::from(crate::filters::scan::lower(c))));
                self.phrase.push(hash.finish());
                let start = word.as_ptr() as usize - first;
                starts.rotate_left(1);
                starts[PHRASE_WORDS - 1] = start;
                if let Some(phrase) = self.phrase.last_chunk::<PHRASE_WORDS>() {
                    let mut hash = RollingHash::new();
                    phrase.iter().for_each(|word| hash.push(*word));
                    let shown = &line[starts[0]..start + word.len()];
                    self.frequent_phrases
                        .add(hash.finish(), || shown.to_owned());
                }
            }
        }
    }

    fn sample(&mut self, document: &Document, words: u64) {
        let place = (draw(3, &document.source, &document.id) * (1u64 << 53) as f64) as u64;
        let last = self.samples.last_key_value().map(|(place, _)| *place);
        if self.samples.len() >= SAMPLED && last.is_some_and(|last| place > last) {
            return;
        }
        let sample = Sample {
            id: document.id.clone(),
            title: document.title.clone(),
            words,
            text: document.text.chars().take(SAMPLE_CHARS).collect(),
        };
        self.samples.insert(place, sample);
        if self.samples.len() > SAMPLED {
            self.samples.pop_last();
        }
    }

    /// The report, `seconds` after the start.
    pub(super) fn report(mut self, seconds: f64) -> AuditReport {
        self.lengths.sort_unstable();
        let words: u64 = self.lengths.iter().map(|&words| u64::from(words)).sum();
        self.residue.per_1000_words =
            self.residue.counts.total() as f64 * 1000.0 / words.max(1) as f64;
        self.residue.examples.sort_by_key(|example| example.kind);
        self.duplicates.rate =
            (self.duplicates.exact + self.duplicates.near) as f64 / self.documents.max(1) as f64;
        AuditReport {
            documents: self.documents,
            bytes: self.bytes,
            characters: self.alphabet.characters(),
            words,
            lines: self.lines,
            length: length_report(&self.lengths, words),
            alphabet: self.alphabet.report(TOP),
            samples: deciles(self.samples),
            sources: self.sources,
            languages: self.languages,
            variants: self.variants,
            residue: self.residue,
            duplicates: self.duplicates,
            filters: self.filters,
            frequent_lines: self.frequent_lines.top(TOP),
            frequent_phrases: self.frequent_phrases.top(TOP),
            seconds,
        }
    }
}

fn length_report(sorted: &[u32], words: u64) -> LengthReport {
    let at = |tenth: usize| {
        let index = (sorted.len().saturating_sub(1) * tenth).div_ceil(10);
        sorted.get(index).copied().map_or(0, u64::from)
    };
    let mut histogram: Vec<LengthBin> = Vec::new();
    for &length in sorted {
        let length = u64::from(length);
        while histogram.last().is_none_or(|bin| length >= bin.to) {
            let (from, to) = match histogram.last() {
                None => (0, 1),
                Some(bin) => (bin.to, bin.to * 2),
            };
            histogram.push(LengthBin {
                from,
                to,
                documents: 0,
            });
        }
        if let Some(bin) = histogram.last_mut() {
            bin.documents += 1;
        }
    }
    LengthReport {
        mean: words as f64 / sorted.len().max(1) as f64,
        deciles: std::array::from_fn(at),
        histogram,
    }
}

fn deciles(samples: BTreeMap<u64, Sample>) -> Vec<Decile> {
    let mut sorted: Vec<Sample> = samples.into_values().collect();
    // Stable: among equals the order of their hashes, which is no order of the corpus.
    sorted.sort_by_key(|sample| sample.words);
    let n = sorted.len();
    (0..10)
        .filter_map(|decile| {
            let [from, to] = [decile, decile + 1].map(|tenth| n * tenth / 10);
            let documents: Vec<Sample> =
                sorted[from..to].iter().take(PER_DECILE).cloned().collect();
            (!documents.is_empty()).then_some(Decile {
                decile: decile + 1,
                documents,
            })
        })
        .collect()
}

/// Forty characters before and after a place.
fn around(text: &str, at: usize) -> String {
    let before: Vec<char> = text[..at].chars().rev().take(40).collect();
    let after = text[at..].chars().take(40);
    before.into_iter().rev().chain(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_by_tenths_and_powers_of_two() {
        let lengths: Vec<u32> = (0..=100).collect();
        let report = length_report(&lengths, 5050);
        assert_eq!(report.deciles, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
        let bins: Vec<(u64, u64)> = report
            .histogram
            .iter()
            .map(|bin| (bin.from, bin.documents))
            .collect();
        assert_eq!(
            bins,
            [
                (0, 1),
                (1, 1),
                (2, 2),
                (4, 4),
                (8, 8),
                (16, 16),
                (32, 32),
                (64, 37)
            ]
        );
        assert_eq!(report.mean, 50.0);
        assert_eq!(length_report(&[], 0).deciles, [0; 11]);
    }

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        let text = "é".repeat(100);
        assert_eq!(around(&text, 100).chars().count(), 80);
        assert_eq!(around("ação", 0), "ação");
    }
}
