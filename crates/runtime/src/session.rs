//! One text being read and written.

#[cfg(feature = "gpu")]
mod ahead;
mod journal;

use crate::engine::cpu::Work;
use crate::engine::{Executor, Part, StateSlot, Wanted, wait};
use crate::{LoadedAdapter, Model, PrefixCache, RuntimeError, RwkvState};
#[cfg(feature = "gpu")]
pub(crate) use ahead::{AHEAD, Writing, write_together};
use journal::Journal;
use ptbr_tokenizer::TokenId;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Tokens that are read together unless [`Session::set_chunk_size`] says otherwise: enough that reading the weights is a small part of the work, few enough that
/// the activations of the 85m shape (some 2 MB) stay in a second-level cache.
pub const DEFAULT_CHUNK: usize = 64;

/// Most rows of a step, whatever is asked for.
pub(crate) const MAX_ROWS: usize = 1 << 16;

/// Rows of logits computed at once for [`Session::prefill_all`]: 4 MB at 32,000 tokens.
const HEAD_ROWS: usize = 32;

/// One text being read and written with a model that others may share.
///
/// The cost of a token does not depend on how many came before it, and after the first token of a chunk size no memory is allocated. By itself it reads when it is told to; many of
/// them compute together in a [`Batch`](crate::Batch).
pub struct Session {
    model: Arc<Model>,
    adapter: Option<Arc<LoadedAdapter>>,
    executor: Executor,
    slot: StateSlot,
    position: u64,
    /// Whether the state is the model's initial one.
    is_new: bool,
    /// After the last token; valid when `has_logits`.
    logits: Vec<f32>,
    has_logits: bool,
    chunk: usize,
    /// What a lost GPU takes away is read again from here.
    journal: Journal,
    #[cfg(feature = "gpu")]
    ahead: Option<ahead::Ahead>,
}

impl Session {
    /// A session that has read nothing, without an adapter. It computes where the model does: on the CPU, or on the GPU that [`Model::use_gpu`] has opened.
    pub fn new(model: Arc<Model>) -> Self {
        Self {
            executor: model.executor(),
            // It goes to a GPU with the first token.
            slot: StateSlot::Cpu(model.state_spec().initial()),
            model,
            adapter: None,
            position: 0,
            is_new: true,
            logits: Vec::new(),
            has_logits: false,
            chunk: DEFAULT_CHUNK,
            journal: Journal::default(),
            #[cfg(feature = "gpu")]
            ahead: None,
        }
    }

    /// Another session that has read the same text, with the same adapter, and goes its own way from here.
    pub fn fork(&self) -> Result<Self, RuntimeError> {
        self.executor.check_wait()?;
        wait(self.fork_async())
    }

