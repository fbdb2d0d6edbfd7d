//! Tokens a second of one model.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use ptbr_runtime::{Model, Session};
use ptbr_tokenizer::TokenId;
use serde::Serialize;

/// Tokens of the prompt whose reading is measured.
pub const PREFILL_TOKENS: usize = 256;

/// Runs of each measurement: their median, and odd so that there is one.
const RUNS: usize = 7;

/// Seconds that a run of decoding should take: long beside the clock's grain and a thread's start.
const DECODE_SECONDS: f64 = 0.4;

/// Tokens a second in several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// The run in the middle.
    pub median: f64,
    /// The slowest run.
    pub lowest: f64,
    /// The fastest run.
    pub highest: f64,
}

impl Speed {
    /// From the tokens a second of each run, of which there is one at least; of an even number the slower one in the middle.
    pub fn of(mut runs: Vec<f64>) -> Self {
        runs.sort_by(f64::total_cmp);
        let at = |index: usize| runs.get(index).copied().unwrap_or(0.0);
        let last = runs.len().saturating_sub(1);
        Self {
            median: at(last / 2),
            lowest: at(0),
            highest: at(last),
        }
    }
}

/// What [`measure`] found.
pub struct Measured {
    /// One token after the other.
    pub decode: Speed,
    /// [`PREFILL_TOKENS`] tokens in the session's chunks, with the logits after the last.
    pub prefill: Speed,
    /// Bytes of weights that decoding a token reads.
    pub weight_bytes_per_token: u64,
}

/// Measures on the threads of the pool that calls.
///
/// # Errors
/// What a session reports.
pub fn measure(model: &Arc<Model>) -> Result<Measured> {
    let vocab = model.config().vocab_size();
    // Tokens from all over the embedding; which ones makes no difference to the time.
    let text: Vec<TokenId> = (0..PREFILL_TOKENS)
        .map(|i| (i * 7919 % vocab) as TokenId)
        .collect();

    let mut session = Session::new(Arc::clone(model));
    let before = session.work();
    // The first token brings weights and scratch memory to where they stay; the next ones say how many a run takes.
    session.decode(text[0])?;
    let weight_bytes_per_token = session.work().since(before).weight_bytes;
    let first = decode(&mut session, &text, 4)?;
    let tokens = (first * DECODE_SECONDS).clamp(4.0, 4096.0) as usize;
    let mut runs = [0.0; RUNS];
    for run in &mut runs {
        *run = decode(&mut session, &text, tokens)?;
    }
    let decode = Speed::of(runs.to_vec());

    // Once without the clock, for the memory that a chunk takes.
    session.prefill(&text)?;
    for run in &mut runs {
        session.reset()?;
        let start = Instant::now();
        session.prefill(&text)?;
        *run = PREFILL_TOKENS as f64 / start.elapsed().as_secs_f64();
    }
    Ok(Measured {
        decode,
        prefill: Speed::of(runs.to_vec()),
        weight_bytes_per_token,
    })
}

/// Tokens a second while decoding `tokens` tokens.
fn decode(session: &mut Session, text: &[TokenId], tokens: usize) -> Result<f64> {
    let start = Instant::now();
    for &token in text.iter().cycle().take(tokens) {
        session.decode(token)?;
    }
    Ok(tokens as f64 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_in_the_middle_counts() {
        let speed = Speed::of(vec![3.0, 1.0, 7.0, 5.0, 2.0, 100.0, 4.0]);
        let expected = Speed {
            median: 4.0,
            lowest: 1.0,
            highest: 100.0,
        };
        assert_eq!(speed, expected);
    }
}
