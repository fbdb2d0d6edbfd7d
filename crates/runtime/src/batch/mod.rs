//! Many sessions computed together: continuous batching.

mod plan;
mod write;

use crate::engine::cpu::Work;
use crate::engine::{Executor, Part, Wanted, wait};
use crate::session::MAX_ROWS;
use crate::{LoadedAdapter, Model, PrefixCache, RuntimeError, Session};
use plan::share_rows;
use ptbr_tokenizer::TokenId;
use std::collections::BTreeMap;
use std::sync::Arc;
pub use write::Draw;

/// Rows of a step unless [`Batch::set_max_rows`] says otherwise: reading the weights is a small part of such a step, and those who wait for the next token wait for no more than this.
pub const DEFAULT_MAX_ROWS: usize = 256;

/// A session's number in a batch, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

/// Sessions on one model that compute together: weights are read once for all of them.
///
/// Sessions join and leave between steps. Each is fed tokens, any number at a time; a step reads a part of what waits, long texts a piece at a time, so that those who write one token
/// after the other are not held up. What a session gets has the bits that it would get alone, whatever the company.
///
/// ```no_run
/// # use ptbr_runtime::{Batch, Model, Sampler, SamplerConfig, Session};
/// # let model = Model::load("run".as_ref())?;
/// let mut batch = Batch::new(model.clone());
/// for prompt in [[5, 17, 42], [5, 3, 8]] {
///     let id = batch.join(Session::new(model.clone()))?;
///     batch.feed(id, &prompt)?;
/// }
/// let mut sampler = Sampler::new(SamplerConfig::default())?;
/// for _ in 0..100 {
///     for id in batch.step()? {
///         let Some((logits, position)) = batch.session(id).and_then(|s| Some((s.logits()?, s.position()))) else { continue };
///         let token = sampler.sample(logits, &[], position)?;
///         batch.feed(id, &[token])?;
///     }
/// }
/// # Ok::<(), ptbr_runtime::RuntimeError>(())
/// ```
pub struct Batch {
    model: Arc<Model>,
    executor: Executor,
    members: BTreeMap<SessionId, Member>,
    next_id: u64,
    max_rows: usize,
    /// Where [`share_rows`] begins; rises with every step.
    turn: usize,
    cache: Option<PrefixCache>,
    /// `[sessions that wanted them, V]`
    logits: Vec<f32>,
}

struct Member {
    session: Session,
    /// What it was fed; all before `read` has been read.
    queue: Vec<TokenId>,
    read: usize,
    /// Tokens of the queue, from its beginning, after which the cache remembers the state.
    shared: Option<Shared>,
    /// The last draw, until something else is done with the session. Its last token is all that waits.
    drawn: Vec<TokenId>,
}

/// A beginning that others share.
struct Shared {
    /// All of it, also what the cache knew.
    tokens: Box<[TokenId]>,
    /// Where it ends in the queue.
    end: usize,
}

impl Member {
    /// Tokens that one step may read.
    fn waiting(&self) -> usize {
        let end = self
            .shared
            .as_ref()
            .map_or(self.queue.len(), |shared| shared.end);
        end - self.read
    }

    /// Whether it wants logits after the next `rows` tokens: at the end of what it was fed, and of a beginning that is remembered with them.
    fn wants(&self, rows: usize) -> Wanted {
        if rows == self.waiting() {
            Wanted::Last
        } else {
            Wanted::None
        }
    }

    /// After a step that read `rows` tokens; whether all that it was fed has been read.
    async fn advance(
        &mut self,
        rows: usize,
        logits: Option<&[f32]>,
        cache: Option<&mut PrefixCache>,
    ) -> Result<bool, RuntimeError> {
        self.session
            .advance(&self.queue[self.read..][..rows], logits);
        self.read += rows;
        if let Some(shared) = self.shared.take_if(|shared| shared.end == self.read)
            && let Some(cache) = cache
        {
            self.session.remember(&shared.tokens, cache).await?;
        }
        let done = self.read == self.queue.len();
        if done {
            self.queue.clear();
            self.read = 0;
        }
        Ok(done)
    }
}

impl Batch {
    /// A batch without sessions.
    pub fn new(model: Arc<Model>) -> Self {
        Self {
            executor: model.executor(),
            model,
            members: BTreeMap::new(),
            next_id: 0,
            max_rows: DEFAULT_MAX_ROWS,
            turn: 0,
            cache: None,
            logits: Vec::new(),
        }
    }

