//! A session, and what it is writing.

use crate::error::{coded, from_runtime};
use crate::model::WebAdapter;
use crate::saved;
use js_sys::Float32Array;
use ptbr_runtime::{Continuation, GenerateOptions, SamplerConfig, Session, StopReason};
use std::ops::ControlFlow;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// A session. After an error with the code `device-lost` it goes on once the model has an engine again and [`WebSession::recover`] has been called: a step can be taken again, and of tokens
/// that were being read, [`WebSession::position`] tells how many were.
#[wasm_bindgen(js_name = WasmSession)]
pub struct WebSession {
    session: Session,
    continuation: Option<Continuation>,
    /// Written in a step that then failed, too.
    text: String,
}

/// What came of a step.
#[wasm_bindgen(js_name = WasmStep, getter_with_clone)]
pub struct WebStep {
    /// New text, perhaps none.
    pub text: String,
    /// Tokens written so far.
    pub written: u32,
    /// Why the writing has ended, if it has.
    pub reason: Option<String>,
}

#[wasm_bindgen(js_class = WasmSession)]
impl WebSession {
    /// Begins to write after `prompt`: nothing is computed before the first step. `sampler` is the JSON of a `SamplerConfig` without its seed.
    pub fn begin(
        &mut self,
        prompt: &str,
        max_tokens: u32,
        sampler: &str,
        seed: u64,
        stop: Vec<String>,
    ) -> Result<(), JsValue> {
        let options = options(prompt.is_empty(), max_tokens, sampler, seed, stop)?;
        let continuation = Continuation::new(&self.session, prompt, &options);
        self.continuation = Some(continuation.map_err(from_runtime)?);
        Ok(())
    }

    /// The same after a prompt in tokens.
    #[wasm_bindgen(js_name = beginTokens)]
    pub fn begin_tokens(
        &mut self,
        prompt: Vec<u16>,
        max_tokens: u32,
        sampler: &str,
        seed: u64,
        stop: Vec<String>,
    ) -> Result<(), JsValue> {
        let options = options(prompt.is_empty(), max_tokens, sampler, seed, stop)?;
        let continuation = Continuation::of_tokens(&self.session, prompt, &options);
        self.continuation = Some(continuation.map_err(from_runtime)?);
        Ok(())
    }

    /// Reads a part of the prompt, or writes a token or a few.
    pub async fn step(&mut self) -> Result<WebStep, JsValue> {
        let continuation = self.continuation.as_mut();
        let continuation = continuation.ok_or_else(|| coded("internal", "nothing was begun"))?;
        let text = &mut self.text;
        let reason = continuation
            .step(&mut self.session, &mut |piece| {
                text.push_str(piece);
                ControlFlow::Continue(())
            })
            .await
            .map_err(from_runtime)?;
        Ok(WebStep {
            text: std::mem::take(text),
            written: continuation.tokens().len() as u32,
            reason: reason.map(|reason| name(reason).to_owned()),
        })
    }

    /// Has the next step be the last, and write nothing.
    pub fn interrupt(&mut self) {
        if let Some(continuation) = &mut self.continuation {
            continuation.interrupt();
        }
    }

    /// Tokens of the prompt being continued.
    #[wasm_bindgen(getter, js_name = promptTokens)]
    pub fn prompt_tokens(&self) -> u32 {
        let continuation = self.continuation.as_ref();
        continuation.map_or(0, |continuation| continuation.prompt_tokens() as u32)
    }

    /// Ends the writing; the tokens written. After an error the session has read what its position says.
    pub fn end(&mut self) -> Vec<u16> {
        self.text.clear();
        let continuation = self.continuation.take();
        continuation.map_or(Vec::new(), |continuation| {
            continuation.into_generation().tokens
        })
    }

    /// Chooses the adapter of the tokens to come.
    #[wasm_bindgen(js_name = setAdapter)]
    pub fn set_adapter(&mut self, adapter: &WebAdapter) -> Result<(), JsValue> {
        self.session
            .set_adapter(Some(adapter.loaded()))
            .map_err(from_runtime)
    }

    /// The tokens to come have none.
    #[wasm_bindgen(js_name = clearAdapter)]
    pub fn clear_adapter(&mut self) -> Result<(), JsValue> {
        self.session.set_adapter(None).map_err(from_runtime)
    }

    /// Tokens read.
    #[wasm_bindgen(getter)]
    pub fn position(&self) -> f64 {
        self.session.position() as f64
    }

    /// Logits of a token: one for each id.
    #[wasm_bindgen(getter, js_name = vocabSize)]
    pub fn vocab_size(&self) -> u32 {
        self.session.model().config().vocab_size() as u32
    }

    /// Reads tokens; the logits after the last one read, now or before.
    pub async fn prefill(&mut self, tokens: Vec<u16>) -> Result<Vec<f32>, JsValue> {
        let logits = self.session.prefill_async(&tokens).await;
        Ok(logits.map_err(from_runtime)?.to_vec())
    }

    /// Reads tokens and writes the logits after each into a row of `into`, from `first_row` on.
    pub async fn logits(
        &mut self,
        tokens: Vec<u16>,
        into: Float32Array,
        first_row: u32,
    ) -> Result<(), JsValue> {
        let vocab = self.vocab_size();
        self.session
            .prefill_all_async(&tokens, &mut |index, logits| {
                let at = (first_row + index as u32) * vocab;
                into.subarray(at, at + vocab).copy_from(logits);
                ControlFlow::Continue(())
            })
            .await
            .map_err(from_runtime)
    }

    /// What the session remembers.
    #[wasm_bindgen(js_name = saveState)]
    pub async fn save_state(&self) -> Result<Vec<u8>, JsValue> {
        saved::save(&self.session).await.map_err(from_runtime)
    }

    /// Goes back to it.
    #[wasm_bindgen(js_name = loadState)]
    pub fn load_state(&mut self, bytes: &[u8]) -> Result<(), JsValue> {
        saved::load(&mut self.session, bytes).map_err(from_runtime)
    }

    /// Forgets what was read.
    pub fn reset(&mut self) -> Result<(), JsValue> {
        self.session.reset().map_err(from_runtime)
    }

    /// After the GPU was lost: goes on where the model computes now.
    pub async fn recover(&mut self) -> Result<(), JsValue> {
        self.session.recover_async().await.map_err(from_runtime)
    }
}

impl WebSession {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            continuation: None,
            text: String::new(),
        }
    }
}

/// A new text without a prompt begins with [BOS], as the command line has it.
fn options(
    add_bos: bool,
    max_tokens: u32,
    sampler: &str,
    seed: u64,
    stop: Vec<String>,
) -> Result<GenerateOptions, JsValue> {
    let sampler: SamplerConfig = serde_json::from_str(sampler)
        .map_err(|error| coded("bad-input", &format!("the options cannot be read: {error}")))?;
    Ok(GenerateOptions {
        max_tokens: max_tokens as usize,
        sampler: SamplerConfig { seed, ..sampler },
        stop,
        add_bos,
    })
}

/// As in `index.d.ts`.
fn name(reason: StopReason) -> &'static str {
    match reason {
        StopReason::MaxTokens => "max-tokens",
        StopReason::EndOfText => "end-of-text",
        StopReason::StopText => "stop-text",
        StopReason::Interrupted => "stopped",
    }
}
