//! `resume`: goes on with a training run.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args as ClapArgs;

use crate::Outcome;
use crate::options::{Common, Device};
use crate::training::{self, DisplayFlags, DistributedFlags, SampleFlags};

/// Go on with a training run that was stopped
///
/// Starts from the newest undamaged checkpoint, with the values that `train` was given. On the CPU the result is the same,
/// bit for bit, as that of a run that was never stopped. Any number of processes may go on with it.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  ptbr-slm resume --output run")]
pub struct Args {
    /// The output folder of the run
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Train up to this step instead of the one that `train` was given
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,
    /// Where to train
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    pub device: Device,
    #[command(flatten)]
    pub sample: SampleFlags,
    #[command(flatten)]
    pub display: DisplayFlags,
    #[command(flatten)]
    pub distributed: DistributedFlags,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When there is no run in the folder, its data is gone or was changed, or the run diverges.
pub fn run(args: &Args) -> Result<Outcome> {
    let (group, ui) = args.distributed.connect(args.common.ui())?;
    let result = training::resume(
        &args.output,
        args.max_steps,
        args.device,
        Arc::clone(&group),
        (args.sample.sample(), args.display.plain),
        &ui,
    )?;
    group.finish()?;
    result.show(&ui)?;
    Ok(Outcome::Done)
}
