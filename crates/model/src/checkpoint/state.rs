//! `state.json`: what a run needs besides the weights to go on as if it had never stopped.

use serde::{Deserialize, Serialize};

use crate::domain::DomainFineTuneConfig;
use crate::exact_float;
use crate::training::TrainingConfig;

/// The state of a run after `step` optimizer steps. Data order, dropout and schedule are functions of these numbers; there is no generator to save.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrainState {
    /// Steps done, skipped ones included; the next step to do, counted from 0.
    pub step: u64,
    /// Updates that Adam has made: steps less the skipped ones (its bias correction counts these).
    pub optimizer_steps: u64,
    /// Micro-batches consumed: the index of the next one.
    pub batches_seen: u64,
    /// Tokens learnt from.
    pub tokens_seen: u64,
    /// Seed of batches, dropout and initial weights.
    pub seed: u64,
    /// Lowest training loss of a step, nats per token.
    #[serde(with = "exact_float::option", default)]
    pub best_loss: Option<f64>,
    /// Exponential moving average of the training loss.
    #[serde(with = "exact_float::option", default)]
    pub ema_loss: Option<f64>,
    /// Lowest validation loss.
    #[serde(with = "exact_float::option", default)]
    pub best_eval: Option<f64>,
    /// Step of the lowest validation loss; its checkpoint is never pruned.
    #[serde(default)]
    pub best_eval_step: Option<u64>,
    /// Evaluations since the lowest validation loss, for early stopping.
    pub evals_since_best: u32,
    /// Steps skipped because of a NaN or infinite loss or gradient.
    pub nan_steps: u32,
    /// The loss scaler of f16 runs.
    #[serde(default)]
    pub loss_scale: Option<LossScaleState>,
    /// The run's hyper-parameters.
    pub config: TrainingConfig,
    /// SHA-256 of `config.json` ([`ArchConfig::sha256`](crate::ArchConfig::sha256)).
    pub config_sha256: String,
    /// Hash of the training tokens.
    pub data_sha256: String,
    /// SHA-256 of the tokenizer.
    pub tokenizer_sha256: String,
    /// Path of the training tokens as it was given (lossy where it is not Unicode).
    pub data_path: String,
    /// Path of the validation tokens.
    #[serde(default)]
    pub val_path: Option<String>,
    /// Validation tokens of each source, beside those of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub val_sources: Vec<ValidationFile>,
    /// Whether the token files have no header.
    #[serde(default)]
    pub raw_data: bool,
    /// Name of the device that trained.
    #[serde(default)]
    pub device: String,
    /// What a fine-tuning run was begun with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_tune: Option<FineTuneState>,
    /// Wall-clock time of the run so far. The only field that differs between two equal runs on one device.
    #[serde(with = "exact_float")]
    pub elapsed_seconds: f64,
}

impl TrainState {
    /// Whether what is trained stands beside a frozen base, and checkpoints hold no whole model.
    pub fn is_beside_a_base(&self) -> bool {
        let tuning = self.fine_tune.as_ref();
        tuning.is_some_and(|tuning| tuning.config.freeze_base)
    }

    /// Whether the run's last step is behind it, or validation had stopped improving.
    pub fn is_over(&self) -> bool {
        let patience = self.config.early_stopping_patience;
        self.step >= self.config.max_steps || (patience > 0 && self.evals_since_best >= patience)
    }
}

/// Validation tokens of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationFile {
    /// What the source is called.
    pub name: String,
    /// Path as it was given (lossy where it is not Unicode).
    pub path: String,
}

/// What a fine-tuning run tunes, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FineTuneState {
    /// Path of the base as it was given (lossy where it is not Unicode).
    pub base_path: String,
    /// Id of the base.
    pub base_model_id: String,
    /// What is trained.
    pub config: DomainFineTuneConfig,
}

/// Dynamic loss scaling of f16 runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScaleState {
    /// Factor of the loss.
    #[serde(with = "exact_float")]
    pub scale: f64,
    /// Steps without overflow since the factor last changed.
    pub good_steps: u32,
}

/// The whole of `state.json`: the state and the id of the weights beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StateFile {
    pub model_id: String,
    #[serde(flatten)]
    pub train: TrainState,
}

impl StateFile {
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        Ok(json)
    }

    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_over_at_its_last_step_or_when_its_patience_is() {
        let mut state = TrainState::default();
        state.config.max_steps = 10;
        (state.step, state.evals_since_best) = (9, 4);
        assert!(!state.is_over(), "no patience means never early");
        state.config.early_stopping_patience = 5;
        assert!(!state.is_over());
        state.evals_since_best = 5;
        assert!(state.is_over());
        (state.step, state.evals_since_best) = (10, 0);
        assert!(state.is_over());
    }

    #[test]
    fn every_number_survives() {
        let train = TrainState {
            step: u64::MAX,
            seed: u64::MAX - 1,
            best_loss: Some(std::f64::consts::PI * 1e-7),
            ema_loss: Some(100.0 / 23.0),
            loss_scale: Some(LossScaleState {
                scale: 1.0 / 3.0,
                good_steps: 7,
            }),
            elapsed_seconds: 0.1 + 0.2,
            config: TrainingConfig {
                learning_rate: 1.0 / 3000.0,
                ..TrainingConfig::default()
            },
            fine_tune: Some(FineTuneState {
                base_path: "run".to_owned(),
                base_model_id: "1".repeat(64),
                config: DomainFineTuneConfig {
                    alpha: 1.0 / 3.0,
                    ..DomainFineTuneConfig::default()
                },
            }),
            ..TrainState::default()
        };
        let file = StateFile {
            model_id: "0".repeat(64),
            train,
        };
        let json = file.to_json().unwrap();
        assert_eq!(StateFile::from_json(json.as_bytes()).unwrap(), file);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(
            value["step"].is_u64(),
            "the state's fields are at the top level"
        );
    }
}
