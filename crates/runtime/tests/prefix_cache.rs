//! The prefix cache: the same bits with less reading, within its bounds, and never another text's or adapter's state. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{Noise, bits, config, random_adapter, random_model};
use ptbr_runtime::{Model, PrefixCache, Session};
use std::sync::Arc;

fn small() -> Arc<Model> {
    random_model(&config(257, 64, 2, 160), 1)
}

/// Logits after `tokens` with the cache; how many tokens were computed for them.
fn read(model: &Arc<Model>, tokens: &[u16], cache: &mut PrefixCache) -> (Vec<u32>, u64) {
    let mut session = Session::new(model.clone());
    session.set_chunk_size(1);
    let logits = bits(session.prefill_prefix(tokens, cache).unwrap());
    assert_eq!(session.position(), tokens.len() as u64);
    let work = session.work().multiply_adds;
    // One token's products without the head.
    let (c, f) = (64, 160);
    (logits, work / (2 * (5 * c * c + 2 * c * f)))
}

#[test]
fn the_longest_known_beginning_is_not_read_again() {
    let model = small();
    let tokens = Noise(1).tokens(40, 257);
    let alone = |tokens: &[u16]| bits(Session::new(model.clone()).prefill(tokens).unwrap());
    let mut cache = PrefixCache::new(1 << 20);
    let mut other = tokens.clone();
    other[35] ^= 1;
    for (text, computed) in [
        (&tokens[..20], 20),
        (&tokens[..20], 0),
        (&tokens[..30], 10),
        (&tokens[..25], 5),
        (&tokens[..40], 10),
        // The same for 35 tokens: 30 of them are known.
        (&other[..], 10),
    ] {
        let (logits, work) = read(&model, text, &mut cache);
        assert_eq!(logits, alone(text));
        assert_eq!(work, computed, "{} tokens", text.len());
    }
    assert_eq!(cache.len(), 5);
}

#[test]
fn a_session_that_has_begun_leaves_the_cache_alone() {
    let model = small();
    let tokens = Noise(1).tokens(20, 257);
    let mut cache = PrefixCache::new(1 << 20);
    read(&model, &tokens, &mut cache);
    let mut session = Session::new(model.clone());
    session.prefill(&[9]).unwrap();
    let mut copy = session.fork().unwrap();
    let logits = bits(session.prefill_prefix(&tokens, &mut cache).unwrap());
    assert_eq!(logits, bits(copy.prefill(&tokens).unwrap()));
    assert_eq!(cache.len(), 1);
    // A state that was given is a beginning too, wherever it says that it stands.
    let initial = Session::new(model.clone()).state().unwrap();
    let mut given = Session::new(model);
    given.set_state(&initial).unwrap();
    given.prefill_prefix(&[7, 8], &mut cache).unwrap();
    assert_eq!(cache.len(), 1);
}

#[test]
fn models_and_adapters_do_not_share() {
    let config = config(257, 64, 2, 160);
    let model = random_model(&config, 1);
    let adapter = model
        .add_adapter(random_adapter(&config, 4, &[], 1))
        .unwrap();
    let tokens = Noise(1).tokens(20, 257);
    let mut cache = PrefixCache::new(1 << 20);
    read(&model, &tokens, &mut cache);
    assert!(cache.lookup(&model, Some(&adapter), &tokens).is_none());
    let other = random_model(&config, 2);
    assert!(cache.lookup(&other, None, &tokens).is_none());
    let found = cache.lookup(&model, None, &tokens).unwrap();
    assert_eq!(found.tokens(), 20);
    let mut session = Session::new(model.clone());
    session.set_adapter(Some(&adapter)).unwrap();
    let mut copy = session.fork().unwrap();
    let logits = bits(session.prefill_prefix(&tokens, &mut cache).unwrap());
    assert_eq!(logits, bits(copy.prefill(&tokens).unwrap()));
    assert_eq!(cache.len(), 2);
}

#[test]
fn it_keeps_to_its_bytes_and_forgets_what_was_used_least_lately() {
    let model = small();
    let text = |first: u16| vec![first, 1, 2];
    // One entry: five vectors of 64 for two layers, 257 logits, three tokens.
    let mut probe = PrefixCache::new(1 << 20);
    read(&model, &text(0), &mut probe);
    let entry = probe.num_bytes();
    assert!(
        (4 * (640 + 257)..4 * (640 + 257) + 1000).contains(&entry),
        "{entry}"
    );

    let mut cache = PrefixCache::new(3 * entry);
    for first in [10, 11, 12] {
        read(&model, &text(first), &mut cache);
    }
    assert_eq!((cache.len(), cache.num_bytes()), (3, 3 * entry));
    // The first is used again, so the second is the oldest.
    assert_eq!(read(&model, &text(10), &mut cache).1, 0);
    read(&model, &text(13), &mut cache);
    assert_eq!((cache.len(), cache.num_bytes()), (3, 3 * entry));
    let known: Vec<bool> = [10, 11, 12, 13]
        .map(|first| cache.lookup(&model, None, &text(first)).is_some())
        .into();
    assert_eq!(known, [true, false, true, true]);

    // The same text again takes no more room; one that is larger than everything is not kept.
    let mut session = Session::new(model.clone());
    session.prefill(&text(13)).unwrap();
    let logits = session.logits().unwrap().to_vec();
    cache.insert(&text(13), session.state().unwrap(), &logits);
    assert_eq!((cache.len(), cache.num_bytes()), (3, 3 * entry));
    let mut tiny = PrefixCache::new(entry - 1);
    read(&model, &text(0), &mut tiny);
    assert!(tiny.is_empty() && tiny.num_bytes() == 0);
}
