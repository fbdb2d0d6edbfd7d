//! Writing text that continues a prompt.

mod writer;

use crate::engine::wait;
use crate::{RuntimeError, Sampler, SamplerConfig, Session};
use ptbr_tokenizer::{TokenId, Tokenizer};
use std::ops::ControlFlow;
use writer::Writer;

/// How to continue a prompt.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Most tokens to write.
    pub max_tokens: usize,
    /// How each is drawn.
    pub sampler: SamplerConfig,
    /// Texts that end the writing; they are not written themselves. An empty one is ignored.
    pub stop: Vec<String>,
    /// Whether to begin with the [BOS] token, as documents do in training. Ignored once the session has read something.
    pub add_bos: bool,
}

impl Default for GenerateOptions {
    /// 100 tokens at temperature 1, after [BOS].
    fn default() -> Self {
        Self {
            max_tokens: 100,
            sampler: SamplerConfig::default(),
            stop: Vec::new(),
            add_bos: true,
        }
    }
}

/// Why the writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// `max_tokens` were written.
    MaxTokens,
    /// The model wrote its end-of-text token.
    EndOfText,
    /// One of the `stop` texts appeared.
    StopText,
    /// The callback broke off.
    Interrupted,
}

/// What [`generate`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Tokens of the prompt, [BOS] included.
    pub prompt_tokens: usize,
    /// The tokens drawn, the end-of-text token not included.
    pub tokens: Vec<TokenId>,
    /// Why it ended.
    pub stop: StopReason,
}

