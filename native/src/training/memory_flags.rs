//! The flags that trade time for memory, of every command that trains.

use clap::Args;
use ptbr_model::{GradientCheckpointing, TrainingConfig};

/// What a training step keeps in memory.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryFlags {
    /// Activations to compute twice instead of keeping them: off, balanced, aggressive (every layer), every-N, or the layers
    /// that begin a segment (0,4,8) [default: off]
    #[arg(long, value_name = "POLICY")]
    pub checkpointing: Option<GradientCheckpointing>,
}

impl MemoryFlags {
    /// `training` with these flags put over it.
    pub fn over(&self, training: TrainingConfig) -> TrainingConfig {
        TrainingConfig {
            gradient_checkpointing: self
                .checkpointing
                .clone()
                .unwrap_or(training.gradient_checkpointing),
            ..training
        }
    }
}
