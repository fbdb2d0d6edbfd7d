//! Generation: streaming, stopping, repeating. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{config, constant_model, random_model, random_tensors, tokenizer};
use ptbr_model::ArchConfig;
use ptbr_runtime::{
    GenerateOptions, Generation, Model, RuntimeError, SamplerConfig, Session, StopReason, generate,
};
use ptbr_tokenizer::{TokenId, Tokenizer};
use std::ops::ControlFlow;
use std::sync::Arc;

/// 320 tokens, some of which the tokenizer does not know.
fn model() -> Arc<Model> {
    let config = config(320, 64, 2, 160);
    Model::from_tensors(
        ArchConfig::Rwkv4(config.clone()),
        &random_tensors(&config, 3),
        Some(tokenizer()),
    )
    .unwrap()
}

/// A model that always writes `token`.
fn always(token: TokenId) -> Arc<Model> {
    constant_model(300, |id| if id == usize::from(token) { 50.0 } else { 0.0 })
}

fn run(
    session: &mut Session,
    prompt: &str,
    options: &GenerateOptions,
) -> (Vec<String>, Generation) {
    let mut pieces = Vec::new();
    let generation = generate(session, prompt, options, &mut |piece| {
        pieces.push(piece.to_owned());
        ControlFlow::Continue(())
    })
    .unwrap();
    (pieces, generation)
}

fn options(max_tokens: usize, seed: u64) -> GenerateOptions {
    GenerateOptions {
        max_tokens,
        sampler: SamplerConfig {
            seed,
            ..Default::default()
        },
        ..Default::default()
    }
}

#[test]
fn pieces_are_the_decoded_tokens() {
    // Random weights write random bytes, so half characters come all the time.
    for seed in 0..5 {
        let (pieces, generation) = run(
            &mut Session::new(model()),
            "O Brasil é",
            &options(200, seed),
        );
        assert_eq!(pieces.concat(), tokenizer().decode(&generation.tokens));
        assert!(pieces.iter().all(|piece| !piece.is_empty()));
        assert!(
            generation
                .tokens
                .iter()
                .all(|&token| usize::from(token) < tokenizer().vocab_size()),
            "only tokens that the tokenizer knows"
        );
        assert_eq!(
            generation.prompt_tokens,
            tokenizer().encode("O Brasil é").len() + 1,
            "and [BOS]"
        );
    }
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let text = |seed| {
        run(&mut Session::new(model()), "O", &options(50, seed))
            .1
            .tokens
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn a_text_can_be_written_in_two_parts() {
    let whole = run(&mut Session::new(model()), "O", &options(30, 4))
        .1
        .tokens;
    if whole.len() < 30 {
        panic!("the seed ends the text early; choose another");
    }
    let mut session = Session::new(model());
    let mut parts = run(&mut session, "O", &options(12, 4)).1.tokens;
    parts.extend(run(&mut session, "", &options(18, 4)).1.tokens);
    assert_eq!(parts, whole);
}

#[test]
fn the_session_has_read_what_was_written() {
    let mut session = Session::new(model());
    let generation = run(&mut session, "O", &options(20, 4)).1;
    assert_eq!(
        session.position(),
        (generation.prompt_tokens + generation.tokens.len()) as u64
    );
}

#[test]
fn the_end_of_text_token_ends_it() {
    let (pieces, generation) = run(
        &mut Session::new(always(tokenizer().eos_id())),
        "O",
        &options(20, 0),
    );
    assert_eq!(
        (pieces.len(), generation.tokens.len(), generation.stop),
        (0, 0, StopReason::EndOfText)
    );
}

#[test]
fn a_stop_text_ends_it_and_is_not_written() {
    let a = tokenizer().encode("a")[0];
    let with = |stop: &[&str]| GenerateOptions {
        stop: stop.iter().map(|s| s.to_string()).collect(),
        ..options(6, 0)
    };
    let (pieces, generation) = run(&mut Session::new(always(a)), "O", &with(&["b", "aaaa", ""]));
    assert_eq!(
        (
            pieces.concat().as_str(),
            generation.tokens.len(),
            generation.stop
        ),
        ("", 4, StopReason::StopText)
    );
    let (pieces, generation) = run(&mut Session::new(always(a)), "O", &with(&["aab"]));
    assert_eq!(
        (pieces.concat().as_str(), generation.stop),
        ("aaaaaa", StopReason::MaxTokens),
        "what was held back is written at the end"
    );
    assert_eq!(
        pieces[0], "a",
        "and what can no longer be a stop text is written at once"
    );
}

#[test]
fn the_callback_can_break_off() {
    let a = tokenizer().encode("a")[0];
    let generation = generate(
        &mut Session::new(always(a)),
        "O",
        &options(6, 0),
        &mut |_| ControlFlow::Break(()),
    )
    .unwrap();
    assert_eq!(
        (generation.tokens.len(), generation.stop),
        (1, StopReason::Interrupted)
    );
}

#[test]
fn half_a_character_at_the_end_is_replaced() {
    // The first byte of "é", again and again.
    let vocabulary = tokenizer();
    let byte = (0..u16::MAX)
        .find(|&id| vocabulary.token_bytes(id) == Some(&[0xC3]))
        .unwrap();
    let (pieces, _) = run(&mut Session::new(always(byte)), "O", &options(3, 0));
    assert_eq!(pieces.concat(), "\u{FFFD}\u{FFFD}\u{FFFD}");
}

#[test]
fn repetition_penalty_counts_the_prompt() {
    // "a" leads "b" by a little, so it is written until it has occurred.
    let (a, b) = (tokenizer().encode("a")[0], tokenizer().encode("b")[0]);
    let model = constant_model(300, |id| {
        if id == usize::from(a) {
            11.0
        } else if id == usize::from(b) {
            10.0
        } else {
            0.0
        }
    });
    let sampler = SamplerConfig {
        repetition_penalty: 1.2,
        ..SamplerConfig::greedy()
    };
    let tokens = run(
        &mut Session::new(model),
        "a",
        &GenerateOptions {
            max_tokens: 2,
            sampler,
            ..Default::default()
        },
    )
    .1
    .tokens;
    assert_eq!(tokens, [b, a]);
}

#[test]
fn nothing_to_do_and_nothing_to_continue() {
    let none = options(0, 0);
    let (pieces, generation) = run(&mut Session::new(model()), "O", &none);
    assert_eq!(
        (pieces.len(), generation.tokens.len(), generation.stop),
        (0, 0, StopReason::MaxTokens)
    );
    let without_bos = GenerateOptions {
        add_bos: false,
        ..options(5, 0)
    };
    let error = generate(&mut Session::new(model()), "", &without_bos, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap_err();
    assert!(matches!(error, RuntimeError::NoTokens), "{error}");
    assert_eq!(
        run(&mut Session::new(model()), "", &options(5, 0))
            .1
            .prompt_tokens,
        1,
        "[BOS] is enough"
    );
}

#[test]
fn bad_options_and_models_are_errors() {
    let hot = GenerateOptions {
        sampler: SamplerConfig {
            temperature: -1.0,
            ..Default::default()
        },
        ..Default::default()
    };
    let error = generate(&mut Session::new(model()), "O", &hot, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap_err()
    .to_string();
    assert_eq!(
        error,
        "temperature is -1, but must be 0 (most likely token), or 0.001 to 100"
    );
    let bare = random_model(&config(300, 32, 1, 32), 1);
    let error = generate(&mut Session::new(bare), "O", &options(5, 0), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap_err();
    assert!(matches!(error, RuntimeError::NoTokenizer), "{error}");
}
