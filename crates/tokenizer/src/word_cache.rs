//! A bounded cache of merged words, shared by all threads without a lock.
//!
//! A slot is one cache line of atomics: a state, the word's key and its tokens. A writer claims a slot by making its state odd and publishes it with
//! the next even one; a reader that finds the state changed after reading takes the read for a miss. A lost or torn entry therefore costs a merge and
//! never a wrong token. Each word has one place (its hash), so the memory is fixed and a newer word replaces an older one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::TokenId;
use crate::word_key::WordKey;

/// Most tokens an entry holds; a word of 24 bytes hardly ever has more than 12.
const MAX_TOKENS: usize = 16;
/// State bits: 0 is set while a writer is at work, 1 to 7 hold the word's length, 8 to 15 the number of tokens, the rest counts the writes.
const BUSY: u64 = 1;
const ONE_WRITE: u64 = 1 << 16;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    state: AtomicU64,
    key: [AtomicU64; 3],
    /// Four tokens each, the first in the low bits.
    tokens: [AtomicU64; 4],
}

/// The cache; it takes its memory (64 bytes an entry) at the first word put into it.
#[derive(Debug)]
pub(crate) struct WordCache {
    slots: OnceLock<Box<[Slot]>>,
    capacity: usize,
}

fn state_of(key: WordKey, tokens: usize) -> u64 {
    u64::from(key.length) << 1 | (tokens as u64) << 8
}

impl WordCache {
    /// A cache of at most `capacity` words; 0 turns it off.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: OnceLock::new(),
            capacity,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline(always)]
    fn slot(slots: &[Slot], hash: u64) -> Option<&Slot> {
        // The low bits: the word table has used the high ones, and words that collide there should not collide here.
        let index = (u128::from(hash.rotate_left(32)) * slots.len() as u128) >> 64;
        slots.get(index as usize)
    }

    /// Appends the tokens of a word when it is cached.
    #[inline]
    pub(crate) fn get(&self, key: WordKey, hash: u64, out: &mut Vec<TokenId>) -> bool {
        let Some(slot) = self.slots.get().and_then(|slots| Self::slot(slots, hash)) else {
            return false;
        };
        let state = slot.state.load(Ordering::Acquire);
        // Length 0 and a writer at work both differ here, because a key's length is never 0.
        if state & 0xFF != state_of(key, 0) {
            return false;
        }
        for (part, stored) in key.parts.iter().zip(&slot.key) {
            if *part != stored.load(Ordering::Relaxed) {
                return false;
            }
        }
        let mut tokens = [0; MAX_TOKENS];
        for (four, stored) in tokens.chunks_exact_mut(4).zip(&slot.tokens) {
            let packed = stored.load(Ordering::Relaxed);
            for (index, token) in four.iter_mut().enumerate() {
                *token = (packed >> (16 * index)) as TokenId;
            }
        }
        fence(Ordering::Acquire);
        if slot.state.load(Ordering::Relaxed) != state {
            return false;
        }
        let count = (state >> 8 & 0xFF) as usize;
        out.extend_from_slice(&tokens[..count.min(MAX_TOKENS)]);
        true
    }

    /// Remembers the tokens of a word, unless there are too many of them or another thread is writing to its place.
    pub(crate) fn put(&self, key: WordKey, hash: u64, tokens: &[TokenId]) {
        if tokens.len() > MAX_TOKENS || self.capacity == 0 {
            return;
        }
        let slots = self
            .slots
            .get_or_init(|| (0..self.capacity).map(|_| Slot::default()).collect());
        let Some(slot) = Self::slot(slots, hash) else {
            return;
        };
        let state = slot.state.load(Ordering::Relaxed);
        if state & BUSY != 0
            || slot
                .state
                .compare_exchange(state, state | BUSY, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        // Readers that see any of the stores below also see the busy state.
        fence(Ordering::Release);
        for (part, stored) in key.parts.iter().zip(&slot.key) {
            stored.store(*part, Ordering::Relaxed);
        }
        for (four, stored) in tokens.chunks(4).zip(&slot.tokens) {
            let packed = four
                .iter()
                .rev()
                .fold(0, |packed, &token| packed << 16 | u64::from(token));
            stored.store(packed, Ordering::Relaxed);
        }
        let writes = (state & !(ONE_WRITE - 1)).wrapping_add(ONE_WRITE);
        slot.state
            .store(writes | state_of(key, tokens.len()), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &WordCache, word: &[u8], tokens: &[TokenId]) {
        let key = WordKey::new(word).unwrap();
        cache.put(key, key.hash(), tokens);
    }

    fn get(cache: &WordCache, word: &[u8]) -> Option<Vec<TokenId>> {
        let key = WordKey::new(word).unwrap();
        let mut out = Vec::new();
        cache.get(key, key.hash(), &mut out).then_some(out)
    }

    #[test]
    fn what_is_put_is_found_and_memory_is_bounded() {
        let cache = WordCache::new(1000);
        assert_eq!(get(&cache, b"casa"), None);
        put(&cache, b"casa", &[7, 65_535, 0, 9, 12]);
        assert_eq!(get(&cache, b"casa"), Some(vec![7, 65_535, 0, 9, 12]));
        put(&cache, b"longa", &[1; MAX_TOKENS + 1]);
        assert_eq!(get(&cache, b"longa"), None);
        for number in 0..5000_u16 {
            put(&cache, format!("palavra{number}").as_bytes(), &[number]);
        }
        let found: Vec<_> = (0..5000_u16)
            .filter_map(|number| {
                get(&cache, format!("palavra{number}").as_bytes()).map(|ids| (number, ids))
            })
            .collect();
        assert!(found.iter().all(|(number, ids)| ids == &[*number]));
        assert!((500..=1000).contains(&found.len()), "{}", found.len());
        assert_eq!(cache.slots.get().unwrap().len(), 1000);
    }

    #[test]
    fn capacity_zero_is_off() {
        let cache = WordCache::new(0);
        put(&cache, b"casa", &[7]);
        assert_eq!(get(&cache, b"casa"), None);
    }

    #[test]
    fn threads_never_read_a_torn_entry() {
        // Two slots for 64 words, each word's tokens made from its number: any mixture of two words would show.
        let cache = WordCache::new(2);
        std::thread::scope(|scope| {
            for seed in 0..4_u32 {
                let cache = &cache;
                scope.spawn(move || {
                    for step in 0..100_000_u32 {
                        let number = (step.wrapping_mul(31).wrapping_add(seed) % 64) as u16;
                        let word = [b'a' + (number / 8) as u8, b'a' + (number % 8) as u8];
                        let expected = vec![number; 1 + usize::from(number % 16)];
                        match get(cache, &word) {
                            Some(tokens) => assert_eq!(tokens, expected),
                            None => put(cache, &word, &expected),
                        }
                    }
                });
            }
        });
    }
}
