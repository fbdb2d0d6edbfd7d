//! Continuous batching: a session gets in company what it gets alone, bit for bit; nobody waits for a long text; prefixes are read once. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{Noise, bits, config, model_in, random_adapter, random_model};
use ptbr_model::{RwkvConfig, WeightFormat};
use ptbr_runtime::{Batch, LoadedAdapter, Model, PrefixCache, RuntimeError, Session, SessionId};
use std::sync::Arc;

fn small() -> (RwkvConfig, Arc<Model>) {
    let config = config(257, 64, 2, 160);
    let model = random_model(&config, 1);
    (config, model)
}

fn adapters(config: &RwkvConfig, model: &Model) -> Vec<Arc<LoadedAdapter>> {
    // Of different ranks and on different matrices, the head among them.
    [
        (4, &[][..]),
        (3, &["att."]),
        (16, &["ffn.", "head"]),
        (1, &["blocks.1."]),
    ]
    .into_iter()
    .enumerate()
    .map(|(seed, (rank, parts))| {
        model
            .add_adapter(random_adapter(config, rank, parts, seed as u64))
            .unwrap()
    })
    .collect()
}

fn greedy(logits: &[f32]) -> u16 {
    let best = logits
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (id, &logit)| {
            if logit > best.1 { (id, logit) } else { best }
        });
    best.0 as u16
}

/// What a session wrote: the bits of all logits that it chose from.
type Written = Vec<Vec<u32>>;

/// Reads `prompt` and writes `count` tokens, alone.
fn alone(mut session: Session, prompt: &[u16], count: usize) -> (Written, Vec<u8>) {
    let mut written = vec![bits(session.prefill(prompt).unwrap())];
    for _ in 0..count {
        let token = greedy(session.logits().unwrap());
        written.push(bits(session.decode(token).unwrap()));
    }
    (written, session.state().unwrap().to_bytes())
}

#[test]
fn sixteen_sessions_with_four_adapters_get_what_each_gets_alone() {
    let (config, model) = small();
    let adapters = adapters(&config, &model);
    let session = |index: usize| {
        let mut session = Session::new(model.clone());
        // Every fifth without one.
        session
            .set_adapter((index % 5 < 4).then(|| &adapters[index % 5]))
            .unwrap();
        session
    };
    let lengths = [1, 40, 2, 7, 130, 1, 3, 64, 65, 5, 1, 300, 12, 31, 2, 90];
    let prompt = |index: usize| Noise(index as u64).tokens(lengths[index], 257);
    const COUNT: usize = 6;
    let expected: Vec<_> = (0..16)
        .map(|index| alone(session(index), &prompt(index), COUNT))
        .collect();

    for max_rows in [5, 16, 48, 1000] {
        let mut batch = Batch::new(model.clone());
        batch.set_max_rows(max_rows);
        let mut running: Vec<(SessionId, usize, Written)> = Vec::new();
        let mut results: Vec<Option<(Written, Vec<u8>)>> = vec![None; 16];
        let mut coming = 0..16;
        let mut steps = 0;
        while results.iter().any(Option::is_none) {
            // They join while others read and write.
            for index in coming.by_ref().take(3) {
                let id = batch.join(session(index)).unwrap();
                batch.feed(id, &prompt(index)).unwrap();
                running.push((id, index, Vec::new()));
            }
            let ready = batch.step().unwrap();
            steps += 1;
            assert!(steps < 2000, "no progress");
            for id in ready {
                let at = running.iter().position(|(own, ..)| *own == id).unwrap();
                let logits = batch.session(id).unwrap().logits().unwrap();
                let (token, logits) = (greedy(logits), bits(logits));
                let (_, index, written) = &mut running[at];
                written.push(logits);
                if written.len() <= COUNT {
                    batch.feed(id, &[token]).unwrap();
                } else {
                    let state = batch.leave(id).unwrap().state().unwrap().to_bytes();
                    results[*index] = Some((std::mem::take(written), state));
                    running.remove(at);
                }
            }
        }
        assert!(batch.is_empty());
        for (index, (got, expected)) in results.iter().zip(&expected).enumerate() {
            assert!(
                got.as_ref() == Some(expected),
                "session {index} at {max_rows} rows a step"
            );
        }
    }
}

#[test]
fn one_step_of_all_lengths_gives_the_bits_of_each_in_every_format() {
    let config = config(257, 64, 2, 160);
    for format in WeightFormat::ALL {
        one_step_of_all_lengths(&config, &model_in(&config, 1, format));
    }
}

