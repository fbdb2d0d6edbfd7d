//! Every hyper-parameter of a training run, the two recipes, and the learning-rate schedule.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointConfig;
use crate::error::ConfigError;
use crate::exact_float;
use crate::grad_scaler::GradScalerConfig;
use crate::gradient_checkpointing::GradientCheckpointing;
use crate::memory::Precision;
use crate::moments::MomentFormat;
use crate::optimizer::Optimizer;
use crate::rwkv4::RwkvConfig;

/// Where the defaults of a run come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// This project's: AdamW with betas 0.9/0.999, weight decay 0.01, one learning rate for all tensors, the model's dropout.
    #[default]
    Default,
    /// The published RWKV-4 recipe: Adam with betas 0.9/0.99, no weight decay, faster decay and first vectors, L2Wrap, no dropout.
    Rwkv4,
}

/// What a training run is asked to do. Saved in every checkpoint, so that `resume` goes on with the same values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Which defaults the run started from; the other fields hold the values themselves.
    pub recipe: Recipe,
    /// Peak learning rate.
    #[serde(with = "exact_float")]
    pub learning_rate: f64,
    /// The last step's learning rate as a part of the peak.
    #[serde(with = "exact_float")]
    pub min_lr_ratio: f64,
    /// Steps of linear warm-up, at most a tenth of the run: see [`effective_warmup`](Self::effective_warmup).
    pub warmup_steps: u64,
    /// Optimizer steps in all.
    pub max_steps: u64,
    /// Sequences in a micro-batch.
    pub batch_size: usize,
    /// Tokens in a sequence.
    pub seq_len: usize,
    /// Micro-batches whose gradients make one optimizer step.
    pub gradient_accumulation_steps: usize,
    /// Largest global norm of the gradient; 0 leaves it unclipped.
    #[serde(with = "exact_float")]
    pub gradient_clip: f64,
    /// Decoupled weight decay, on matrices only.
    #[serde(with = "exact_float")]
    pub weight_decay: f64,
    /// What turns gradients into changes.
    pub optimizer: Optimizer,
    /// Adam's decay of the first moment.
    #[serde(with = "exact_float")]
    pub adam_beta1: f64,
    /// Adam's decay of the second moment.
    #[serde(with = "exact_float")]
    pub adam_beta2: f64,
    /// Added to the root of the second moment.
    #[serde(with = "exact_float")]
    pub adam_eps: f64,
    /// Learning-rate factor of `att.time_decay`.
    #[serde(with = "exact_float")]
    pub time_decay_lr_scale: f64,
    /// Learning-rate factor of `att.time_first`.
    #[serde(with = "exact_float")]
    pub time_first_lr_scale: f64,
    /// L2Wrap: factor of the pull of each row's largest logit towards zero; 0 is off.
    #[serde(with = "exact_float")]
    pub l2_wrap: f64,
    /// Dropout probability; absent means the model configuration's.
    #[serde(with = "exact_float::option")]
    pub dropout: Option<f64>,
    /// Whether each lane of a batch walks through the text, its windows beginning with the state that the one before ended with; otherwise
    /// windows are shuffled and begin empty.
    pub carry_state: bool,
    /// Number formats of a step.
    pub precision: Precision,
    /// How the loss scale of f16 moves.
    pub grad_scaler: GradScalerConfig,
    /// Which activations a step keeps, and which it computes twice.
    pub gradient_checkpointing: GradientCheckpointing,
    /// What Adam's moments are kept in.
    pub moments: MomentFormat,
    /// Seed of the initial weights, the order of batches and the dropout masks.
    pub seed: u64,
    /// Steps between checkpoints; 0 saves only the last.
    pub save_every: u64,
    /// Steps between evaluations; 0 never evaluates.
    pub eval_every: u64,
    /// Validation tokens that an evaluation reads at most; 0 reads all.
    pub eval_tokens: u64,
    /// Steps between lines of the log; 0 never logs.
    pub log_every: u64,
    /// Checkpoints kept besides the best; 0 keeps all.
    pub keep_last: usize,
    /// Evaluations without improvement after which the run stops; 0 never stops early.
    pub early_stopping_patience: u32,
    /// Steps with a NaN or infinite loss or gradient, skipped one by one, after which the run stops.
    pub max_nan_steps: u32,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            recipe: Recipe::Default,
            learning_rate: 3e-4,
            min_lr_ratio: 0.1,
            warmup_steps: 500,
            max_steps: 10_000,
            batch_size: 8,
            seq_len: 512,
            gradient_accumulation_steps: 16,
            gradient_clip: 1.0,
            weight_decay: 0.01,
            optimizer: Optimizer::AdamW,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_eps: 1e-8,
            time_decay_lr_scale: 1.0,
            time_first_lr_scale: 1.0,
            l2_wrap: 0.0,
            dropout: None,
            carry_state: false,
            precision: Precision::F32,
            grad_scaler: GradScalerConfig::default(),
            gradient_checkpointing: GradientCheckpointing::Off,
            moments: MomentFormat::F32,
            seed: 42,
            save_every: 500,
            eval_every: 250,
            eval_tokens: 131_072,
            log_every: 10,
            keep_last: 3,
            early_stopping_patience: 0,
            max_nan_steps: 10,
        }
    }
}

