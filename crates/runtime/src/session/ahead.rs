//! Writing several tokens on a GPU without asking in between, and going back when some of them were too many.

use super::Session;
use crate::engine::gpu::{Draws, GpuError, Slot};
use crate::engine::{Executor, Part, StateSlot, Wanted};
use crate::{RuntimeError, Sampler};
use ptbr_kernels::cpu::SampleSettings;
use ptbr_tokenizer::TokenId;
use std::sync::Arc;

/// Where a session was before it wrote ahead.
pub(super) struct Ahead {
    backup: Slot,
    /// What it has read since.
    read: Vec<TokenId>,
    /// Written, and nobody knows yet what.
    is_pending: bool,
}

impl Session {
    /// Whether it computes on a GPU.
    pub(crate) fn is_on_gpu(&self) -> bool {
        !self.executor.is_cpu()
    }

    /// Reads `token`, draws the next as `sampler` does from the same logits, reads that, and so on; the `steps` tokens drawn, the last of which is not read. `history` ends with `token`,
    /// ids from `known` on are never drawn.
    ///
    /// [`Session::commit_ahead`] or [`Session::read_again`] must follow. `None`, with the session as it was, when this is not for the GPU to do: an engine without one, or logits that are no
    /// numbers.
    pub(crate) async fn write_ahead(
        &mut self,
        token: TokenId,
        sampler: &Sampler,
        history: &[TokenId],
        known: usize,
        steps: usize,
    ) -> Result<Option<Vec<TokenId>>, RuntimeError> {
        self.settle_here().await?;
        let (Executor::Gpu(engine, _), StateSlot::Gpu(_, slot)) = (&self.executor, &self.slot)
        else {
            return Ok(None);
        };
        let engine = Arc::clone(engine);
        let backup = match self.ahead.take().filter(|ahead| engine.owns(&ahead.backup)) {
            Some(ahead) => {
                engine.copy_state(slot, &ahead.backup);
                ahead.backup
            }
            None => match engine.fork_slot(slot).await {
                Ok(backup) => backup,
                // No room for a copy: one token after the other needs none.
                Err(GpuError::TooLarge { .. } | GpuError::OutOfMemory { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        };
        self.ahead = Some(Ahead {
            backup,
            read: Vec::new(),
            is_pending: true,
        });
        let config = sampler.config();
        let vocab = self.model.config().vocab_size();
        // The draw of a token has the number of the tokens read by then.
        let random: Vec<u64> = (1..=steps as u64)
            .map(|step| sampler.random(self.position + step))
            .collect();
        let draws = Draws {
            settings: SampleSettings::new(
                config.temperature,
                config.top_k,
                config.top_p,
                config.repetition_penalty,
                known.min(vocab) as u32,
            ),
            history,
            window: config.repetition_window,
            random: &random,
        };
        let part = Part {
            tokens: &[token],
            slot: &mut self.slot,
            adapter: self.adapter.as_deref(),
            wanted: Wanted::Last,
        };
        self.has_logits = false;
        let drawn = engine.write(part, &draws).await?;
        if let Executor::Gpu(engine, work) = &mut self.executor {
            (0..steps).for_each(|_| engine.count([1, 1], work));
        }
        let drawn: Option<Vec<TokenId>> = drawn.into_iter().collect();
        if let (Some(drawn), Some(ahead)) = (&drawn, &mut self.ahead) {
            ahead.is_pending = false;
            ahead.read.push(token);
            ahead.read.extend_from_slice(&drawn[..steps - 1]);
            self.position += ahead.read.len() as u64;
        }
        // What could not be drawn is still pending, and the next step goes back.
        Ok(drawn)
    }

    /// Goes back to before what is still pending, if anything is. The session stays as it is otherwise, and going back twice is as good as once.
    pub(super) fn undo_ahead(&self) {
        if let (Some(ahead), StateSlot::Gpu(engine, slot)) = (&self.ahead, &self.slot)
            && ahead.is_pending
            && engine.owns(&ahead.backup)
        {
            engine.copy_state(&ahead.backup, slot);
        }
    }

    /// Gives the copy back; nothing that was written ahead can be undone any more.
    pub(crate) fn drop_ahead(&mut self) {
        self.ahead = None;
    }

    /// All that was written ahead stands.
    pub(crate) fn commit_ahead(&mut self) {
        if let Some(ahead) = &mut self.ahead {
            self.journal
                .note(&std::mem::take(&mut ahead.read), self.adapter.as_ref());
            self.is_new = false;
        }
    }

    /// Only `kept`, the first of the tokens drawn, stand: goes back, and reads the token before them and them.
    pub(crate) async fn read_again(&mut self, kept: &[TokenId]) -> Result<(), RuntimeError> {
        let Some(ahead) = self.ahead.take() else {
            return Ok(());
        };
        if let StateSlot::Gpu(engine, slot) = &self.slot {
            engine.copy_state(&ahead.backup, slot);
        }
        self.position -= ahead.read.len() as u64;
        let mut again = ahead.read[..1].to_vec();
        again.extend_from_slice(kept);
        self.prefill_async(&again).await?;
        Ok(())
    }
}
