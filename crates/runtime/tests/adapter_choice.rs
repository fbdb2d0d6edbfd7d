//! The adapter under which a text is most likely. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{Noise, bits, config, random_adapter, random_tensors, tokenizer};
use ptbr_model::{ArchConfig, RwkvConfig};
use ptbr_runtime::{
    GenerateOptions, LoadedAdapter, MIN_LEAD, Model, RuntimeError, SamplerConfig, Session,
    choose_adapter, evaluate_session, generate, generate_after,
};
use ptbr_tokenizer::Tokenizer;
use std::ops::ControlFlow;
use std::sync::Arc;

const VOCAB: usize = 300;

fn setting() -> (RwkvConfig, Arc<Model>, Vec<Arc<LoadedAdapter>>) {
    let config = config(VOCAB, 32, 2, 64);
    let arch = ArchConfig::Rwkv4(config.clone());
    let model = Model::from_tensors(arch, &random_tensors(&config, 1), Some(tokenizer())).unwrap();
    let adapters = (1..4)
        .map(|seed| {
            let adapter = random_adapter(&config, 4, &["att", "ffn", "head"], seed);
            model.add_adapter(adapter).unwrap()
        })
        .collect();
    (config, model, adapters)
}

/// `−ln p` of all tokens but the first.
fn loss(model: &Arc<Model>, adapter: Option<&Arc<LoadedAdapter>>, tokens: &[u16]) -> f64 {
    let mut session = Session::new(Arc::clone(model));
    session.set_adapter(adapter).unwrap();
    let metrics =
        evaluate_session(&mut session, tokens, &mut |_, _| ControlFlow::Continue(())).unwrap();
    metrics.loss * metrics.tokens as f64
}

/// A text that this adapter writes, the most likely token each time: likely under it, and under no other.
fn text_of(model: &Arc<Model>, adapter: Option<&Arc<LoadedAdapter>>) -> Vec<u16> {
    let mut session = Session::new(Arc::clone(model));
    session.set_adapter(adapter).unwrap();
    let mut tokens = vec![40u16];
    for _ in 0..20 {
        let logits = session.decode(tokens[tokens.len() - 1]).unwrap();
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        tokens.push(best.unwrap() as u16);
    }
    tokens
}

#[test]
fn each_text_finds_the_adapter_that_wrote_it() {
    let (_, model, adapters) = setting();
    for writer in [None, Some(0), Some(1), Some(2)] {
        let adapter = writer.map(|number| &adapters[number]);
        let tokens = text_of(&model, adapter);
        let verdict = choose_adapter(&model, &adapters, &tokens).unwrap();
        assert_eq!(verdict.chosen, writer);
        assert_eq!(verdict.predicted, 20);
        let expected = loss(&model, None, &tokens);
        assert!(
            (verdict.base - expected).abs() < 1e-9,
            "{} {expected}",
            verdict.base
        );
        for (candidate, found) in adapters.iter().zip(&verdict.candidates) {
            let expected = loss(&model, Some(candidate), &tokens);
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        // The session is as if nobody else had read.
        let mut alone = Session::new(Arc::clone(&model));
        alone.set_adapter(adapter).unwrap();
        let logits = bits(alone.prefill(&tokens).unwrap());
        assert_eq!(bits(verdict.session.logits().unwrap()), logits);
        assert_eq!(verdict.session.position(), 21);
        assert_eq!(
            verdict.session.adapter().map(|one| one.id()),
            adapter.map(|one| one.id())
        );
        assert!(verdict.session.state().unwrap() == alone.state().unwrap());
    }
}

#[test]
fn a_lead_of_less_than_a_nat_is_none() {
    let (config, model, _) = setting();
    // The same adapter, more and less of it.
    let scaled = |scale: f64| {
        let mut adapter = random_adapter(&config, 4, &[], 1);
        adapter.config.alpha = scale;
        model.add_adapter(adapter).unwrap()
    };
    let (faint, strong) = (scaled(1e-4), scaled(3.0));
    let tokens = text_of(&model, Some(&strong));
    let verdict = choose_adapter(&model, &[Arc::clone(&faint)], &tokens).unwrap();
    let lead = verdict.lead().unwrap();
    assert!(lead > 0.0 && lead < MIN_LEAD, "{lead}");
    assert_eq!(verdict.chosen, None);
    assert!(verdict.session.adapter().is_none());
    let verdict = choose_adapter(&model, &[faint, strong], &tokens).unwrap();
    assert_eq!(verdict.chosen, Some(1));
    assert!(verdict.lead().unwrap() > MIN_LEAD);
}

#[test]
fn one_token_says_nothing() {
    let (_, model, adapters) = setting();
    let verdict = choose_adapter(&model, &adapters, &[7]).unwrap();
    assert_eq!((verdict.chosen, verdict.predicted), (None, 0));
    assert_eq!((verdict.base, verdict.lead()), (0.0, Some(0.0)));
    assert!(verdict.session.logits().is_some());
    let error = choose_adapter(&model, &adapters, &[]).unwrap_err();
    assert!(matches!(error, RuntimeError::NoTokens), "{error}");
    let error = choose_adapter(&model, &adapters, &[5, VOCAB as u16]).unwrap_err();
    assert!(
        matches!(error, RuntimeError::TokenOutOfRange { .. }),
        "{error}"
    );
    assert_eq!(choose_adapter(&model, &[], &[5, 6]).unwrap().lead(), None);
    let other = common::random_model(&config(VOCAB, 32, 2, 64), 2);
    let error = choose_adapter(&other, &adapters, &[5, 6]).unwrap_err();
    assert!(error.to_string().contains("adapter"), "{error}");
}

/// Writing after a prompt that was read already is writing after the prompt, repetition penalty included.
#[test]
fn going_on_is_as_if_the_prompt_had_been_given() {
    let (_, model, adapters) = setting();
    let prompt = "O sertanejo é, antes de tudo";
    let tokens = model.tokenizer().unwrap().encode(prompt);
    let options = GenerateOptions {
        max_tokens: 30,
        sampler: SamplerConfig {
            repetition_penalty: 1.5,
            seed: Noise(4).next(),
            ..SamplerConfig::default()
        },
        add_bos: false,
        ..GenerateOptions::default()
    };
    let write = |piece: &str| {
        assert!(!piece.is_empty());
        ControlFlow::Continue(())
    };
    let mut given = Session::new(Arc::clone(&model));
    given.set_adapter(Some(&adapters[1])).unwrap();
    let expected = generate(&mut given, prompt, &options, &mut { write }).unwrap();
    let mut read = Session::new(Arc::clone(&model));
    read.set_adapter(Some(&adapters[1])).unwrap();
    read.prefill(&tokens).unwrap();
    let found = generate_after(&mut read, &tokens, &options, &mut { write }).unwrap();
    assert_eq!(found, expected);
    assert!(!found.tokens.is_empty());
    let mut new = Session::new(model);
    let error = generate_after(&mut new, &[], &options, &mut { write }).unwrap_err();
    assert!(matches!(error, RuntimeError::NoTokens), "{error}");
}
