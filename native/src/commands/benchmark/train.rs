//! `benchmark --train`: how fast a model of a size learns on this machine.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use ptbr_model::{ArchConfig, GradientCheckpointing, TrainingConfig};
use ptbr_train::TrainDevice;
use rayon::ThreadPool;
use serde_json::json;

use super::measure::Speed;
use crate::memory;
use crate::options::{EngineDevice, PrecisionName};
use crate::training::{MemoryFlags, MomentName, OptimizerName, keep_freed_memory, nonsense};
use crate::ui::{self, Ui};

/// Steps before any is measured: the first ones ask for memory and compile kernels.
const WARM_UP: usize = 3;

/// Seconds that the measured steps take together, where nobody says how many there are to be.
const SECONDS: f64 = 15.0;

/// The flags of `--train`.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Training")]
pub struct TrainFlags {
    /// Measure training steps instead: forward, backward, clipping and the optimizer, on random weights of --model-size
    #[arg(long, requires = "model_size", conflicts_with_all = ["format", "vector_bits"])]
    pub train: bool,
    /// Sequences in a micro-batch
    #[arg(long, value_name = "N", default_value_t = 8, requires = "train")]
    pub batch_size: usize,
    /// Tokens in a sequence
    #[arg(long, value_name = "N", default_value_t = 256, requires = "train")]
    pub seq_len: usize,
    /// Micro-batches that make one optimizer step
    #[arg(long, value_name = "N", default_value_t = 1, requires = "train")]
    pub gradient_accumulation_steps: usize,
    /// Dropout probability [default: the model size's]
    #[arg(long, value_name = "X", allow_hyphen_values = true, requires = "train")]
    pub dropout: Option<f64>,
    /// Number format of the matrix products; f16 is for GPUs [default: f32]
    #[arg(long, value_enum, requires = "train")]
    pub precision: Option<PrecisionName>,
    /// What turns gradients into changes of the weights [default: adamw]
    #[arg(long, value_enum, value_name = "NAME", requires = "train")]
    pub optimizer: Option<OptimizerName>,
    /// Activations to compute twice instead of keeping them, as in `train` [default: off]
    #[arg(long, value_name = "POLICY", requires = "train")]
    pub checkpointing: Option<GradientCheckpointing>,
    /// What the optimizer's moments are kept in [default: f32]
    #[arg(long, value_enum, requires = "train")]
    pub moments: Option<MomentName>,
    /// Steps that are measured [default: about 15 seconds' worth, 5 at least]
    #[arg(long, value_name = "N", requires = "train")]
    pub steps: Option<usize>,
}

/// Measures steps and prints what was found.
///
/// # Errors
/// When there is no such size, it does not fit the device, or a step fails.
pub fn run(
    flags: &TrainFlags,
    size: &str,
    device: EngineDevice,
    pool: &ThreadPool,
    ui: &Ui,
) -> Result<()> {
    let defaults = TrainingConfig::default();
    let memory_flags = MemoryFlags {
        checkpointing: flags.checkpointing.clone(),
        moments: flags.moments,
    };
    let training = memory_flags.over(TrainingConfig {
        batch_size: flags.batch_size,
        seq_len: flags.seq_len,
        gradient_accumulation_steps: flags.gradient_accumulation_steps,
        dropout: flags.dropout,
        precision: flags.precision.map_or(defaults.precision, Into::into),
        optimizer: flags.optimizer.map_or(defaults.optimizer, Into::into),
        ..defaults
    });
    training.validate()?;
    if flags.steps == Some(0) {
        bail!("--steps is 0: it must be at least 1");
    }
    let device = match device {
        EngineDevice::Auto => TrainDevice::Auto,
        EngineDevice::Cpu => TrainDevice::Cpu,
        #[cfg(feature = "gpu")]
        EngineDevice::Gpu => TrainDevice::Gpu,
    };
    let tokens_per_step = training.tokens_per_step();
    let folder = tempfile::tempdir().context("there is no place for temporary files")?;
    keep_freed_memory();
    let memory_counts = memory::reset_peak();
    let mut trainer = nonsense::trainer(size, training.clone(), device, folder.path())?;
    let name = trainer.device().name.clone();
    let parameters = trainer.config().num_parameters();
    let threads = pool.current_num_threads();
    ui.line(format!(
        "{size}: {} parameters, steps of {} x {} x {} tokens on {name}, {threads} threads",
        ui::thousands(parameters),
        training.gradient_accumulation_steps,
        training.batch_size,
        training.seq_len
    ))?;
    let config = ArchConfig::Rwkv4(trainer.config().clone());
    let seconds = pool.install(|| measure(&mut trainer, training.learning_rate, flags.steps))?;
    let speed = Speed::of(seconds.iter().map(|s| tokens_per_step as f64 / s).collect());
    let peak = memory::peak().filter(|_| memory_counts);
    ui.line(format!(
        "{:.0} tokens a second ({:.0}–{:.0}), {:.4} s a step, {} steps; memory at its peak {}",
        speed.median,
        speed.lowest,
        speed.highest,
        tokens_per_step as f64 / speed.median,
        seconds.len(),
        peak.map_or_else(|| "?".to_owned(), ui::bytes)
    ))?;
    ui.result(&json!({
        "model": size,
        "config": config,
        "parameters": parameters,
        "threads": threads,
        "training": {
            "device": name,
            "precision": training.precision,
            "optimizer": training.optimizer,
            "checkpointing": training.gradient_checkpointing,
            "moments": training.moments,
            "batch_size": training.batch_size,
            "seq_len": training.seq_len,
            "dropout": training.effective_dropout(trainer.config()),
            "gradient_accumulation_steps": training.gradient_accumulation_steps,
            "steps": seconds.len(),
            "tokens_per_second": speed,
            "seconds_per_step": tokens_per_step as f64 / speed.median,
            "peak_memory_bytes": peak,
        },
    }))
}

/// Seconds of each step after the first ones.
fn measure(
    trainer: &mut ptbr_train::Trainer,
    learning_rate: f64,
    steps: Option<usize>,
) -> Result<Vec<f64>> {
    let mut rehearsal = trainer.rehearse()?;
    let mut timed = || -> Result<f64> {
        let start = Instant::now();
        rehearsal.step(learning_rate)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let mut last = 0.0;
    for _ in 0..WARM_UP {
        last = timed()?;
    }
    let wanted = steps.unwrap_or(((SECONDS / last) as usize).clamp(5, 1000));
    (0..wanted).map(|_| timed()).collect()
}
