//! One text being read and written.

use crate::engine::cpu::Work;
use crate::engine::cpu::rwkv4::Scratch;
use crate::{Model, RuntimeError, RwkvState};
use ptbr_tokenizer::TokenId;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Tokens that are read together unless [`Session::set_chunk_size`] says otherwise: enough that reading the weights is a small part of the work, few enough that
/// the activations of the 85m shape (some 2 MB) stay in a second-level cache.
pub const DEFAULT_CHUNK: usize = 64;

/// Rows of logits computed at once for [`Session::prefill_all`]: 4 MB at 32,000 tokens.
const HEAD_ROWS: usize = 32;

/// One text being read and written with a model that others may share.
///
/// The cost of a token does not depend on how many came before it, and after the first token of a chunk size no memory is allocated.
pub struct Session {
    model: Arc<Model>,
    state: RwkvState,
    /// After the last token; valid when `has_logits`.
    logits: Vec<f32>,
    has_logits: bool,
    chunk: usize,
    scratch: Scratch,
}

impl Session {
    /// A session that has read nothing.
    pub fn new(model: Arc<Model>) -> Self {
        let state = model.initial_state();
        Self {
            model,
            state,
            logits: Vec::new(),
            has_logits: false,
            chunk: DEFAULT_CHUNK,
            scratch: Scratch::default(),
        }
    }

    /// Another session that has read the same text and goes its own way from here.
    pub fn fork(&self) -> Self {
        Self {
            model: Arc::clone(&self.model),
            state: self.state.clone(),
            logits: self.logits.clone(),
            has_logits: self.has_logits,
            chunk: self.chunk,
            scratch: Scratch::default(),
        }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Tokens read so far.
    pub fn position(&self) -> u64 {
        self.state.position()
    }

    /// How many tokens are read together: speed and memory depend on it, results do not. 0 is taken as 1, and at most 65,536.
    pub fn set_chunk_size(&mut self, tokens: usize) {
        self.chunk = tokens.clamp(1, 1 << 16);
    }

    /// Reads `tokens`; the logits after the last one, `[vocab_size]`.
    ///
    /// Fails, having read nothing, with [`RuntimeError::TokenOutOfRange`]; and with [`RuntimeError::NoTokens`] when there is none and none was read before.
    pub fn prefill(&mut self, tokens: &[TokenId]) -> Result<&[f32], RuntimeError> {
        self.check(tokens)?;
        for chunk in tokens.chunks(self.chunk) {
            self.read(chunk)?;
        }
        if !tokens.is_empty() {
            let forward = self.model.forward();
            forward.head(1, &mut self.scratch, &mut self.logits);
            self.has_logits = true;
        }
        self.logits().ok_or(RuntimeError::NoTokens)
    }

    /// Reads one token; the logits after it, `[vocab_size]`.
    pub fn decode(&mut self, token: TokenId) -> Result<&[f32], RuntimeError> {
        self.prefill(&[token])
    }

    /// Reads `tokens` and passes the logits after each to `each(index, logits)`, in order; [`ControlFlow::Break`] stops with [`RuntimeError::Stopped`], the
    /// tokens of the chunk at hand having been read.
    pub fn prefill_all(
        &mut self,
        tokens: &[TokenId],
        each: &mut dyn FnMut(usize, &[f32]) -> ControlFlow<()>,
    ) -> Result<(), RuntimeError> {
        self.check(tokens)?;
        let vocab = self.model.config().vocab_size();
        let mut rows = Vec::new();
        let mut index = 0;
        for chunk in tokens.chunks(self.chunk.min(HEAD_ROWS)) {
            self.read(chunk)?;
            self.model
                .forward()
                .head(chunk.len(), &mut self.scratch, &mut rows);
            let last = &rows[(chunk.len() - 1) * vocab..];
            self.logits.clear();
            self.logits.extend_from_slice(last);
            self.has_logits = true;
            for logits in rows.chunks_exact(vocab) {
                if each(index, logits).is_break() {
                    return Err(RuntimeError::Stopped);
                }
                index += 1;
            }
        }
        Ok(())
    }

    /// The logits after the last token read; `None` before the first, and after [`Session::set_state`].
    pub fn logits(&self) -> Option<&[f32]> {
        self.has_logits.then_some(self.logits.as_slice())
    }

    /// What the session remembers.
    pub fn state(&self) -> &RwkvState {
        &self.state
    }

    /// Goes back (or over) to a state of the same model. Fails with [`RuntimeError::StateOfAnotherModel`].
    pub fn set_state(&mut self, state: &RwkvState) -> Result<(), RuntimeError> {
        self.state.check_same_model(state)?;
        self.state.clone_from(state);
        self.has_logits = false;
        Ok(())
    }

    /// Restores what [`RwkvState::to_bytes`] saved. Fails with [`RuntimeError::StateOfAnotherModel`] or [`RuntimeError::StateDamaged`], and then changes nothing.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), RuntimeError> {
        self.state = RwkvState::from_bytes(bytes, &self.state)?;
        self.has_logits = false;
        Ok(())
    }

    /// Forgets everything read.
    pub fn reset(&mut self) {
        self.state = self.model.initial_state();
        self.has_logits = false;
    }

    /// What has been computed since the session was made.
    pub fn work(&self) -> Work {
        self.scratch.work
    }

    fn read(&mut self, chunk: &[TokenId]) -> Result<(), RuntimeError> {
        self.has_logits = false;
        self.model
            .forward()
            .run(chunk, self.state.values_mut(), &mut self.scratch)?;
        self.state.advance(chunk.len());
        Ok(())
    }

    fn check(&self, tokens: &[TokenId]) -> Result<(), RuntimeError> {
        let vocab_size = self.model.config().vocab_size();
        match tokens
            .iter()
            .position(|&token| usize::from(token) >= vocab_size)
        {
            Some(index) => Err(RuntimeError::TokenOutOfRange {
                token: tokens[index],
                index,
                vocab_size,
            }),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.model)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
