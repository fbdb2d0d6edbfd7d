//! `test-gpu`: is there a GPU, does it compute what it should, and what fits?

use anyhow::Result;
use clap::Args as ClapArgs;

use crate::Outcome;
use crate::options::Common;

/// Find GPU adapters, check what they compute, and train one step
///
/// Lists the adapters with their limits, runs the WKV shader against its CPU twin, takes one training step, and says which
/// sizes fit. Exit status 1 means that there is no adapter, or that it computes something wrong.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  ptbr-slm test-gpu --model-size micro --batch-size 4 --seq-len 256"
)]
pub struct Args {
    /// The size that takes the step
    #[arg(long, value_name = "SIZE", default_value = "nano")]
    pub model_size: String,
    /// Sequences in the step
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub batch_size: usize,
    /// Tokens in a sequence
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub seq_len: usize,
    #[command(flatten)]
    common: Common,
}