    /// [`Session::fork`] where nobody may wait.
    pub async fn fork_async(&self) -> Result<Self, RuntimeError> {
        self.go_back();
        Ok(Self {
            model: Arc::clone(&self.model),
            adapter: self.adapter.clone(),
            executor: self.executor.another(),
            slot: self.slot.duplicate().await?,
            position: self.position,
            is_new: self.is_new,
            logits: self.logits.clone(),
            has_logits: self.has_logits,
            chunk: self.chunk,
            journal: self.journal.clone(),
            #[cfg(feature = "gpu")]
            ahead: None,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The adapter of the tokens to come.
    pub fn adapter(&self) -> Option<&Arc<LoadedAdapter>> {
        self.adapter.as_ref()
    }

    /// Chooses the adapter of the tokens to come, or none; costs nothing, and other sessions keep theirs. What was read stays read, and the logits at hand stay those that the former
    /// adapter gave.
    ///
    /// Fails, changing nothing, when the adapter was loaded for another model, or changes the head and the session computes on a GPU.
    pub fn set_adapter(
        &mut self,
        adapter: Option<&Arc<LoadedAdapter>>,
    ) -> Result<(), RuntimeError> {
        if let Some(adapter) = adapter {
            self.model.check_adapter(adapter)?;
            self.executor.check_adapter(adapter)?;
        }
        self.adapter = adapter.map(Arc::clone);
        Ok(())
    }

    /// Tokens read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many tokens are read together: speed and memory depend on it, results do not. 0 is taken as 1, and at most 65,536.
    pub fn set_chunk_size(&mut self, tokens: usize) {
        self.chunk = tokens.clamp(1, MAX_ROWS);
    }

    /// See [`Session::set_chunk_size`].
    pub(crate) fn chunk_size(&self) -> usize {
        self.chunk
    }

    /// Reads `tokens`; the logits after the last one, `[vocab_size]`.
    ///
    /// Fails, having read nothing, with [`RuntimeError::TokenOutOfRange`]; and with [`RuntimeError::NoTokens`] when there is none and none was read before.
    pub fn prefill(&mut self, tokens: &[TokenId]) -> Result<&[f32], RuntimeError> {
        self.executor.check_wait()?;
        wait(async {
            self.prefill_async(tokens).await?;
            Ok(())
        })?;
        self.logits().ok_or(RuntimeError::NoTokens)
    }

    /// [`Session::prefill`] where nobody may wait: in a browser, on its GPU.
    pub async fn prefill_async(&mut self, tokens: &[TokenId]) -> Result<&[f32], RuntimeError> {
        self.model.check_tokens(tokens)?;
        let chunk = self.chunk.min(self.executor.max_rows()[0]);
        let mut chunks = tokens.chunks(chunk).peekable();
        while let Some(chunk) = chunks.next() {
            let wanted = match chunks.peek() {
                Some(_) => Wanted::None,
                None => Wanted::Last,
            };
            let mut logits = std::mem::take(&mut self.logits);
            let read = self.read(chunk, wanted, &mut logits).await;
            self.logits = logits;
            read?;
            self.has_logits = wanted == Wanted::Last;
        }
        self.logits().ok_or(RuntimeError::NoTokens)
    }

    /// Reads one token; the logits after it, `[vocab_size]`.
    pub fn decode(&mut self, token: TokenId) -> Result<&[f32], RuntimeError> {
        self.prefill(&[token])
    }

    /// [`Session::decode`] where nobody may wait.
    pub async fn decode_async(&mut self, token: TokenId) -> Result<&[f32], RuntimeError> {
        self.prefill_async(&[token]).await
    }

    /// Reads `tokens` and passes the logits after each to `each(index, logits)`, in order; [`ControlFlow::Break`] stops with [`RuntimeError::Stopped`], the
    /// tokens of the chunk at hand having been read.
    pub fn prefill_all(
        &mut self,
        tokens: &[TokenId],
        each: &mut dyn FnMut(usize, &[f32]) -> ControlFlow<()>,
    ) -> Result<(), RuntimeError> {
        self.executor.check_wait()?;
        wait(self.prefill_all_async(tokens, each))
    }

    /// [`Session::prefill_all`] where nobody may wait.
    pub async fn prefill_all_async(
        &mut self,
        tokens: &[TokenId],
        each: &mut dyn FnMut(usize, &[f32]) -> ControlFlow<()>,
    ) -> Result<(), RuntimeError> {
        self.model.check_tokens(tokens)?;
        let vocab = self.model.config().vocab_size();
        let mut rows = Vec::new();
        let mut index = 0;
        let [most_rows, most_logits] = self.executor.max_rows();
        for chunk in tokens.chunks(self.chunk.min(HEAD_ROWS).min(most_rows).min(most_logits)) {
            self.read(chunk, Wanted::All, &mut rows).await?;
            self.set_logits(&rows[(chunk.len() - 1) * vocab..]);
            for logits in rows.chunks_exact(vocab) {
                if each(index, logits).is_break() {
                    return Err(RuntimeError::Stopped);
                }
                index += 1;
            }
        }
        Ok(())
    }

    /// [`Session::prefill`] for the beginning of a text that others share: what `cache` has read of it is not read again, and it remembers the state after `tokens`.
    ///
    /// The logits are those of [`Session::prefill`], to the bit. A session that has read something already goes on from there and leaves the cache alone.
    pub fn prefill_prefix(
        &mut self,
        tokens: &[TokenId],
        cache: &mut PrefixCache,
    ) -> Result<&[f32], RuntimeError> {
        self.executor.check_wait()?;
        wait(async {
            self.prefill_prefix_async(tokens, cache).await?;
            Ok(())
        })?;
        self.logits().ok_or(RuntimeError::NoTokens)
    }

    /// [`Session::prefill_prefix`] where nobody may wait.
    pub async fn prefill_prefix_async(
        &mut self,
        tokens: &[TokenId],
        cache: &mut PrefixCache,
    ) -> Result<&[f32], RuntimeError> {
        if !self.is_new || tokens.is_empty() {
            return self.prefill_async(tokens).await;
        }
        self.model.check_tokens(tokens)?;
        let known = self.recall(tokens, cache)?;
        if known < tokens.len() {
            self.prefill_async(&tokens[known..]).await?;
            self.remember(tokens, cache).await?;
        }
        self.logits().ok_or(RuntimeError::NoTokens)
    }

    /// The logits after the last token read; `None` before the first, and after [`Session::set_state`].
    pub fn logits(&self) -> Option<&[f32]> {
        self.has_logits.then_some(self.logits.as_slice())
    }

    /// A copy of what the session remembers. It names the adapter of the tokens to come, whatever read the tokens before.
    pub fn state(&self) -> Result<RwkvState, RuntimeError> {
        self.executor.check_wait()?;
        wait(self.state_async())
    }

    /// [`Session::state`] where nobody may wait.
    pub async fn state_async(&self) -> Result<RwkvState, RuntimeError> {
        self.go_back();
        let values = self.slot.download().await?;
        let adapter = self.adapter.as_deref();
        Ok(RwkvState::new(&self.model, adapter, self.position, values))
    }

    /// Goes back (or over) to a state of the same model and adapter.
    ///
    /// Fails, changing nothing, with [`RuntimeError::StateOfAnotherModel`] or [`RuntimeError::StateOfAnotherAdapter`]; to take a state over from another adapter on purpose, give
    /// [`RwkvState::with_adapter`].
    pub fn set_state(&mut self, state: &RwkvState) -> Result<(), RuntimeError> {
        state.check(&self.model, self.adapter.as_deref())?;
        #[cfg(feature = "gpu")]
        self.drop_ahead();
        self.slot.upload(state.values());
        self.journal.restart(state.values());
        self.position = state.position();
        self.is_new = false;
        self.has_logits = false;
        Ok(())
    }

    /// [`Session::set_state`] for a state that was kept together with the logits after it, which then are there again: an empty prompt can be continued.
    ///
    /// Fails as [`Session::set_state`] does, and with [`RuntimeError::StateDamaged`] when these are not as many finite numbers as the vocabulary has tokens.
    pub fn set_state_with_logits(
        &mut self,
        state: &RwkvState,
        logits: &[f32],
    ) -> Result<(), RuntimeError> {
        let vocab_size = self.model.config().vocab_size();
        if logits.len() != vocab_size || logits.iter().any(|logit| !logit.is_finite()) {
            return Err(RuntimeError::StateDamaged {
                what: format!("its logits are not {vocab_size} finite numbers"),
            });
        }
        self.set_state(state)?;
        self.set_logits(logits);
        Ok(())
    }

    /// Restores what [`RwkvState::to_bytes`] saved. Fails as [`RwkvState::from_bytes`] and [`Session::set_state`] do, and then changes nothing.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), RuntimeError> {
        self.set_state(&RwkvState::from_bytes(bytes, &self.model)?)
    }

    /// Forgets everything read; the adapter stays.
    pub fn reset(&mut self) -> Result<(), RuntimeError> {
        let initial = self.model.state_spec().initial();
        #[cfg(feature = "gpu")]
        self.drop_ahead();
        self.slot.upload(&initial);
        self.journal.restart(&initial);
        self.position = 0;
        self.is_new = true;
        self.has_logits = false;
        Ok(())
    }

    /// After the GPU was lost: goes on where the model computes now (open it again with [`Model::use_gpu`], or leave the GPU with [`Model::use_cpu`]) with all that it had read before the
    /// failure, which [`Session::position`] counts: of a call that read a long text in several chunks, those before the one that failed. What a GPU held is read again from the last state
    /// that was in the computer's own memory: 1,024 tokens and a chunk at most.
    pub fn recover(&mut self) -> Result<(), RuntimeError> {
        self.model.executor().check_wait()?;
        wait(self.recover_async())
    }

    /// [`Session::recover`] where nobody may wait.
    pub async fn recover_async(&mut self) -> Result<(), RuntimeError> {
        self.executor = self.model.executor();
        #[cfg(feature = "gpu")]
        {
            // Its slots are the lost engine's.
            self.ahead = None;
        }
        let journal = std::mem::take(&mut self.journal);
        let Some(base) = journal.base() else {
            // It never was on a GPU.
            return Ok(());
        };
        self.slot = StateSlot::Cpu(base.to_vec());
        let (position, adapter) = (self.position, self.adapter.clone());
        let mut logits = std::mem::take(&mut self.logits);
        let mut result = Ok(());
        let most = self.executor.max_rows()[0].min(DEFAULT_CHUNK);
        let mut replayed = false;
        'read: for (adapter, tokens) in journal.entries() {
            self.adapter = adapter.clone();
            for chunk in tokens.chunks(most) {
                result = self.read(chunk, Wanted::Last, &mut logits).await;
                if result.is_err() {
                    break 'read;
                }
                replayed = true;
            }
        }
        (self.position, self.adapter) = (position, adapter);
        self.logits = logits;
        // Older logits may be those of another text.
        self.has_logits = replayed && result.is_ok();
        if result.is_err() {
            // Nothing has been read for good: the next attempt begins at the same state.
            self.journal = journal;
        }
        result
    }

    /// What has been computed by the session itself since it was made; what a batch computes for it is in [`Batch::work`](crate::Batch::work).
    pub fn work(&self) -> Work {
        self.executor.work()
    }

    /// Fails where the plain functions, which wait, are not allowed to.
    pub(crate) fn check_wait(&self) -> Result<(), RuntimeError> {
        self.executor.check_wait()
    }

    /// Whether it has read nothing and stands at the model's own beginning.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Takes over the longest beginning of `tokens` that `cache` knows; its length. The logits are there when it is all of them.
    pub(crate) fn recall(
        &mut self,
        tokens: &[TokenId],
        cache: &mut PrefixCache,
    ) -> Result<usize, RuntimeError> {
        let Some(found) = cache.lookup(&self.model, self.adapter.as_deref(), tokens) else {
            return Ok(0);
        };
        self.set_state(found.state())?;
        if found.tokens() == tokens.len() {
            self.set_logits(found.logits());
        }
        Ok(found.tokens())
    }

    /// Leaves its state and logits, those after `tokens`, with `cache`.
    pub(crate) async fn remember(
        &self,
        tokens: &[TokenId],
        cache: &mut PrefixCache,
    ) -> Result<(), RuntimeError> {
        debug_assert_eq!(self.position, tokens.len() as u64);
        if let Some(logits) = self.logits() {
            cache.insert(tokens, self.state_async().await?, logits);
        }
        Ok(())
    }

    /// Its part in a step of a batch, which ends with [`Session::advance`].
    pub(crate) fn part<'a>(&'a mut self, tokens: &'a [TokenId], wanted: Wanted) -> Part<'a> {
        Part {
            tokens,
            slot: &mut self.slot,
            adapter: self.adapter.as_deref(),
            wanted,
        }
    }

    /// Before a step on `executor`: its state is brought there.
    pub(crate) async fn settle(&mut self, executor: &Executor) -> Result<(), RuntimeError> {
        self.go_back_for_good();
        bring(&mut self.slot, &mut self.journal, executor).await
    }

    /// Undoes what was written ahead and never settled: somebody dropped the future that wrote.
    fn go_back(&self) {
        #[cfg(feature = "gpu")]
        self.undo_ahead();
    }

    /// The same before a step, which goes on from there.
    fn go_back_for_good(&mut self) {
        self.go_back();
        #[cfg(feature = "gpu")]
        self.forget_pending();
    }

    /// [`Session::settle`] on its own executor.
    async fn settle_here(&mut self) -> Result<(), RuntimeError> {
        self.go_back_for_good();
        bring(&mut self.slot, &mut self.journal, &self.executor).await
    }

    /// After a step in which it read `tokens`; its logits, if it wanted any.
    pub(crate) fn advance(&mut self, tokens: &[TokenId], logits: Option<&[f32]>) {
        self.journal.note(tokens, self.adapter.as_ref());
        self.position = self.position.saturating_add(tokens.len() as u64);
        self.is_new = false;
        self.has_logits = false;
        if let Some(logits) = logits {
            self.set_logits(logits);
        }
    }

    fn set_logits(&mut self, logits: &[f32]) {
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.has_logits = true;
    }

    async fn read(
        &mut self,
        chunk: &[TokenId],
        wanted: Wanted,
        logits: &mut Vec<f32>,
    ) -> Result<(), RuntimeError> {
        self.has_logits = false;
        self.settle_here().await?;
        let part = Part {
            tokens: chunk,
            slot: &mut self.slot,
            adapter: self.adapter.as_deref(),
            wanted,
        };
        self.executor.step(&self.model, &mut [part], logits).await?;
        self.advance(chunk, None);
        Ok(())
    }
}

/// Brings a state to where `executor` computes, and keeps what it takes to have it again when that place is lost.
async fn bring(
    slot: &mut StateSlot,
    journal: &mut Journal,
    executor: &Executor,
) -> Result<(), RuntimeError> {
    // While it is still here.
    journal.keep(slot, executor);
    executor.adopt(slot).await?;
    journal.prepare(slot).await
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.model)
            .field("adapter", &self.adapter)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
