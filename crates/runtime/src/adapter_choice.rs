//! Which adapter a text is for: the one that makes it most likely.

use std::ops::ControlFlow;
use std::sync::Arc;

use ptbr_tokenizer::TokenId;

use crate::engine::wait;
use crate::evaluate::Losses;
use crate::{LoadedAdapter, Model, RuntimeError, Session};

/// How much more likely, in nats, a text must be with an adapter than with the model alone for the adapter to be taken: one nat is e times as likely. Below that the difference is that of a
/// word or two, and the model alone is the safer guess.
pub const MIN_LEAD: f64 = 1.0;

/// What [`choose_adapter`] found.
#[derive(Debug)]
pub struct AdapterVerdict {
    /// A session that has read the text, with the adapter that was chosen; its logits are those after the text.
    pub session: Session,
    /// The one that was chosen: a number of the candidates, or `None` for the model alone.
    pub chosen: Option<usize>,
    /// `−ln p` of the text in nats, the model alone: all tokens but the first, of which nothing is known before.
    pub base: f64,
    /// The same with each candidate.
    pub candidates: Vec<f64>,
    /// Tokens that were predicted. With none, of a text of one token, there is nothing to choose by, and it is the model alone.
    pub predicted: usize,
}

impl AdapterVerdict {
    /// By how many nats the text is more likely with the best candidate than with the model alone; negative when it is less likely with all. `None` without candidates.
    pub fn lead(&self) -> Option<f64> {
        let best = self.candidates.iter().copied().reduce(f64::min)?;
        Some(self.base - best)
    }
}

/// Reads `tokens` with the model alone and with each of `candidates`, and takes the adapter under which they are most likely, the first of equals; the model alone where the lead is less than
/// [`MIN_LEAD`]. The text is read once with each, and not again with the one that is taken.
///
/// Fails with [`RuntimeError::NoTokens`] for an empty text, [`RuntimeError::TokenOutOfRange`], [`RuntimeError::Logits`] when the model computes no numbers, and as
/// [`Session::set_adapter`] for a candidate that cannot be used.
pub fn choose_adapter(
    model: &Arc<Model>,
    candidates: &[Arc<LoadedAdapter>],
    tokens: &[TokenId],
) -> Result<AdapterVerdict, RuntimeError> {
    model.executor().check_wait()?;
    wait(choose_adapter_async(model, candidates, tokens))
}

/// [`choose_adapter`] where nobody may wait: in a browser, on its GPU.
pub async fn choose_adapter_async(
    model: &Arc<Model>,
    candidates: &[Arc<LoadedAdapter>],
    tokens: &[TokenId],
) -> Result<AdapterVerdict, RuntimeError> {
    let (mut session, base) = read(model, None, tokens).await?;
    let (mut chosen, mut best) = (None, base - MIN_LEAD);
    let mut losses = Vec::with_capacity(candidates.len());
    for (number, candidate) in candidates.iter().enumerate() {
        let (own, loss) = read(model, Some(candidate), tokens).await?;
        losses.push(loss);
        // The first only has to reach the lead, the others have to be better than the best so far.
        if loss < best || (chosen.is_none() && loss <= best) {
            (session, chosen, best) = (own, Some(number), loss);
        }
    }
    Ok(AdapterVerdict {
        session,
        chosen,
        base,
        candidates: losses,
        predicted: tokens.len() - 1,
    })
}

/// A session that has read the text, and its loss in nats.
async fn read(
    model: &Arc<Model>,
    adapter: Option<&Arc<LoadedAdapter>>,
    tokens: &[TokenId],
) -> Result<(Session, f64), RuntimeError> {
    let Some((_, targets)) = tokens.split_first() else {
        return Err(RuntimeError::NoTokens);
    };
    let mut session = Session::new(Arc::clone(model));
    session.set_adapter(adapter)?;
    let mut losses = Losses::default();
    let read = session
        .prefill_all_async(tokens, &mut |index, logits| match targets.get(index) {
            Some(&target) => losses.add(logits, target),
            // After the last token nothing more is known.
            None => ControlFlow::Continue(()),
        })
        .await;
    Ok((session, losses.after(read)?.nats))
}