impl TrainingConfig {
    /// The defaults of a recipe.
    pub fn for_recipe(recipe: Recipe) -> Self {
        let common = Self {
            recipe,
            ..Self::default()
        };
        match recipe {
            Recipe::Default => common,
            Recipe::Rwkv4 => Self {
                weight_decay: 0.0,
                adam_beta2: 0.99,
                time_decay_lr_scale: 2.0,
                time_first_lr_scale: 3.0,
                l2_wrap: 1e-4,
                dropout: Some(0.0),
                ..common
            },
        }
    }

    /// Reads TOML; what it does not mention takes the default of the recipe that it names. Unknown keys are errors.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let parse =
            |error: toml::de::Error| ConfigError::parse("the training configuration", error);
        let given: toml::Table = text.parse().map_err(parse)?;
        let recipe = match given.get("recipe") {
            Some(value) => value.clone().try_into().map_err(parse)?,
            None => Recipe::Default,
        };
        let mut merged = toml::Table::try_from(Self::for_recipe(recipe))
            .map_err(|error| ConfigError::parse("the training configuration", error))?;
        merged.extend(given);
        merged.try_into().map_err(parse)
    }

    /// Checks every field; the error names the first bad one and says what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        // Far above any use, and small enough that products of the three stay inside u64.
        let counts: [(&'static str, u64, u64); 4] = [
            ("max_steps", self.max_steps, 1 << 40),
            ("batch_size", self.batch_size as u64, 1 << 16),
            ("seq_len", self.seq_len as u64, 1 << 24),
            (
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps as u64,
                1 << 16,
            ),
        ];
        for (field, value, most) in counts {
            if value == 0 {
                return Err(ConfigError::invalid(field, value, "must be at least 1"));
            }
            if value > most {
                return Err(ConfigError::invalid(
                    field,
                    value,
                    format!("must be at most {most}"),
                ));
            }
        }
        type Range = fn(f64) -> bool;
        let floats: [(&'static str, f64, Range, &str); 11] = [
            (
                "learning_rate",
                self.learning_rate,
                |x| x > 0.0 && x <= 1.0,
                "must be greater than 0 and at most 1",
            ),
            (
                "min_lr_ratio",
                self.min_lr_ratio,
                |x| (0.0..=1.0).contains(&x),
                "must be from 0 to 1",
            ),
            (
                "weight_decay",
                self.weight_decay,
                |x| (0.0..=1.0).contains(&x),
                "must be from 0 to 1",
            ),
            (
                "gradient_clip",
                self.gradient_clip,
                |x| x.is_finite() && x >= 0.0,
                "must be 0 (no clipping) or greater",
            ),
            (
                "adam_beta1",
                self.adam_beta1,
                |x| (0.0..1.0).contains(&x),
                "must be at least 0 and below 1",
            ),
            (
                "adam_beta2",
                self.adam_beta2,
                |x| (0.0..1.0).contains(&x),
                "must be at least 0 and below 1",
            ),
            (
                "adam_eps",
                self.adam_eps,
                |x| x > 0.0 && x <= 1.0,
                "must be greater than 0 and at most 1",
            ),
            (
                "time_decay_lr_scale",
                self.time_decay_lr_scale,
                |x| x.is_finite() && x >= 0.0,
                "must be 0 or greater",
            ),
            (
                "time_first_lr_scale",
                self.time_first_lr_scale,
                |x| x.is_finite() && x >= 0.0,
                "must be 0 or greater",
            ),
            (
                "l2_wrap",
                self.l2_wrap,
                |x| (0.0..=1.0).contains(&x),
                "must be from 0 to 1",
            ),
            (
                "dropout",
                self.dropout.unwrap_or(0.0),
                |x| (0.0..1.0).contains(&x),
                "must be at least 0 and below 1",
            ),
        ];
        for (field, value, allowed, reason) in floats {
            if !allowed(value) {
                return Err(ConfigError::invalid(field, value, reason));
            }
        }
        self.grad_scaler.validate()
    }

    /// Warm-up steps of this run: at most a tenth of it, so that a short run still reaches its peak.
    pub fn effective_warmup(&self) -> u64 {
        self.warmup_steps.min(self.max_steps / 10)
    }

    /// Learning rate of the optimizer step `step`, counted from 0: a linear warm-up that reaches the peak at its last step, then half a cosine that ends at `min_lr_ratio` of the peak at step
    /// `max_steps - 1` and stays there.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        let warmup = self.effective_warmup();
        if step < warmup {
            return self.learning_rate * (step + 1) as f64 / warmup as f64;
        }
        let span = self.max_steps.saturating_sub(1).saturating_sub(warmup);
        let progress = if span == 0 {
            0.0
        } else {
            ((step - warmup) as f64 / span as f64).min(1.0)
        };
        let cosine = 0.5 * (1.0 + (PI * progress).cos());
        self.learning_rate * (self.min_lr_ratio + (1.0 - self.min_lr_ratio) * cosine)
    }

    /// Dropout probability of this run on `model`.
    pub fn effective_dropout(&self, model: &RwkvConfig) -> f64 {
        self.dropout.unwrap_or(model.dropout)
    }

    /// Tokens that one optimizer step learns from.
    pub fn tokens_per_step(&self) -> u64 {
        [
            self.batch_size,
            self.seq_len,
            self.gradient_accumulation_steps,
        ]
        .iter()
        .fold(1, |product, n| product.saturating_mul(*n as u64))
    }

    /// When checkpoints are written and which are kept.
    pub fn checkpoints(&self) -> CheckpointConfig {
        CheckpointConfig {
            save_every: self.save_every,
            keep_last: self.keep_last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_warms_up_peaks_and_ends_at_the_ratio() {
        let config = TrainingConfig {
            max_steps: 10_000,
            ..TrainingConfig::default()
        };
        assert_eq!(config.effective_warmup(), 500);
        assert_eq!(config.learning_rate_at(0), 3e-4 / 500.0);
        assert_eq!(config.learning_rate_at(499), 3e-4);
        assert_eq!(config.learning_rate_at(500), 3e-4);
        let middle = config.learning_rate_at(500 + 9_499 / 2);
        assert!((middle - 3e-4 * 0.55).abs() < 1e-7, "{middle}");
        assert!((config.learning_rate_at(9_999) - 3e-5).abs() < 1e-15);
        assert_eq!(
            config.learning_rate_at(u64::MAX),
            config.learning_rate_at(9_999)
        );
        let rates: Vec<f64> = (500..10_000)
            .map(|step| config.learning_rate_at(step))
            .collect();
        assert!(rates.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn short_runs_warm_up_for_at_most_a_tenth() {
        let config = |max_steps| TrainingConfig {
            max_steps,
            ..TrainingConfig::default()
        };
        assert_eq!(config(100).effective_warmup(), 10);
        assert_eq!(config(9).effective_warmup(), 0);
        for max_steps in 1..30 {
            for step in 0..max_steps + 2 {
                let rate = config(max_steps).learning_rate_at(step);
                assert!(
                    rate > 0.0 && rate <= 3e-4,
                    "step {step} of {max_steps}: {rate}"
                );
            }
        }
    }

    #[test]
    fn recipes() {
        let published = TrainingConfig::for_recipe(Recipe::Rwkv4);
        published.validate().unwrap();
        assert_eq!(
            (
                published.adam_beta1,
                published.adam_beta2,
                published.adam_eps,
                published.weight_decay
            ),
            (0.9, 0.99, 1e-8, 0.0)
        );
        assert_eq!(
            (
                published.time_decay_lr_scale,
                published.time_first_lr_scale,
                published.l2_wrap
            ),
            (2.0, 3.0, 1e-4)
        );
        let model = RwkvConfig::new(512, 64, 2, 32);
        assert_eq!(published.effective_dropout(&model), 0.0);
        assert_eq!(TrainingConfig::default().effective_dropout(&model), 0.1);
    }

    #[test]
    fn toml_fills_in_the_defaults_of_its_recipe() {
        let config = TrainingConfig::from_toml("recipe = \"rwkv4\"\nlearning_rate = 6e-4\nadam_beta2 = 0.95\nseq_len = 1_024\nweight_decay = 1").unwrap();
        assert_eq!(
            (
                config.learning_rate,
                config.adam_beta2,
                config.seq_len,
                config.weight_decay
            ),
            (6e-4, 0.95, 1024, 1.0)
        );
        assert_eq!((config.l2_wrap, config.dropout), (1e-4, Some(0.0)));
        let error = TrainingConfig::from_toml("learning_rat = 1e-3")
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown field `learning_rat`"), "{error}");
        let error = TrainingConfig::from_toml("recipe = \"gpt\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown variant `gpt`"), "{error}");
    }

    #[test]
    fn each_bad_field_is_named() {
        let good = TrainingConfig::default;
        good().validate().unwrap();
        let cases = [
            (
                TrainingConfig {
                    batch_size: 0,
                    ..good()
                },
                "`batch_size` is 0: must be at least 1",
            ),
            (
                TrainingConfig {
                    seq_len: 0,
                    ..good()
                },
                "`seq_len` is 0: must be at least 1",
            ),
            (
                TrainingConfig {
                    max_steps: 0,
                    ..good()
                },
                "`max_steps` is 0: must be at least 1",
            ),
            (
                TrainingConfig {
                    gradient_accumulation_steps: 0,
                    ..good()
                },
                "`gradient_accumulation_steps` is 0: must be at least 1",
            ),
            (
                TrainingConfig {
                    learning_rate: -3e-4,
                    ..good()
                },
                "`learning_rate` is -0.0003: must be greater than 0 and at most 1",
            ),
            (
                TrainingConfig {
                    learning_rate: f64::NAN,
                    ..good()
                },
                "`learning_rate` is NaN: must be greater than 0 and at most 1",
            ),
            (
                TrainingConfig {
                    learning_rate: 3.0,
                    ..good()
                },
                "`learning_rate` is 3: must be greater than 0 and at most 1",
            ),
            (
                TrainingConfig {
                    min_lr_ratio: 1.5,
                    ..good()
                },
                "`min_lr_ratio` is 1.5: must be from 0 to 1",
            ),
            (
                TrainingConfig {
                    gradient_clip: f64::INFINITY,
                    ..good()
                },
                "`gradient_clip` is inf: must be 0 (no clipping) or greater",
            ),
            (
                TrainingConfig {
                    adam_beta2: 1.0,
                    ..good()
                },
                "`adam_beta2` is 1: must be at least 0 and below 1",
            ),
            (
                TrainingConfig {
                    dropout: Some(1.0),
                    ..good()
                },
                "`dropout` is 1: must be at least 0 and below 1",
            ),
        ];
        for (config, message) in cases {
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn json_keeps_every_bit() {
        let config = TrainingConfig {
            learning_rate: 1.0 / 3_347.0,
            ..TrainingConfig::for_recipe(Recipe::Rwkv4)
        };
        let back: TrainingConfig =
            serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(back, config);
    }
}
