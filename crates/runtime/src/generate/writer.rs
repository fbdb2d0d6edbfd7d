//! Drawing tokens and reading them again, one after the other or, on a GPU, several without a word in between.

#[cfg(feature = "gpu")]
use crate::session::AHEAD;
use crate::{RuntimeError, Sampler, Session};
use ptbr_tokenizer::TokenId;

/// Draws from a session's logits. After [`Writer::draw`], [`Writer::keep`] says how many of the tokens stand; after [`Writer::finish`] the session has read these and no other.
pub(super) struct Writer {
    /// Ids from here on are never drawn.
    known: usize,
    /// The last draw.
    drawn: Vec<TokenId>,
    /// Whether the session has read all of it but the last token.
    is_ahead: bool,
    /// Kept, but not read yet: the last token, or several where the session had to go back.
    unread: Vec<TokenId>,
}

impl Writer {
    /// For a session that has logits.
    pub(super) fn new(known: usize) -> Self {
        Self {
            known,
            drawn: Vec::new(),
            is_ahead: false,
            unread: Vec::new(),
        }
    }

    /// Draws one token or more, at most `most`. `history` ends with the tokens kept so far. Can be tried again after an error.
    pub(super) async fn draw(
        &mut self,
        session: &mut Session,
        sampler: &mut Sampler,
        history: &[TokenId],
        most: usize,
    ) -> Result<Vec<TokenId>, RuntimeError> {
        #[cfg(feature = "gpu")]
        if let &[token] = self.unread.as_slice()
            && session.is_on_gpu()
        {
            let drawn = session
                .write_ahead(token, sampler, history, self.known, most.min(AHEAD))
                .await?;
            if let Some(drawn) = drawn {
                self.unread.clear();
                self.is_ahead = true;
                self.drawn.clone_from(&drawn);
                return Ok(drawn);
            }
            // Something about the logits is not right: the CPU's sampler says what.
        }
        let _ = most;
        self.finish(session).await?;
        let position = session.position();
        let logits = session.logits().ok_or(RuntimeError::NoTokens)?;
        let token = sampler.sample(&logits[..self.known.min(logits.len())], history, position)?;
        self.drawn = vec![token];
        self.is_ahead = false;
        Ok(self.drawn.clone())
    }

    /// The first `count` tokens of the last draw stand.
    pub(super) fn keep(&mut self, session: &mut Session, count: usize) {
        let drawn = std::mem::take(&mut self.drawn);
        let _ = &session;
        #[cfg(feature = "gpu")]
        if self.is_ahead {
            if count < drawn.len() {
                // It has read what does not stand.
                self.unread.extend(session.take_back());
                self.unread.extend_from_slice(&drawn[..count]);
                return;
            }
            session.commit_ahead();
        }
        if count == drawn.len() {
            self.unread.extend(drawn.last());
        }
    }

    /// Reads what was kept and not read. Can be tried again after an error.
    pub(super) async fn finish(&mut self, session: &mut Session) -> Result<(), RuntimeError> {
        let before = session.position();
        let result = match self.unread.as_slice() {
            [] => Ok(()),
            unread => session.prefill_async(unread).await.map(|_| ()),
        };
        // Of several chunks, the first may have been read.
        let read = session.position().saturating_sub(before) as usize;
        self.unread.drain(..read.min(self.unread.len()));
        #[cfg(feature = "gpu")]
        session.drop_ahead();
        result
    }
}
