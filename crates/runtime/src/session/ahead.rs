//! Writing several tokens on a GPU without asking in between, and going back when some of them were too many.

use super::Session;
use crate::engine::gpu::{Draws, GpuEngine, GpuError, Slot};
use crate::engine::{Executor, Part, StateSlot, Wanted};
use crate::{RuntimeError, Sampler};
use ptbr_kernels::cpu::SampleSettings;
use ptbr_tokenizer::TokenId;
use std::sync::Arc;

/// Tokens that a GPU draws before it is asked what they are: each question costs a trip through the driver, and each token behind the end of a text was for nothing.
pub(crate) const AHEAD: usize = 4;

/// Where a session was before it wrote ahead.
pub(super) struct Ahead {
    backup: Slot,
    /// What it has read since.
    read: Vec<TokenId>,
    /// Written, and nobody knows yet what.
    is_pending: bool,
}

/// A session that is to write ahead.
pub(crate) struct Writing<'a> {
    pub session: &'a mut Session,
    /// To be read first.
    pub token: TokenId,
    /// How each is drawn.
    pub sampler: &'a Sampler,
    /// Ends with `token`.
    pub history: &'a [TokenId],
    /// Ids from here on are never drawn.
    pub known: usize,
}

impl<'a> Writing<'a> {
    fn draws(&self, steps: usize) -> Draws<'a> {
        let config = self.sampler.config();
        let vocab = self.session.model.config().vocab_size();
        // The draw of a token has the number of the tokens read by then.
        let positions = (1..=steps as u64).map(|step| self.session.position + step);
        Draws {
            settings: SampleSettings::new(
                config.temperature,
                config.top_k,
                config.top_p,
                config.repetition_penalty,
                self.known.min(vocab) as u32,
            ),
            history: self.history,
            window: config.repetition_window,
            random: positions
                .map(|position| self.sampler.random(position))
                .collect(),
        }
    }
}

/// Each session, settled on this engine, reads its token, draws the next as its sampler does from the same logits, reads that, and so on, all of them together; the `steps` tokens drawn for
/// each, the last of which is not read. No more sessions than the engine has rows of logits.
///
/// [`Session::commit_ahead`] or [`Session::take_back`] must follow for each. `None`, with all sessions as they were, when there is no room on the GPU; `None`
/// in place of one session's tokens, with this one as it was, when its logits are no numbers.
pub(crate) async fn write_together(
    engine: &Arc<GpuEngine>,
    writings: &mut [Writing<'_>],
    steps: usize,
) -> Result<Option<Vec<Option<Vec<TokenId>>>>, RuntimeError> {
    let draws: Vec<Draws<'_>> = writings.iter().map(|one| one.draws(steps)).collect();
    if !engine.can_draw(&draws) {
        return Ok(None);
    }
    for writing in writings.iter_mut() {
        if !writing.session.keep_copy(engine).await? {
            return Ok(None);
        }
    }
    let mut parts: Vec<Part<'_>> = writings
        .iter_mut()
        .map(|one| one.session.start_ahead(std::slice::from_ref(&one.token)))
        .collect();
    let drawn = engine.write(&mut parts, &draws).await?;
    drop(parts);
    let all = writings.iter_mut().zip(drawn);
    Ok(Some(
        all.map(|(one, drawn)| one.session.finish_ahead(one.token, drawn))
            .collect(),
    ))
}

impl Session {
    /// Whether it computes on a GPU.
    pub(crate) fn is_on_gpu(&self) -> bool {
        !self.executor.is_cpu()
    }

    /// [`write_together`] for this session alone, where it computes.
    pub(crate) async fn write_ahead(
        &mut self,
        token: TokenId,
        sampler: &Sampler,
        history: &[TokenId],
        known: usize,
        steps: usize,
    ) -> Result<Option<Vec<TokenId>>, RuntimeError> {
        self.settle_here().await?;
        let Executor::Gpu(engine, _) = &self.executor else {
            return Ok(None);
        };
        let engine = Arc::clone(engine);
        let mut writings = [Writing {
            session: self,
            token,
            sampler,
            history,
            known,
        }];
        let drawn = write_together(&engine, &mut writings, steps).await?;
        if drawn.is_some() {
            self.executor.count_draws(1, steps);
        }
        Ok(drawn.and_then(|mut drawn| drawn.pop().flatten()))
    }

    /// Keeps a copy of the state to go back to; false when there is no room for one.
    async fn keep_copy(&mut self, engine: &Arc<GpuEngine>) -> Result<bool, RuntimeError> {
        let StateSlot::Gpu(_, slot) = &self.slot else {
            return Ok(false);
        };
        let backup = match self.ahead.take().filter(|ahead| engine.owns(&ahead.backup)) {
            Some(ahead) => {
                engine.copy_state(slot, &ahead.backup);
                ahead.backup
            }
            None => match engine.fork_slot(slot).await {
                Ok(backup) => backup,
                // One token after the other needs no copy.
                Err(GpuError::TooLarge { .. } | GpuError::OutOfMemory { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            },
        };
        self.ahead = Some(Ahead {
            backup,
            read: Vec::new(),
            is_pending: false,
        });
        Ok(true)
    }

    /// Its part in writing ahead.
    fn start_ahead<'a>(&'a mut self, token: &'a [TokenId]) -> Part<'a> {
        if let Some(ahead) = &mut self.ahead {
            ahead.is_pending = true;
        }
        self.has_logits = false;
        self.part(token, Wanted::Last)
    }

    /// After it has read `token` and all that was drawn but the last; what could not be drawn is still pending, and the next step goes back.
    fn finish_ahead(
        &mut self,
        token: TokenId,
        drawn: Option<Vec<TokenId>>,
    ) -> Option<Vec<TokenId>> {
        if let (Some(drawn), Some(ahead)) = (&drawn, &mut self.ahead) {
            ahead.is_pending = false;
            ahead.read.push(token);
            ahead.read.extend_from_slice(&drawn[..drawn.len() - 1]);
            self.position += ahead.read.len() as u64;
        }
        drawn
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

    /// After [`Session::undo_ahead`], before it goes on from there: nothing is pending any more.
    pub(super) fn forget_pending(&mut self) {
        self.ahead.take_if(|ahead| ahead.is_pending);
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

    /// Goes back to before the first of the tokens that it has read ahead, and returns that one; `None` when it has read none.
    pub(crate) fn take_back(&mut self) -> Option<TokenId> {
        let first = *self.ahead.as_ref()?.read.first()?;
        let ahead = self.ahead.take()?;
        if let StateSlot::Gpu(engine, slot) = &self.slot {
            engine.copy_state(&ahead.backup, slot);
        }
        self.position -= ahead.read.len() as u64;
        Some(first)
    }
}