    /// How many tokens of all sessions a step reads at most: the time of a step depends on it, results do not. 0 is taken as 1, and at most 65,536.
    pub fn set_max_rows(&mut self, rows: usize) {
        self.max_rows = rows.clamp(1, MAX_ROWS);
    }

    /// Remembers what [`Batch::feed_prefix`] reads in `cache`, or nothing any more; returns the former cache.
    pub fn set_prefix_cache(&mut self, cache: Option<PrefixCache>) -> Option<PrefixCache> {
        std::mem::replace(&mut self.cache, cache)
    }

    /// Takes a session in, wherever it stands. Fails with [`RuntimeError::SessionOfAnotherModel`] when it was not made on the very model of the batch.
    pub fn join(&mut self, session: Session) -> Result<SessionId, RuntimeError> {
        if !Arc::ptr_eq(session.model(), &self.model) {
            return Err(RuntimeError::SessionOfAnotherModel);
        }
        if let Some(adapter) = session.adapter() {
            self.executor.check_adapter(adapter)?;
        }
        let id = SessionId(self.next_id);
        self.next_id += 1;
        let member = Member {
            session,
            queue: Vec::new(),
            read: 0,
            shared: None,
            drawn: Vec::new(),
        };
        self.members.insert(id, member);
        Ok(id)
    }

    /// Lets a session go, as it stands after the last step; what it was fed and has not read is dropped. `None` when it is not in the batch.
    pub fn leave(&mut self, id: SessionId) -> Option<Session> {
        self.members.remove(&id).map(|mut member| {
            member.commit();
            member.session
        })
    }

