//! The merge loop: take the most frequent pair, replace it in the words that hold it, correct the counts of its neighbours.
//!
//! The order of merges is that of the `tokenizers` library: by count, the smaller pair of ids first among equals. Two habits of that library decide ties
//! and are kept: a merged pair keeps its count, and a pair that appears again later (when two merges make the same token) queues a second time with
//! its new places only and its whole count.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use rustc_hash::FxBuildHasher;

use crate::TokenId;
use crate::byte_alphabet;

/// What training gives: the bytes of each token after the special ones, and the merges, the strongest first.
pub(super) struct Trained {
    pub(super) tokens: Vec<Vec<u8>>,
    pub(super) merges: Vec<(TokenId, TokenId)>,
}

/// A pair of token ids in one integer, ordered as the pair is.
type Pair = u32;

fn pair_of(left: TokenId, right: TokenId) -> Pair {
    u32::from(left) << 16 | u32::from(right)
}

fn parts_of(pair: Pair) -> (TokenId, TokenId) {
    ((pair >> 16) as TokenId, pair as TokenId)
}

/// All words as token ids in one array; merging shortens a word in its place.
struct Words {
    symbols: Vec<TokenId>,
    starts: Vec<usize>,
    lengths: Vec<u16>,
    counts: Vec<i64>,
}

/// A pair's count, and the words where the merge at hand has made it.
#[derive(Default)]
struct PairState {
    count: i64,
    new_places: Vec<u32>,
}

/// Pairs with their counts, and the queue of those that may be merged.
#[derive(Default)]
struct Pairs {
    states: HashMap<Pair, PairState, FxBuildHasher>,
    /// Pairs with new places.
    touched: Vec<Pair>,
    /// Count, pair, index into `places`.
    queue: BinaryHeap<(i64, Reverse<Pair>, Reverse<usize>)>,
    /// The words of each queue entry.
    places: Vec<Vec<u32>>,
}

impl Pairs {
    fn change(&mut self, pair: Pair, change: i64) {
        self.states.entry(pair).or_default().count += change;
    }

    fn change_in(&mut self, pair: Pair, change: i64, word: u32) {
        let state = self.states.entry(pair).or_default();
        state.count += change;
        if state.new_places.is_empty() {
            self.touched.push(pair);
        }
        if state.new_places.last() != Some(&word) {
            state.new_places.push(word);
        }
    }

    /// Queues every pair that has new places.
    fn queue_touched(&mut self) {
        for pair in self.touched.drain(..) {
            let Some(state) = self.states.get_mut(&pair) else {
                continue;
            };
            let places = std::mem::take(&mut state.new_places);
            if state.count > 0 {
                self.queue
                    .push((state.count, Reverse(pair), Reverse(self.places.len())));
                self.places.push(places);
            }
        }
    }

    /// The next pair to merge: its count, and the words where it may be.
    fn pop(&mut self) -> Option<(i64, Pair, Vec<u32>)> {
        loop {
            let (count, Reverse(pair), Reverse(index)) = self.queue.pop()?;
            let now = self.states.get(&pair).map_or(0, |state| state.count);
            if now == count {
                return Some((
                    count,
                    pair,
                    self.places
                        .get_mut(index)
                        .map(std::mem::take)
                        .unwrap_or_default(),
                ));
            }
            self.queue.push((now, Reverse(pair), Reverse(index)));
        }
    }
}

