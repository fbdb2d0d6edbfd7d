//! Evaluation against known distributions and against decoding by hand. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{PARAGRAPH, config, constant_model, random_model, random_tensors, tokenizer};
use ptbr_model::ArchConfig;
use ptbr_runtime::{Model, RuntimeError, Session, evaluate};
use ptbr_tokenizer::Tokenizer;
use std::ops::ControlFlow;

fn near(got: f64, expected: f64) {
    assert!(
        (got - expected).abs() <= 1e-6 * expected.abs().max(1.0),
        "{got} not {expected}"
    );
}

#[test]
fn a_uniform_model_needs_the_logarithm_of_the_vocabulary() {
    let model = constant_model(300, |_| 0.7);
    let tokens = tokenizer().encode(PARAGRAPH);
    let metrics = evaluate(&model, &tokens, &mut |_, _| ControlFlow::Continue(())).unwrap();
    let predicted = tokens.len() - 1;
    near(metrics.loss, 300f64.ln());
    near(metrics.perplexity, 300.0);
    let bytes = tokenizer().decode(&tokens[1..]).len();
    near(
        metrics.bits_per_byte,
        predicted as f64 * 300f64.log2() / bytes as f64,
    );
    assert_eq!(metrics.tokens, predicted as u64);
    assert_eq!(
        metrics.accuracy, 0.0,
        "of equals the lowest id is taken, and that is [PAD]"
    );
}

#[test]
fn every_token_but_the_first_is_predicted_from_all_before_it() {
    let config = config(300, 64, 2, 160);
    let model = Model::from_tensors(
        ArchConfig::Rwkv4(config.clone()),
        &random_tensors(&config, 3),
        Some(tokenizer()),
    )
    .unwrap();
    let mut tokens = tokenizer().encode(PARAGRAPH);
    let eos = tokenizer().eos_id();
    tokens.insert(20, eos);
    let (mut nats, mut right) = (0.0, 0);
    let mut session = Session::new(model.clone());
    for pair in tokens.windows(2) {
        let logits: Vec<f64> = session
            .decode(pair[0])
            .unwrap()
            .iter()
            .map(|&l| f64::from(l))
            .collect();
        nats += logits.iter().map(|l| l.exp()).sum::<f64>().ln() - logits[usize::from(pair[1])];
        let best = (0..300)
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap();
        right += usize::from(best == usize::from(pair[1]));
    }
    let predicted = (tokens.len() - 1) as f64;
    let mut calls = 0;
    let metrics = evaluate(&model, &tokens, &mut |done, total| {
        calls += 1;
        assert_eq!((done, total), (calls, predicted as u64));
        ControlFlow::Continue(())
    })
    .unwrap();
    near(metrics.loss, nats / predicted);
    near(metrics.accuracy, right as f64 / predicted);
    let bytes = tokenizer().decode(&tokens[1..]).len() as f64;
    near(metrics.bits_per_byte, nats / std::f64::consts::LN_2 / bytes);
    assert_eq!(calls, predicted as u64);
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let model = constant_model(300, |_| 0.0);
    let eos = tokenizer().eos_id();
    let go_on = &mut |_, _| ControlFlow::Continue(());
    for tokens in [&[][..], &[40], &[40, eos, eos]] {
        assert!(
            matches!(
                evaluate(&model, tokens, go_on),
                Err(RuntimeError::NothingToEvaluate { .. })
            ),
            "{tokens:?}"
        );
    }
    assert!(matches!(
        evaluate(&model, &[40, 41, 300], go_on),
        Err(RuntimeError::TokenOutOfRange {
            token: 300,
            index: 2,
            ..
        })
    ));
    let bare = random_model(&config(300, 32, 1, 32), 1);
    assert!(matches!(
        evaluate(&bare, &[40, 41], go_on),
        Err(RuntimeError::NoTokenizer)
    ));
    let tokens = tokenizer().encode(PARAGRAPH);
    assert!(matches!(
        evaluate(&model, &tokens, &mut |_, _| ControlFlow::Break(())),
        Err(RuntimeError::Stopped)
    ));
    let overflowing = constant_model(300, |id| if id == 50 { f32::MAX } else { f32::MIN });
    assert!(
        matches!(evaluate(&overflowing, &[40, 41], go_on), Ok(metrics) if metrics.loss.is_finite()),
        "huge, but finite"
    );
}
