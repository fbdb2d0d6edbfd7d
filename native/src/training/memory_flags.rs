//! The flags that trade time for memory, of every command that trains.

use clap::{Args, ValueEnum};
use ptbr_model::{GradientCheckpointing, MomentFormat, TrainingConfig};

/// Number format of Adam's moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MomentName {
    /// Eight bytes a parameter
    F32,
    /// Two bytes a parameter, for matrices: blocks of 256 with a scale each
    #[value(name = "8bit")]
    EightBit,
}

/// What a training step keeps in memory.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryFlags {
    /// Activations to compute twice instead of keeping them: off, balanced, aggressive (every layer), every-N, or the layers
    /// that begin a segment (0,4,8) [default: off]
    #[arg(long, value_name = "POLICY")]
    pub checkpointing: Option<GradientCheckpointing>,
    /// What the optimizer's moments are kept in [default: f32]
    #[arg(long, value_enum)]
    pub moments: Option<MomentName>,
}

impl MemoryFlags {
    /// `training` with these flags put over it.
    pub fn over(&self, training: TrainingConfig) -> TrainingConfig {
        TrainingConfig {
            gradient_checkpointing: self
                .checkpointing
                .clone()
                .unwrap_or(training.gradient_checkpointing),
            moments: match self.moments {
                None => training.moments,
                Some(MomentName::F32) => MomentFormat::F32,
                Some(MomentName::EightBit) => MomentFormat::EightBit,
            },
            ..training
        }
    }
}
