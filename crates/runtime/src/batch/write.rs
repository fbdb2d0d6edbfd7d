//! Drawing for many sessions of a batch at once: on a GPU several tokens each without a word in between, elsewhere one.

use super::{Batch, Member, SessionId};
#[cfg(feature = "gpu")]
use crate::engine::Executor;
use crate::engine::wait;
#[cfg(feature = "gpu")]
use crate::session::{AHEAD, Writing, write_together};
use crate::{RuntimeError, Sampler};
use ptbr_tokenizer::TokenId;
use std::collections::{BTreeMap, BTreeSet};

/// How one session of a batch goes on writing.
pub struct Draw<'a> {
    /// The session. All that it was fed has been read, or all but one token.
    pub id: SessionId,
    /// How each token is drawn.
    pub sampler: &'a mut Sampler,
    /// The text so far, for the repetition penalty; it ends with the last token that was fed.
    pub history: &'a [TokenId],
    /// Ids from here on are never drawn: a vocabulary may be padded beyond the tokenizer's.
    pub known: usize,
}

/// What was drawn, by the index of its draw.
type Results = BTreeMap<usize, Result<Vec<TokenId>, RuntimeError>>;

impl Member {
    /// What was drawn stands.
    pub(super) fn commit(&mut self) {
        if !self.drawn.is_empty() {
            self.drawn.clear();
            #[cfg(feature = "gpu")]
            self.session.commit_ahead();
        }
    }

    /// The one token that waits.
    #[cfg(feature = "gpu")]
    fn last(&self) -> Option<TokenId> {
        match self.queue[self.read..] {
            [token] => Some(token),
            _ => None,
        }
    }

    /// These were drawn, and all but the last have been read.
    fn take(&mut self, drawn: Vec<TokenId>) -> Vec<TokenId> {
        self.queue.clear();
        self.read = 0;
        self.queue.extend(drawn.last());
        self.drawn.clone_from(&drawn);
        drawn
    }

    /// One token, drawn from the logits at hand.
    fn draw(&mut self, draw: &mut Draw<'_>) -> Result<Vec<TokenId>, RuntimeError> {
        let position = self.session.position();
        let logits = self.session.logits().ok_or(RuntimeError::NoTokens)?;
        let known = &logits[..logits.len().min(draw.known)];
        let token = draw.sampler.sample(known, draw.history, position)?;
        Ok(self.take(vec![token]))
    }

    /// Only the first `count` of the last draw stand; what stands and has not been read waits.
    fn keep(&mut self, count: usize) {
        if count < self.drawn.len() {
            self.queue.clear();
            #[cfg(feature = "gpu")]
            if let Some(first) = self.session.take_back() {
                self.queue.push(first);
                self.queue.extend_from_slice(&self.drawn[..count]);
            }
            // Without going ahead there was one token, which nobody has read.
            self.drawn.clear();
        }
    }
}

