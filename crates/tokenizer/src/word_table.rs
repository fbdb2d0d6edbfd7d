//! Whole words that are one token: 85 to 90 % of the words of Portuguese text with a vocabulary of 32,000 need this lookup and nothing else.
//!
//! The lookup is bound by memory, so the table is two: an index of four bytes a place (256 KiB for 32,000 tokens, where whole keys took 1.5 MiB), and
//! the keys by id. Frequent words have small ids, so the keys that are read lie close together.

use crate::merge_tables::MergeTables;
use crate::word_key::WordKey;
use crate::{BpeVocab, TokenId};

/// Longest word in the table: its key then has two parts.
const MAX_BYTES: u8 = 16;

/// Open-addressing table from a word to its only token.
#[derive(Debug)]
pub(crate) struct WordTable {
    /// A power of two long, at most half full: id in bits 0 to 15, length of the word in bits 16 to 20, hash bits above; 0 is free.
    index: Box<[u32]>,
    /// Right shift that takes a hash to a place in `index`.
    shift: u32,
    /// The first two parts of each token's key, by id.
    keys: Box<[[u64; 2]]>,
}

/// What the index holds of a key beside the id: never 0, since no word is empty.
#[inline(always)]
fn mark(key: WordKey, hash: u64) -> u32 {
    u32::from(key.length) << 16 | (hash as u32 & 0xFFE0_0000)
}

impl WordTable {
    /// Takes the tokens that merging reaches from their own bytes: in an odd vocabulary a token may exist that its bytes never merge to.
    pub(crate) fn new(vocab: &BpeVocab, tables: &MergeTables) -> Self {
        let size = (vocab.len() * 2).next_power_of_two();
        let mut table = Self {
            index: vec![0; size].into(),
            shift: 64 - size.trailing_zeros(),
            keys: vec![[0; 2]; vocab.len()].into(),
        };
        let mut merged = Vec::new();
        for (id, slot) in (0..=TokenId::MAX).zip(0..vocab.len()) {
            let bytes = vocab.token_bytes(id).unwrap_or_default();
            let Some(key) = WordKey::new(bytes).filter(|key| (1..=MAX_BYTES).contains(&key.length))
            else {
                continue;
            };
            merged.clear();
            tables.encode_word(bytes, &mut merged);
            if merged != [id] {
                continue;
            }
            table.keys[slot] = [key.parts[0], key.parts[1]];
            let hash = key.hash();
            let mut place = table.place(hash);
            while table.index[place] != 0 {
                place = (place + 1) & (size - 1);
            }
            table.index[place] = mark(key, hash) | u32::from(id);
        }
        table
    }

    #[inline(always)]
    fn place(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// The token that is this word.
    #[inline(always)]
    pub(crate) fn get(&self, key: WordKey, hash: u64) -> Option<TokenId> {
        if key.length > MAX_BYTES {
            return None;
        }
        let mark = mark(key, hash);
        let mut place = self.place(hash);
        loop {
            let entry = self.index[place];
            if entry & !0xFFFF == mark {
                let id = entry as TokenId;
                if self.keys[usize::from(id)] == [key.parts[0], key.parts[1]] {
                    return Some(id);
                }
            }
            if entry == 0 {
                return None;
            }
            place = (place + 1) & (self.index.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_tokens_that_their_bytes_merge_to() {
        // "abc" is a token, but its bytes merge to "a" and "bc": there is no merge of these two.
        let vocab = crate::test_vocab(&[
            "b c",
            "a b",
            "ab c",
            "x x",
            "xx xx",
            "xxxx xxxx",
            "xxxxxxxx xxxxxxxx",
            "xxxxxxxxxxxxxxxx x",
        ]);
        let tables = MergeTables::new(&vocab);
        let table = WordTable::new(&vocab, &tables);
        let get = |word: &[u8]| WordKey::new(word).and_then(|key| table.get(key, key.hash()));
        for id in 0..vocab.len() as TokenId {
            let bytes = vocab.token_bytes(id).unwrap();
            let expected = !bytes.is_empty() && bytes != b"abc" && bytes.len() <= 16;
            assert_eq!(get(bytes), expected.then_some(id), "{id}");
        }
        assert_eq!(get(b"abcd"), None);
        assert_eq!(
            get(b"xxxxxxxxx"),
            None,
            "nine bytes have the key parts of eight"
        );
    }
}
