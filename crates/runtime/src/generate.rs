//! Writing text that continues a prompt.

mod continuation;
mod output;
mod pieces;
mod writer;

use crate::engine::wait;
use crate::{RuntimeError, SamplerConfig, Session};
pub use continuation::Continuation;
pub use pieces::{Pieces, pieces};
use ptbr_tokenizer::TokenId;
use std::ops::ControlFlow;

/// How to continue a prompt.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Most tokens to write.
    pub max_tokens: usize,
    /// How each is drawn.
    pub sampler: SamplerConfig,
    /// Texts that end the writing; they are not written themselves. An empty one is ignored.
    pub stop: Vec<String>,
    /// Whether to begin with the `[BOS]` token, as documents do in training. Ignored once the session has read something.
    pub add_bos: bool,
}

impl Default for GenerateOptions {
    /// 100 tokens at temperature 1, after `[BOS]`.
    fn default() -> Self {
        Self {
            max_tokens: 100,
            sampler: SamplerConfig::default(),
            stop: Vec::new(),
            add_bos: true,
        }
    }
}

/// Why the writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// `max_tokens` were written.
    MaxTokens,
    /// The model wrote its end-of-text token.
    EndOfText,
    /// One of the `stop` texts appeared.
    StopText,
    /// The callback broke off.
    Interrupted,
}

/// What [`generate`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Tokens of the prompt, `[BOS]` included.
    pub prompt_tokens: usize,
    /// The tokens drawn, the end-of-text token not included.
    pub tokens: Vec<TokenId>,
    /// Why it ended.
    pub stop: StopReason,
}

/// Reads `prompt` after whatever the session has read, and writes its continuation: `on_piece` gets the text in pieces of whole characters as it comes (a piece
/// that may be the beginning of a stop text is held back until that is settled), and breaks off by returning [`ControlFlow::Break`].
///
/// The repetition penalty looks at the tokens of this call, prompt included. The draw of a token is numbered by the session's position, so a conversation
/// continued with the same seed does not repeat its draws. Afterwards the session has read every token in [`Generation::tokens`].
///
/// Fails with [`RuntimeError::NoTokens`] when there is nothing to continue: an empty prompt, no `[BOS]`, and a new session.
pub fn generate(
    session: &mut Session,
    prompt: &str,
    options: &GenerateOptions,
    on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, RuntimeError> {
    session.check_wait()?;
    wait(generate_async(session, prompt, options, on_piece))
}

/// [`generate`] where nobody may wait: in a browser, on its GPU.
pub async fn generate_async(
    session: &mut Session,
    prompt: &str,
    options: &GenerateOptions,
    on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, RuntimeError> {
    let continuation = Continuation::new(session, prompt, options)?;
    write(session, continuation, on_piece).await
}

/// [`generate`] after a prompt that the session has read already and has the logits of: `read` is its tokens, at which the repetition penalty looks. `options.add_bos` means nothing here.
///
/// Fails with [`RuntimeError::NoTokens`] when the session has no logits.
pub fn generate_after(
    session: &mut Session,
    read: &[TokenId],
    options: &GenerateOptions,
    on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, RuntimeError> {
    session.check_wait()?;
    let continuation = Continuation::after(session, read.to_vec(), options)?;
    wait(write(session, continuation, on_piece))
}

/// All of it.
async fn write(
    session: &mut Session,
    mut continuation: Continuation,
    on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, RuntimeError> {
    while continuation.step(session, on_piece).await?.is_none() {}
    Ok(continuation.into_generation())
}
