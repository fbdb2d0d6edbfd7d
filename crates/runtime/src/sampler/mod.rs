//! Drawing the next token from logits.
//!
//! A draw is a pure function of (logits, history, configuration, position): there is no generator to save, and a restored session goes on as if it had never
//! stopped. After one subtraction and one multiplication, each rounded as IEEE 754 demands, everything is integer arithmetic ([`token_weight`]): equal logits give
//! the same token on every machine, and a GPU can do the same.
//!
//! The order of the steps:
//! 1. **Repetition penalty** θ (Keskar et al. 2019, arXiv:1909.05858, with the sign rule that is usual today): each token among the last `repetition_window`
//!    of the history, once however often it occurs: `l ← l · (1/θ)` if `l > 0`, else `l ← l · θ`.
//! 2. **Temperature** T: the weight of token i is `exp((l_i − max l) / T)`. T = 0 takes the largest logit, the lowest id among equals, and ends here.
//! 3. **Top-k**: the k largest logits stay; among equals the lower ids.
//! 4. **Top-p** (Holtzman et al. 2019, arXiv:1904.09751): of these, largest first, the fewest whose weights sum to at least p of the total.
//! 5. **Draw**: ChaCha8 with the seed as key and the position as stream gives 64 bits; what stays is walked in the order of ids.

use crate::RuntimeError;
use ptbr_kernels::cpu::token_weight;
use ptbr_tokenizer::TokenId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How to draw. Checked by [`Sampler::new`].
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerConfig {
    /// 0 takes the most likely token; up to 100. 1 leaves the model's distribution as it is.
    pub temperature: f32,
    /// Only the k most likely tokens; 0 leaves all.
    pub top_k: usize,
    /// Only the most likely tokens that together have this probability; above 0, 1 leaves all.
    pub top_p: f32,
    /// Above 1 makes tokens that occurred lately less likely, below 1 more; 1 changes nothing.
    pub repetition_penalty: f32,
    /// How many of the last tokens the penalty looks at; 0 is all of them.
    pub repetition_window: usize,
    /// Another seed gives another text.
    pub seed: u64,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            repetition_penalty: 1.0,
            repetition_window: 64,
            seed: 0,
        }
    }
}

impl SamplerConfig {
    /// The most likely token, always.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }
}

/// Draws tokens; keeps only memory that it uses again.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplerConfig,
    /// `log2(e) / temperature`: weights are powers of two.
    scale: f32,
    /// Logits after the penalty.
    logits: Vec<f32>,
    candidates: Vec<TokenId>,
}

/// Candidates that top-p looks at before it sorts them all: in a trained model they nearly always suffice.
const TOP_P_FIRST: usize = 256;

impl Sampler {
    /// Fails with [`RuntimeError::Sampler`] when a parameter is out of its range.
    pub fn new(config: SamplerConfig) -> Result<Self, RuntimeError> {
        let refuse = |parameter, value: f32, allowed| {
            Err(RuntimeError::Sampler {
                parameter,
                value,
                allowed,
            })
        };
        if !(0.0..=100.0).contains(&config.temperature)
            || (config.temperature > 0.0 && config.temperature < 0.001)
        {
            return refuse(
                "temperature",
                config.temperature,
                "0 (most likely token), or 0.001 to 100",
            );
        }
        if !(config.top_p > 0.0 && config.top_p <= 1.0) {
            return refuse(
                "top_p",
                config.top_p,
                "above 0, up to 1 (1 leaves all tokens)",
            );
        }
        if !(0.01..=100.0).contains(&config.repetition_penalty) {
            return refuse(
                "repetition_penalty",
                config.repetition_penalty,
                "0.01 to 100 (1 changes nothing)",
            );
        }
        // At 0 nothing is weighed.
        let scale = (std::f64::consts::LOG2_E / f64::from(config.temperature)) as f32;
        Ok(Self {
            config,
            scale,
            logits: Vec::new(),
            candidates: Vec::new(),
        })
    }

