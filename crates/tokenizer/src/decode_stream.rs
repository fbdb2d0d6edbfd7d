//! Decoding token by token: text comes out as soon as its characters are whole, never half a character.

use std::sync::Arc;

use crate::{BpeVocab, TokenId};

/// Turns a stream of tokens into text; made by [`crate::BpeTokenizer::decode_stream`].
///
/// The pieces joined, with [`DecodeStream::finish`], are what [`crate::Tokenizer::decode`] gives for all the tokens at once.
#[derive(Debug, Clone)]
pub struct DecodeStream {
    vocab: Arc<BpeVocab>,
    /// The start of a character whose other bytes have not come yet: at most three bytes between calls.
    pending: Vec<u8>,
}

impl DecodeStream {
    pub(crate) fn new(vocab: Arc<BpeVocab>) -> Self {
        Self {
            vocab,
            pending: Vec::new(),
        }
    }

    /// Adds a token and returns the characters that are whole now, perhaps none. Bytes that can no longer become a character give U+FFFD.
    pub fn push(&mut self, id: TokenId) -> String {
        self.pending
            .extend_from_slice(self.vocab.token_bytes(id).unwrap_or_default());
        let mut text = String::new();
        let mut used = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            used += chunk.valid().len();
            let invalid = chunk.invalid();
            let at_end = used + invalid.len() == self.pending.len();
            if at_end && may_go_on(invalid) {
                break;
            }
            if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                used += invalid.len();
            }
        }
        self.pending.drain(..used);
        text
    }

    /// Ends the text: what was left of a character is returned as U+FFFD. The stream can then be used for another text.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        rest
    }
}

/// True when these bytes are the beginning of a character and only their end is missing.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ids of single bytes in the test vocabulary.
    fn stream(bytes: &[u8]) -> (Vec<String>, String) {
        let vocab = Arc::new(crate::test_vocab(&[]));
        let mut stream = DecodeStream::new(vocab.clone());
        let pieces = bytes
            .iter()
            .map(|&byte| stream.push(vocab.byte_ids()[usize::from(byte)]))
            .collect();
        (pieces, stream.finish())
    }

    #[test]
    fn characters_come_whole() {
        assert_eq!(
            stream("é€😀".as_bytes()),
            (
                ["", "é", "", "", "€", "", "", "", "😀"]
                    .map(String::from)
                    .to_vec(),
                String::new()
            )
        );
        assert_eq!(
            stream(b"a\xE2\x82"),
            (
                ["a", "", ""].map(String::from).to_vec(),
                "\u{FFFD}".to_owned()
            )
        );
        assert_eq!(
            stream(b"\xC3a"),
            (["", "\u{FFFD}a"].map(String::from).to_vec(), String::new())
        );
    }

    #[test]
    fn special_and_foreign_ids_are_silent() {
        let mut stream = DecodeStream::new(Arc::new(crate::test_vocab(&[])));
        assert_eq!(stream.push(3), "");
        assert_eq!(stream.push(60_000), "");
        assert_eq!(stream.finish(), "");
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_whole(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0xC0..=0xF8_u8, 0x80..=0xBF_u8], 0..40)) {
            let (pieces, rest) = stream(&bytes);
            prop_assert_eq!(pieces.concat() + &rest, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
