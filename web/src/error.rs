//! Errors as JavaScript has them: an `Error` whose `code` is one of the package's (`PtbrErrorCode` in `index.d.ts`).

use js_sys::{Error, Reflect};
use ptbr_model::{AdapterError, ModelError, TensorError};
use ptbr_runtime::{GpuError, RuntimeError};
use std::cell::RefCell;
use std::io;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the message of a panic, which would be lost with the trap that follows.
pub(crate) fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        LAST_PANIC.set(Some(info.to_string()));
    }));
}

/// After a trap: what the panic said. A trap without one is memory that could not be had.
#[wasm_bindgen(js_name = lastPanic)]
pub fn last_panic() -> Option<String> {
    LAST_PANIC.take()
}

/// An error of the runtime.
pub(crate) fn from_runtime(error: RuntimeError) -> JsValue {
    let code = match &error {
        RuntimeError::Model(error) => of_model(error),
        RuntimeError::Tokenizer(_)
        | RuntimeError::TokenizerMismatch { .. }
        | RuntimeError::Architecture { .. }
        | RuntimeError::StateDamaged { .. }
        | RuntimeError::Logits { .. } => "damaged-file",
        RuntimeError::Adapter(
            AdapterError::OtherModel { .. }
            | AdapterError::Shape { .. }
            | AdapterError::NoSuchTarget { .. },
        )
        | RuntimeError::StateOfAnotherModel { .. }
        | RuntimeError::StateOfAnotherAdapter { .. } => "wrong-model",
        RuntimeError::Adapter(_) => "damaged-file",
        RuntimeError::Gpu(error) => of_gpu(error),
        RuntimeError::NoTokenizer
        | RuntimeError::TokenOutOfRange { .. }
        | RuntimeError::NoTokens
        | RuntimeError::Sampler { .. } => "bad-input",
        _ => "internal",
    };
    coded(code, &chain(&error))
}

/// An error with a code of its own.
pub(crate) fn coded(code: &str, message: &str) -> JsValue {
    let error = Error::new(message);
    // An object that was made just now takes any property.
    let _ = Reflect::set(&error, &"code".into(), &code.into());
    error.into()
}

fn of_model(error: &ModelError) -> &'static str {
    match error {
        ModelError::Io { source, .. } | ModelError::Tensor(TensorError::Io { source, .. })
            if source.kind() == io::ErrorKind::OutOfMemory =>
        {
            "out-of-memory"
        }
        _ => "damaged-file",
    }
}

fn of_gpu(error: &GpuError) -> &'static str {
    match error {
        GpuError::OutOfMemory { .. } | GpuError::TooLarge { .. } => "out-of-memory",
        // A device that refuses what it did before is as good as lost.
        GpuError::Lost { .. } | GpuError::Refused { .. } => "device-lost",
        GpuError::Adapter { .. } => "bad-input",
        _ => "no-webgpu",
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // A transparent error says what its cause says.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
