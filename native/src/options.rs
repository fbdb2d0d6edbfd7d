//! Flags that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::ui::Ui;

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Take flags from a TOML file; a flag on the command line goes first
    #[arg(long, value_name = "FILE.toml", help_heading = "General")]
    pub config: Option<PathBuf>,
    /// Print the result as JSON on stdout, and everything else on stderr
    #[arg(long, help_heading = "General")]
    pub json: bool,
}

impl Common {
    /// Where this command writes.
    pub fn ui(&self) -> Ui {
        Ui::new(self.json)
    }
}

/// Where a model is trained.
#[cfg(feature = "train")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// A hardware GPU where there is one, otherwise the CPU
    Auto,
    /// The CPU
    Cpu,
    /// Any GPU adapter, software adapters included
    Gpu,
}

/// Number format of the matrix products of training.
#[cfg(feature = "train")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    /// Everything in f32
    F32,
    /// Products in f16 with sums in f32 and a loss scale; weights and moments in f32. For GPUs
    F16,
}

#[cfg(feature = "train")]
impl From<PrecisionName> for ptbr_model::Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::F16 => Self::F16,
        }
    }
}

/// Where the inference engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineDevice {
    /// A hardware GPU where there is one, otherwise the CPU
    Auto,
    /// The CPU
    Cpu,
    /// Any GPU adapter, software adapters included
    #[cfg(feature = "gpu")]
    Gpu,
}

/// `--device` of the commands that run a trained model.
#[derive(Debug, Args)]
pub struct EngineOptions {
    /// Where the model runs
    #[arg(long, value_enum, default_value_t = EngineDevice::Auto)]
    pub device: EngineDevice,
}

/// `--in-memory` of the commands whose speed counts.
#[derive(Debug, Clone, Copy, Args)]
pub struct MemoryOption {
    /// Copy the weights into memory first, in large pages where the system has them: a slower start, and faster tokens on the CPU
    #[arg(long)]
    pub in_memory: bool,
}

impl MemoryOption {
    /// Weights stay in their file.
    pub const MAPPED: Self = Self { in_memory: false };
}