impl Batch {
    /// Each of these sessions reads the one token that waits, draws the next from the logits after it, reads that, and so on: up to `most` tokens each, on a GPU some at a time for all of them
    /// together, on the CPU one, and one too where a step has read the token already. Returns what was drawn for each, at least one token; the last one waits, as if it had been fed: the next
    /// call goes on from there, and so does a step, while new sessions read their prompts. Where a text ended before its last token, [`Batch::keep`] says where.
    ///
    /// The tokens are those that [`Sampler::sample`] gives after every step, with the session's position, whatever the company. One session's failure leaves the others alone:
    /// [`RuntimeError::NoSuchSession`]; [`RuntimeError::NoTokens`] when more than one token waits, when there are no logits to go on from, or when the session is named twice; and what the
    /// sampler refuses (the session has then read the token).
    ///
    /// Fails as [`Batch::step`] does.
    pub fn write(
        &mut self,
        draws: &mut [Draw<'_>],
        most: usize,
    ) -> Result<Vec<Result<Vec<TokenId>, RuntimeError>>, RuntimeError> {
        self.executor.check_wait()?;
        wait(self.write_async(draws, most))
    }

    /// [`Batch::write`] where nobody may wait: in a browser, on its GPU.
    pub async fn write_async(
        &mut self,
        draws: &mut [Draw<'_>],
        most: usize,
    ) -> Result<Vec<Result<Vec<TokenId>, RuntimeError>>, RuntimeError> {
        let mut results: Results = BTreeMap::new();
        let mut waiting: BTreeMap<SessionId, usize> = BTreeMap::new();
        let mut named = BTreeSet::new();
        for (index, draw) in draws.iter_mut().enumerate() {
            let Some(member) = self.members.get_mut(&draw.id) else {
                results.insert(index, Err(RuntimeError::NoSuchSession));
                continue;
            };
            match (named.insert(draw.id), &member.queue[member.read..]) {
                (true, [_]) => {
                    member.commit();
                    waiting.insert(draw.id, index);
                }
                (true, []) => {
                    member.commit();
                    results.insert(index, member.draw(draw));
                }
                _ => {
                    results.insert(index, Err(RuntimeError::NoTokens));
                }
            }
        }
        let _ = most;
        #[cfg(feature = "gpu")]
        self.write_on_gpu(draws, most.clamp(1, AHEAD), &mut waiting, &mut results)
            .await?;
        self.write_one(draws, waiting, &mut results).await?;
        // Every draw has a result.
        Ok(results.into_values().collect())
    }

    /// The first `count` tokens of a session's last draw stand, and no other: those of them that it has not read wait, with the token before them where that was given back too. Nothing when
    /// all of them stand, or when something else was done with the session since. Fails with [`RuntimeError::NoSuchSession`].
    pub fn keep(&mut self, id: SessionId, count: usize) -> Result<(), RuntimeError> {
        let member = self.members.get_mut(&id);
        member.ok_or(RuntimeError::NoSuchSession)?.keep(count);
        Ok(())
    }

    /// One token for each of `waiting` (the index of its draw by session), drawn by the CPU.
    async fn write_one(
        &mut self,
        draws: &mut [Draw<'_>],
        mut waiting: BTreeMap<SessionId, usize>,
        results: &mut Results,
    ) -> Result<(), RuntimeError> {
        let [rows, logits] = self.executor.max_rows();
        let most = self.max_rows.min(rows).min(logits);
        while !waiting.is_empty() {
            let shares = waiting.keys().take(most).map(|id| (*id, 1)).collect();
            for id in self.read(&shares).await? {
                if let Some(index) = waiting.remove(&id)
                    && let Some(member) = self.members.get_mut(&id)
                {
                    results.insert(index, member.draw(&mut draws[index]));
                }
            }
        }
        Ok(())
    }

    /// `steps` tokens for each of `waiting` that can be drawn on the GPU; the others stay in it.
    #[cfg(feature = "gpu")]
    async fn write_on_gpu(
        &mut self,
        draws: &mut [Draw<'_>],
        steps: usize,
        waiting: &mut BTreeMap<SessionId, usize>,
        results: &mut Results,
    ) -> Result<(), RuntimeError> {
        let Executor::Gpu(engine, _) = &self.executor else {
            return Ok(());
        };
        let engine = std::sync::Arc::clone(engine);
        let most = engine.max_logits().min(engine.max_rows());
        // Those that are left, in the order of joining. What the cache is to remember is read by a step.
        let is_plain = |member: &Member| member.shared.is_none();
        let mut left: Vec<SessionId> = waiting
            .keys()
            .copied()
            .filter(|id| self.members.get(id).is_some_and(is_plain))
            .collect();
        while !left.is_empty() {
            let mut room = engine.adapter_room();
            let mut members: Vec<(SessionId, TokenId, &mut Member)> = Vec::new();
            let mut adapters: Vec<*const crate::LoadedAdapter> = Vec::new();
            for (&id, member) in &mut self.members {
                let (true, Some(token)) = (left.contains(&id), member.last()) else {
                    continue;
                };
                if members.len() == most {
                    break;
                }
                if let Some(adapter) = member.session.adapter() {
                    let address = std::sync::Arc::as_ptr(adapter);
                    if !adapters.contains(&address) {
                        // What does not fit beside the others has its turn next; by itself it must.
                        let size = adapter.num_parameters();
                        if size > room && !adapters.is_empty() {
                            continue;
                        }
                        room = room.saturating_sub(size);
                        adapters.push(address);
                    }
                }
                members.push((id, token, member));
            }
            let chosen: Vec<SessionId> = members.iter().map(|(id, ..)| *id).collect();
            left.retain(|id| !chosen.contains(id));
            for (.., member) in &mut members {
                if !std::sync::Arc::ptr_eq(member.session.model(), &self.model) {
                    return Err(RuntimeError::SessionOfAnotherModel);
                }
                member.session.settle(&self.executor).await?;
            }
            let mut writings: Vec<Writing<'_>> = members
                .iter_mut()
                .map(|(id, token, member)| {
                    let draw = &draws[waiting[id]];
                    Writing {
                        session: &mut member.session,
                        token: *token,
                        sampler: draw.sampler,
                        history: draw.history,
                        known: draw.known,
                    }
                })
                .collect();
            let Some(drawn) = write_together(&engine, &mut writings, steps).await? else {
                continue;
            };
            drop(writings);
            self.executor.count_draws(chosen.len(), steps);
            for ((id, _, member), drawn) in members.into_iter().zip(drawn) {
                if let Some(drawn) = drawn
                    && let Some(index) = waiting.remove(&id)
                {
                    results.insert(index, Ok(member.take(drawn)));
                }
            }
        }
        Ok(())
    }
}
