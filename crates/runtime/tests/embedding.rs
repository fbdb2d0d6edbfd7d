//! What another program does with this crate: a model compiled in, text as an iterator, the example. Needs nothing.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

#[allow(dead_code, reason = "its `main` is for a program of its own")]
#[path = "../examples/offline.rs"]
mod offline;

use std::path::Path;
use std::sync::Arc;

use ptbr_runtime::{
    GenerateOptions, Model, SamplerConfig, Session, StopReason, generate, include_model, pieces,
};

fn model() -> Arc<Model> {
    include_model!("../../../web/models/machado-micro.int4.safetensors").unwrap()
}

fn options() -> GenerateOptions {
    GenerateOptions {
        max_tokens: 12,
        sampler: SamplerConfig {
            temperature: 0.0,
            ..SamplerConfig::default()
        },
        ..GenerateOptions::default()
    }
}

#[test]
fn a_model_in_the_program_is_the_model_of_the_file() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../web/models/machado-micro.int4.safetensors");
    let from_file = Model::load(&file).unwrap();
    let embedded = model();
    assert_eq!(embedded.model_id(), from_file.model_id());
    let logits = |model: Arc<Model>| Session::new(model).prefill(&[5, 17, 42]).unwrap().to_vec();
    assert_eq!(logits(embedded), logits(from_file));
    assert!(Model::from_static("x", b"no model").is_err());
}

#[test]
fn pieces_are_what_generate_writes() {
    let model = model();
    let mut text = String::new();
    let written = generate(
        &mut Session::new(Arc::clone(&model)),
        "Era uma vez",
        &options(),
        &mut |piece| {
            text.push_str(piece);
            std::ops::ControlFlow::Continue(())
        },
    )
    .unwrap();
    let mut session = Session::new(Arc::clone(&model));
    let mut all = pieces(&mut session, "Era uma vez", &options()).unwrap();
    let joined: String = all.by_ref().map(Result::unwrap).collect();
    assert_eq!(joined, text);
    assert_eq!(all.stop(), Some(written.stop));
    drop(all);
    assert_eq!(
        session.position(),
        (written.prompt_tokens + written.tokens.len()) as u64
    );

    // Broken off, the session goes on from where it was.
    let mut session = Session::new(Arc::clone(&model));
    let mut some = pieces(&mut session, "Era uma vez", &options()).unwrap();
    let first: String = some.by_ref().take(3).map(Result::unwrap).collect();
    assert!(text.starts_with(&first));
    assert_eq!(some.stop(), None);
    drop(some);
    let read = session.position() as usize;
    assert!(read > written.prompt_tokens && read < written.prompt_tokens + written.tokens.len());
    let mut whole = Session::new(model);
    generate(
        &mut whole,
        "Era uma vez",
        &GenerateOptions {
            max_tokens: read - written.prompt_tokens,
            ..options()
        },
        &mut |_| std::ops::ControlFlow::Continue(()),
    )
    .unwrap();
    assert_eq!(
        session.state().unwrap().values(),
        whole.state().unwrap().values()
    );
    assert_ne!(written.stop, StopReason::Interrupted);
}

#[test]
fn the_example_writes_a_text() {
    let mut text = Vec::new();
    offline::write_on("O mar", &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("O mar") && text.len() > 40, "{text}");
    assert!(text.ends_with('\n'));
}