/// Reads `prompt` after whatever the session has read, and writes its continuation: `on_piece` gets the text in pieces of whole characters as it comes (a piece
/// that may be the beginning of a stop text is held back until that is settled), and breaks off by returning [`ControlFlow::Break`].
///
/// The repetition penalty looks at the tokens of this call, prompt included. The draw of a token is numbered by the session's position, so a conversation
/// continued with the same seed does not repeat its draws. Afterwards the session has read every token in [`Generation::tokens`].
///
/// Fails with [`RuntimeError::NoTokens`] when there is nothing to continue: an empty prompt, no [BOS], and a new session.
pub fn generate(
    session: &mut Session,
    prompt: &str,
    options: &GenerateOptions,
    on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, RuntimeError> {
    session.check_wait()?;
    wait(generate_async(session, prompt, options, on_piece))
}

/// [`generate`] where nobody may wait: in a browser, on its GPU.
pub async fn generate_async(
    session: &mut Session,
    prompt: &str,
    options: &GenerateOptions,
    on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, RuntimeError> {
    let model = session.model().clone();
    let tokenizer = model.tokenizer().ok_or(RuntimeError::NoTokenizer)?;
    let sampler = Sampler::new(options.sampler.clone())?;
    let mut history = Vec::new();
    if options.add_bos && session.position() == 0 {
        history.push(tokenizer.bos_id());
    }
    history.extend(tokenizer.encode(prompt));
    session.prefill_async(&history).await?;
    write(session, history, sampler, options, on_piece).await
}

/// [`generate`] after a prompt that the session has read already and has the logits of: `read` is its tokens, at which the repetition penalty looks. `options.add_bos` means nothing here.
///
/// Fails with [`RuntimeError::NoTokens`] when the session has no logits.
pub fn generate_after(
    session: &mut Session,
    read: &[TokenId],
    options: &GenerateOptions,
    on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, RuntimeError> {
    session.check_wait()?;
    wait(async {
        let sampler = Sampler::new(options.sampler.clone())?;
        write(session, read.to_vec(), sampler, options, on_piece).await
    })
}

/// Draws tokens after `history`, which the session has read.
async fn write(
    session: &mut Session,
    mut history: Vec<TokenId>,
    mut sampler: Sampler,
    options: &GenerateOptions,
    on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, RuntimeError> {
    let model = session.model().clone();
    let tokenizer = model.tokenizer().ok_or(RuntimeError::NoTokenizer)?;
    let prompt_tokens = history.len();
    // A vocabulary may be padded beyond the tokenizer's; those ids mean nothing.
    let known = tokenizer.vocab_size();
    let mut stream = tokenizer.decode_stream();
    let mut output = Output {
        stops: options
            .stop
            .iter()
            .filter(|stop| !stop.is_empty())
            .map(String::as_str)
            .collect(),
        pending: String::new(),
        on_piece,
    };
    let mut stop = StopReason::MaxTokens;
    let mut writer = Writer::new(session, known);
    'write: while history.len() - prompt_tokens < options.max_tokens {
        let left = options.max_tokens - (history.len() - prompt_tokens);
        let drawn = writer.draw(&mut sampler, &history, left).await?;
        for (kept, &token) in (0..).zip(&drawn) {
            if token == tokenizer.eos_id() {
                stop = StopReason::EndOfText;
                writer.keep(kept).await?;
                break 'write;
            }
            history.push(token);
            if let Some(reason) = output.push(&stream.push(token)) {
                stop = reason;
                writer.keep(kept + 1).await?;
                break 'write;
            }
        }
        writer.keep(drawn.len()).await?;
    }
    writer.finish().await?;
    if matches!(stop, StopReason::MaxTokens | StopReason::EndOfText) {
        stop = output
            .push(&stream.finish())
            .or_else(|| output.flush())
            .unwrap_or(stop);
    }
    Ok(Generation {
        prompt_tokens,
        tokens: history.split_off(prompt_tokens),
        stop,
    })
}

/// Text on its way out.
struct Output<'a> {
    stops: Vec<&'a str>,
    /// Text that may be the beginning of a stop text.
    pending: String,
    on_piece: &'a mut dyn FnMut(&str) -> ControlFlow<()>,
}

impl Output<'_> {
    /// Takes new text; the reason to stop, if there is one now.
    fn push(&mut self, piece: &str) -> Option<StopReason> {
        self.pending.push_str(piece);
        if let Some(at) = self
            .stops
            .iter()
            .filter_map(|stop| self.pending.find(stop))
            .min()
        {
            self.pending.truncate(at);
            return self.flush().or(Some(StopReason::StopText));
        }
        let held = self
            .stops
            .iter()
            .map(|stop| overlap(&self.pending, stop))
            .max()
            .unwrap_or(0);
        let rest = self.pending.split_off(self.pending.len() - held);
        let reason = self.flush();
        self.pending = rest;
        reason
    }

    fn flush(&mut self) -> Option<StopReason> {
        let text = std::mem::take(&mut self.pending);
        (!text.is_empty() && (self.on_piece)(&text).is_break()).then_some(StopReason::Interrupted)
    }
}

/// Bytes of the longest end of `text` with which `stop` begins.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .rev()
        .find(|&at| text.ends_with(&stop[..at]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<StopReason>) {
        let mut written = Vec::new();
        let mut on_piece = |piece: &str| {
            written.push(piece.to_owned());
            if piece.contains('!') {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let mut output = Output {
            stops: stops.to_vec(),
            pending: String::new(),
            on_piece: &mut on_piece,
        };
        let reason = pieces
            .iter()
            .find_map(|piece| output.push(piece))
            .or_else(|| output.flush());
        (written, reason)
    }

    #[test]
    fn stop_texts_are_found_across_pieces_and_not_written() {
        let strings = |texts: &[&str]| texts.iter().map(|t| t.to_string()).collect::<Vec<_>>();
        assert_eq!(written(&[], &["a", "b"]), (strings(&["a", "b"]), None));
        assert_eq!(
            written(&["fim"], &["o f", "i", "m?"]),
            (strings(&["o "]), Some(StopReason::StopText))
        );
        assert_eq!(
            written(&["fim"], &["o f", "io f", "i"]),
            (strings(&["o ", "fio ", "fi"]), None)
        );
        assert_eq!(
            written(&["xyz", "b"], &["abxyz"]),
            (strings(&["a"]), Some(StopReason::StopText)),
            "the first in the text ends it"
        );
        assert_eq!(
            written(&["ção!"], &["canç", "ão", "..."]),
            (strings(&["can", "ção..."]), None)
        );
        assert_eq!(
            written(&["aab"], &["aa", "ab"]),
            (strings(&["a"]), Some(StopReason::StopText))
        );
        assert_eq!(
            written(&[], &["a!", "b"]),
            (strings(&["a!"]), Some(StopReason::Interrupted))
        );
    }
}
