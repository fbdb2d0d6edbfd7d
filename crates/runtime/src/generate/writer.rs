//! Drawing tokens and reading them again, one after the other or, on a GPU, several without a word in between.

#[cfg(feature = "gpu")]
use crate::session::AHEAD;
use crate::{RuntimeError, Sampler, Session};
use ptbr_tokenizer::TokenId;

/// Draws from a session's logits. After [`Writer::draw`], [`Writer::keep`] says how many of the tokens stand; after [`Writer::finish`] the session has read these and no other.
pub(super) struct Writer<'a> {
    session: &'a mut Session,
    /// Ids from here on are never drawn.
    known: usize,
    /// The last draw.
    drawn: Vec<TokenId>,
    /// Whether the session has read all of it but the last token.
    is_ahead: bool,
    /// Kept, but not read yet.
    unread: Option<TokenId>,
}

impl<'a> Writer<'a> {
    /// For a session that has logits.
    pub(super) fn new(session: &'a mut Session, known: usize) -> Self {
        Self {
            session,
            known,
            drawn: Vec::new(),
            is_ahead: false,
            unread: None,
        }
    }

    /// Draws one token or more, at most `most`. `history` ends with the tokens kept so far.
    pub(super) async fn draw(
        &mut self,
        sampler: &mut Sampler,
        history: &[TokenId],
        most: usize,
    ) -> Result<Vec<TokenId>, RuntimeError> {
        #[cfg(feature = "gpu")]
        if let Some(token) = self.unread
            && self.session.is_on_gpu()
        {
            let drawn = self
                .session
                .write_ahead(token, sampler, history, self.known, most.min(AHEAD))
                .await?;
            if let Some(drawn) = drawn {
                self.unread = None;
                self.is_ahead = true;
                self.drawn.clone_from(&drawn);
                return Ok(drawn);
            }
            // Something about the logits is not right: the CPU's sampler says what.
        }
        let _ = most;
        self.finish().await?;
        let position = self.session.position();
        let logits = self.session.logits().ok_or(RuntimeError::NoTokens)?;
        let token = sampler.sample(&logits[..self.known.min(logits.len())], history, position)?;
        self.drawn = vec![token];
        self.is_ahead = false;
        Ok(self.drawn.clone())
    }

    /// The first `count` tokens of the last draw stand.
    pub(super) async fn keep(&mut self, count: usize) -> Result<(), RuntimeError> {
        let drawn = std::mem::take(&mut self.drawn);
        let whole = count == drawn.len();
        if whole {
            self.unread = drawn.last().copied();
        }
        #[cfg(feature = "gpu")]
        match (self.is_ahead, whole) {
            (true, true) => self.session.commit_ahead(),
            // It has read what does not stand.
            (true, false) => self.session.read_again(&drawn[..count]).await?,
            (false, _) => {}
        }
        Ok(())
    }

    /// Reads what was kept and not read.
    pub(super) async fn finish(&mut self) -> Result<(), RuntimeError> {
        if let Some(token) = self.unread.take() {
            self.session.decode_async(token).await?;
        }
        #[cfg(feature = "gpu")]
        self.session.drop_ahead();
        Ok(())
    }
}
