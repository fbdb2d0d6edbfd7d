//! Models that are read tensor by tensor, and texts that are written step by step. Needs nothing; with the feature `gpu`, a GPU adapter.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{bits, config, model_file_in, model_id, random_tensors, tokenizer};
use ptbr_model::{
    ArchConfig, ModelError, ModelFileInfo, ModelStream, ReadAt, WeightFormat, model_file_bytes,
};
use ptbr_runtime::{
    Continuation, GenerateOptions, Model, RuntimeError, SamplerConfig, Session, StopReason,
    generate,
};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const FORMATS: [WeightFormat; 5] = [
    WeightFormat::F32,
    WeightFormat::F16,
    WeightFormat::Int8,
    WeightFormat::Fp8,
    WeightFormat::Int4,
];
const TEXT: [u16; 6] = [0, 47, 5, 11, 30, 21];

/// A file that counts the bytes of its largest read.
struct Watched {
    bytes: Vec<u8>,
    largest: Arc<AtomicUsize>,
}

impl ReadAt for Watched {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.largest.fetch_max(into.len(), Ordering::Relaxed);
        self.bytes.read_at(offset, into)
    }
}

fn stream(bytes: Vec<u8>) -> ModelStream {
    ModelStream::open("the stream", Box::new(bytes), None).unwrap()
}

/// Logits after a text and after another token.
fn logits(model: &Arc<Model>) -> Vec<f32> {
    let mut session = Session::new(Arc::clone(model));
    let mut all = session.prefill(&TEXT).unwrap().to_vec();
    all.extend_from_slice(session.decode(7).unwrap());
    all
}

#[test]
fn a_model_that_is_read_computes_the_same() {
    for format in FORMATS {
        let bytes = model_file_in(&config(48, 96, 2, 160), 3, format);
        let model = Model::from_stream(stream(bytes.clone())).unwrap();
        let error = Session::new(Arc::clone(&model)).prefill(&TEXT).unwrap_err();
        assert!(matches!(error, RuntimeError::WeightsNotHeld), "{error}");
        model.hold_weights().unwrap();
        let expected = logits(&Model::from_bytes("memory", bytes).unwrap());
        assert_eq!(bits(&logits(&model)), bits(&expected), "{format}");
    }
}

#[cfg(feature = "gpu")]
#[test]
fn a_gpu_gets_it_one_tensor_at_a_time() {
    use ptbr_runtime::AdapterChoice;
    for format in FORMATS {
        let bytes = model_file_in(&config(48, 96, 2, 160), 3, format);
        let largest = Arc::new(AtomicUsize::new(0));
        let reader = Watched {
            bytes: bytes.clone(),
            largest: Arc::clone(&largest),
        };
        let stream = ModelStream::open("the stream", Box::new(reader), None).unwrap();
        let tensor = stream.largest_tensor();
        let model = Model::from_stream(stream).unwrap();
        largest.store(0, Ordering::Relaxed);
        model.use_gpu(AdapterChoice::Any).unwrap();
        assert_eq!(largest.load(Ordering::Relaxed), tensor, "{format}");
        let mapped = Model::from_bytes("memory", bytes).unwrap();
        mapped.use_gpu(AdapterChoice::Any).unwrap();
        assert_eq!(bits(&logits(&model)), bits(&logits(&mapped)), "{format}");
        // The CPU can take over, with what the session has read.
        let mut session = Session::new(Arc::clone(&model));
        session.prefill(&TEXT).unwrap();
        model.lose_gpu();
        session.decode(7).unwrap_err();
        model.use_cpu();
        model.hold_weights().unwrap();
        session.recover().unwrap();
        assert_eq!(session.position(), TEXT.len() as u64);
        mapped.use_cpu();
        let expected = logits(&mapped);
        let after = session.decode(7).unwrap();
        assert_eq!(bits(after), bits(&expected[expected.len() / 2..]));
    }
}

#[test]
fn what_is_wrong_with_a_file_is_found_before_it_is_used() {
    let bytes = model_file_in(&config(48, 32, 2, 64), 3, WeightFormat::F32);
    let open = |bytes: Vec<u8>, sha256: Option<&str>| {
        ModelStream::open("m", Box::new(bytes), sha256).map(|stream| stream.sha256().to_owned())
    };
    let sha256 = open(bytes.clone(), None).unwrap();
    assert_eq!(sha256, ptbr_model::hex(&ptbr_model::sha256(&bytes)));
    assert_eq!(open(bytes.clone(), Some(&sha256)).unwrap(), sha256);
    let error = open(bytes.clone(), Some(&"0".repeat(64))).unwrap_err();
    assert!(matches!(error, ModelError::Digest { .. }), "{error}");

    // Any bit of an f32 weight: the model id, or a number that is none.
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    let error = open(changed, None).unwrap_err();
    assert!(matches!(error, ModelError::ModelId { .. }), "{error}");
    let mut not_finite = bytes.clone();
    let at = not_finite.len() - 4;
    not_finite[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = open(not_finite, None).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
    for len in [0, 7, 8, 100, bytes.len() - 1] {
        let error = open(bytes[..len].to_vec(), None).unwrap_err().to_string();
        assert!(error.contains("not a whole safetensors file"), "{error}");
    }
}

fn model_file_with_tokenizer() -> Vec<u8> {
    let config = config(300, 64, 2, 128);
    let tensors = random_tensors(&config, 11);
    let json = tokenizer().to_json();
    let info = ModelFileInfo::f32(ArchConfig::Rwkv4(config), Some(json), model_id(&tensors));
    model_file_bytes(&info, &tensors).unwrap()
}

fn options(max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        max_tokens,
        sampler: SamplerConfig {
            seed: 9,
            ..SamplerConfig::default()
        },
        ..GenerateOptions::default()
    }
}

