//! Flags that several commands share.

use std::path::PathBuf;

#[cfg(feature = "train")]
use clap::builder::PossibleValue;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// A hardware GPU where there is one, otherwise the CPU
    Auto,
    /// The CPU
    Cpu,
    /// Any GPU adapter, software adapters included
    Gpu,
    /// The CUDA device with this number
    #[cfg(feature = "cuda")]
    Cuda(usize),
    /// The ROCm device with this number
    #[cfg(feature = "rocm")]
    Rocm(usize),
}

/// By hand: clap derives no names for variants with a number.
#[cfg(feature = "train")]
impl ValueEnum for Device {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Auto,
            Self::Cpu,
            Self::Gpu,
            #[cfg(feature = "cuda")]
            Self::Cuda(0),
            #[cfg(feature = "cuda")]
            Self::Cuda(1),
            #[cfg(feature = "cuda")]
            Self::Cuda(2),
            #[cfg(feature = "cuda")]
            Self::Cuda(3),
            #[cfg(feature = "rocm")]
            Self::Rocm(0),
            #[cfg(feature = "rocm")]
            Self::Rocm(1),
            #[cfg(feature = "rocm")]
            Self::Rocm(2),
            #[cfg(feature = "rocm")]
            Self::Rocm(3),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = |name: &'static str, help: &'static str| PossibleValue::new(name).help(help);
        #[cfg(any(feature = "cuda", feature = "rocm"))]
        let numbered = |names: [&'static str; 5], index: usize, help: &'static str| {
            let value = PossibleValue::new(*names.get(1 + index)?).help(help);
            // The first one also without its number.
            Some(if index == 0 {
                value.alias(names[0])
            } else {
                value
            })
        };
        match *self {
            Self::Auto => Some(value(
                "auto",
                "A hardware GPU where there is one, otherwise the CPU",
            )),
            Self::Cpu => Some(value("cpu", "The CPU")),
            Self::Gpu => Some(value("gpu", "Any GPU adapter, software adapters included")),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => numbered(
                ["cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:3"],
                index,
                "A GPU through CUDA",
            ),
            #[cfg(feature = "rocm")]
            Self::Rocm(index) => numbered(
                ["rocm", "rocm:0", "rocm:1", "rocm:2", "rocm:3"],
                index,
                "A GPU through ROCm",
            ),
        }
    }
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
