//! Writing on a GPU, where tokens are drawn without the CPU. Needs a GPU adapter; a software one will do (`apt-get install mesa-vulkan-drivers libvulkan1`).
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{config, random_tensors, tokenizer};
use ptbr_model::ArchConfig;
use ptbr_runtime::{
    AdapterChoice, GenerateOptions, Generation, GpuError, Model, RuntimeError, SamplerConfig,
    Session, StopReason, generate,
};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The same model on the CPU and on a GPU.
fn pair() -> [Arc<Model>; 2] {
    let config = config(300, 64, 2, 128);
    let tensors = random_tensors(&config, 11);
    let model = || {
        Model::from_tensors(
            ArchConfig::Rwkv4(config.clone()),
            &tensors,
            Some(tokenizer()),
        )
        .unwrap()
    };
    let pair = [model(), model()];
    pair[1].use_gpu(AdapterChoice::Any).unwrap();
    pair
}

fn write(session: &mut Session, prompt: &str, options: &GenerateOptions) -> (Generation, String) {
    let mut text = String::new();
    let generation = generate(session, prompt, options, &mut |piece| {
        text.push_str(piece);
        ControlFlow::Continue(())
    })
    .unwrap();
    (generation, text)
}

fn assert_same_state(a: &Session, b: &Session) {
    let (a, b) = (a.state().unwrap(), b.state().unwrap());
    assert_eq!(a.position(), b.position());
    for (a, b) in a.values().iter().zip(b.values()) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} {b}");
    }
}

#[test]
fn the_text_is_the_one_that_the_cpu_writes() {
    let [cpu, gpu] = pair();
    let plain = SamplerConfig::default();
    let samplers = [
        SamplerConfig::greedy(),
        SamplerConfig {
            temperature: 0.8,
            top_p: 0.9,
            seed: 1,
            ..plain.clone()
        },
        SamplerConfig {
            top_k: 20,
            repetition_penalty: 1.3,
            repetition_window: 8,
            seed: 2,
            ..plain.clone()
        },
        SamplerConfig {
            temperature: 1.5,
            repetition_penalty: 1.1,
            repetition_window: 0,
            seed: 3,
            ..plain
        },
    ];
    for sampler in samplers {
        for max_tokens in [1, 2, 5, 41] {
            let options = GenerateOptions {
                max_tokens,
                sampler: sampler.clone(),
                ..Default::default()
            };
            let mut sessions = [&cpu, &gpu].map(|model| Session::new(Arc::clone(model)));
            let texts = sessions
                .each_mut()
                .map(|session| write(session, "O sertanejo", &options));
            assert_eq!(texts[0], texts[1], "{sampler:?}");
            assert_same_state(&sessions[0], &sessions[1]);
            // And on from there.
            let texts = sessions
                .each_mut()
                .map(|session| write(session, " é", &options));
            assert_eq!(texts[0], texts[1], "{sampler:?}, continued");
        }
    }
}

#[test]
fn what_was_drawn_too_far_is_not_read() {
    let [cpu, gpu] = pair();
    let mut options = GenerateOptions {
        max_tokens: 40,
        sampler: SamplerConfig {
            seed: 5,
            ..Default::default()
        },
        ..Default::default()
    };
    let (_, text) = write(&mut Session::new(Arc::clone(&cpu)), "A sua", &options);
    let letters: Vec<char> = text.chars().collect();
    let mut stopped = 0;
    // Every place where a text may end: at each of the tokens that a GPU draws at a time.
    for start in 0..letters.len().saturating_sub(3) {
        options.stop = vec![letters[start..start + 3].iter().collect()];
        let mut sessions = [&cpu, &gpu].map(|model| Session::new(Arc::clone(model)));
        let texts = sessions
            .each_mut()
            .map(|session| write(session, "A sua", &options));
        assert_eq!(texts[0], texts[1], "{:?}", options.stop);
        assert_same_state(&sessions[0], &sessions[1]);
        stopped += usize::from(texts[1].0.stop == StopReason::StopText);
    }
    assert!(stopped > 10, "{stopped} of {} texts stopped", letters.len());
}

#[test]
fn a_gpu_lost_while_writing_is_named_and_the_session_goes_on() {
    let [cpu, gpu] = pair();
    let options = GenerateOptions {
        max_tokens: 30,
        sampler: SamplerConfig::greedy(),
        ..Default::default()
    };
    let mut session = Session::new(Arc::clone(&gpu));
    let mut pieces = 0;
    let error = generate(&mut session, "A sua", &options, &mut |_| {
        pieces += 1;
        if pieces == 6 {
            gpu.lose_gpu();
        }
        ControlFlow::Continue(())
    })
    .unwrap_err();
    assert!(
        matches!(error, RuntimeError::Gpu(GpuError::Lost { .. })),
        "{error:?}"
    );
    gpu.use_gpu(AdapterChoice::Any).unwrap();
    session.recover().unwrap();
    // What it had read stands, and it goes on as a session that never lost anything.
    let read = session.position();
    assert!(read > 4, "{read}");
    let whole = write(&mut Session::new(Arc::clone(&cpu)), "A sua", &options).0;
    let prompt = whole.prompt_tokens as u64;
    let mut expected = Session::new(cpu);
    let again = generate(
        &mut expected,
        "A sua",
        &GenerateOptions {
            max_tokens: (read - prompt) as usize,
            ..options
        },
        &mut |_| ControlFlow::Continue(()),
    )
    .unwrap();
    assert_eq!(again.tokens[..], whole.tokens[..again.tokens.len()]);
    assert_same_state(&session, &expected);
    session.decode(7).unwrap();
}
