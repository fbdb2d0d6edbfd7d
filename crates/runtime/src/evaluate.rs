//! How well a model predicts a text.

use crate::{Model, RuntimeError, Session};
use ptbr_tokenizer::{TokenId, Tokenizer};
use std::ops::ControlFlow;
use std::sync::Arc;

/// How well a model predicts a text. The loss is a mean over tokens; bits per byte do not depend on the tokenizer and compare across models.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EvalMetrics {
    /// Mean negative log-likelihood in nats a token.
    pub loss: f64,
    /// `e^loss`.
    pub perplexity: f64,
    /// Negative log-likelihood in bits, all tokens together, over the bytes of UTF-8 that the predicted tokens stand for.
    pub bits_per_byte: f64,
    /// Share of tokens that were the most likely one (the lowest id among equals).
    pub accuracy: f64,
    /// Tokens predicted: all but the first.
    pub tokens: u64,
}

/// Predicts every token of `tokens` but the first, once, each from all before it: one session reads the whole, carrying its state.
///
/// Nothing happens at document boundaries: the state is carried over them, and the tokens that mark them (`[EOS]`, `[BOS]`) are predicted like others. Special
/// tokens cost bits and stand for zero bytes, so they raise bits per byte slightly: it is the price of the text with its divisions.
///
/// `progress(done, total)` is called after each token; [`ControlFlow::Break`] ends with [`RuntimeError::Stopped`].
///
/// Fails with [`RuntimeError::NoTokenizer`] (bytes are counted by it), [`RuntimeError::TokenOutOfRange`], [`RuntimeError::NothingToEvaluate`], and
/// [`RuntimeError::Logits`] when a loss is not finite.
pub fn evaluate(
    model: &Arc<Model>,
    tokens: &[TokenId],
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<EvalMetrics, RuntimeError> {
    evaluate_session(&mut Session::new(Arc::clone(model)), tokens, progress)
}

/// [`evaluate`] with a session of the caller's: its adapter, and what it has read before.
pub fn evaluate_session(
    session: &mut Session,
    tokens: &[TokenId],
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<EvalMetrics, RuntimeError> {
    let model = Arc::clone(session.model());
    let tokenizer = model.tokenizer().ok_or(RuntimeError::NoTokenizer)?;
    let (inputs, targets) = match tokens {
        [inputs @ .., _] if !inputs.is_empty() => (inputs, &tokens[1..]),
        _ => {
            return Err(RuntimeError::NothingToEvaluate {
                tokens: tokens.len(),
            });
        }
    };
    let bytes: u64 = targets
        .iter()
        .filter_map(|&token| tokenizer.token_bytes(token))
        .map(|bytes| bytes.len() as u64)
        .sum();
    if bytes == 0 {
        return Err(RuntimeError::NothingToEvaluate {
            tokens: tokens.len(),
        });
    }
    model.check_tokens(tokens)?;
    let total = targets.len() as u64;
    let mut losses = Losses::default();
    let read = session.prefill_all(inputs, &mut |index, logits| {
        losses.add(logits, targets[index])?;
        progress(index as u64 + 1, total)
    });
    let Losses { nats, right, .. } = losses.after(read)?;
    let loss = nats / total as f64;
    Ok(EvalMetrics {
        loss,
        perplexity: loss.exp(),
        bits_per_byte: nats / std::f64::consts::LN_2 / bytes as f64,
        accuracy: right as f64 / total as f64,
        tokens: total,
    })
}

/// What a text costs, added up token by token.
#[derive(Default)]
pub(crate) struct Losses {
    /// Sum of the negative log-likelihoods.
    pub(crate) nats: f64,
    /// Tokens that were the most likely one.
    pub(crate) right: u64,
    failed: Option<RuntimeError>,
    exponentials: Vec<f32>,
}

impl Losses {
    /// Adds the token that came; breaks off when its loss is no number.
    pub(crate) fn add(&mut self, logits: &[f32], target: TokenId) -> ControlFlow<()> {
        let id = usize::from(target);
        let (loss, best) = cross_entropy(logits, id, &mut self.exponentials);
        if !loss.is_finite() {
            self.failed = Some(RuntimeError::Logits {
                token: target,
                value: logits[id],
            });
            return ControlFlow::Break(());
        }
        self.nats += loss;
        self.right += u64::from(best == id);
        ControlFlow::Continue(())
    }

    /// The sums after the reading that they were added up in, or why there are none.
    pub(crate) fn after(mut self, read: Result<(), RuntimeError>) -> Result<Self, RuntimeError> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => read.map(|()| self),
        }
    }
}

/// `−log softmax(logits)[target]`, and the id of the largest logit (the lowest among equals).
fn cross_entropy(logits: &[f32], target: usize, exponentials: &mut Vec<f32>) -> (f64, usize) {
    let (best, max) =
        logits
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (id, &logit)| {
                if logit > best.1 { (id, logit) } else { best }
            });
    exponentials.clear();
    exponentials.extend(logits.iter().map(|logit| logit - max));
    ptbr_kernels::cpu::exp_f32(exponentials);
    // Each exponential has f32's precision; their sum must not lose it over 65,536 of them.
    let sum: f64 = exponentials.iter().map(|&e| f64::from(e)).sum();
    (sum.ln() + f64::from(max) - f64::from(logits[target]), best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_of_known_logits() {
        let logits = [1.0f32, 3.0, -2.0, 3.0];
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        for (target, &logit) in logits.iter().enumerate() {
            let (loss, best) = cross_entropy(&logits, target, &mut Vec::new());
            assert!(
                (loss - (sum.ln() - f64::from(logit))).abs() < 1e-7,
                "target {target}: {loss}"
            );
            assert_eq!(best, 1);
        }
        assert!(
            cross_entropy(&[f32::NAN, 1.0], 1, &mut Vec::new())
                .0
                .is_nan()
        );
    }
}
