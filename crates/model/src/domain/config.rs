//! How a model is tuned to a domain.

use serde::{Deserialize, Serialize};

use crate::arch::ArchConfig;
use crate::error::ConfigError;
use crate::exact_float;
use crate::plan::{PatternError, contains_parts, matrix_kind};
use crate::tensor::TensorSpec;
use crate::training::TrainingConfig;

/// Largest rank that makes sense: beyond it the matrices themselves are smaller.
const MAX_RANK: usize = 4096;

/// What is trained for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FineTuneMethod {
    /// Low-rank changes of matrices, `W + scale · B·A`: an adapter.
    #[default]
    Lora,
    /// The state that a text begins with.
    State,
}

/// The hyper-parameters of tuning a model to a domain: table `[fine_tune]` of its file; what the file leaves out has its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainFineTuneConfig {
    /// What is trained.
    pub method: FineTuneMethod,
    /// Inner dimension of the low-rank products.
    pub rank: usize,
    /// The products are scaled by `alpha / rank`: see [`scale`](Self::scale).
    #[serde(with = "exact_float")]
    pub alpha: f64,
    /// The matrices that are changed: kinds (`att.key`), parts (`ffn`, `blocks.0`), or whole names (`blocks.0.att.key`, `head`).
    pub targets: Vec<String>,
    /// Whether the model's own weights stay as they are. Without it all of them are trained, and the result is a model, not an adapter.
    pub freeze_base: bool,
    /// Train decay, first bonus and the mixes of both token shifts along.
    pub train_time: bool,
    /// Train the layer norms along.
    pub train_norms: bool,
    /// Peak learning rate.
    #[serde(with = "exact_float")]
    pub learning_rate: f64,
    /// The last step's learning rate as a part of the peak.
    #[serde(with = "exact_float")]
    pub min_lr_ratio: f64,
    /// Steps of linear warm-up as a part of all; at most a tenth.
    #[serde(with = "exact_float")]
    pub warmup_ratio: f64,
    /// Decoupled weight decay.
    #[serde(with = "exact_float")]
    pub weight_decay: f64,
    /// Passes over the training tokens; a fraction is a part of a pass.
    #[serde(with = "exact_float")]
    pub epochs: f64,
    /// Sequences in a micro-batch.
    pub batch_size: usize,
    /// Tokens in a sequence.
    pub seq_len: usize,
    /// Micro-batches whose gradients make one optimizer step.
    pub gradient_accumulation_steps: usize,
    /// Evaluations without improvement after which the run stops; 0 never stops early.
    pub early_stopping_patience: u32,
}

impl Default for DomainFineTuneConfig {
    fn default() -> Self {
        Self {
            method: FineTuneMethod::Lora,
            rank: 8,
            alpha: 16.0,
            targets: vec!["att.value".to_owned(), "ffn.key".to_owned()],
            freeze_base: true,
            train_time: false,
            train_norms: false,
            learning_rate: 2e-3,
            min_lr_ratio: 0.1,
            warmup_ratio: 0.05,
            weight_decay: 0.0,
            epochs: 1.0,
            batch_size: 4,
            seq_len: 256,
            gradient_accumulation_steps: 1,
            early_stopping_patience: 4,
        }
    }
}

