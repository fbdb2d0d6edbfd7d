//! Writing text, with a callback for every piece.

use std::ffi::{c_char, c_int, c_void};
use std::ops::ControlFlow;

use ptbr_runtime::{GenerateOptions, SamplerConfig, generate};

use crate::error::{PtbrStatus, exclusive, status, text};
use crate::session::PtbrSession;

/// How text is written; `ptbr_options_default` fills it in.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PtbrOptions {
    /// Most tokens to write.
    pub max_tokens: usize,
    /// 0 always takes the most likely token; higher writes more freely.
    pub temperature: f32,
    /// Draw from the most likely tokens that together have this probability.
    pub top_p: f32,
    /// Draw from this many most likely tokens; 0 is all.
    pub top_k: usize,
    /// Above 1, tokens that were written lately become less likely.
    pub repetition_penalty: f32,
    /// The same seed writes the same text.
    pub seed: u64,
}

/// Gets a piece of text: `length` bytes of whole characters, no zero byte behind them, valid during the call. Returns 0 to go on; anything else breaks off the writing.
/// It must not use the session that writes, and must not throw.
pub type PtbrOnPiece =
    Option<unsafe extern "C" fn(piece: *const c_char, length: usize, user: *mut c_void) -> c_int>;

/// 100 tokens at temperature 0.8 and top-p 0.9, seed 0: what `ptbr-slm generate` takes.
#[unsafe(no_mangle)]
pub extern "C" fn ptbr_options_default() -> PtbrOptions {
    PtbrOptions {
        max_tokens: 100,
        temperature: 0.8,
        top_p: 0.9,
        top_k: 0,
        repetition_penalty: 1.0,
        seed: 0,
    }
}

/// Reads `prompt` after whatever the session has read, and writes its continuation: `on_piece` gets the text as it comes, with `user`, until the text ends, `max_tokens` were
/// written or it breaks off, which is no error. The number of tokens written goes to `written`, where that is not null. Null `options` are the default ones.
///
/// # Safety
/// `session` is null or came from this library, was not freed, and is used by no other thread; `prompt` is a text that ends with a zero byte; `options` and `written` are
/// null or point to one; `on_piece` may be called with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptbr_write(
    session: *mut PtbrSession,
    prompt: *const c_char,
    options: *const PtbrOptions,
    on_piece: PtbrOnPiece,
    user: *mut c_void,
    written: *mut usize,
) -> PtbrStatus {
    status(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { exclusive(session, "the session") }?;
        // SAFETY: the caller's promise.
        let prompt = unsafe { text(prompt, "the prompt") }?;
        // SAFETY: the caller's promise.
        let options = unsafe { options.as_ref() }
            .copied()
            .unwrap_or_else(|| ptbr_options_default());
        let options = GenerateOptions {
            max_tokens: options.max_tokens,
            sampler: SamplerConfig {
                temperature: options.temperature,
                top_p: options.top_p,
                top_k: options.top_k,
                repetition_penalty: options.repetition_penalty,
                seed: options.seed,
                ..SamplerConfig::default()
            },
            stop: Vec::new(),
            add_bos: false,
        };
        let mut hand_out = |piece: &str| match on_piece {
            // SAFETY: the caller's promise; the piece lives until the call returns.
            Some(on_piece) => match unsafe { on_piece(piece.as_ptr().cast(), piece.len(), user) } {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            },
            None => ControlFlow::Continue(()),
        };
        let generation = generate(&mut session.session, prompt, &options, &mut hand_out)
            .map_err(|error| error.to_string())?;
        // SAFETY: null, or the caller's to write.
        if let Some(written) = unsafe { written.as_mut() } {
            *written = generation.tokens.len();
        }
        Ok(())
    })
}
