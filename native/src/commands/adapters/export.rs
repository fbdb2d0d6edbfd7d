//! `adapters export`: an adapter for another program.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use ptbr_model::{WeightFormat, write_adapter_as, write_web_rwkv_adapter};
use serde_json::json;

use super::read;
use crate::Outcome;
use crate::adapters::find;
use crate::options::Common;

/// Who is to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// A PEFT folder
    Peft,
    /// The file that web-rwkv blends into a model while loading it; always f16
    WebRwkv,
}

/// Number format of the exported tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32-bit floats
    F32,
    /// 16-bit floats
    F16,
}

/// Write an adapter for another program
///
/// web-rwkv's layout has no place for the scale: the blend factor to load it with is printed.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm adapters export --model run --adapter legal --format peft --precision f16 --output legal-f16\n  \
                  ptbr-slm adapters export --adapter run/adapters/legal --format web-rwkv --output legal.st"
)]
pub struct Args {
    /// The adapter: a folder, or a name in the model's folder `adapters`
    #[arg(long, value_name = "NAME|FOLDER")]
    pub adapter: String,
    /// The model whose adapter it is; needed for a name only
    #[arg(long, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// The layout
    #[arg(long, value_enum, default_value_t = Layout::Peft)]
    pub format: Layout,
    /// Number format of a PEFT folder's tensors [default: f32]
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// The folder (peft) or file (web-rwkv) to write
    #[arg(long, value_name = "PATH")]
    pub output: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the adapter cannot be read, the layout cannot hold it, or the output cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let adapter = read(&find(&args.adapter, args.model.as_deref())?)?;
    let blend = match (args.format, args.precision) {
        (Layout::WebRwkv, Some(Precision::F32)) => {
            bail!("web-rwkv reads f16 only; leave out --precision, or export with --format peft")
        }
        (Layout::WebRwkv, _) => Some(write_web_rwkv_adapter(&args.output, &adapter)?),
        (Layout::Peft, precision) => {
            let format = match precision {
                Some(Precision::F16) => WeightFormat::F16,
                Some(Precision::F32) | None => WeightFormat::F32,
            };
            write_adapter_as(&args.output, &adapter, format)?;
            None
        }
    };
    match blend {
        Some(blend) => ui.line(format!(
            "{}: load it with the blend factor {blend}",
            args.output.display()
        ))?,
        None => ui.line(args.output.display().to_string())?,
    }
    ui.result(&json!({ "output": args.output, "blend": blend, "adapter_id": adapter.id() }))?;
    Ok(Outcome::Done)
}
