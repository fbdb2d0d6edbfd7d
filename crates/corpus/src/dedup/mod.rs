//! Documents that say the same: found, the first kept, and a record of which removed which.
//!
//! Exact: the texts are equal but for blanks and line ends ([`ExactDuplicates`]). Near: the Jaccard similarity of their 5-word shingles is high
//! ([`NearDuplicates`]). [`Deduplicator`] asks both, in the order of the documents, so the answer depends on nothing but that order.

mod exact;
mod near;
mod shingles;

pub use exact::ExactDuplicates;
pub use near::{DedupOptions, NearDuplicate, NearDuplicates, TextStore};
pub use shingles::{BANDS, ROWS, SHINGLE_WORDS, SIGNATURE, Shingler, Signature, jaccard};

use serde::{Deserialize, Serialize};

use crate::error::CorpusError;

/// In which way a document repeats another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateKind {
    /// The same text, blanks aside.
    Exact,
    /// Nearly the same text.
    Near,
}

/// Why a document was removed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duplicate {
    /// Number of the kept document that it repeats.
    pub of: u32,
    /// In which way.
    pub kind: DuplicateKind,
    /// Jaccard similarity of their shingles; 1 for an exact one.
    pub similarity: f64,
}

/// Tells of each document, in their order, whether one that was kept already says the same.
#[derive(Debug)]
pub struct Deduplicator {
    exact: ExactDuplicates,
    near: NearDuplicates,
}

impl Deduplicator {
    /// Nothing seen yet.
    pub fn new(options: DedupOptions) -> Self {
        Self {
            exact: ExactDuplicates::default(),
            near: NearDuplicates::new(options),
        }
    }

    /// What the document repeats; `None` keeps it, under the next number: 0, 1, 2, … Its text must then be in `store` before the next call.
    ///
    /// # Errors
    /// When a candidate cannot be read from `store`, or there are too many documents.
    pub fn check(
        &mut self,
        text: &str,
        signature: &Signature,
        store: &mut impl TextStore,
    ) -> Result<Option<Duplicate>, CorpusError> {
        if let Some(of) = self.exact.find(text) {
            return Ok(Some(Duplicate {
                of,
                kind: DuplicateKind::Exact,
                similarity: 1.0,
            }));
        }
        if let Some(found) = self.near.find(text, signature, store)? {
            return Ok(Some(Duplicate {
                of: found.of,
                kind: DuplicateKind::Near,
                similarity: found.similarity,
            }));
        }
        let number = self.near.keep(signature)?;
        self.exact.keep(text, number);
        Ok(None)
    }

    /// Bytes that it holds: up to 640 for each kept document.
    pub fn memory_bytes(&self) -> usize {
        self.exact.memory_bytes() + self.near.memory_bytes()
    }
}
