//! Training: count the distinct words of a corpus, then merge the most frequent pair of tokens until the vocabulary is full.
//!
//! The result is that of the `tokenizers` library's BPE trainer for the same settings, ties and all, so the same corpus gives the same
//! `tokenizer.json` with either.

mod merge_loop;
mod word_counts;

use crate::{
    BpeTokenizer, BpeVocab, MAX_VOCAB_SIZE, PtBrNormalizer, SPECIAL_TOKENS, TokenizerError,
    byte_alphabet,
};
use word_counts::WordCounts;

/// What to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BpeTrainerConfig {
    /// Tokens wanted, special tokens and bytes included: 261 to 65,536. A small corpus may give fewer.
    pub vocab_size: usize,
    /// A pair that occurs fewer times in the whole corpus is not merged.
    pub min_frequency: u64,
    /// What is done to the text first, in training and in use.
    pub normalizer: PtBrNormalizer,
}

impl Default for BpeTrainerConfig {
    fn default() -> Self {
        Self {
            vocab_size: 32_000,
            min_frequency: 2,
            normalizer: PtBrNormalizer::default(),
        }
    }
}

/// Trains a [`BpeTokenizer`]. Its memory grows with the number of distinct words, not with the length of the corpus.
#[derive(Debug)]
pub struct BpeTrainer {
    config: BpeTrainerConfig,
    counts: WordCounts,
}

impl BpeTrainer {
    /// A trainer that has seen no text.
    pub fn new(config: BpeTrainerConfig) -> Self {
        Self {
            config,
            counts: WordCounts::default(),
        }
    }

    /// Counts the words of one text. A word never reaches over the end of a text.
    pub fn feed(&mut self, text: &str) {
        self.counts.add(&self.config.normalizer.normalize(text));
    }

    /// Counts the words of many texts, in parallel. Neither the order of texts nor the number of threads changes the result.
    pub fn feed_batch(&mut self, texts: &[&str]) {
        self.counts.add_parallel(texts, self.config.normalizer);
    }

    /// How many distinct words were seen.
    pub fn distinct_words(&self) -> usize {
        self.counts.len()
    }

    /// Makes the tokenizer. `progress` hears how many merges are done and how many are wanted.
    ///
    /// # Errors
    /// When the vocabulary size is out of range, or no text was fed.
    pub fn train(
        self,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<BpeTokenizer, TokenizerError> {
        let vocab_size = self.config.vocab_size;
        let min = SPECIAL_TOKENS.len() + 256;
        if !(min..=MAX_VOCAB_SIZE).contains(&vocab_size) {
            return Err(TokenizerError::BadVocabSize { vocab_size, min });
        }
        if self.counts.len() == 0 {
            return Err(TokenizerError::NoText);
        }
        let special_names = SPECIAL_TOKENS.map(str::to_owned);
        let trained = merge_loop::train(
            self.counts.into_sorted(),
            SPECIAL_TOKENS.len(),
            vocab_size,
            self.config.min_frequency,
            progress,
        );
        let names: Vec<String> = special_names
            .iter()
            .cloned()
            .chain(
                trained
                    .tokens
                    .iter()
                    .map(|bytes| byte_alphabet::encode(bytes)),
            )
            .collect();
        let name = |id: u16| names.get(usize::from(id)).cloned().unwrap_or_default();
        let merges: Vec<(String, String)> = trained
            .merges
            .iter()
            .map(|&(left, right)| (name(left), name(right)))
            .collect();
        let vocab = BpeVocab::from_tokens(
            names.into_iter().zip(0..).collect(),
            &special_names.into_iter().collect(),
            &merges,
        )?;
        Ok(BpeTokenizer::new(vocab, self.config.normalizer))
    }
}
