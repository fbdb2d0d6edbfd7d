//! Saved states: they continue to the bit, and foreign or damaged ones are refused. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{Noise, bits, config, random_adapter, random_model};
use ptbr_runtime::{RuntimeError, RwkvState, Session};

#[test]
fn a_saved_state_continues_as_if_never_stopped() {
    let config = config(257, 64, 3, 160);
    let tokens = Noise(5).tokens(60, 257);
    let adapter = random_adapter(&config, 4, &[], 1);
    for with_adapter in [false, true] {
        // Loaded anew each time: only the weights are the same.
        let session = || {
            let mut session = Session::new(random_model(&config, 1));
            if with_adapter {
                let loaded = session.model().add_adapter(adapter.clone()).unwrap();
                session.set_adapter(Some(&loaded)).unwrap();
            }
            session
        };
        let mut first = session();
        first.prefill(&tokens[..40]).unwrap();
        let saved = first.state().unwrap().to_bytes();
        let expected = bits(first.prefill(&tokens[40..]).unwrap());

        let mut restored = session();
        restored.restore(&saved).unwrap();
        assert_eq!(restored.position(), 40);
        assert!(restored.logits().is_none(), "a state has no logits");
        let state = restored.state().unwrap();
        assert_eq!(state.to_bytes(), saved);
        assert_eq!(state.adapter_id().is_some(), with_adapter);
        assert_eq!(bits(restored.prefill(&tokens[40..]).unwrap()), expected);

        let mut set = session();
        set.set_state(&state).unwrap();
        assert_eq!(bits(set.prefill(&tokens[40..]).unwrap()), expected);
    }
}

#[test]
fn a_state_is_what_its_spec_says() {
    let config = config(257, 64, 3, 160);
    let session = Session::new(random_model(&config, 1));
    let state = session.state().unwrap();
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
    assert_eq!(state.adapter_id(), None);
}

#[test]
fn a_state_of_another_model_is_refused() {
    let config = config(257, 64, 2, 160);
    let mut one = Session::new(random_model(&config, 1));
    let mut other = Session::new(random_model(&config, 2));
    one.prefill(&[1, 2, 3]).unwrap();
    let before = other.state().unwrap();
    let state = one.state().unwrap();
    for error in [
        other.set_state(&state).unwrap_err(),
        other.restore(&state.to_bytes()).unwrap_err(),
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
    assert_eq!(other.state().unwrap(), before);
}

#[test]
fn a_state_of_another_adapter_is_refused_unless_it_is_meant() {
    let config = config(257, 64, 2, 160);
    let model = random_model(&config, 1);
    let adapters = [1, 2].map(|seed| {
        model
            .add_adapter(random_adapter(&config, 4, &[], seed))
            .unwrap()
    });
    let choices = [None, Some(&adapters[0]), Some(&adapters[1])];
    for (i, from) in choices.into_iter().enumerate() {
        let mut made = Session::new(model.clone());
        made.set_adapter(from).unwrap();
        made.prefill(&[1, 2, 3]).unwrap();
        let state = made.state().unwrap();
        for (j, to) in choices.into_iter().enumerate() {
            let mut session = Session::new(model.clone());
            session.set_adapter(to).unwrap();
            let before = session.state().unwrap();
            if i == j {
                session.set_state(&state).unwrap();
                session.restore(&state.to_bytes()).unwrap();
                continue;
            }
            for error in [
                session.set_state(&state).unwrap_err(),
                session.restore(&state.to_bytes()).unwrap_err(),
            ] {
                let message = error.to_string();
                assert!(
                    matches!(error, RuntimeError::StateOfAnotherAdapter { .. }),
                    "{message}"
                );
                for adapter in [from, to] {
                    let name = adapter.map_or("no adapter", |adapter| &adapter.id()[..12]);
                    assert!(message.contains(name), "{message}");
                }
            }
            assert_eq!(session.state().unwrap(), before);
            assert_eq!(session.position(), 0);

            let meant = RwkvState::from_bytes(&state.to_bytes(), &model)
                .unwrap()
                .with_adapter(to.map(AsRef::as_ref));
            session.set_state(&meant).unwrap();
            assert_eq!(session.state().unwrap().values(), state.values());
        }
    }
}

/// The layout of version 1: as version 2, without the length of the adapter id.
fn version_1(state: &RwkvState) -> Vec<u8> {
    let mut bytes = state.to_bytes();
    bytes.truncate(bytes.len() - 32);
    bytes[8] = 1;
    assert_eq!(bytes.drain(80..84).collect::<Vec<u8>>(), [0; 4]);
    bytes.extend(ptbr_model::sha256(&bytes));
    bytes
}

#[test]
fn states_of_version_1_still_load() {
    let config = config(64, 32, 1, 32);
    let model = random_model(&config, 1);
    let mut session = Session::new(model.clone());
    session.prefill(&[1, 2, 3]).unwrap();
    let state = session.state().unwrap();
    let old = version_1(&state);
    assert_eq!(RwkvState::from_bytes(&old, &model).unwrap(), state);
    let mut restored = Session::new(model.clone());
    restored.restore(&old).unwrap();
    assert_eq!(restored.state().unwrap(), state);
    let adapter = model
        .add_adapter(random_adapter(&config, 2, &[], 1))
        .unwrap();
    restored.set_adapter(Some(&adapter)).unwrap();
    assert!(matches!(
        restored.restore(&old),
        Err(RuntimeError::StateOfAnotherAdapter { .. })
    ));
}

#[test]
fn damaged_states_are_refused() {
    let config = config(64, 32, 1, 32);
    let mut session = Session::new(random_model(&config, 1));
    session.prefill(&[1, 2, 3]).unwrap();
    let saved = session.state().unwrap().to_bytes();
    let mut refused = |bytes: &[u8], what: &str| {
        let before = session.state().unwrap();
        let error = session.restore(bytes).unwrap_err();
        assert!(
            matches!(error, RuntimeError::StateDamaged { .. }),
            "{what}: {error}"
        );
        assert_eq!(session.state().unwrap(), before, "{what}");
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
    forged(&|b| b[80..84].fill(0xFF), "an adapter id without end");
    assert!(
        forged(
            &|b| {
                b[80] = 3;
                b.splice(84..84, *b"abc");
            },
            "an adapter id of three letters"
        )
        .contains("no proper id")
    );
    let endless = forged(&|b| b[84..92].fill(0xFF), "a text without end");
    assert!(endless.contains("read 18446744073709551615 tokens"));
    forged(&|b| b[92..100].fill(0xFF), "values without end");
    forged(&|b| b.truncate(end - 4), "a value less than counted");
    let fewer = |b: &mut Vec<u8>| {
        b.truncate(end - 4);
        b[92..100].copy_from_slice(&((5 * 32 - 1) as u64).to_le_bytes());
    };
    assert!(forged(&fewer, "a value less than the model has").contains("159 values"));
}