/// All steps of a continuation; before each, `before` may do something. A GPU that is lost is opened again.
fn step_through(
    session: &mut Session,
    continuation: &mut Continuation,
    before: &mut dyn FnMut(&mut Session, &mut Continuation),
) -> String {
    let mut text = String::new();
    loop {
        before(session, continuation);
        let step = wait(continuation.step(session, &mut |piece| {
            text.push_str(piece);
            ControlFlow::Continue(())
        }));
        match step {
            Ok(None) => {}
            Ok(Some(_)) => return text,
            Err(error) => reopen(session, error),
        }
    }
}

#[cfg(feature = "gpu")]
fn reopen(session: &mut Session, error: RuntimeError) {
    use ptbr_runtime::{AdapterChoice, GpuError};
    assert!(
        matches!(error, RuntimeError::Gpu(GpuError::Lost { .. })),
        "{error}"
    );
    session.model().use_gpu(AdapterChoice::Any).unwrap();
    session.recover().unwrap();
}

#[cfg(not(feature = "gpu"))]
fn reopen(_: &mut Session, error: RuntimeError) {
    panic!("{error}");
}

/// The engines wait within a poll.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}

#[test]
fn steps_write_what_generate_writes_and_can_be_interrupted() {
    let model = Model::from_bytes("memory", model_file_with_tokenizer()).unwrap();
    let prompt = "A sua casa ".repeat(100);
    let mut expected = String::new();
    let mut session = Session::new(Arc::clone(&model));
    let generation = generate(&mut session, &prompt, &options(40), &mut |piece| {
        expected.push_str(piece);
        ControlFlow::Continue(())
    })
    .unwrap();

    let mut session = Session::new(Arc::clone(&model));
    let mut continuation = Continuation::new(&session, &prompt, &options(40)).unwrap();
    let mut steps = 0;
    let text = step_through(&mut session, &mut continuation, &mut |_, _| steps += 1);
    assert_eq!(text, expected);
    assert!(
        steps > generation.tokens.len() + 1,
        "the prompt took one step"
    );
    assert_eq!(continuation.into_generation(), generation);

    let mut session = Session::new(Arc::clone(&model));
    let mut continuation = Continuation::new(&session, "A sua", &options(40)).unwrap();
    step_through(&mut session, &mut continuation, &mut |_, continuation| {
        if continuation.tokens().len() >= 5 {
            continuation.interrupt();
        }
    });
    let read = continuation.prompt_tokens() + continuation.tokens().len();
    assert_eq!(session.position(), read as u64);
    let generation = continuation.into_generation();
    assert_eq!(generation.stop, StopReason::Interrupted);
    assert_eq!(generation.tokens.len(), 5);
}

#[cfg(feature = "gpu")]
#[test]
fn a_text_goes_on_through_the_loss_of_a_gpu() {
    use ptbr_runtime::AdapterChoice;
    let bytes = model_file_with_tokenizer();
    let expected = {
        let model = Model::from_bytes("memory", bytes.clone()).unwrap();
        model.use_gpu(AdapterChoice::Any).unwrap();
        let mut session = Session::new(model);
        let mut continuation = Continuation::new(&session, "A sua", &options(30)).unwrap();
        step_through(&mut session, &mut continuation, &mut |_, _| {});
        continuation.into_generation()
    };
    let model = Model::from_stream(stream(bytes)).unwrap();
    model.use_gpu(AdapterChoice::Any).unwrap();
    // Before each of the first steps: while the prompt is read, and at tokens of every number.
    for lost in 0..6 {
        let mut session = Session::new(Arc::clone(&model));
        let mut continuation = Continuation::new(&session, "A sua", &options(30)).unwrap();
        let mut step = 0;
        step_through(&mut session, &mut continuation, &mut |_, _| {
            if step == lost {
                model.lose_gpu();
            }
            step += 1;
        });
        assert_eq!(
            continuation.into_generation(),
            expected,
            "lost at step {lost}"
        );
    }
}
