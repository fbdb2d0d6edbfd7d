//! Whole words that are one token: 85 to 90 % of the words of Portuguese text with a vocabulary of 32,000 need this lookup and nothing else.

use crate::merge_tables::MergeTables;
use crate::word_key::WordKey;
use crate::{BpeVocab, TokenId};

/// Longest word in the table: its key then has two parts.
const MAX_BYTES: u8 = 16;

#[derive(Debug, Clone, Copy)]
struct Slot {
    parts: [u64; 2],
    /// Length of the word; 0 when the slot is free.
    length: u8,
    id: TokenId,
}

/// Open-addressing table from a word to its only token.
#[derive(Debug)]
pub(crate) struct WordTable {
    /// A power of two long, at most half full.
    slots: Box<[Slot]>,
    shift: u32,
}

impl WordTable {
    /// Takes the tokens that merging reaches from their own bytes: in an odd vocabulary a token may exist that its bytes never merge to.
    pub(crate) fn new(vocab: &BpeVocab, tables: &MergeTables) -> Self {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        for id in 0..=TokenId::MAX {
            let Some(bytes) = vocab.token_bytes(id) else {
                break;
            };
            let Some(key) = WordKey::new(bytes).filter(|key| (1..=MAX_BYTES).contains(&key.length))
            else {
                continue;
            };
            merged.clear();
            tables.encode_word(bytes, &mut merged);
            if merged == [id] {
                entries.push((key, id));
            }
        }
        let size = (entries.len() * 2 + 2).next_power_of_two();
        let mut table = Self {
            slots: vec![
                Slot {
                    parts: [0; 2],
                    length: 0,
                    id: 0
                };
                size
            ]
            .into(),
            shift: 64 - size.trailing_zeros(),
        };
        for (key, id) in entries {
            let mut index = table.index(key.hash());
            while table.slots[index].length != 0 {
                index = (index + 1) & (size - 1);
            }
            table.slots[index] = Slot {
                parts: [key.parts[0], key.parts[1]],
                length: key.length,
                id,
            };
        }
        table
    }

    #[inline(always)]
    fn index(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// The token that is this word.
    #[inline(always)]
    pub(crate) fn get(&self, key: WordKey, hash: u64) -> Option<TokenId> {
        if key.length > MAX_BYTES {
            return None;
        }
        let mut index = self.index(hash);
        loop {
            let slot = &self.slots[index];
            if slot.length == key.length && slot.parts == [key.parts[0], key.parts[1]] {
                return Some(slot.id);
            }
            if slot.length == 0 {
                return None;
            }
            index = (index + 1) & (self.slots.len() - 1);
        }
    }
}