    /// A session: its logits, position, adapter and state.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.members.get(&id).map(|member| &member.session)
    }

    /// The same, to choose another adapter or state between two steps. What it was fed and has not read yet follows, and the cache does not remember it: it may be the end of another text now.
    pub fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.members.get_mut(&id).map(|member| {
            member.shared = None;
            member.commit();
            &mut member.session
        })
    }

    /// Sessions in the batch.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it has no sessions.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Tokens that wait to be read.
    pub fn waiting(&self) -> usize {
        self.members
            .values()
            .map(|member| member.queue.len() - member.read)
            .sum()
    }

    /// What the batch has computed.
    pub fn work(&self) -> Work {
        self.executor.work()
    }

    /// Gives a session tokens to read after those that it was given before. The steps to come read them.
    ///
    /// Fails, taking none, with [`RuntimeError::TokenOutOfRange`], or with [`RuntimeError::NoSuchSession`].
    pub fn feed(&mut self, id: SessionId, tokens: &[TokenId]) -> Result<(), RuntimeError> {
        self.model.check_tokens(tokens)?;
        let member = self
            .members
            .get_mut(&id)
            .ok_or(RuntimeError::NoSuchSession)?;
        member.commit();
        member.queue.extend_from_slice(tokens);
        Ok(())
    }

    /// [`Batch::feed`] for the beginning of a text that others share: what the cache has read of it is not read again, and it remembers the state after `tokens`. Returns how many
    /// tokens it knew; when it is all of them the logits are there at once, and no step reports them.
    ///
    /// Without a cache, and for a session that has read or been fed something already, it is [`Batch::feed`].
    pub fn feed_prefix(
        &mut self,
        id: SessionId,
        tokens: &[TokenId],
    ) -> Result<usize, RuntimeError> {
        self.model.check_tokens(tokens)?;
        let member = self
            .members
            .get_mut(&id)
            .ok_or(RuntimeError::NoSuchSession)?;
        let mut known = 0;
        if let Some(cache) = &mut self.cache
            && member.session.is_new()
            && member.queue.is_empty()
            && !tokens.is_empty()
        {
            known = member.session.recall(tokens, cache)?;
            member.shared = (known < tokens.len()).then(|| Shared {
                tokens: tokens.into(),
                end: tokens.len() - known,
            });
        }
        member.queue.extend_from_slice(&tokens[known..]);
        Ok(known)
    }

    /// Reads some of the tokens that wait, at most the batch's number of rows. Returns the sessions that have read all that they were fed and have new logits, in the order in which they
    /// joined; none when nothing waits.
    ///
    /// After an error the sessions of the step are in no defined state: reset them, set their states, or let them go.
    pub fn step(&mut self) -> Result<Vec<SessionId>, RuntimeError> {
        self.executor.check_wait()?;
        wait(self.step_async())
    }

    /// [`Batch::step`] where nobody may wait: in a browser, on its GPU.
    pub async fn step_async(&mut self) -> Result<Vec<SessionId>, RuntimeError> {
        let waiting: Vec<usize> = self.members.values().map(Member::waiting).collect();
        let [most_rows, most_logits] = self.executor.max_rows();
        // Every session may want logits, so no more of them than there is room for.
        let crowd = waiting.iter().filter(|rows| **rows > 0).count() > most_logits;
        let rows = self
            .max_rows
            .min(if crowd { most_logits } else { most_rows });
        let shares = share_rows(&waiting, rows, self.turn);
        let shares = self.members.keys().copied().zip(shares).collect();
        self.read(&shares).await
    }

    /// One step that reads so many tokens of these sessions, of as many of them as fit.
    async fn read(
        &mut self,
        shares: &BTreeMap<SessionId, usize>,
    ) -> Result<Vec<SessionId>, RuntimeError> {
        self.turn = self.turn.wrapping_add(1);
        let share = |id: &SessionId| shares.get(id).copied().unwrap_or(0);
        let mut chosen: Vec<(SessionId, &mut Member, usize)> = self
            .members
            .iter_mut()
            .map(|(id, member)| (*id, member, share(id)))
            .filter(|(_, _, rows)| *rows > 0)
            .collect();
        // One stretch of rows for each adapter; a stable sort, so that equals stay in the order of joining.
        chosen.sort_by(|(_, a, _), (_, b, _)| {
            let address = |member: &Member| member.session.adapter().map(Arc::as_ptr);
            address(a).cmp(&address(b))
        });
        keep_what_fits(&mut chosen, self.executor.adapter_room(), self.turn);
        for (_, member, _) in &mut chosen {
            if !Arc::ptr_eq(member.session.model(), &self.model) {
                return Err(RuntimeError::SessionOfAnotherModel);
            }
            member.commit();
            member.session.settle(&self.executor).await?;
        }
        let mut parts: Vec<Part<'_>> = chosen
            .iter_mut()
            .map(|(_, member, rows)| {
                let wanted = member.wants(*rows);
                let tokens = &member.queue[member.read..][..*rows];
                member.session.part(tokens, wanted)
            })
            .collect();
        self.executor
            .step(&self.model, &mut parts, &mut self.logits)
            .await?;
        let vocab = self.model.config().vocab_size();
        let mut logits = self.logits.chunks_exact(vocab);
        let mut ready = Vec::new();
        for (id, member, rows) in chosen {
            let own = match member.wants(rows) {
                Wanted::None => None,
                Wanted::Last | Wanted::All => logits.next(),
            };
            if member.advance(rows, own, self.cache.as_mut()).await? {
                ready.push(id);
            }
        }
        ready.sort_unstable();
        Ok(ready)
    }
}

/// Leaves out of a step those whose adapters do not fit in `room` numbers beside the others'; with every turn others go first. Whoever goes first is never left out.
fn keep_what_fits(chosen: &mut Vec<(SessionId, &mut Member, usize)>, room: usize, turn: usize) {
    let mut adapters: Vec<Arc<LoadedAdapter>> = Vec::new();
    for (_, member, _) in chosen.iter() {
        if let Some(adapter) = member.session.adapter()
            && !adapters.iter().any(|known| Arc::ptr_eq(known, adapter))
        {
            adapters.push(Arc::clone(adapter));
        }
    }
    if adapters.is_empty() {
        return;
    }
    let first = turn % adapters.len();
    adapters.rotate_left(first);
    let mut taken = 0usize;
    let mut fits = Vec::new();
    for adapter in adapters {
        let size = adapter.num_parameters();
        if fits.is_empty() || taken.saturating_add(size) <= room {
            taken = taken.saturating_add(size);
            fits.push(adapter);
        }
    }
    chosen.retain(|(_, member, _)| match member.session.adapter() {
        None => true,
        Some(adapter) => fits.iter().any(|kept| Arc::ptr_eq(kept, adapter)),
    });
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("model", &self.model)
            .field("sessions", &self.len())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
