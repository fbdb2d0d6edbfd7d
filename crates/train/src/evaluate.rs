//! Loss, perplexity, accuracy and bits per byte of a model on held-out tokens.

use std::sync::Arc;

use ptbr_dataset::{DatasetError, MmapDataset, ValidationWindow, validation_windows};
use ptbr_model::RwkvConfig;
use serde::Serialize;

use crate::collective::Place;
use crate::model::{BLOCK_LOGITS, Rwkv, Windows};

/// What an evaluation found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EvalMetrics {
    /// Mean cross-entropy, nats per token.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Total cross-entropy in bits over the bytes that the predicted tokens stand for: comparable between tokenizers.
    pub bits_per_byte: f64,
    /// Share of tokens that were the most likely one.
    pub accuracy: f64,
    /// Tokens predicted.
    pub tokens: u64,
}

/// Reads held-out tokens in windows that start without history, as training does.
#[derive(Debug, Clone)]
pub struct Evaluator {
    /// Windows in a batch.
    pub batch_size: usize,
    /// Tokens in a window.
    pub seq_len: usize,
    /// Tokens to predict at most; 0 for all.
    pub max_tokens: u64,
    /// Bytes that each token stands for.
    pub token_bytes: Arc<Vec<u32>>,
}

/// Sums over windows, which add up over the processes that share them out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    nats: f64,
    correct: f64,
    tokens: u64,
    bytes: u64,
}

impl Sums {
    /// As numbers, to be sent to other processes: every count is far below 2^53.
    pub fn to_array(self) -> [f64; 4] {
        let (tokens, bytes) = (self.tokens as f64, self.bytes as f64);
        [self.nats, self.correct, tokens, bytes]
    }

    /// The sum of what [`to_array`](Self::to_array) made, in this order.
    pub fn total(parts: &[[f64; 4]]) -> Self {
        let sum = |i: usize| parts.iter().map(|part| part[i]).sum::<f64>();
        Self {
            nats: sum(0),
            correct: sum(1),
            tokens: sum(2) as u64,
            bytes: sum(3) as u64,
        }
    }

    /// What they say.
    pub fn metrics(self) -> EvalMetrics {
        let loss = self.nats / self.tokens.max(1) as f64;
        EvalMetrics {
            loss,
            perplexity: loss.exp(),
            bits_per_byte: self.nats / std::f64::consts::LN_2 / self.bytes.max(1) as f64,
            accuracy: self.correct / self.tokens.max(1) as f64,
            tokens: self.tokens,
        }
    }
}

impl Evaluator {
    /// Evaluates `model` on `data`.
    pub fn evaluate(
        &self,
        model: &Rwkv,
        config: &RwkvConfig,
        data: &MmapDataset,
    ) -> Result<EvalMetrics, DatasetError> {
        Ok(self.share(model, config, data, Place::SOLO)?.metrics())
    }

    /// The sums over the batches of windows that fall to the process at `place`: they are dealt out in turn.
    pub(crate) fn share(
        &self,
        model: &Rwkv,
        config: &RwkvConfig,
        data: &MmapDataset,
        place: Place,
    ) -> Result<Sums, DatasetError> {
        // Without autodiff nothing is kept for a backward pass.
        let model = burn::module::Module::valid(model);
        let mut sums = Sums::default();
        let mut turn = (0..place.world).cycle();
        let mut add = |batch: &[ValidationWindow<'_>]| {
            if turn.next() == Some(place.rank) {
                self.add(&model, config, batch, &mut sums);
            }
        };
        let mut batch: Vec<ValidationWindow<'_>> = Vec::with_capacity(self.batch_size);
        for window in validation_windows(data, self.seq_len, self.max_tokens)? {
            if window.inputs.len() < self.seq_len {
                add(&[window]);
                continue;
            }
            batch.push(window);
            if batch.len() == self.batch_size {
                add(&batch);
                batch.clear();
            }
        }
        if !batch.is_empty() {
            add(&batch);
        }
        Ok(sums)
    }

    fn add(
        &self,
        model: &Rwkv,
        config: &RwkvConfig,
        batch: &[ValidationWindow<'_>],
        sums: &mut Sums,
    ) {
        let Some(first) = batch.first() else { return };
        let collect = |pick: fn(&ValidationWindow<'_>) -> Vec<u16>| {
            Arc::new(batch.iter().flat_map(pick).collect::<Vec<u16>>())
        };
        let windows = Windows {
            inputs: collect(|w| w.inputs.to_vec()),
            targets: collect(|w| w.targets.to_vec()),
            seq_len: first.inputs.len(),
            carry: None,
        };
        let report = model.loss(config, &windows, BLOCK_LOGITS).read();
        let tokens = windows.targets.len();
        sums.nats += report.loss * tokens as f64;
        sums.correct += report.correct;
        sums.tokens += tokens as u64;
        let bytes = |token: &u16| {
            u64::from(
                self.token_bytes
                    .get(usize::from(*token))
                    .copied()
                    .unwrap_or(0),
            )
        };
        sums.bytes += windows.targets.iter().map(bytes).sum::<u64>();
    }
}
