//! What sessions promise: chunks, threads and forks change no bit, and the cost of a token is flat. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{Noise, bits, config, random_model};
use ptbr_model::RwkvConfig;
use ptbr_runtime::{Model, RuntimeError, Session};
use std::ops::ControlFlow;
use std::sync::Arc;

fn small() -> (RwkvConfig, Arc<Model>) {
    let config = config(257, 64, 3, 160);
    let model = random_model(&config, 1);
    (config, model)
}

/// Logits after `tokens` and the state, read in chunks of `chunk`.
fn read(model: &Arc<Model>, tokens: &[u16], chunk: usize) -> (Vec<u32>, Vec<u8>) {
    let mut session = Session::new(Arc::clone(model));
    session.set_chunk_size(chunk);
    let logits = bits(session.prefill(tokens).unwrap());
    (logits, session.state().unwrap().to_bytes())
}

#[test]
fn chunk_size_changes_no_bit() {
    let (config, model) = small();
    for length in [1, 2, 255, 256, 257, 1000, 1030] {
        let tokens = Noise(7).tokens(length, config.vocab_size);
        let expected = read(&model, &tokens, 1);
        for chunk in [2, 7, 64, 256, 1000, 5000] {
            assert!(
                read(&model, &tokens, chunk) == expected,
                "{length} tokens in chunks of {chunk}"
            );
        }
    }
}

#[test]
fn threads_change_no_bit() {
    // Large enough that products are split.
    let model = random_model(&config(1003, 320, 2, 1280), 2);
    let tokens = Noise(8).tokens(150, 1003);
    let run = |threads, chunk| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| read(&model, &tokens, chunk))
    };
    let expected = run(1, 1);
    for (threads, chunk) in [(1, 64), (2, 1), (2, 7), (2, 150), (4, 64)] {
        assert!(
            run(threads, chunk) == expected,
            "{threads} threads, chunks of {chunk}"
        );
    }
}

#[test]
fn decoding_is_prefilling() {
    let (config, model) = small();
    let tokens = Noise(9).tokens(100, config.vocab_size);
    let mut all = Vec::new();
    let mut session = Session::new(Arc::clone(&model));
    session
        .prefill_all(&tokens, &mut |index, logits| {
            assert_eq!(index, all.len());
            all.push(bits(logits));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(bits(session.logits().unwrap()), all[99]);
    assert_eq!(session.position(), 100);
    let mut decoding = Session::new(model);
    for (token, expected) in tokens.iter().zip(&all) {
        assert_eq!(&bits(decoding.decode(*token).unwrap()), expected);
    }
    assert_eq!(decoding.state().unwrap(), session.state().unwrap());
}

#[test]
fn the_cost_of_a_token_is_flat() {
    let (config, model) = small();
    let mut session = Session::new(model);
    let mut cost_at = |position: usize| {
        let tokens = Noise(position as u64)
            .tokens(position - session.position() as usize, config.vocab_size);
        session.prefill(&tokens).unwrap();
        let (work, state) = (session.work(), session.state().unwrap().to_bytes().len());
        session.decode(3).unwrap();
        (session.work().since(work), state)
    };
    let (early, late) = (cost_at(10), cost_at(2000));
    assert_eq!(early, late, "work and state at positions 10 and 2,000");
    let (c, f) = (config.d_model as u64, config.d_ffn as u64);
    let weights = config.n_layers as u64 * (5 * c * c + 2 * c * f) + config.vocab_size as u64 * c;
    assert_eq!(
        (early.0.multiply_adds, early.0.weight_bytes),
        (weights, 4 * weights),
        "each weight of a product once"
    );
}

#[test]
fn prefill_reads_weights_once_a_chunk() {
    let (config, model) = small();
    let mut session = Session::new(model);
    session.set_chunk_size(64);
    session
        .prefill(&Noise(1).tokens(64, config.vocab_size))
        .unwrap();
    let (c, f, head) = (
        config.d_model as u64,
        config.d_ffn as u64,
        (config.vocab_size * config.d_model) as u64,
    );
    let blocks = config.n_layers as u64 * (5 * c * c + 2 * c * f);
    assert_eq!(session.work().weight_bytes, 4 * (blocks + head));
    assert_eq!(
        session.work().multiply_adds,
        64 * blocks + head,
        "the head for the last token only"
    );
}

#[test]
fn forks_go_their_own_way() {
    let (_, model) = small();
    let mut trunk = Session::new(model);
    trunk.prefill(&[1, 2, 3]).unwrap();
    let mut branch = trunk.fork().unwrap();
    assert_eq!(branch.logits(), trunk.logits());
    let apart = bits(branch.decode(9).unwrap());
    let own = bits(trunk.decode(8).unwrap());
    assert_ne!(own, apart);
    let mut again = Session::new(Arc::clone(trunk.model()));
    assert_eq!(bits(again.prefill(&[1, 2, 3, 8]).unwrap()), own);
}

#[test]
fn a_token_outside_the_vocabulary_is_an_error_and_reads_nothing() {
    let (_, model) = small();
    let mut session = Session::new(model);
    session.prefill(&[1, 2]).unwrap();
    let before = session.state().unwrap();
    let error = session.prefill(&[5, 6, 257]).unwrap_err();
    assert!(matches!(
        error,
        RuntimeError::TokenOutOfRange {
            token: 257,
            index: 2,
            vocab_size: 257
        }
    ));
    assert_eq!(
        error.to_string(),
        "token 257 at index 2 is not in the model's vocabulary of 257; was the text encoded with another tokenizer?"
    );
    assert_eq!(session.state().unwrap(), before);
    assert!(session.decode(u16::MAX).is_err());
    assert!(
        session
            .prefill_all(&[300], &mut |_, _| ControlFlow::Continue(()))
            .is_err()
    );
}

#[test]
fn no_tokens_have_no_logits() {
    let (_, model) = small();
    let mut session = Session::new(model);
    assert!(matches!(session.prefill(&[]), Err(RuntimeError::NoTokens)));
    assert!(session.logits().is_none());
    let logits = bits(session.prefill(&[4]).unwrap());
    assert_eq!(
        bits(session.prefill(&[]).unwrap()),
        logits,
        "nothing new: the same logits"
    );
    session.reset().unwrap();
    assert_eq!(session.position(), 0);
    assert!(session.logits().is_none());
    assert_eq!(bits(session.prefill(&[4]).unwrap()), logits);
}

#[test]
fn a_callback_can_stop() {
    let (config, model) = small();
    let mut session = Session::new(model);
    let mut seen = 0;
    let result = session.prefill_all(&Noise(3).tokens(200, config.vocab_size), &mut |_, _| {
        seen += 1;
        if seen == 5 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(result, Err(RuntimeError::Stopped)));
    assert_eq!(seen, 5);
}
