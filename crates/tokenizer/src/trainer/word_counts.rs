//! Distinct words and how often each occurs.

use std::collections::HashMap;
use std::hash::BuildHasher;

use rayon::prelude::*;
use rustc_hash::FxBuildHasher;

use crate::PtBrNormalizer;
use crate::pretokenizer::Words;

/// Longer words are not counted: real words are far shorter, and a merge rereads the whole of a word it occurs in.
const MAX_WORD_BYTES: usize = 4096;
/// The words are spread over this many maps by their hash, so that threads can join their counts map by map.
const SHARDS: usize = 32;

type Shard = HashMap<Box<[u8]>, u64, FxBuildHasher>;

/// How often each word occurs.
#[derive(Debug)]
pub(super) struct WordCounts {
    shards: Vec<Shard>,
}

impl Default for WordCounts {
    fn default() -> Self {
        Self {
            shards: vec![Shard::default(); SHARDS],
        }
    }
}

impl WordCounts {
    pub(super) fn add(&mut self, normalized: &str) {
        for word in Words::new(normalized) {
            if word.len() <= MAX_WORD_BYTES {
                let shard = FxBuildHasher.hash_one(word) as usize % SHARDS;
                match self.shards[shard].get_mut(word) {
                    Some(count) => *count += 1,
                    None => {
                        self.shards[shard].insert(word.into(), 1);
                    }
                }
            }
        }
    }

    pub(super) fn add_parallel(&mut self, texts: &[&str], normalizer: PtBrNormalizer) {
        let parts: Vec<Self> = texts
            .par_iter()
            .fold(Self::default, |mut counts, text| {
                counts.add(&normalizer.normalize(text));
                counts
            })
            .collect();
        let mut by_shard: Vec<Vec<Shard>> = (0..SHARDS)
            .map(|_| Vec::with_capacity(parts.len()))
            .collect();
        for part in parts {
            for (shards, shard) in by_shard.iter_mut().zip(part.shards) {
                shards.push(shard);
            }
        }
        self.shards
            .par_iter_mut()
            .zip(by_shard)
            .for_each(|(total, parts)| {
                for part in parts {
                    if total.is_empty() {
                        *total = part;
                        continue;
                    }
                    for (word, count) in part {
                        *total.entry(word).or_default() += count;
                    }
                }
            });
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }

    /// All words with their counts, sorted by their bytes: an order that depends on the corpus only.
    pub(super) fn into_sorted(self) -> Vec<(Box<[u8]>, u64)> {
        let mut words: Vec<_> = self.shards.into_iter().flatten().collect();
        words.par_sort_unstable();
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_and_single_texts_count_alike() {
        let texts: Vec<String> = (0..200)
            .map(|number| {
                format!(
                    "o sabiá sabia {} vezes {}",
                    number % 7,
                    "x".repeat(number * 30)
                )
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut single = WordCounts::default();
        texts.iter().for_each(|text| single.add(text));
        let mut batch = WordCounts::default();
        batch.add_parallel(&texts[..50], PtBrNormalizer::default());
        batch.add_parallel(&texts[50..], PtBrNormalizer::default());
        let words = batch.into_sorted();
        assert_eq!(words, single.into_sorted());
        let count = |word: &str| {
            words
                .iter()
                .find(|(bytes, _)| **bytes == *word.as_bytes())
                .map(|(_, count)| *count)
        };
        assert_eq!(count(" sabia"), Some(200));
        assert!(words.iter().all(|(word, _)| word.len() <= MAX_WORD_BYTES));
        assert!(count(&format!(" {}", "x".repeat(4080))).is_some());
    }
}
