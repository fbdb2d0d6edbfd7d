//! Saved states: they continue to the bit, and foreign or damaged ones are refused. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{Noise, bits, config, random_model};
use ptbr_runtime::{RuntimeError, Session};

#[test]
fn a_saved_state_continues_as_if_never_stopped() {
    let config = config(257, 64, 3, 160);
    let tokens = Noise(5).tokens(60, 257);
    let mut session = Session::new(random_model(&config, 1));
    session.prefill(&tokens[..40]).unwrap();
    let saved = session.state().to_bytes();
    let expected = bits(session.prefill(&tokens[40..]).unwrap());

    // Loaded anew: only the weights are the same.
    let mut restored = Session::new(random_model(&config, 1));
    restored.restore(&saved).unwrap();
    assert_eq!(restored.position(), 40);
    assert!(restored.logits().is_none(), "a state has no logits");
    assert_eq!(restored.state().to_bytes(), saved);
    assert_eq!(bits(restored.prefill(&tokens[40..]).unwrap()), expected);

    let mut set = Session::new(random_model(&config, 1));
    restored.restore(&saved).unwrap();
    set.set_state(restored.state()).unwrap();
    assert_eq!(bits(set.prefill(&tokens[40..]).unwrap()), expected);
}

#[test]
fn a_state_is_what_its_spec_says() {
    let config = config(257, 64, 3, 160);
    let session = Session::new(random_model(&config, 1));
    let state = session.state();
    let spec = state.spec();
    assert_eq!(spec.tensors().len(), 15);
    assert_eq!(spec.tensors()[9].name, "blocks.1.pp");
    assert_eq!(spec.tensors()[9].shape, [64]);
    assert_eq!(spec.len(), 5 * 3 * 64);
    assert_eq!(spec.len(), state.values().len());
    let values: Vec<f32> = spec
        .tensors()
        .iter()
        .flat_map(|t| vec![t.initial; t.shape.iter().product()])
        .collect();
    assert_eq!(state.values(), values);
    assert_eq!(state.position(), 0);
    assert_eq!(state.model_id(), session.model().model_id());
}

#[test]
fn a_state_of_another_model_is_refused() {
    let config = config(257, 64, 2, 160);
    let mut one = Session::new(random_model(&config, 1));
    let mut other = Session::new(random_model(&config, 2));
    one.prefill(&[1, 2, 3]).unwrap();
    let before = other.state().clone();
    for error in [
        other.set_state(one.state()).unwrap_err(),
        other.restore(&one.state().to_bytes()).unwrap_err(),
    ] {
        let message = error.to_string();
        assert!(
            matches!(error, RuntimeError::StateOfAnotherModel { .. }),
            "{message}"
        );
        assert!(
            message.contains(&one.model().model_id()[..12])
                && message.contains(&other.model().model_id()[..12]),
            "{message}"
        );
    }
    assert_eq!(other.state(), &before);
}

#[test]
fn damaged_states_are_refused() {
    let config = config(64, 32, 1, 32);
    let mut session = Session::new(random_model(&config, 1));
    session.prefill(&[1, 2, 3]).unwrap();
    let saved = session.state().to_bytes();
    let mut refused = |bytes: &[u8], what: &str| {
        let before = session.state().clone();
        let error = session.restore(bytes).unwrap_err();
        assert!(
            matches!(error, RuntimeError::StateDamaged { .. }),
            "{what}: {error}"
        );
        assert_eq!(session.state(), &before, "{what}");
        error.to_string()
    };
    for at in 0..saved.len() {
        let mut flipped = saved.clone();
        flipped[at] ^= 1 << (at % 8);
        refused(&flipped, &format!("byte {at} changed"));
        refused(&saved[..at], &format!("cut to {at} bytes"));
    }
    refused(&[saved.as_slice(), &[0]].concat(), "a byte too many");

    // Damage that the checksum cannot see, because it was made afterwards.
    let body = &saved[..saved.len() - 32];
    let mut forged = |change: &dyn Fn(&mut Vec<u8>), what: &str| {
        let mut bytes = body.to_vec();
        change(&mut bytes);
        let digest = ptbr_model::sha256(&bytes);
        bytes.extend(digest);
        refused(&bytes, what)
    };
    let end = body.len();
    assert!(
        forged(
            &|b| b[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes()),
            "NaN"
        )
        .contains("NaN")
    );
    assert!(forged(&|b| b[8] = 9, "another version").contains("version 9"));
    forged(&|b| b[12..16].fill(0xFF), "an id without end");
    forged(&|b| b[88..96].fill(0xFF), "values without end");
    forged(&|b| b.truncate(end - 4), "a value less than counted");
    let fewer = |b: &mut Vec<u8>| {
        b.truncate(end - 4);
        b[88..96].copy_from_slice(&((5 * 32 - 1) as u64).to_le_bytes());
    };
    assert!(forged(&fewer, "a value less than the model has").contains("159 values"));
}
