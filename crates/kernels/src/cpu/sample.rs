//! Twin of `shaders/sample.wgsl`.

use super::rows::{Row, out_of_range};
use super::token_weight::token_weight;
use crate::sequence::check_len;
use crate::{KernelError, Sequence};

const KERNEL: &str = "sample";

/// In place of a token: a logit is NaN or plus infinity, or everything is forbidden.
pub const NO_TOKEN: u32 = u32::MAX;

/// Tokens there can be: ids are 16 bits.
const MAX_VOCAB: u32 = 65_536;

/// How one row draws; eight words in the shader. What each parameter means is said where the CPU samples.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SampleSettings {
    /// `log2(e) / temperature`; 0 takes the largest logit.
    pub scale: f32,
    /// Tokens that stay; 0 leaves all.
    pub top_k: u32,
    /// Lower word of p · 2^32.
    pub top_p_low: u32,
    /// Its upper word; 1 leaves all tokens.
    pub top_p_high: u32,
    /// What negative logits of tokens in the window are multiplied with.
    pub penalty: f32,
    /// What positive ones are.
    pub inverse_penalty: f32,
    /// Ids from here on are never drawn.
    pub known: u32,
    /// 0.
    pub reserved: u32,
}

impl SampleSettings {
    /// From temperature (0 takes the largest logit), top-k (0 leaves all), top-p (1 leaves all), repetition penalty (1 changes nothing) and the number of token
    /// ids that may be drawn.
    pub fn new(temperature: f32, top_k: usize, top_p: f32, penalty: f32, known: u32) -> Self {
        // Exact: a float times a power of two.
        let p = (f64::from(top_p) * 4_294_967_296.0) as u64;
        let scale = (std::f64::consts::LOG2_E / f64::from(temperature)) as f32;
        Self {
            scale: if temperature == 0.0 { 0.0 } else { scale },
            top_k: u32::try_from(top_k).unwrap_or(0),
            top_p_low: p as u32,
            top_p_high: (p >> 32) as u32,
            penalty,
            inverse_penalty: 1.0 / penalty,
            known,
            reserved: 0,
        }
    }
}

/// The `params` binding of `sample.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleParams {
    /// V, up to 65,536.
    pub vocab: u32,
    /// R.
    pub rows: u32,
    /// Steps that `random` and `drawn` have room for.
    pub steps: u32,
    /// Tokens that a history keeps.
    pub capacity: u32,
}

impl SampleParams {
    /// As the shader reads them.
    pub fn words(&self) -> [u32; 4] {
        [self.vocab, self.rows, self.steps, self.capacity]
    }
}

/// Draws the next token of each row, and makes everything ready for the step that reads it.
///
/// `logits [R, V]`, `history [R, 2 + capacity]` (tokens so far, window, 0 for all, then a ring of the last ones: token number n is in place n % capacity),
/// `settings [R]`, `random [steps, R]` (lower, upper word of the 64 bits of a draw), `rows` of which the first R get the tokens, `seqs` of which the first R have
/// their slots swapped, `drawn [R + steps · R]`: the steps that each row has done, then the tokens of each step, [`NO_TOKEN`] when nothing can be drawn. A row that
/// has done all its steps is left alone.
#[allow(clippy::too_many_arguments, reason = "the bindings of the shader")]
pub fn sample(
    logits: &[f32],
    history: &mut [u32],
    settings: &[SampleSettings],
    random: &[[u32; 2]],
    rows: &mut [Row],
    seqs: &mut [Sequence],
    drawn: &mut [u32],
    params: &SampleParams,
) -> Result<(), KernelError> {
    check(logits, history, settings, random, rows, seqs, drawn, params)?;
    let count = params.rows as usize;
    let vocab = params.vocab as usize;
    let ring = (params.capacity as usize).saturating_add(2);
    for r in 0..count {
        let step = drawn[r] as usize;
        if step >= params.steps as usize {
            continue;
        }
        let history = &mut history[r * ring..][..ring];
        let [low, high] = random[step * count + r];
        let bits = u64::from(high) << 32 | u64::from(low);
        let known = settings[r].known as usize;
        let token = draw(&logits[r * vocab..][..known], history, &settings[r], bits);
        drawn[r] += 1;
        drawn[count + step * count + r] = token.unwrap_or(NO_TOKEN);
        // A row that nothing was drawn for goes on with a token that exists.
        rows[r].token = token.unwrap_or(0);
        let seq = &mut seqs[r];
        std::mem::swap(&mut seq.slot_in, &mut seq.slot_out);
        if params.capacity > 0 {
            history[2 + (history[0] % params.capacity) as usize] = rows[r].token;
        }
        history[0] = history[0].wrapping_add(1);
    }
    Ok(())
}

