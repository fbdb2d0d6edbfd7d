//! `train`: makes a model of a token file.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_tokenizer::BpeTokenizer;

use crate::Outcome;
use crate::options::{Common, Device};
use crate::training::{
    self, DisplayFlags, DistributedFlags, Hyperparameters, MemoryBudget, Plan, SampleFlags,
};

/// Train a model on a token file
///
/// Checkpoints are folders in the output folder, written whole or not at all; `latest` names the newest. Ctrl-C saves and
/// stops, and `resume` goes on from there. metrics.csv and metrics.jsonl hold every step.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm train --data train.bin --val val.bin --tokenizer tokenizer.json --output run \\\n      \
                  --model-size micro --max-steps 2000 --batch-size 8 --seq-len 256\n  \
                  mpirun -np 4 ptbr-slm train --data train.bin --tokenizer tokenizer.json --output run \\\n      \
                  --model-size 85m"
)]
pub struct Args {
    /// The token file to learn from
    #[arg(long, value_name = "FILE.bin")]
    pub data: PathBuf,
    /// A token file to judge by, of text that is not in --data
    #[arg(long, value_name = "FILE.bin")]
    pub val: Option<PathBuf>,
    /// A folder that build-dataset wrote: its val.bin judges, unless --val does, and each val-<source>.bin is reported beside it
    #[arg(long, value_name = "DIR", conflicts_with = "raw")]
    pub val_dir: Option<PathBuf>,
    /// Read --data and --val as bare 16-bit token ids without a header
    #[arg(long)]
    pub raw: bool,
    /// The tokenizer.json that the token files were made with
    #[arg(long, value_name = "FILE.json")]
    pub tokenizer: PathBuf,
    /// The folder for checkpoints and metrics
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// nano, micro, 85m, 400m, 800m, 1b or 1.5b, or a .toml file like those in configs/models
    #[arg(long, value_name = "SIZE")]
    pub model_size: String,
    /// Where to train
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    pub device: Device,
    #[command(flatten)]
    pub hyperparameters: Hyperparameters,
    #[command(flatten)]
    pub memory: MemoryBudget,
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
/// When an input is missing or of another tokenizer, a value is out of range, the output cannot be written, the model does
/// not fit, or the run diverges.
pub fn run(args: &Args) -> Result<Outcome> {
    let (group, ui) = args.distributed.connect(args.common.ui())?;
    let training = args.hyperparameters.training_config()?;
    let tokenizer = BpeTokenizer::from_file(&args.tokenizer)?;
    let plan = Plan {
        data: &args.data,
        val: args.val.as_deref(),
        val_dir: args.val_dir.as_deref(),
        raw: args.raw,
        tokenizer: &tokenizer,
        tokenizer_path: &args.tokenizer,
        output: &args.output,
        model_size: &args.model_size,
        device: args.device,
        group: Arc::clone(&group),
        training,
        memory: args.memory,
        sample: args.sample.sample(),
        plain: args.display.plain,
    };
    let result = training::train(&plan, &ui)?;
    group.finish()?;
    result.show(&ui)?;
    Ok(Outcome::Done)
}
