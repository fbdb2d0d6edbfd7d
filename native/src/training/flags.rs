//! The flags of a training run, and the configuration they make.

use anyhow::Result;
use clap::{Args, ValueEnum};
use ptbr_model::{Optimizer, Recipe, RwkvConfig, TrainingConfig};

use super::memory_flags::MemoryFlags;
use crate::model_size::named_size;
use crate::options::PrecisionName;

/// Where the defaults of a run come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecipeName {
    /// AdamW with weight decay 0.01 and dropout 0.1
    Default,
    /// The published RWKV-4 recipe: betas 0.9 and 0.99, no weight decay, no dropout, L2Wrap, faster decay vectors
    Rwkv4,
}

/// What turns gradients into changes of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum OptimizerName {
    /// AdamW for every tensor
    AdamW,
    /// Muon for the matrices of the blocks, AdamW for the rest; the same learning rates do
    Muon,
}

impl From<OptimizerName> for Optimizer {
    fn from(name: OptimizerName) -> Self {
        match name {
            OptimizerName::AdamW => Self::AdamW,
            OptimizerName::Muon => Self::Muon,
        }
    }
}

/// Every hyper-parameter. What is not given takes the recipe's value.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training")]
pub struct Hyperparameters {
    /// Optimizer steps [default: 10000]
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,
    /// Sequences in a micro-batch [default: 8]
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Tokens in a sequence [default: 512]
    #[arg(long, value_name = "N")]
    pub seq_len: Option<usize>,
    /// Micro-batches that make one optimizer step [default: 16]
    #[arg(long, value_name = "N")]
    pub gradient_accumulation_steps: Option<usize>,
    /// Peak learning rate [default: 3e-4]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub learning_rate: Option<f64>,
    /// Steps of linear warm-up, at most a tenth of the run [default: 500]
    #[arg(long, value_name = "N")]
    pub warmup_steps: Option<u64>,
    /// Learning rate of the last step as a part of the peak [default: 0.1]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub min_lr_ratio: Option<f64>,
    /// What turns gradients into changes of the weights [default: adamw]
    #[arg(long, value_enum, value_name = "NAME")]
    pub optimizer: Option<OptimizerName>,
    /// Let windows begin with what the one before ended with, each row of a batch walking through the text: for text longer than --seq-len
    #[arg(long)]
    pub carry_state: bool,
    /// Decay of the matrices [default: 0.01; 0 with --recipe rwkv4]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub weight_decay: Option<f64>,
    /// Largest norm of the gradient; 0 leaves it as it is [default: 1.0]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub gradient_clip: Option<f64>,
    /// Dropout probability [default: the model size's, 0.1 but for nano; 0 with --recipe rwkv4]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub dropout: Option<f64>,
    /// Number format of the matrix products; f16 is for GPUs [default: f32]
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionName>,
    /// Where the defaults come from
    #[arg(long, value_enum, default_value_t = RecipeName::Default)]
    pub recipe: RecipeName,
    /// Seed of the initial weights, the order of batches and the dropout masks [default: 42]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Steps between checkpoints; 0 saves only the last [default: 500]
    #[arg(long, value_name = "N")]
    pub save_every: Option<u64>,
    /// Checkpoints kept besides the best; 0 keeps all [default: 3]
    #[arg(long, value_name = "N")]
    pub keep_last: Option<usize>,
    /// Steps between evaluations on --val; 0 never evaluates [default: 250]
    #[arg(long, value_name = "N")]
    pub eval_every: Option<u64>,
    /// Tokens of --val that an evaluation reads at most; 0 reads all [default: 131072]
    #[arg(long, value_name = "N")]
    pub eval_tokens: Option<u64>,
    /// Stop after this many evaluations without improvement; 0 never stops early [default: 0]
    #[arg(long, value_name = "N")]
    pub early_stopping_patience: Option<u32>,
    /// Steps between lines of the log; 0 never logs [default: 10]
    #[arg(long, value_name = "N")]
    pub log_every: Option<u64>,
    /// Steps with a NaN or infinite gradient that are skipped before the run stops [default: 10]
    #[arg(long, value_name = "N")]
    pub max_nan_steps: Option<u32>,
    #[command(flatten)]
    pub memory: MemoryFlags,
}

impl Hyperparameters {
    /// The recipe's values with the flags put over them.
    ///
    /// # Errors
    /// When a value is out of range, naming it.
    pub fn training_config(&self) -> Result<TrainingConfig> {
        let recipe = match self.recipe {
            RecipeName::Default => Recipe::Default,
            RecipeName::Rwkv4 => Recipe::Rwkv4,
        };
        let base = TrainingConfig::for_recipe(recipe);
        let config = TrainingConfig {
            max_steps: self.max_steps.unwrap_or(base.max_steps),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            seq_len: self.seq_len.unwrap_or(base.seq_len),
            gradient_accumulation_steps: self
                .gradient_accumulation_steps
                .unwrap_or(base.gradient_accumulation_steps),
            learning_rate: self.learning_rate.unwrap_or(base.learning_rate),
            warmup_steps: self.warmup_steps.unwrap_or(base.warmup_steps),
            min_lr_ratio: self.min_lr_ratio.unwrap_or(base.min_lr_ratio),
            optimizer: self.optimizer.map_or(base.optimizer, Into::into),
            carry_state: self.carry_state,
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            gradient_clip: self.gradient_clip.unwrap_or(base.gradient_clip),
            dropout: self.dropout.or(base.dropout),
            precision: self.precision.map_or(base.precision, Into::into),
            seed: self.seed.unwrap_or(base.seed),
            save_every: self.save_every.unwrap_or(base.save_every),
            keep_last: self.keep_last.unwrap_or(base.keep_last),
            eval_every: self.eval_every.unwrap_or(base.eval_every),
            eval_tokens: self.eval_tokens.unwrap_or(base.eval_tokens),
            early_stopping_patience: self
                .early_stopping_patience
                .unwrap_or(base.early_stopping_patience),
            log_every: self.log_every.unwrap_or(base.log_every),
            max_nan_steps: self.max_nan_steps.unwrap_or(base.max_nan_steps),
            ..base
        };
        let config = self.memory.over(config);
        config.validate()?;
        Ok(config)
    }
}

/// The sizes that `--model-size` names, with the vocabulary of the tokenizer.
///
/// # Errors
/// When there is no such preset or file, or the sizes are not possible.
pub fn model_config(size: &str, vocab_size: usize, seq_len: usize) -> Result<RwkvConfig> {
    let mut config = named_size(size)?;
    config.vocab_size = vocab_size;
    config.max_seq_len = config.max_seq_len.max(seq_len);
    config.validate()?;
    Ok(config)
}
