//! A continuation written a step at a time, by whoever has something else to do in between.

use super::output::Output;
use super::writer::Writer;
use super::{GenerateOptions, Generation, StopReason};
use crate::{RuntimeError, Sampler, Session};
use ptbr_tokenizer::{DecodeStream, TokenId, Tokenizer};
use std::ops::ControlFlow;

/// Chunks of the prompt that are read in one step: of the logits after each step only the last are needed, and the rest are the price.
const CHUNKS: usize = 4;

/// What [`generate`](super::generate) does, a [step](Continuation::step) at a time: between steps, tokens can be shown, the session's adapter changed, the writing stopped; after a step that
/// failed because a GPU was lost, the session can be [recovered](Session::recover) and the step taken again.
///
/// Until it has ended, nothing else may be read with the session.
pub struct Continuation {
    /// The prompt, and what has been written.
    history: Vec<TokenId>,
    prompt_tokens: usize,
    /// The session's position when it has read the prompt.
    prompt_end: u64,
    max_tokens: usize,
    end_of_text: TokenId,
    sampler: Sampler,
    stream: DecodeStream,
    output: Output,
    writer: Writer,
    stop: Option<StopReason>,
}

impl Continuation {
    /// Of `prompt`, which is read after whatever the session has read. Nothing is computed yet.
    ///
    /// Fails with [`RuntimeError::NoTokens`] when there is nothing to continue: an empty prompt, no `[BOS]`, and a session without logits.
    pub fn new(
        session: &Session,
        prompt: &str,
        options: &GenerateOptions,
    ) -> Result<Self, RuntimeError> {
        let tokenizer = session.model().tokenizer();
        let tokenizer = tokenizer.ok_or(RuntimeError::NoTokenizer)?;
        let mut tokens = Vec::new();
        if options.add_bos && session.position() == 0 {
            tokens.push(tokenizer.bos_id());
        }
        tokens.extend(tokenizer.encode(prompt));
        Self::of_tokens(session, tokens, options)
    }

    /// The same of a prompt in tokens, to which no `[BOS]` is added. Fails also with [`RuntimeError::TokenOutOfRange`].
    pub fn of_tokens(
        session: &Session,
        prompt: Vec<TokenId>,
        options: &GenerateOptions,
    ) -> Result<Self, RuntimeError> {
        session.model().check_tokens(&prompt)?;
        let end = session.position().saturating_add(prompt.len() as u64);
        Self::start(session, prompt, end, options)
    }

    /// The same of a prompt that the session has read.
    pub(super) fn after(
        session: &Session,
        read: Vec<TokenId>,
        options: &GenerateOptions,
    ) -> Result<Self, RuntimeError> {
        Self::start(session, read, session.position(), options)
    }

    fn start(
        session: &Session,
        prompt: Vec<TokenId>,
        prompt_end: u64,
        options: &GenerateOptions,
    ) -> Result<Self, RuntimeError> {
        let tokenizer = session.model().tokenizer();
        let tokenizer = tokenizer.ok_or(RuntimeError::NoTokenizer)?;
        if prompt_end == session.position() && session.logits().is_none() {
            return Err(RuntimeError::NoTokens);
        }
        Ok(Self {
            prompt_tokens: prompt.len(),
            history: prompt,
            prompt_end,
            max_tokens: options.max_tokens,
            end_of_text: tokenizer.eos_id(),
            sampler: Sampler::new(options.sampler.clone())?,
            stream: tokenizer.decode_stream(),
            output: Output::new(&options.stop),
            // A vocabulary may be padded beyond the tokenizer's; those ids mean nothing.
            writer: Writer::new(tokenizer.vocab_size()),
            stop: None,
        })
    }

    /// Reads a part of the prompt; or, when that has been read, writes a token, on a GPU a few. The reason when the continuation has ended: the session has then read every token in
    /// [`Continuation::tokens`].
    ///
    /// After an error nothing is lost: the next step takes up where this one began.
    pub async fn step(
        &mut self,
        session: &mut Session,
        on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Option<StopReason>, RuntimeError> {
        if self.stop.is_none() {
            self.advance(session, on_piece).await?;
        }
        if self.stop.is_none() {
            return Ok(None);
        }
        self.writer.finish(session).await?;
        if let Some(stop @ (StopReason::MaxTokens | StopReason::EndOfText)) = self.stop {
            let rest = self.stream.finish();
            self.stop = self
                .output
                .push(&rest, on_piece)
                .or_else(|| self.output.flush(on_piece))
                .or(Some(stop));
        }
        Ok(self.stop)
    }

    async fn advance(
        &mut self,
        session: &mut Session,
        on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), RuntimeError> {
        let unread = self.prompt_end.saturating_sub(session.position()) as usize;
        if unread > 0 {
            let prompt = &self.history[self.prompt_tokens - unread..self.prompt_tokens];
            let most = session.chunk_size().saturating_mul(CHUNKS);
            session.prefill_async(&prompt[..unread.min(most)]).await?;
            return Ok(());
        }
        let left = self.max_tokens.saturating_sub(self.tokens().len());
        if left > 0 {
            let drawn = self
                .writer
                .draw(session, &mut self.sampler, &self.history, left)
                .await?;
            let kept = self.take(&drawn, on_piece);
            self.writer.keep(session, kept);
        }
        if self.tokens().len() >= self.max_tokens {
            self.stop.get_or_insert(StopReason::MaxTokens);
        }
        Ok(())
    }

    /// Takes tokens until there is a reason to stop; how many.
    fn take(
        &mut self,
        drawn: &[TokenId],
        on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> usize {
        for (before, &token) in drawn.iter().enumerate() {
            if token == self.end_of_text {
                self.stop = Some(StopReason::EndOfText);
                return before;
            }
            self.history.push(token);
            self.stop = self.output.push(&self.stream.push(token), on_piece);
            if self.stop.is_some() {
                return before + 1;
            }
        }
        drawn.len()
    }

    /// Ends it: the next step writes nothing, and says [`StopReason::Interrupted`].
    pub fn interrupt(&mut self) {
        self.stop.get_or_insert(StopReason::Interrupted);
    }

    /// Tokens of the prompt, `[BOS]` included.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// The tokens written so far.
    pub fn tokens(&self) -> &[TokenId] {
        &self.history[self.prompt_tokens..]
    }

    /// What it did. One that has not ended was interrupted.
    pub fn into_generation(mut self) -> Generation {
        Generation {
            prompt_tokens: self.prompt_tokens,
            tokens: self.history.split_off(self.prompt_tokens),
            stop: self.stop.unwrap_or(StopReason::Interrupted),
        }
    }
}
