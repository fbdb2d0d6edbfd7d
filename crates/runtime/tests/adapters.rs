//! Adapters at run time: switched between two tokens, leaving no trace, costing no weights. That they compute the right thing is in `oracle.rs`. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{Noise, bits, config, random_adapter, random_model};
use ptbr_model::{Adapter, AdapterError, AdapterMatch, RwkvConfig, write_adapter};
use ptbr_runtime::{LoadedAdapter, Model, RuntimeError, Session};
use std::sync::Arc;

fn small() -> (RwkvConfig, Arc<Model>) {
    let config = config(257, 64, 2, 160);
    let model = random_model(&config, 1);
    (config, model)
}

fn adapter(config: &RwkvConfig, model: &Model, seed: u64) -> Arc<LoadedAdapter> {
    model
        .add_adapter(random_adapter(config, 4, &[], seed))
        .unwrap()
}

#[test]
fn switching_back_leaves_no_trace() {
    let (config, model) = small();
    let (one, two) = (adapter(&config, &model, 1), adapter(&config, &model, 2));
    let tokens = Noise(3).tokens(30, 257);
    for start in [None, Some(&one)] {
        let mut session = Session::new(model.clone());
        session.set_adapter(start).unwrap();
        session.prefill(&tokens[..20]).unwrap();
        let state = session.state().unwrap();
        let undisturbed = bits(session.prefill(&tokens[20..]).unwrap());

        session.set_state(&state).unwrap();
        session.set_adapter(Some(&two)).unwrap();
        let other = bits(session.prefill(&tokens[20..]).unwrap());
        assert_ne!(other, undisturbed, "the other adapter changes nothing");
        session.set_adapter(start).unwrap();
        session.set_state(&state).unwrap();
        assert_eq!(bits(session.prefill(&tokens[20..]).unwrap()), undisturbed);
    }
}

#[test]
fn a_switch_between_two_tokens_is_that_of_a_new_session_from_the_same_state() {
    let (config, model) = small();
    let one = adapter(&config, &model, 1);
    let mut session = Session::new(model.clone());
    session.prefill(&[1, 2, 3]).unwrap();
    let logits = bits(session.logits().unwrap());
    let taken_over = session.state().unwrap().with_adapter(Some(&one));
    session.set_adapter(Some(&one)).unwrap();
    assert_eq!(
        bits(session.logits().unwrap()),
        logits,
        "those of the last token stay"
    );
    let switched = bits(session.decode(4).unwrap());
    let mut fresh = Session::new(model);
    fresh.set_adapter(Some(&one)).unwrap();
    fresh.set_state(&taken_over).unwrap();
    assert_eq!(bits(fresh.decode(4).unwrap()), switched);
}

#[test]
fn chunk_size_changes_no_bit() {
    let (config, model) = small();
    let one = adapter(&config, &model, 1);
    let tokens = Noise(7).tokens(300, 257);
    let read = |chunk| {
        let mut session = Session::new(model.clone());
        session.set_adapter(Some(&one)).unwrap();
        session.set_chunk_size(chunk);
        let logits = bits(session.prefill(&tokens).unwrap());
        (logits, session.state().unwrap())
    };
    let expected = read(1);
    for chunk in [2, 7, 64, 255, 256, 257, 1000] {
        assert!(read(chunk) == expected, "chunks of {chunk}");
    }
}

#[test]
fn a_switch_costs_only_the_adapter_itself() {
    let (config, model) = small();
    let mut session = Session::new(model.clone());
    let cost = |session: &mut Session| {
        let before = session.work();
        session.decode(3).unwrap();
        session.work().since(before)
    };
    let plain = cost(&mut session);
    let one = adapter(&config, &model, 1);
    let added = session.work();
    session.set_adapter(Some(&one)).unwrap();
    assert_eq!(session.work(), added, "choosing computes nothing");
    let adapted = cost(&mut session);
    let parameters = one.num_parameters() as u64;
    assert_eq!(adapted.weight_bytes, plain.weight_bytes + 4 * parameters);
    assert_eq!(adapted.multiply_adds, plain.multiply_adds + parameters);
    session.set_adapter(None).unwrap();
    assert_eq!(cost(&mut session), plain);
}

#[test]
fn folders_load_with_how_sure_their_model_is() {
    let (config, model) = small();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("legal");
    let nameless = random_adapter(&config, 4, &["att.key", "ffn.value"], 1);
    write_adapter(&path, &nameless).unwrap();
    let loaded = model.load_adapter(&path).unwrap();
    assert_eq!(loaded.matching(), AdapterMatch::ShapesOnly);
    assert_eq!(loaded.id(), nameless.id());
    assert_eq!(
        loaded.targets().collect::<Vec<_>>(),
        [
            "blocks.0.att.key",
            "blocks.0.ffn.value",
            "blocks.1.att.key",
            "blocks.1.ffn.value"
        ]
    );
    let named = Adapter {
        model_id: Some(model.model_id().to_owned()),
        ..nameless
    };
    write_adapter(&path, &named).unwrap();
    let loaded = model.load_adapter(&path).unwrap();
    assert_eq!(loaded.matching(), AdapterMatch::SameModel);
    assert_eq!(loaded.model_id(), model.model_id());
}

#[test]
fn what_does_not_fit_is_refused() {
    let (config, model) = small();
    let other = random_model(&config, 2);
    let refused = |adapter: Adapter| match other.add_adapter(adapter).unwrap_err() {
        RuntimeError::Adapter(error) => error,
        error => panic!("{error}"),
    };
    let good = random_adapter(&config, 4, &["att.key"], 1);
    other.add_adapter(good.clone()).unwrap();

    let foreign = Adapter {
        model_id: Some(model.model_id().to_owned()),
        ..good.clone()
    };
    assert!(matches!(refused(foreign), AdapterError::OtherModel { .. }));
    let with = |change: &dyn Fn(&mut Adapter)| {
        let mut adapter = good.clone();
        change(&mut adapter);
        adapter
    };
    assert!(matches!(
        refused(with(&|a| a.modules[0].out_features = 32)),
        AdapterError::Shape { .. }
    ));
    let embedding = with(&|a| {
        a.modules[0].target = "emb".to_owned();
        a.modules[0].out_features = 257;
    });
    assert!(matches!(
        refused(embedding),
        AdapterError::NoSuchTarget { .. }
    ));
    for (change, what) in [
        (
            &(|a: &mut Adapter| a.modules[1] = a.modules[0].clone()) as &dyn Fn(&mut Adapter),
            "twice",
        ),
        (&|a| a.modules[0].a.truncate(5), "not those of rank 4"),
        (&|a| a.config.rank = 5, "not those of rank 5"),
        (&|a| a.config.rank = 0, "scale"),
        (&|a| a.config.alpha = f64::INFINITY, "scale"),
        (&|a| a.modules[0].b[3] = f32::NAN, "NaN"),
    ] {
        let message = refused(with(change)).to_string();
        assert!(message.contains(what), "{message}");
    }

    // Loaded for one model, chosen in a session of another.
    let loaded = adapter(&config, &model, 1);
    let mut session = Session::new(other.clone());
    let error = session.set_adapter(Some(&loaded)).unwrap_err();
    assert!(
        error.to_string().contains(&other.model_id()[..12]),
        "{error}"
    );
    assert!(session.adapter().is_none());
}
