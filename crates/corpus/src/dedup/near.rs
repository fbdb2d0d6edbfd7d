//! Which documents are near duplicates of one that was kept: candidates by bands, each verified by the exact similarity.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::shingles::{BANDS, Shingler, Signature, band_keys, jaccard};
use crate::error::CorpusError;

/// Where the texts of kept documents can be read again, by the number that [`NearDuplicates::keep`] gave them.
pub trait TextStore {
    /// The text of kept document `number`.
    ///
    /// # Errors
    /// When it cannot be read.
    fn text(&mut self, number: u32) -> Result<String, CorpusError>;
}

impl TextStore for Vec<String> {
    fn text(&mut self, number: u32) -> Result<String, CorpusError> {
        Ok(self.get(number as usize).cloned().unwrap_or_default())
    }
}

/// How near duplicates are told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupOptions {
    /// Documents of this Jaccard similarity of 5-word shingles, and above, are near duplicates. Below 0.7 the bands find less and less of them.
    pub similarity: f64,
    /// Of one document at most so many candidates are verified, the earliest ones. It bounds the time where thousands of documents share a band and are not alike.
    pub max_candidates: usize,
}

impl Default for DedupOptions {
    fn default() -> Self {
        Self {
            similarity: 0.8,
            max_candidates: 64,
        }
    }
}

/// The document before that a document repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearDuplicate {
    /// Number of the kept document.
    pub of: u32,
    /// Exact Jaccard similarity of their shingles.
    pub similarity: f64,
}

/// No document.
const NONE: u32 = u32::MAX;

/// Remembers the bands of the documents that were kept, in their order, and tells which later ones repeat one of them.
///
/// Memory: 56 bytes a kept document for the chains, and 16 bytes for each of its at most 14 different bands in a table that is between 7/16 and 7/8 full: 312
/// to 568 bytes a document, whatever its length. Texts are not held; candidates are read again from a [`TextStore`].
#[derive(Debug)]
pub struct NearDuplicates {
    options: DedupOptions,
    /// Band to the latest kept document that has it.
    latest: FxHashMap<u64, u32>,
    /// For each kept document and band the one before it in the same band.
    before: Vec<[u32; BANDS]>,
    shingler: Shingler,
}

impl NearDuplicates {
    /// Nothing kept yet.
    pub fn new(options: DedupOptions) -> Self {
        Self {
            options,
            latest: FxHashMap::default(),
            before: Vec::new(),
            shingler: Shingler::default(),
        }
    }

    /// The earliest kept document that the document with this text and signature repeats.
    ///
    /// # Errors
    /// When a candidate cannot be read from `store`.
    pub fn find(
        &mut self,
        text: &str,
        signature: &Signature,
        store: &mut impl TextStore,
    ) -> Result<Option<NearDuplicate>, CorpusError> {
        let candidates = self.candidates(signature);
        if candidates.is_empty() {
            return Ok(None);
        }
        let own = self.shingler.shingle_set(text);
        for of in candidates {
            let other = self.shingler.shingle_set(&store.text(of)?);
            // Sets of such different sizes cannot be that similar.
            let (small, large) = (own.len().min(other.len()), own.len().max(other.len()));
            if (small as f64) < self.options.similarity * large as f64 {
                continue;
            }
            let similarity = jaccard(&own, &other);
            if similarity >= self.options.similarity {
                return Ok(Some(NearDuplicate { of, similarity }));
            }
        }
        Ok(None)
    }

