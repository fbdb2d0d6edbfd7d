//! Tokenizer for Brazilian Portuguese: text to 16-bit token ids and back.
//!
//! Byte-level BPE: text is normalized ([`PtBrNormalizer`], NFC by default), split into words, and the UTF-8 bytes of each word are merged into tokens.
//! Every byte has a token, so nothing is unknown and `decode(encode(text))` is the NFC form of any text. Tokenizers are stored as the
//! `tokenizer.json` of Hugging Face, and ids are those that the `tokenizers` library gives for the same file with `encode_special_tokens` set.
//!
//! **Special tokens in text are text.** `[EOS]` written by a user or found in a corpus is encoded as the five characters it is, never as the control
//! token: only the program itself places control tokens, by id ([`BpeTokenizer::eos_id`]).
//!
//! ```
//! use ptbr_tokenizer::{BpeTrainer, BpeTrainerConfig, Tokenizer};
//!
//! let mut trainer = BpeTrainer::new(BpeTrainerConfig { vocab_size: 300, ..Default::default() });
//! trainer.feed("O sabiá sabia assobiar. O sabiá sabia que sabia.");
//! let tokenizer = trainer.train(&mut |_done, _total| {})?;
//! let ids = tokenizer.encode("Não sabia! [EOS]");
//! assert_eq!(tokenizer.decode(&ids), "Não sabia! [EOS]");
//! assert!(!ids.contains(&tokenizer.eos_id()));
//! # Ok::<(), ptbr_tokenizer::TokenizerError>(())
//! ```

mod byte_alphabet;
mod decode_stream;
mod error;
mod json;
mod merge_tables;
mod normalizer;
mod pretokenizer;
mod tokenizer;
mod trainer;
mod unicode_tables;
mod vocab;
mod word_cache;
mod word_key;
mod word_table;

pub use decode_stream::DecodeStream;
pub use error::TokenizerError;
pub use normalizer::{PtBrNormalizer, UnicodeForm};
pub use tokenizer::BpeTokenizer;
pub use trainer::{BpeTrainer, BpeTrainerConfig};
pub use vocab::{BpeVocab, Merge, SpecialToken};

/// A token: its place in the vocabulary.
pub type TokenId = u16;

/// Most tokens a vocabulary can have: what a [`TokenId`] can name.
pub const MAX_VOCAB_SIZE: usize = 1 << 16;

/// The special tokens of every tokenizer made here, in the order of their ids 0 to 4: padding, unknown, begin and end of a text, separator.
pub const SPECIAL_TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "[SEP]"];

/// Words the cache of a [`BpeTokenizer`] holds unless told otherwise (64 bytes each, taken when first used).
pub const DEFAULT_CACHE_CAPACITY: usize = 100_000;

/// Text to token ids and back. Implementations are shared between threads.
pub trait Tokenizer: Send + Sync {
    /// Number of tokens; every id is below it.
    fn vocab_size(&self) -> usize;

    /// The token ids of a text. Any text can be encoded; special tokens written in it are text.
    fn encode(&self, text: &str) -> Vec<TokenId>;

    /// [`Tokenizer::encode`] for many texts, in parallel; the results are in the order of the texts.
    fn encode_batch(&self, texts: &[&str]) -> Vec<Vec<TokenId>>;

    /// The text of token ids: the concatenation of [`Tokenizer::token_bytes`], where bytes that are not UTF-8 become U+FFFD. Special tokens and ids
    /// outside the vocabulary stand for no text.
    fn decode(&self, ids: &[TokenId]) -> String;

    /// The bytes a token stands for in a text: none for a special token, `None` for an id outside the vocabulary.
    fn token_bytes(&self, id: TokenId) -> Option<&[u8]>;
}

/// A small vocabulary for unit tests: special tokens, bytes, then what the merges (`"a b"`, of plain letters) make.
#[cfg(test)]
fn test_vocab(merges: &[&str]) -> BpeVocab {
    let mut names: Vec<String> = SPECIAL_TOKENS.map(str::to_owned).to_vec();
    names.extend(
        byte_alphabet::bytes_in_vocabulary_order().map(|byte| byte_alphabet::encode(&[byte])),
    );
    let mut pairs = Vec::new();
    for merge in merges {
        let (left, right) = merge.split_once(' ').unwrap();
        let joined = format!("{left}{right}");
        if !names.contains(&joined) {
            names.push(joined);
        }
        pairs.push((left.to_owned(), right.to_owned()));
    }
    BpeVocab::from_tokens(
        names.into_iter().zip(0..).collect(),
        &SPECIAL_TOKENS.map(str::to_owned).into_iter().collect(),
        &pairs,
    )
    .unwrap()
}
