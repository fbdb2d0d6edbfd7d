//! The flags of a fine-tuning run, put over what the domain's file says.

use anyhow::Result;
use clap::{Args, ValueEnum};
use ptbr_model::{DomainFineTuneConfig, FineTuneMethod, TrainingConfig};

use crate::options::PrecisionName;
use crate::training::MemoryFlags;

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Low-rank changes of matrices: an adapter
    Lora,
    /// The memory that a text begins with: a state file
    State,
}

/// How the model is tuned. What is not given is what the domain's file says.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tuning [default: what the domain's file says]")]
pub struct Tuning {
    /// What is trained
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// Inner dimension of the low-rank products
    #[arg(long, value_name = "N")]
    pub rank: Option<usize>,
    /// The products are scaled by alpha / rank
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub alpha: Option<f64>,
    /// The matrices to change, with commas between them: kinds (att.key), parts (ffn, blocks.0) or whole names (head)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub targets: Vec<String>,
    /// Train decay, first bonus and the mixes of the token shifts along; the result is a whole model
    #[arg(long)]
    pub train_time: bool,
    /// Train the layer norms along; the result is a whole model
    #[arg(long)]
    pub train_norms: bool,
    /// Train all weights in place of an adapter; the result is a whole model
    #[arg(long)]
    pub train_base: bool,
    /// Peak learning rate
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub learning_rate: Option<f64>,
    /// Learning rate of the last step as a part of the peak
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub min_lr_ratio: Option<f64>,
    /// Steps of linear warm-up as a part of all, at most 0.1
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub warmup_ratio: Option<f64>,
    /// Decay of the matrices
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub weight_decay: Option<f64>,
    /// Passes over the training tokens
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub epochs: Option<f64>,
    /// Sequences in a micro-batch
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Tokens in a sequence
    #[arg(long, value_name = "N")]
    pub seq_len: Option<usize>,
    /// Micro-batches that make one optimizer step
    #[arg(long, value_name = "N")]
    pub gradient_accumulation_steps: Option<usize>,
    /// Stop after this many evaluations without improvement; 0 never stops early
    #[arg(long, value_name = "N")]
    pub early_stopping_patience: Option<u32>,
}

impl Tuning {
    /// The domain's values with the flags put over them.
    ///
    /// # Errors
    /// When a value is out of range, naming it.
    pub fn over(&self, of_domain: &DomainFineTuneConfig) -> Result<DomainFineTuneConfig> {
        let base = of_domain.clone();
        let config = DomainFineTuneConfig {
            method: match self.method {
                None => base.method,
                Some(Method::Lora) => FineTuneMethod::Lora,
                Some(Method::State) => FineTuneMethod::State,
            },
            rank: self.rank.unwrap_or(base.rank),
            alpha: self.alpha.unwrap_or(base.alpha),
            targets: match self.targets.is_empty() {
                true => base.targets,
                false => self.targets.clone(),
            },
            freeze_base: base.freeze_base && !self.train_base,
            train_time: base.train_time || self.train_time,
            train_norms: base.train_norms || self.train_norms,
            learning_rate: self.learning_rate.unwrap_or(base.learning_rate),
            min_lr_ratio: self.min_lr_ratio.unwrap_or(base.min_lr_ratio),
            warmup_ratio: self.warmup_ratio.unwrap_or(base.warmup_ratio),
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            epochs: self.epochs.unwrap_or(base.epochs),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            seq_len: self.seq_len.unwrap_or(base.seq_len),
            gradient_accumulation_steps: self
                .gradient_accumulation_steps
                .unwrap_or(base.gradient_accumulation_steps),
            early_stopping_patience: self
                .early_stopping_patience
                .unwrap_or(base.early_stopping_patience),
        };
        config.validate()?;
        Ok(config)
    }
}

/// When a run is looked at, and how long it lasts at most.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct Run {
    /// Optimizer steps, in place of --epochs
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,
    /// Number format of the matrix products; f16 is for GPUs
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    pub precision: PrecisionName,
    /// Seed of the first values of the adapter and of the order of batches
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Steps between checkpoints [default: a tenth of the run]
    #[arg(long, value_name = "N")]
    pub save_every: Option<u64>,
    /// Checkpoints kept besides the best; 0 keeps all
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub keep_last: usize,
    /// Steps between evaluations on the validation text [default: a tenth of the run]
    #[arg(long, value_name = "N")]
    pub eval_every: Option<u64>,
    /// Validation tokens that an evaluation reads at most; 0 reads all
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    pub eval_tokens: u64,
    /// Largest norm of the gradient; 0 leaves it as it is
    #[arg(
        long,
        value_name = "X",
        default_value_t = 1.0,
        allow_hyphen_values = true
    )]
    pub gradient_clip: f64,
    /// Steps between lines of the log; 0 never logs
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub log_every: u64,
    #[command(flatten)]
    pub memory: MemoryFlags,
}

impl Run {
    /// The run that `tuning` makes of `train_tokens` tokens.
    ///
    /// # Errors
    /// When a value is out of range, naming it.
    pub fn training(
        &self,
        tuning: &DomainFineTuneConfig,
        train_tokens: u64,
    ) -> Result<TrainingConfig> {
        let base = tuning.training_config(train_tokens);
        let max_steps = self.max_steps.unwrap_or(base.max_steps);
        let tenth = (max_steps / 10).max(1);
        let config = TrainingConfig {
            max_steps,
            warmup_steps: (tuning.warmup_ratio * max_steps as f64).round() as u64,
            precision: self.precision.into(),
            seed: self.seed,
            save_every: self.save_every.unwrap_or(tenth),
            keep_last: self.keep_last,
            eval_every: self.eval_every.unwrap_or(tenth),
            eval_tokens: self.eval_tokens,
            gradient_clip: self.gradient_clip,
            log_every: self.log_every,
            ..base
        };
        let config = self.memory.over(config);
        config.validate()?;
        Ok(config)
    }
}
