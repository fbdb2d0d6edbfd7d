//! What an audit found, as `audit-corpus --json` prints it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::frequent::Frequent;
use crate::filters::{Reason, Variant};
use crate::residue::{Residue, ResidueCounts};

/// What is in a corpus.
#[derive(Debug, Clone, Serialize)]
pub struct AuditReport {
    /// Documents.
    pub documents: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Characters of their texts.
    pub characters: u64,
    /// Words: runs of letters and digits.
    pub words: u64,
    /// Lines with more than blanks in them.
    pub lines: u64,
    /// Documents by their source; beyond fifty sources the rest is one.
    pub sources: BTreeMap<String, u64>,
    /// How long documents are.
    pub length: LengthReport,
    /// Documents by language, ISO 639-1; "" where it cannot be told.
    pub languages: BTreeMap<String, u64>,
    /// Documents by variant of Portuguese.
    pub variants: BTreeMap<Variant, u64>,
    /// What characters there are.
    pub alphabet: AlphabetReport,
    /// What markup left.
    pub residue: ResidueReport,
    /// What is there more than once.
    pub duplicates: DuplicateReport,
    /// Documents that the filters would drop, by the first rule that they break.
    pub filters: BTreeMap<Reason, u64>,
    /// Lines that occur most often.
    pub frequent_lines: Vec<Frequent>,
    /// Phrases of five words that occur most often.
    pub frequent_phrases: Vec<Frequent>,
    /// Documents to look at, from the shortest tenth to the longest.
    pub samples: Vec<Decile>,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// Lengths of documents, words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LengthReport {
    /// Mean.
    pub mean: f64,
    /// Shortest, the nine limits between tenths of the documents, longest.
    pub deciles: [u64; 11],
    /// Documents by length: `[1, 2)`, `[2, 4)`, `[4, 8)`, … words.
    pub histogram: Vec<LengthBin>,
}

/// A bar of the histogram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LengthBin {
    /// Words, at least.
    pub from: u64,
    /// Words, fewer.
    pub to: u64,
    /// Documents.
    pub documents: u64,
}

/// Characters by kind, and the unusual ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AlphabetReport {
    /// By kind: "letters", "accented letters", "digits", "blanks", "punctuation", "symbols", "other scripts", "control".
    pub kinds: BTreeMap<&'static str, u64>,
    /// The most frequent characters that Portuguese text does not need.
    pub unusual: Vec<UnusualCharacter>,
}

/// A character outside of what Portuguese is written with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnusualCharacter {
    /// The character.
    pub character: char,
    /// As U+00AD.
    pub code: String,
    /// How often it occurs.
    pub count: u64,
}

/// Residue of markup.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ResidueReport {
    /// By kind.
    pub counts: ResidueCounts,
    /// All kinds, for a thousand words.
    pub per_1000_words: f64,
    /// Documents that have any.
    pub documents: u64,
    /// Three places of each kind.
    pub examples: Vec<ResidueExample>,
}

/// A place with residue.
#[derive(Debug, Clone, Serialize)]
pub struct ResidueExample {
    /// The kind.
    pub kind: Residue,
    /// The document.
    pub id: String,
    /// The text around it.
    pub excerpt: String,
}

/// What is there more than once.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DuplicateReport {
    /// Documents with the text of an earlier one.
    pub exact: u64,
    /// Documents nearly like an earlier one: an estimated Jaccard similarity of 5-word shingles of 0.8 and more.
    pub near: u64,
    /// Both, as a share of the documents.
    pub rate: f64,
}

/// Documents of one tenth of the lengths.
#[derive(Debug, Clone, Serialize)]
pub struct Decile {
    /// 1 for the shortest tenth.
    pub decile: usize,
    /// Some of them.
    pub documents: Vec<Sample>,
}

/// A document to look at.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its words.
    pub words: u64,
    /// Its beginning.
    pub text: String,
}