impl Words {
    fn new(words: &[(Box<[u8]>, u64)], byte_ids: &[TokenId; 256]) -> Self {
        let mut all = Self {
            symbols: Vec::new(),
            starts: Vec::new(),
            lengths: Vec::new(),
            counts: Vec::new(),
        };
        for (word, count) in words {
            all.starts.push(all.symbols.len());
            all.symbols
                .extend(word.iter().map(|&byte| byte_ids[usize::from(byte)]));
            all.lengths.push(word.len() as u16);
            all.counts.push(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        all
    }

    fn count_pairs(&self, pairs: &mut Pairs) {
        for (index, ((&start, &length), &count)) in
            (0_u32..).zip(self.starts.iter().zip(&self.lengths).zip(&self.counts))
        {
            for pair in self.symbols[start..start + usize::from(length)].windows(2) {
                pairs.change_in(pair_of(pair[0], pair[1]), count, index);
            }
        }
        pairs.queue_touched();
    }

    /// Replaces a pair by `result` in one word and corrects the counts of the pairs around it.
    fn merge(
        &mut self,
        word: u32,
        (left, right): (TokenId, TokenId),
        result: TokenId,
        pairs: &mut Pairs,
    ) {
        let index = word as usize;
        let (start, length, count) = (
            self.starts[index],
            usize::from(self.lengths[index]),
            self.counts[index],
        );
        let symbols = &mut self.symbols[start..start + length];
        let (mut read, mut write) = (0, 0);
        while read < length {
            if symbols[read] != left || read + 1 >= length || symbols[read + 1] != right {
                symbols[write] = symbols[read];
                read += 1;
                write += 1;
                continue;
            }
            if write > 0 {
                let before = symbols[write - 1];
                pairs.change(pair_of(before, left), -count);
                pairs.change_in(pair_of(before, result), count, word);
            }
            symbols[write] = result;
            read += 2;
            write += 1;
            if read < length {
                let after = symbols[read];
                pairs.change(pair_of(right, after), -count);
                pairs.change_in(pair_of(result, after), count, word);
            }
        }
        // `write` is at most the old length, which is 16 bits.
        self.lengths[index] = write as u16;
    }
}

/// Trains on distinct words with their counts. Token ids start at `first_id`: the 256 bytes, then what the merges make, up to `vocab_size`.
pub(super) fn train(
    words: Vec<(Box<[u8]>, u64)>,
    first_id: usize,
    vocab_size: usize,
    min_frequency: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Trained {
    let min_count = i64::try_from(min_frequency).unwrap_or(i64::MAX).max(1);
    let wanted = vocab_size - first_id;
    let mut tokens: Vec<Vec<u8>> = byte_alphabet::bytes_in_vocabulary_order()
        .map(|byte| vec![byte])
        .to_vec();
    let mut byte_ids = [0; 256];
    for (index, token) in tokens.iter().enumerate() {
        byte_ids[usize::from(token[0])] = (first_id + index) as TokenId;
    }
    let mut known: HashMap<Vec<u8>, TokenId, FxBuildHasher> =
        HashMap::with_capacity_and_hasher(wanted, FxBuildHasher);
    let total = wanted - tokens.len();
    let mut merges = Vec::with_capacity(total);
    let mut all = Words::new(&words, &byte_ids);
    drop(words);
    let mut pairs = Pairs::default();
    all.count_pairs(&mut pairs);
    while tokens.len() < wanted {
        let Some((count, pair, places)) = pairs.pop() else {
            break;
        };
        if count < min_count {
            break;
        }
        let (left, right) = parts_of(pair);
        let bytes = [left, right]
            .map(|id| tokens[usize::from(id) - first_id].as_slice())
            .concat();
        let result = match known.get(&bytes) {
            Some(&id) => id,
            None => {
                // Below `vocab_size`, so it fits.
                let id = (first_id + tokens.len()) as TokenId;
                known.insert(bytes.clone(), id);
                tokens.push(bytes);
                id
            }
        };
        merges.push((left, right));
        for &word in &places {
            all.merge(word, (left, right), result, &mut pairs);
        }
        pairs.queue_touched();
        if tokens.len().is_multiple_of(256) {
            progress(tokens.len() - 256, total);
        }
    }
    progress(total, total);
    Trained {
        tokens,
        merges: last_of_each(merges),
    }
}

/// A pair merged twice counts where it was merged last.
fn last_of_each(merges: Vec<(TokenId, TokenId)>) -> Vec<(TokenId, TokenId)> {
    let mut seen = std::collections::HashSet::with_hasher(FxBuildHasher);
    let mut kept: Vec<_> = merges
        .into_iter()
        .rev()
        .filter(|&merge| seen.insert(merge))
        .collect();
    kept.reverse();
    kept
}