    /// What it was made with.
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// The token after `history`.
    ///
    /// `logits` has one element per token id; `position` is the number of tokens that the model has read, and numbers the draw. Minus infinity forbids a token.
    /// Fails with [`RuntimeError::Logits`] on NaN, on plus infinity, on more than 65,536 logits and when nothing is allowed.
    pub fn sample(
        &mut self,
        logits: &[f32],
        history: &[TokenId],
        position: u64,
    ) -> Result<TokenId, RuntimeError> {
        check(logits)?;
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.penalise(history);
        let best = greedy(&self.logits);
        let max = self.logits[usize::from(best)];
        if max == f32::NEG_INFINITY {
            return Err(RuntimeError::Logits {
                token: best,
                value: max,
            });
        }
        if self.config.temperature == 0.0 {
            return Ok(best);
        }
        // Ids fit TokenId: `check` saw to it.
        self.candidates.clear();
        self.candidates.extend(
            (0..=TokenId::MAX)
                .take(logits.len())
                .filter(|&id| token_weight(self.logits[usize::from(id)], max, self.scale) > 0),
        );
        self.keep_top_k();
        self.keep_top_p(max);
        self.candidates.sort_unstable();
        let total: u64 = self.candidates.iter().map(|&id| self.weight(id, max)).sum();
        let target = (u128::from(self.random(position)) * u128::from(total)) >> 64;
        let mut sum = 0u128;
        for &id in &self.candidates {
            sum += u128::from(self.weight(id, max));
            if sum > target {
                return Ok(id);
            }
        }
        // Never reached: the target is below the total. The most likely token is a right answer all the same.
        Ok(best)
    }

    /// 64 bits that depend on the seed and the position alone.
    pub(crate) fn random(&self, position: u64) -> u64 {
        let mut key = *b"........ptbr-slm token draw 1...";
        key[..8].copy_from_slice(&self.config.seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(position);
        rng.next_u64()
    }

    fn penalise(&mut self, history: &[TokenId]) {
        let penalty = self.config.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let window = if self.config.repetition_window == 0 {
            history.len()
        } else {
            self.config.repetition_window
        };
        self.candidates.clear();
        self.candidates
            .extend_from_slice(&history[history.len().saturating_sub(window)..]);
        self.candidates.sort_unstable();
        self.candidates.dedup();
        for &id in &self.candidates {
            if let Some(logit) = self.logits.get_mut(usize::from(id)) {
                *logit *= if *logit > 0.0 { 1.0 / penalty } else { penalty };
            }
        }
    }

    fn weight(&self, id: TokenId, max: f32) -> u64 {
        u64::from(token_weight(self.logits[usize::from(id)], max, self.scale))
    }

    fn keep_top_k(&mut self) {
        let k = self.config.top_k;
        if k != 0 && k < self.candidates.len() {
            let logits = &self.logits;
            self.candidates
                .select_nth_unstable_by(k - 1, |&a, &b| larger_first(logits, a, b));
            self.candidates.truncate(k);
        }
    }

    fn keep_top_p(&mut self, max: f32) {
        if self.config.top_p == 1.0 {
            return;
        }
        let total: u64 = self.candidates.iter().map(|&id| self.weight(id, max)).sum();
        // p in 32 bits, exactly: a float times a power of two. The product is rounded up, so that "at least p" is kept.
        let p = (f64::from(self.config.top_p) * 4_294_967_296.0) as u128;
        let enough = (p * u128::from(total)).div_ceil(1 << 32);
        let mut looked_at = TOP_P_FIRST.min(self.candidates.len());
        loop {
            let logits = &self.logits;
            if looked_at < self.candidates.len() {
                self.candidates
                    .select_nth_unstable_by(looked_at - 1, |&a, &b| larger_first(logits, a, b));
            }
            self.candidates[..looked_at].sort_unstable_by(|&a, &b| larger_first(logits, a, b));
            let mut sum = 0u128;
            for kept in 0..looked_at {
                sum += u128::from(self.weight(self.candidates[kept], max));
                if sum >= enough {
                    self.candidates.truncate(kept + 1);
                    return;
                }
            }
            if looked_at == self.candidates.len() {
                return;
            }
            looked_at = self.candidates.len();
        }
    }
}

/// The id of the largest logit, the lowest among equals. `logits` has 1 to 65,536 elements and no NaN.
fn greedy(logits: &[f32]) -> TokenId {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &logit) in (0..=TokenId::MAX).zip(logits) {
        if logit > best.1 {
            best = (id, logit);
        }
    }
    best.0
}

fn larger_first(logits: &[f32], a: TokenId, b: TokenId) -> std::cmp::Ordering {
    // No NaN gets here, and zero equals minus zero.
    logits[usize::from(b)]
        .partial_cmp(&logits[usize::from(a)])
        .unwrap_or(std::cmp::Ordering::Equal)
        .then(a.cmp(&b))
}

fn check(logits: &[f32]) -> Result<(), RuntimeError> {
    if logits.is_empty() || logits.len() > usize::from(TokenId::MAX) + 1 {
        return Err(RuntimeError::LogitsLength {
            found: logits.len(),
        });
    }
    match (0..=TokenId::MAX)
        .zip(logits)
        .find(|(_, l)| l.is_nan() || **l == f32::INFINITY)
    {
        Some((token, &value)) => Err(RuntimeError::Logits { token, value }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