fn one_step_of_all_lengths(config: &RwkvConfig, model: &Arc<Model>) {
    let adapters = adapters(config, model);
    let mut batch = Batch::new(model.clone());
    batch.set_max_rows(10_000);
    let mut members = Vec::new();
    for (index, length) in [1usize, 257, 1, 2, 256, 1, 255, 33].into_iter().enumerate() {
        let tokens = Noise(index as u64).tokens(length + 2, 257);
        let mut session = Session::new(model.clone());
        session.set_adapter(adapters.get(index % 5)).unwrap();
        session.prefill(&tokens[..2]).unwrap();
        let mut copy = session.fork().unwrap();
        let id = batch.join(session).unwrap();
        batch.feed(id, &tokens[2..]).unwrap();
        copy.set_chunk_size(1);
        copy.prefill(&tokens[2..]).unwrap();
        members.push((id, copy));
    }
    let ids: Vec<SessionId> = members.iter().map(|(id, _)| *id).collect();
    assert_eq!(batch.step().unwrap(), ids);
    assert_eq!(batch.waiting(), 0);
    for (id, copy) in &members {
        let session = batch.session(*id).unwrap();
        assert_eq!(
            bits(session.logits().unwrap()),
            bits(copy.logits().unwrap())
        );
        assert_eq!(session.state().unwrap(), copy.state().unwrap());
        assert_eq!(session.position(), copy.position());
    }
    assert_eq!(batch.step().unwrap(), [], "nothing waits");
}

#[test]
fn a_step_reads_the_weights_once_for_all() {
    let (config, model) = small();
    let weights = |sessions: usize| {
        let mut batch = Batch::new(model.clone());
        for _ in 0..sessions {
            let id = batch.join(Session::new(model.clone())).unwrap();
            batch.feed(id, &[1]).unwrap();
        }
        batch.step().unwrap();
        batch.work()
    };
    let (one, many) = (weights(1), weights(16));
    assert_eq!(one.weight_bytes, many.weight_bytes);
    assert_eq!(16 * one.multiply_adds, many.multiply_adds);

    // One stretch of rows for each adapter, however its sessions joined.
    let adapters = adapters(&config, &model);
    let mut batch = Batch::new(model.clone());
    for index in 0..16 {
        let mut session = Session::new(model.clone());
        session.set_adapter(adapters.get(index % 5)).unwrap();
        let id = batch.join(session).unwrap();
        batch.feed(id, &[1]).unwrap();
    }
    batch.step().unwrap();
    let numbers: usize = adapters
        .iter()
        .map(|adapter| adapter.num_parameters())
        .sum();
    assert_eq!(
        batch.work().weight_bytes,
        one.weight_bytes + 4 * numbers as u64
    );
}

#[test]
fn a_long_text_holds_nobody_up() {
    let (_, model) = small();
    let mut batch = Batch::new(model.clone());
    batch.set_max_rows(32);
    let writer = batch.join(Session::new(model.clone())).unwrap();
    let reader = batch.join(Session::new(model)).unwrap();
    batch.feed(writer, &[1]).unwrap();
    batch.feed(reader, &Noise(1).tokens(32 * 31, 257)).unwrap();
    for step in 1..=32 {
        let ready = batch.step().unwrap();
        assert!(ready.contains(&writer), "step {step}: {ready:?}");
        assert_eq!(ready.contains(&reader), step == 32);
        assert_eq!(batch.session(reader).unwrap().position(), 31 * step);
        batch.feed(writer, &[step as u16]).unwrap();
    }
}

#[test]
fn wrong_tokens_and_strangers_change_nothing() {
    let (config, model) = small();
    let mut batch = Batch::new(model.clone());
    let id = batch.join(Session::new(model.clone())).unwrap();
    assert!(matches!(
        batch.feed(id, &[1, 2, 257]),
        Err(RuntimeError::TokenOutOfRange { index: 2, .. })
    ));
    assert_eq!(batch.waiting(), 0);
    batch.feed(id, &[1, 2, 3]).unwrap();
    // The same weights, loaded again: another place in memory.
    let stranger = Session::new(random_model(&config, 1));
    assert!(matches!(
        batch.join(stranger),
        Err(RuntimeError::SessionOfAnotherModel)
    ));
    let left = batch.leave(id).unwrap();
    assert_eq!((left.position(), batch.waiting()), (0, 0));
    assert!(matches!(
        batch.feed(id, &[1]),
        Err(RuntimeError::NoSuchSession)
    ));
    assert!(batch.leave(id).is_none());
    let again = batch.join(left).unwrap();
    assert_ne!(again, id, "numbers are not given twice");
}