/// One draw; `None` when a logit is NaN or plus infinity, or everything is forbidden.
fn draw(logits: &[f32], history: &[u32], settings: &SampleSettings, bits: u64) -> Option<u32> {
    if logits.iter().any(|l| l.is_nan() || *l == f32::INFINITY) {
        return None;
    }
    let logits = penalised(logits, history, settings);
    let of = |id: u32| logits[id as usize];
    let larger_first = |&a: &u32, &b: &u32| of(b).total_cmp(&of(a)).then(a.cmp(&b));
    let mut ids: Vec<u32> = (0..).take(logits.len()).collect();
    ids.sort_unstable_by(larger_first);
    let &best = ids.first()?;
    let max = of(best);
    if max == f32::NEG_INFINITY {
        return None;
    }
    if settings.scale == 0.0 {
        return Some(best);
    }
    let weight = |id: u32| u64::from(token_weight(of(id), max, settings.scale));
    ids.retain(|&id| weight(id) > 0);
    if settings.top_k != 0 {
        ids.truncate(settings.top_k as usize);
    }
    if settings.top_p_high == 0 {
        let total: u64 = ids.iter().map(|&id| weight(id)).sum();
        let product = u128::from(settings.top_p_low) * u128::from(total);
        // Rounded up, so that "at least p" is kept; the first is kept whatever p is.
        let enough = product.div_ceil(1 << 32);
        let mut sum = 0;
        let cut = ids.iter().position(|&id| {
            sum += u128::from(weight(id));
            sum >= enough
        });
        ids.truncate(cut.map_or(ids.len(), |last| last + 1));
    }
    ids.sort_unstable();
    let total: u64 = ids.iter().map(|&id| weight(id)).sum();
    let target = (u128::from(bits) * u128::from(total)) >> 64;
    let mut sum = 0;
    let drawn = ids.iter().find(|&&id| {
        sum += u128::from(weight(id));
        sum > target
    });
    // Nothing has a weight when a penalty below 1 has made the largest logit infinite.
    Some(drawn.copied().unwrap_or(best))
}

/// The logits after the penalty, minus zero as zero.
fn penalised(logits: &[f32], history: &[u32], settings: &SampleSettings) -> Vec<f32> {
    let mut logits = logits.to_vec();
    if settings.penalty != 1.0 {
        let (count, window, ring) = (history[0], history[1], &history[2..]);
        let window = if window == 0 { count } else { window };
        let looked_at = (ring.len() as u32).min(window).min(count);
        let mut ids: Vec<u32> = (count - looked_at..count)
            .map(|n| ring[n as usize % ring.len()])
            .collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit *= if *logit > 0.0 {
                    settings.inverse_penalty
                } else {
                    settings.penalty
                };
            }
        }
    }
    for logit in &mut logits {
        *logit += 0.0;
    }
    logits
}

#[allow(clippy::too_many_arguments, reason = "the bindings of the shader")]
fn check(
    logits: &[f32],
    history: &[u32],
    settings: &[SampleSettings],
    random: &[[u32; 2]],
    rows: &[Row],
    seqs: &[Sequence],
    drawn: &[u32],
    params: &SampleParams,
) -> Result<(), KernelError> {
    let count = params.rows as usize;
    let steps = params.steps as usize;
    if params.vocab > MAX_VOCAB {
        return out_of_range(KERNEL, "params", 0, params.vocab, MAX_VOCAB as usize + 1);
    }
    let of_logits = count.saturating_mul(params.vocab as usize);
    check_len(KERNEL, "logits", logits.len(), of_logits)?;
    let ring = (params.capacity as usize).saturating_add(2);
    check_len(KERNEL, "history", history.len(), count.saturating_mul(ring))?;
    check_len(KERNEL, "settings", settings.len(), count)?;
    check_len(KERNEL, "random", random.len(), count.saturating_mul(steps))?;
    let of_drawn = count.saturating_mul(steps.saturating_add(1));
    check_len(KERNEL, "drawn", drawn.len(), of_drawn)?;
    // Rows and sequences behind the first R may be there for others.
    check_len(KERNEL, "rows", rows.len().min(count), count)?;
    check_len(KERNEL, "seqs", seqs.len().min(count), count)?;
    match settings.iter().position(|s| s.known > params.vocab) {
        Some(r) => out_of_range(
            KERNEL,
            "settings",
            r,
            settings[r].known,
            params.vocab as usize + 1,
        ),
        None => Ok(()),
    }
}
