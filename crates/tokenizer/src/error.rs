//! What can go wrong with a tokenizer: its file, its contents, its training.

use std::path::PathBuf;

use crate::MAX_VOCAB_SIZE;

/// Why a tokenizer could not be read, written or trained.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file could not be opened or read.
    #[error("cannot read the tokenizer {path}: {source}; check the path and its permissions", path = path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file could not be written; what was there before is unchanged.
    #[error("cannot write the tokenizer {path}: {source}; a file that was there before is unchanged", path = path.display())]
    Write {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no tokenizer that this program can use.
    #[error("cannot use the tokenizer {path}: {source}", path = path.display())]
    InFile {
        /// The file that was read.
        path: PathBuf,
        /// What is wrong with its contents.
        source: Box<TokenizerError>,
    },
    /// There is nothing in the file.
    #[error("the tokenizer is empty (0 bytes); make one with `ptbr-slm train-tokenizer`")]
    Empty,
    /// The file is larger than any tokenizer this program writes.
    #[error(
        "the tokenizer has {bytes} bytes, more than the {limit} accepted; is it another kind of file?"
    )]
    TooLarge {
        /// Size of what was given.
        bytes: u64,
        /// Largest size accepted.
        limit: u64,
    },
    /// Not JSON, cut short, or not the structure of a `tokenizer.json`.
    #[error("not a complete tokenizer.json: {0}; if the file was cut short, copy it again")]
    Json(String),
    /// A setting that would change token ids in a way this crate does not implement.
    #[error(
        "`{field}` is {found}, but only {supported} is supported; such a tokenizer would give other token ids here"
    )]
    Unsupported {
        /// The setting, as a path into the JSON.
        field: String,
        /// What the file holds.
        found: String,
        /// What is accepted.
        supported: &'static str,
    },
    /// More tokens than a 16-bit id can name.
    #[error(
        "the vocabulary has {0} tokens or more, but token ids are 16 bits: {MAX_VOCAB_SIZE} at most; train a smaller one with --vocab-size"
    )]
    VocabularyTooLarge(usize),
    /// Two tokens with one id.
    #[error("token id {id} is given twice, to `{first}` and to `{second}`; the file is damaged")]
    DuplicateId {
        /// The id.
        id: u32,
        /// The token that had it first.
        first: String,
        /// The token that claims it too.
        second: String,
    },
    /// One token with two ids.
    #[error("the token `{token}` is listed twice; the file is damaged")]
    DuplicateToken {
        /// The token as the file writes it.
        token: String,
    },
    /// The ids do not run from 0 to the vocabulary size without a gap.
    #[error(
        "no token has id {id}, but the vocabulary has {tokens} tokens: ids must run from 0 without a gap"
    )]
    MissingId {
        /// The smallest id without a token.
        id: usize,
        /// How many tokens there are.
        tokens: usize,
    },
    /// A token is not written in the byte alphabet.
    #[error(
        "the token `{token}` (id {id}) holds `{character}`, which is no byte-level character: only byte-level BPE tokenizers can be used"
    )]
    NotByteLevel {
        /// The token as the file writes it.
        token: String,
        /// Its id.
        id: u32,
        /// The first character outside the alphabet.
        character: char,
    },
    /// A byte has no token, so some text could not be encoded.
    #[error(
        "no token stands for the single byte 0x{byte:02X}, so some text could not be encoded: a byte-level vocabulary needs all 256"
    )]
    MissingByte {
        /// The byte without a token.
        byte: u8,
    },
    /// One of the five special tokens is not there.
    #[error("the special token {token} is missing from the vocabulary or from `added_tokens`; this program needs {all}", all = crate::SPECIAL_TOKENS.join(" "))]
    MissingSpecial {
        /// The missing token.
        token: &'static str,
    },
    /// A merge is malformed, repeated, or names a token that is not in the vocabulary.
    #[error("merge {index} (`{left}` + `{right}`) is wrong: {problem}")]
    BadMerge {
        /// Its place in the list, from 0.
        index: usize,
        /// Its left part as the file writes it.
        left: String,
        /// Its right part.
        right: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The trainer cannot work with these settings.
    #[error(
        "cannot train a tokenizer with a vocabulary of {vocab_size}: it must be from {min} (256 bytes and the special tokens) to {MAX_VOCAB_SIZE}"
    )]
    BadVocabSize {
        /// The size asked for.
        vocab_size: usize,
        /// The smallest that holds all bytes and special tokens.
        min: usize,
    },
    /// There was no text to train on.
    #[error("cannot train a tokenizer: the input holds no text")]
    NoText,
}

/// Longest piece of a file that a message repeats, in characters.
const QUOTED: usize = 200;

/// A piece of a file as a message repeats it: whole when short, else its beginning.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