impl DomainFineTuneConfig {
    /// Factor of B·A.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// Checks every field; the error names the first bad one and says what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=MAX_RANK).contains(&self.rank) {
            return Err(ConfigError::invalid(
                "rank",
                self.rank,
                format!("must be from 1 to {MAX_RANK}"),
            ));
        }
        if !(self.alpha > 0.0 && self.alpha <= 1e6) {
            return Err(ConfigError::invalid(
                "alpha",
                self.alpha,
                "must be greater than 0 and at most 1000000",
            ));
        }
        if self.targets.is_empty() {
            return Err(ConfigError::invalid(
                "targets",
                "empty",
                "name the matrices to change, e.g. \"att.value\" or \"ffn\"",
            ));
        }
        if self.method == FineTuneMethod::State && !self.freeze_base {
            return Err(ConfigError::invalid(
                "freeze_base",
                false,
                "a trained state belongs to the model as it is; leave it true, or use the method lora",
            ));
        }
        if !(0.0..=0.1).contains(&self.warmup_ratio) {
            return Err(ConfigError::invalid(
                "warmup_ratio",
                self.warmup_ratio,
                "must be from 0 to 0.1: a tenth of the run",
            ));
        }
        if !(self.epochs > 0.0 && self.epochs <= 1e4) {
            return Err(ConfigError::invalid(
                "epochs",
                self.epochs,
                "must be greater than 0 and at most 10000",
            ));
        }
        // The rest are fields of a training run of the same names, with the same ranges.
        self.training_config(1).validate()
    }

    /// The training run that goes `epochs` times over `train_tokens` tokens: at least one step, the last pass rounded up to whole steps. No dropout: so few parameters do not learn a text by
    /// heart in a few passes, and early stopping sees it when they do.
    pub fn training_config(&self, train_tokens: u64) -> TrainingConfig {
        let config = TrainingConfig {
            learning_rate: self.learning_rate,
            min_lr_ratio: self.min_lr_ratio,
            weight_decay: self.weight_decay,
            batch_size: self.batch_size,
            seq_len: self.seq_len,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            early_stopping_patience: self.early_stopping_patience,
            dropout: Some(0.0),
            ..TrainingConfig::default()
        };
        let tokens = self.epochs * train_tokens as f64;
        // `as` saturates, and validation refuses what is out of range.
        let steps = (tokens / config.tokens_per_step().max(1) as f64).ceil() as u64;
        let max_steps = steps.max(1);
        TrainingConfig {
            warmup_steps: (self.warmup_ratio * max_steps as f64).round() as u64,
            max_steps,
            ..config
        }
    }

    /// The matrices of the model that [`targets`](Self::targets) names, by their official names without `.weight`, in the model's order. The embedding is never one: its rows are looked up,
    /// and nothing is multiplied.
    ///
    /// Errors: a pattern that names none; the message lists the kinds.
    pub fn target_matrices(&self, config: &ArchConfig) -> Result<Vec<String>, PatternError> {
        Ok(self
            .target_specs(config)?
            .into_iter()
            .map(|spec| spec.name.trim_end_matches(".weight").to_owned())
            .collect())
    }

    /// Numbers in an adapter of this rank on these targets: `rank · (in + out)` for each matrix.
    pub fn adapter_parameters(&self, config: &ArchConfig) -> Result<u64, PatternError> {
        Ok(self
            .target_specs(config)?
            .iter()
            .map(|spec| spec.shape.iter().map(|n| *n as u64).sum::<u64>())
            .sum::<u64>()
            .saturating_mul(self.rank as u64))
    }

    fn target_specs(&self, config: &ArchConfig) -> Result<Vec<TensorSpec>, PatternError> {
        let mut matrices = config.tensor_specs();
        matrices.retain(|spec| spec.is_matrix() && !contains_parts(&spec.name, "emb"));
        for pattern in &self.targets {
            let named = |spec: &TensorSpec| contains_parts(&spec.name, pattern);
            if !matrices.iter().any(named) {
                let mut kinds: Vec<&str> = Vec::new();
                for kind in matrices.iter().map(|spec| matrix_kind(&spec.name)) {
                    if !kinds.contains(&kind) {
                        kinds.push(kind);
                    }
                }
                return Err(PatternError {
                    pattern: pattern.clone(),
                    kinds: kinds.join(", "),
                });
            }
        }
        matrices.retain(|spec| {
            let mut patterns = self.targets.iter();
            patterns.any(|pattern| contains_parts(&spec.name, pattern))
        });
        Ok(matrices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rwkv4::RwkvConfig;

    #[test]
    fn patterns_become_matrices() {
        let arch = ArchConfig::Rwkv4(RwkvConfig::new(50, 8, 2, 16));
        let with = |targets: &[&str]| DomainFineTuneConfig {
            rank: 2,
            targets: targets.iter().map(|&t| t.to_owned()).collect(),
            ..DomainFineTuneConfig::default()
        };
        let names = |targets: &[&str]| with(targets).target_matrices(&arch).unwrap();
        assert_eq!(
            names(&["att.key"]),
            ["blocks.0.att.key", "blocks.1.att.key"]
        );
        // In the model's order, and each once.
        assert_eq!(
            names(&["head", "blocks.1.ffn.value", "ffn.value"]),
            ["blocks.0.ffn.value", "blocks.1.ffn.value", "head"]
        );
        assert_eq!(names(&["att", "ffn"]).len(), 14);
        let numbers = |targets: &[&str]| with(targets).adapter_parameters(&arch).unwrap();
        assert_eq!(numbers(&["head"]), 2 * (50 + 8));
        assert_eq!(numbers(&["ffn.key"]), 2 * 2 * (8 + 32));
        for wrong in ["emb", "att.kye", "blocks.2", ""] {
            let message = with(&["head", wrong])
                .target_matrices(&arch)
                .unwrap_err()
                .to_string();
            assert!(
                message.contains(&format!("`{wrong}` names no matrix")),
                "{message}"
            );
            assert!(message.contains("att.key"), "{message}");
            assert!(!message.contains("emb,"), "{message}");
        }
    }

    #[test]
    fn epochs_become_steps() {
        let config = DomainFineTuneConfig {
            batch_size: 2,
            seq_len: 10,
            gradient_accumulation_steps: 5,
            epochs: 1.5,
            warmup_ratio: 0.1,
            ..DomainFineTuneConfig::default()
        };
        let run = config.training_config(2_000);
        assert_eq!((run.max_steps, run.warmup_steps), (30, 3));
        assert_eq!(run.effective_warmup(), 3);
        assert_eq!(config.training_config(2_001).max_steps, 31);
        assert_eq!(config.training_config(0).max_steps, 1);
        assert_eq!(run.dropout, Some(0.0));
        run.validate().unwrap();
    }

    #[test]
    fn each_bad_field_is_named() {
        let good = DomainFineTuneConfig::default;
        good().validate().unwrap();
        assert_eq!(good().scale(), 2.0);
        let cases = [
            (
                DomainFineTuneConfig {
                    rank: 4097,
                    ..good()
                },
                "`rank` is 4097",
            ),
            (
                DomainFineTuneConfig {
                    alpha: 0.0,
                    ..good()
                },
                "`alpha` is 0",
            ),
            (
                DomainFineTuneConfig {
                    alpha: f64::NAN,
                    ..good()
                },
                "`alpha` is NaN",
            ),
            (
                DomainFineTuneConfig {
                    epochs: 0.0,
                    ..good()
                },
                "`epochs` is 0",
            ),
            (
                DomainFineTuneConfig {
                    warmup_ratio: 0.2,
                    ..good()
                },
                "`warmup_ratio` is 0.2",
            ),
            (
                DomainFineTuneConfig {
                    learning_rate: -1.0,
                    ..good()
                },
                "`learning_rate` is -1",
            ),
            (
                DomainFineTuneConfig {
                    weight_decay: 2.0,
                    ..good()
                },
                "`weight_decay` is 2",
            ),
            (
                DomainFineTuneConfig {
                    min_lr_ratio: 2.0,
                    ..good()
                },
                "`min_lr_ratio` is 2",
            ),
            (
                DomainFineTuneConfig {
                    batch_size: 0,
                    ..good()
                },
                "`batch_size` is 0",
            ),
            (
                DomainFineTuneConfig {
                    seq_len: 0,
                    ..good()
                },
                "`seq_len` is 0",
            ),
            (
                DomainFineTuneConfig {
                    gradient_accumulation_steps: 0,
                    ..good()
                },
                "`gradient_accumulation_steps` is 0",
            ),
            (
                DomainFineTuneConfig {
                    method: FineTuneMethod::State,
                    freeze_base: false,
                    ..good()
                },
                "`freeze_base` is false: a trained state belongs to the model",
            ),
        ];
        for (config, expected) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