    /// Kept documents that share a band with this signature, the earliest first, as many as the options allow.
    pub fn candidates(&self, signature: &Signature) -> Vec<u32> {
        let mut candidates = Vec::new();
        for (band, key) in band_keys(signature).iter().enumerate() {
            let mut at = self.latest.get(key).copied().unwrap_or(NONE);
            while at != NONE {
                candidates.push(at);
                at = self.before[at as usize][band];
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates.truncate(self.options.max_candidates);
        candidates
    }

    /// Remembers a document that is kept, and returns its number: 0, 1, 2, …
    ///
    /// # Errors
    /// When there are 2³² − 1 of them.
    pub fn keep(&mut self, signature: &Signature) -> Result<u32, CorpusError> {
        let number = u32::try_from(self.before.len())
            .ok()
            .filter(|&number| number != NONE)
            .ok_or(CorpusError::TooManyDocuments)?;
        let keys = band_keys(signature);
        let before = keys.map(|key| self.latest.insert(key, number).unwrap_or(NONE));
        self.before.push(before);
        Ok(number)
    }

    /// Bytes that it holds, without what is used again for each document.
    pub fn memory_bytes(&self) -> usize {
        // A hash map's table is a power of two of places, of which 7/8 are used; each place has a byte of its own beside the entry.
        let places = (self.latest.capacity() * 8).div_ceil(7);
        places * (size_of::<(u64, u32)>() + 1) + self.before.capacity() * size_of::<[u32; BANDS]>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text of `n` words, of which those at `changed` are others.
    fn text(document: usize, n: usize, changed: impl Fn(usize) -> bool) -> String {
        (0..n)
            .map(|at| {
                let other = if changed(at) { "outra" } else { "" };
                format!("palavra{document}x{at}{other} ")
            })
            .collect()
    }

    struct Counted(Vec<String>, usize);

    impl TextStore for Counted {
        fn text(&mut self, number: u32) -> Result<String, CorpusError> {
            self.1 += 1;
            self.0.text(number)
        }
    }

    #[test]
    fn the_earliest_kept_one_is_named_and_the_exact_similarity_decides() {
        let mut near = NearDuplicates::new(DedupOptions::default());
        let mut shingler = Shingler::default();
        let mut kept: Vec<String> = Vec::new();
        let mut ask = |text: String| {
            let signature = shingler.signature(&text);
            let found = near.find(&text, &signature, &mut kept).unwrap();
            if found.is_none() {
                assert_eq!(near.keep(&signature).unwrap() as usize, kept.len());
                kept.push(text);
            }
            found
        };
        assert_eq!(ask(text(0, 200, |_| false)), None);
        // One word of 200: 5 of 196 shingles differ on each side.
        let once = ask(text(0, 200, |at| at == 100)).unwrap();
        assert_eq!((once.of, once.similarity), (0, 191.0 / 201.0));
        // Eight words: 156 of 236, not alike enough though bands may agree.
        assert_eq!(ask(text(0, 200, |at| at % 25 == 12)), None);
        // A copy of the second is a copy of it, and far from the first.
        assert_eq!(ask(text(0, 200, |at| at % 25 == 12)).unwrap().of, 1);
        assert_eq!(ask(text(1, 200, |_| false)), None);
        assert_eq!(ask("sem palavras em comum".to_owned()), None);
        assert_eq!(
            ask("Sem palavras, em comum!".to_owned())
                .unwrap()
                .similarity,
            1.0
        );
    }

    #[test]
    fn a_crowded_band_costs_no_more_than_the_candidates_allowed() {
        let options = DedupOptions {
            similarity: 1.0,
            max_candidates: 8,
        };
        let mut near = NearDuplicates::new(options);
        let mut shingler = Shingler::default();
        let mut store = Counted(Vec::new(), 0);
        for document in 0..300 {
            let text = text(0, 100, |at| at == 50) + &format!("fim{document}");
            let signature = shingler.signature(&text);
            store.1 = 0;
            assert_eq!(near.find(&text, &signature, &mut store).unwrap(), None);
            assert!(store.1 <= 8, "{} texts were read", store.1);
            near.keep(&signature).unwrap();
            store.0.push(text);
        }
    }

    #[test]
    fn memory_is_linear_and_as_stated() {
        let mut near = NearDuplicates::new(DedupOptions::default());
        let mut shingler = Shingler::default();
        for document in 0..20_000 {
            near.keep(&shingler.signature(&text(document, 12, |_| false)))
                .unwrap();
            if document >= 1000 && document.is_power_of_two() {
                let each = near.memory_bytes() / (document + 1);
                assert!(each < 700, "{each} bytes a document at {document}");
            }
        }
    }
}