#[test]
fn an_adapter_is_switched_in_the_middle_of_a_batch() {
    let (config, model) = small();
    let adapters = adapters(&config, &model);
    let tokens = Noise(1).tokens(6, 257);
    let mut expected = Session::new(model.clone());
    let mut batch = Batch::new(model.clone());
    let id = batch.join(Session::new(model.clone())).unwrap();
    let other = batch.join(Session::new(model.clone())).unwrap();
    let mut undisturbed = Session::new(model);
    for (step, &token) in tokens.iter().enumerate() {
        let adapter = adapters.get(step % 3);
        expected.set_adapter(adapter).unwrap();
        batch.session_mut(id).unwrap().set_adapter(adapter).unwrap();
        for member in [id, other] {
            batch.feed(member, &[token]).unwrap();
        }
        batch.step().unwrap();
        let got = |id| bits(batch.session(id).unwrap().logits().unwrap());
        assert_eq!(got(id), bits(expected.decode(token).unwrap()));
        assert_eq!(got(other), bits(undisturbed.decode(token).unwrap()));
    }
}

#[test]
fn a_shared_beginning_is_read_once() {
    let (config, model) = small();
    let adapters = adapters(&config, &model);
    let system = Noise(1).tokens(50, 257);
    let question = |index: u64| Noise(index + 10).tokens(9, 257);
    let mut batch = Batch::new(model.clone());
    batch.set_max_rows(16);
    batch.set_prefix_cache(Some(PrefixCache::new(1 << 20)));
    let mut reads = Vec::new();
    for index in 0..4 {
        // The last has an adapter, for which the others' state is none.
        let adapter = (index == 3).then(|| &adapters[0]);
        let mut session = Session::new(model.clone());
        session.set_adapter(adapter).unwrap();
        let mut whole = session.fork().unwrap();
        whole.prefill(&system).unwrap();
        let after_system = bits(whole.logits().unwrap());
        whole.prefill(&question(index)).unwrap();

        let id = batch.join(session).unwrap();
        let known = batch.feed_prefix(id, &system).unwrap();
        if known == system.len() {
            let session = batch.session(id).unwrap();
            assert_eq!(bits(session.logits().unwrap()), after_system);
        }
        batch.feed(id, &question(index)).unwrap();
        reads.push(batch.waiting());
        while batch.waiting() > 0 {
            batch.step().unwrap();
        }
        let session = batch.leave(id).unwrap();
        assert_eq!(
            bits(session.logits().unwrap()),
            bits(whole.logits().unwrap()),
            "{index}"
        );
        assert_eq!(session.state().unwrap(), whole.state().unwrap());
    }
    assert_eq!(reads, [59, 9, 9, 59]);
    assert_eq!(batch.set_prefix_cache(None).unwrap().len(), 2);
}

#[test]
fn a_text_that_is_changed_half_way_is_not_remembered() {
    let config = config(257, 64, 2, 160);
    let model = random_model(&config, 1);
    let adapter = model
        .add_adapter(random_adapter(&config, 4, &[], 5))
        .unwrap();
    let tokens = Noise(3).tokens(20, 257);
    type Change<'a> = &'a dyn Fn(&mut Session);
    let changes: [(&str, Change<'_>, usize); 4] = [
        ("nothing", &|_| (), 1),
        (
            "adapter",
            &|session| session.set_adapter(Some(&adapter)).unwrap(),
            0,
        ),
        ("reset", &|session| session.reset().unwrap(), 0),
        (
            "more text",
            &|session| drop(session.prefill(&[1]).unwrap().to_vec()),
            0,
        ),
    ];
    for (name, change, remembered) in changes {
        let mut batch = Batch::new(model.clone());
        batch.set_prefix_cache(Some(PrefixCache::new(1 << 20)));
        batch.set_max_rows(4);
        let id = batch.join(Session::new(model.clone())).unwrap();
        assert_eq!(batch.feed_prefix(id, &tokens).unwrap(), 0);
        batch.step().unwrap();
        if name != "nothing" {
            change(batch.session_mut(id).unwrap());
        }
        while batch.waiting() > 0 {
            batch.step().unwrap();
        }
        let cache = batch.set_prefix_cache(None).unwrap();
        assert_eq!(cache.len(), remembered, "{name}");
    }
}
