//! Byte-pair merging of one word: always the merge of the lowest rank, the leftmost of equals, until none applies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{BpeVocab, TokenId};

/// The rank of a pair that does not merge.
const NO_MERGE: u32 = u32::MAX;
/// Words up to this many bytes are merged in arrays on the stack by plain search; 99.9 % of the words of real text are shorter than 24.
const SHORT: usize = 64;

/// The merges, laid out for looking up.
#[derive(Debug)]
pub(crate) struct MergeTables {
    byte_ids: [TokenId; 256],
    /// Rank of the merge of two single bytes, `[first · 256 + second]`: the first lookups of every word, without hashing.
    byte_pair_ranks: Box<[u32]>,
    /// Open-addressing table of all pairs, a power of two long: `pair << 32 | rank`.
    slots: Box<[u64]>,
    /// Right shift that takes a hash to an index of `slots`.
    shift: u32,
    /// What each merge makes, by rank.
    results: Box<[TokenId]>,
}

impl MergeTables {
    pub(crate) fn new(vocab: &BpeVocab) -> Self {
        let merges = vocab.merges();
        // At most half full; at least two, so that the shift stays below 64.
        let size = (merges.len() * 2 + 2).next_power_of_two();
        let mut tables = Self {
            byte_ids: *vocab.byte_ids(),
            byte_pair_ranks: vec![NO_MERGE; 1 << 16].into(),
            slots: vec![u64::MAX; size].into(),
            shift: 64 - size.trailing_zeros(),
            results: merges.iter().map(|merge| merge.result).collect(),
        };
        // Ranks fit: a vocabulary has at most 2^16 tokens, so there are fewer than 2^32 distinct pairs.
        for (rank, merge) in (0_u32..).zip(merges) {
            let pair = u64::from(merge.left) << 16 | u64::from(merge.right);
            let mut index = tables.index(pair);
            while tables.slots[index] != u64::MAX {
                index = (index + 1) & (size - 1);
            }
            tables.slots[index] = pair << 32 | u64::from(rank);
        }
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let rank = tables.rank(
                    tables.byte_ids[usize::from(first)],
                    tables.byte_ids[usize::from(second)],
                );
                tables.byte_pair_ranks[usize::from(first) << 8 | usize::from(second)] = rank;
            }
        }
        tables
    }

    #[inline(always)]
    fn index(&self, pair: u64) -> usize {
        (pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    /// Rank of the merge of two tokens.
    #[inline(always)]
    fn rank(&self, left: TokenId, right: TokenId) -> u32 {
        let pair = u64::from(left) << 16 | u64::from(right);
        let mut index = self.index(pair);
        loop {
            let slot = self.slots[index];
            if slot >> 32 == pair {
                // The empty slot equals the pair (65535, 65535) with this rank, and is no merge either way.
                return slot as u32;
            }
            if slot == u64::MAX {
                return NO_MERGE;
            }
            index = (index + 1) & (self.slots.len() - 1);
        }
    }

    /// Appends the tokens of one word.
    pub(crate) fn encode_word(&self, word: &[u8], out: &mut Vec<TokenId>) {
        if word.len() <= SHORT {
            self.encode_short(word, out)
        } else {
            self.encode_long(word, out)
        }
    }

    fn encode_short(&self, word: &[u8], out: &mut Vec<TokenId>) {
        let mut ids = [0; SHORT];
        // `ranks[i]` is the rank of the merge of symbols i and i + 1.
        let mut ranks = [NO_MERGE; SHORT];
        let mut length = word.len();
        for (id, &byte) in ids.iter_mut().zip(word) {
            *id = self.byte_ids[usize::from(byte)];
        }
        for (rank, pair) in ranks.iter_mut().zip(word.windows(2)) {
            *rank = self.byte_pair_ranks[usize::from(pair[0]) << 8 | usize::from(pair[1])];
        }
        while length > 1 {
            let mut best = 0;
            let mut lowest = ranks[0];
            for (index, &rank) in ranks[..length - 1].iter().enumerate() {
                if rank < lowest {
                    lowest = rank;
                    best = index;
                }
            }
            if lowest == NO_MERGE {
                break;
            }
            ids[best] = self.results[lowest as usize];
            ids.copy_within(best + 2..length, best + 1);
            ranks.copy_within(best + 1..length - 1, best);
            length -= 1;
            ranks[length - 1] = NO_MERGE;
            if best + 1 < length {
                ranks[best] = self.rank(ids[best], ids[best + 1]);
            }
            if best > 0 {
                ranks[best - 1] = self.rank(ids[best - 1], ids[best]);
            }
        }
        out.extend_from_slice(&ids[..length]);
    }

    /// The same with a linked list and a heap: a line of a million `=` takes n·log n steps instead of n².
    fn encode_long(&self, word: &[u8], out: &mut Vec<TokenId>) {
        let length = word.len();
        let mut ids: Vec<TokenId> = word
            .iter()
            .map(|&byte| self.byte_ids[usize::from(byte)])
            .collect();
        let mut next: Vec<usize> = (1..=length).collect();
        let mut previous: Vec<usize> = (0..length).map(|index| index.wrapping_sub(1)).collect();
        let mut gone = vec![false; length];
        let mut heap: BinaryHeap<Reverse<(u32, usize)>> = BinaryHeap::new();
        for (index, pair) in word.windows(2).enumerate() {
            let rank = self.byte_pair_ranks[usize::from(pair[0]) << 8 | usize::from(pair[1])];
            if rank != NO_MERGE {
                heap.push(Reverse((rank, index)));
            }
        }
        while let Some(Reverse((rank, left))) = heap.pop() {
            let right = next[left];
            // An entry is out of date when one of its symbols has merged since.
            if gone[left] || right >= length || self.rank(ids[left], ids[right]) != rank {
                continue;
            }
            ids[left] = self.results[rank as usize];
            gone[right] = true;
            let after = next[right];
            next[left] = after;
            if after < length {
                previous[after] = left;
                self.push_pair(&mut heap, &ids, left, after);
            }
            let before = previous[left];
            if before < length {
                self.push_pair(&mut heap, &ids, before, left);
            }
        }
        let mut at = 0;
        while at < length {
            out.push(ids[at]);
            at = next[at];
        }
    }

    fn push_pair(
        &self,
        heap: &mut BinaryHeap<Reverse<(u32, usize)>>,
        ids: &[TokenId],
        left: usize,
        right: usize,
    ) {
        let rank = self.rank(ids[left], ids[right]);
        if rank != NO_MERGE {
            heap.push(Reverse((rank, left)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_vocab;

    /// The definition, word for word.
    fn naive(tables: &MergeTables, word: &[u8]) -> Vec<TokenId> {
        let mut ids: Vec<TokenId> = word
            .iter()
            .map(|&byte| tables.byte_ids[usize::from(byte)])
            .collect();
        loop {
            let lowest = ids
                .windows(2)
                .map(|pair| tables.rank(pair[0], pair[1]))
                .enumerate()
                .min_by_key(|&(index, rank)| (rank, index));
            match lowest {
                Some((index, rank)) if rank != NO_MERGE => {
                    ids[index] = tables.results[rank as usize];
                    ids.remove(index + 1);
                }
                _ => return ids,
            }
        }
    }

    proptest! {
        #[test]
        fn both_ways_follow_the_definition(word in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c'), any::<u8>()], 1..200)) {
            let tables = MergeTables::new(&test_vocab(&["a b", "b c", "a a", "ab c", "a bc", "aa aa", "abc abc", "aa a", "aaaa aaaa"]));
            let expected = naive(&tables, &word);
            let mut long = Vec::new();
            tables.encode_long(&word, &mut long);
            prop_assert_eq!(&long, &expected);
            if word.len() <= SHORT {
                let mut short = Vec::new();
                tables.encode_short(&word, &mut short);
                prop_assert_eq!(&short, &expected);
            }
        }
    }

    #[test]
    fn a_very_long_word_ends_in_time() {
        let tables = MergeTables::new(&test_vocab(&["a a", "aa aa", "aaaa aaaa"]));
        let mut ids = Vec::new();
        tables.encode_word(&vec![b'a'; 1_000_001], &mut ids);
        assert_eq!(ids.len(), 125_001);
    }
}
