//! Documents whose texts are equal but for blanks and line ends.

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

/// Remembers the documents that were kept by half of a SHA-256: up to 72 bytes each.
#[derive(Debug, Default)]
pub struct ExactDuplicates {
    kept: FxHashMap<u128, u32>,
}

impl ExactDuplicates {
    /// The kept document that has this text.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.kept.get(&key(text)).copied()
    }

    /// Remembers a document that is kept, and its number.
    pub fn keep(&mut self, text: &str, number: u32) {
        self.kept.entry(key(text)).or_insert(number);
    }

    /// Bytes that it holds.
    pub fn memory_bytes(&self) -> usize {
        (self.kept.capacity() * 8).div_ceil(7) * (size_of::<(u128, u32)>() + 1)
    }
}

/// Two texts with one key are not to be expected among 2⁶⁰.
fn key(text: &str) -> u128 {
    let mut sha256 = Sha256::new();
    for word in text.split_whitespace() {
        sha256.update(word.as_bytes());
        sha256.update(b" ");
    }
    let digest = sha256.finalize();
    digest
        .iter()
        .take(16)
        .fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_do_not_matter_and_all_else_does() {
        let mut exact = ExactDuplicates::default();
        exact.keep("Um texto.\nOutra linha.", 3);
        exact.keep("Um texto. Outra linha.", 4);
        assert_eq!(exact.find("  Um  texto. Outra\n\nlinha. "), Some(3));
        assert_eq!(exact.find("Um texto. outra linha."), None);
        assert_eq!(exact.find("Umtexto. Outra linha."), None);
    }
}
