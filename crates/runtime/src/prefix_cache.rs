//! States after beginnings that texts share: a system prompt, a document with many questions.

use crate::{LoadedAdapter, Model, RwkvState};
use ptbr_tokenizer::TokenId;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Bytes that an entry costs beside its tokens, state and logits, about.
const ENTRY_OVERHEAD: usize = 256;

/// Remembers states by the tokens that led to them, for [`Session::prefill_prefix`](crate::Session::prefill_prefix) and [`Batch`](crate::Batch).
///
/// One cache serves any number of models and adapters: a state is found only by the model and the adapter that made it. It holds at most a given number of bytes; what has not been used
/// for the longest time goes first.
pub struct PrefixCache {
    capacity: usize,
    bytes: usize,
    /// Rises with every use.
    clock: u64,
    prefixes: HashMap<Owner, BTreeMap<Box<[TokenId]>, Entry>>,
}

/// Model and adapter.
type Owner = (Arc<str>, Option<Arc<str>>);

struct Entry {
    prefix: Arc<CachedPrefix>,
    bytes: usize,
    last_used: u64,
}

/// A remembered beginning.
#[derive(Debug)]
pub struct CachedPrefix {
    tokens: usize,
    state: RwkvState,
    logits: Vec<f32>,
}

impl CachedPrefix {
    /// Its length.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The state after its last token.
    pub fn state(&self) -> &RwkvState {
        &self.state
    }

    /// The logits after its last token.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
}

impl PrefixCache {
    /// An empty cache of at most `capacity` bytes. A state of the 85m shape with its logits is 312 kB.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            bytes: 0,
            clock: 0,
            prefixes: HashMap::new(),
        }
    }

    /// The longest remembered beginning of `tokens` that this model read with this adapter; it counts as used.
    pub fn lookup(
        &mut self,
        model: &Model,
        adapter: Option<&LoadedAdapter>,
        tokens: &[TokenId],
    ) -> Option<Arc<CachedPrefix>> {
        let owner = (
            Arc::clone(model.shared_id()),
            adapter.map(|adapter| Arc::clone(adapter.shared_id())),
        );
        let prefixes = self.prefixes.get_mut(&owner)?;
        let length = longest_prefix(prefixes, tokens)?;
        let entry = prefixes.get_mut(&tokens[..length])?;
        self.clock += 1;
        entry.last_used = self.clock;
        Some(Arc::clone(&entry.prefix))
    }

    /// Remembers the state and the logits after `tokens`, read from the beginning of a text. One that is larger than the whole cache is not kept.
    pub fn insert(&mut self, tokens: &[TokenId], state: RwkvState, logits: &[f32]) {
        let bytes = ENTRY_OVERHEAD + state.num_bytes() + size_of_val(logits) + size_of_val(tokens);
        if tokens.is_empty() || bytes > self.capacity {
            return;
        }
        let owner = (
            Arc::clone(state.shared_model_id()),
            state.shared_adapter_id().cloned(),
        );
        self.clock += 1;
        let entry = Entry {
            prefix: Arc::new(CachedPrefix {
                tokens: tokens.len(),
                state,
                logits: logits.to_vec(),
            }),
            bytes,
            last_used: self.clock,
        };
        self.bytes += bytes;
        let prefixes = self.prefixes.entry(owner).or_default();
        if let Some(replaced) = prefixes.insert(tokens.into(), entry) {
            self.bytes -= replaced.bytes;
        }
        while self.bytes > self.capacity {
            self.forget_oldest();
        }
    }

    /// Beginnings remembered.
    pub fn len(&self) -> usize {
        self.prefixes.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Bytes held, at most the capacity.
    pub fn num_bytes(&self) -> usize {
        self.bytes
    }

    /// A scan over all: beside computing the state that needs the room it is nothing.
    fn forget_oldest(&mut self) {
        let oldest = self
            .prefixes
            .iter()
            .flat_map(|(owner, prefixes)| prefixes.iter().map(move |prefix| (owner, prefix)))
            .min_by_key(|(_, (_, entry))| entry.last_used)
            .map(|(owner, (tokens, _))| (owner.clone(), tokens.clone()));
        let Some((owner, tokens)) = oldest else {
            return;
        };
        if let Some(prefixes) = self.prefixes.get_mut(&owner) {
            if let Some(entry) = prefixes.remove(&tokens) {
                self.bytes -= entry.bytes;
            }
            if prefixes.is_empty() {
                self.prefixes.remove(&owner);
            }
        }
    }
}

impl std::fmt::Debug for PrefixCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrefixCache")
            .field("len", &self.len())
            .field("bytes", &self.bytes)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Length of the longest key with which `tokens` begins.
///
/// The greatest key that is not above `tokens` is that prefix, or it leaves `tokens` after `common` elements; then no longer prefix of `tokens` exists, since it would lie between the two.
fn longest_prefix<V>(keys: &BTreeMap<Box<[TokenId]>, V>, tokens: &[TokenId]) -> Option<usize> {
    let mut tokens = tokens;
    loop {
        let range = (Bound::Unbounded, Bound::Included(tokens));
        let (key, _) = keys.range::<[TokenId], _>(range).next_back()?;
        let common = key.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        if common == key.len() {
            return Some(common);
        }
        tokens = &tokens[..common];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_is_found_among_near_misses() {
        let keys = |lists: &[&[TokenId]]| {
            lists
                .iter()
                .map(|&list| (Box::from(list), ()))
                .collect::<BTreeMap<Box<[TokenId]>, ()>>()
        };
        let stored = keys(&[
            &[1],
            &[1, 2, 3],
            &[1, 2, 3, 4, 5],
            &[1, 2, 3, 5],
            &[1, 2, 9],
            &[2, 2],
        ]);
        for (query, expected) in [
            (&[1u16, 2, 3, 4, 5, 6][..], Some(5)),
            (&[1, 2, 3, 4], Some(3)),
            (&[1, 2, 3, 5], Some(4)),
            (&[1, 2, 8], Some(1)),
            (&[1, 2, 3, 4, 6, 0], Some(3)),
            (&[1], Some(1)),
            (&[2], None),
            (&[0, 1], None),
            (&[3], None),
            (&[], None),
        ] {
            assert_eq!(longest_prefix(&stored, query), expected, "{query:?}");
        }
        assert_eq!(longest_prefix(&keys(&[]), &[1]), None);
    }
}
