//! What can be wrong with a token file or with what is asked of it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A token file that cannot be written, read or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file does not begin like a token file.
    #[error("{} is not a token file (its first bytes are not PTBRTOKN): make one with tokenize, or read plain u16 tokens with --raw", path.display())]
    Magic {
        /// The file.
        path: PathBuf,
    },
    /// The file is shorter or longer than its header says, or its bytes were changed.
    #[error("{} is damaged: {reason}; tokenize the text again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// The file was made with another tokenizer than the one in use.
    #[error("{} was made with the tokenizer {}…, the one in use is {}…: tokenize the text again, or use that tokenizer", path.display(), short(expected), short(found))]
    OtherTokenizer {
        /// The token file.
        path: PathBuf,
        /// SHA-256 of the file's tokenizer.
        expected: [u8; 32],
        /// SHA-256 of the tokenizer in use.
        found: [u8; 32],
    },
    /// A token is not in the vocabulary.
    #[error("{}: token {token} at position {position} is outside the vocabulary of {vocab_size}", path.display())]
    TokenOutOfRange {
        /// The token file.
        path: PathBuf,
        /// The token.
        token: u16,
        /// Its index among all tokens.
        position: u64,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// No tokens at all.
    #[error("{}: there are no tokens; is the input text empty?", path.display())]
    Empty {
        /// The token file.
        path: PathBuf,
    },
    /// A sequence does not fit into the data.
    #[error("{} holds {tokens} tokens, a sequence of {seq_len} needs {}: use a shorter --seq-len or more text", path.display(), seq_len.saturating_add(1))]
    TooShort {
        /// The token file.
        path: PathBuf,
        /// Tokens in it.
        tokens: usize,
        /// Tokens that each sequence predicts.
        seq_len: usize,
    },
    /// States cannot be carried from one sequence to the next: no lane would get two.
    #[error("{} holds {tokens} tokens: too few for two sequences of {seq_len} in each of {lanes} lanes (--batch-size times --gradient-accumulation-steps); use fewer lanes, a shorter --seq-len or more text", path.display())]
    TooManyLanes {
        /// The token file.
        path: PathBuf,
        /// Tokens in it.
        tokens: usize,
        /// Tokens that each sequence predicts.
        seq_len: usize,
        /// Sequences that walk through the text side by side.
        lanes: usize,
    },
    /// A size that no file or loader can have.
    #[error("`{field}` is {value}: {reason}")]
    Invalid {
        /// What was given.
        field: &'static str,
        /// Its value.
        value: usize,
        /// What is allowed.
        reason: &'static str,
    },
}

impl DatasetError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The first 12 hexadecimal digits of a digest: enough for a reader to tell two apart.
fn short(digest: &[u8; 32]) -> String {
    digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
