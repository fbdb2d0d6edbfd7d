//! `info`: what a file or folder is, and what is in it.

mod files;
mod model;
#[cfg(feature = "train")]
mod run;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use ptbr_model::{Verify, find_checkpoint, open_checkpoint_with};
use serde_json::{Value, json};

use crate::Outcome;
use crate::loading::report_skipped;
use crate::model_size::named_size;
use crate::options::Common;
use crate::ui::Ui;

/// Show what a file or folder holds, or how large a model would be
///
/// Reads a token file, a tokenizer.json, a checkpoint or training output folder, a model file or an adapter folder, and
/// prints its sizes, counts and hashes.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm info run\n  ptbr-slm info --model-size 85m --batch-size 1 --seq-len 512"
)]
pub struct Args {
    /// The file or folder
    pub path: Option<PathBuf>,
    /// Show this size instead: a preset, or a .toml file like those in configs/models
    #[arg(long, value_name = "SIZE", conflicts_with = "path")]
    pub model_size: Option<String>,
    /// Sequences in the training step whose memory is estimated
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch_size: usize,
    /// Tokens in each of its sequences
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub seq_len: usize,
    /// Also list every tensor with its shape
    #[arg(long)]
    pub tensors: bool,
    #[command(flatten)]
    common: Common,
}

/// A line of the description: what, and its value.
type Line = (&'static str, String);

/// The description for people, and for machines.
type Described = (Vec<Line>, Value);

/// Runs the command.
///
/// # Errors
/// When there is nothing at the path, it is damaged, or it is nothing that this program makes.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let (lines, value) = match (&args.path, &args.model_size) {
        (_, Some(size)) => {
            let config = named_size(size)?;
            let (mut lines, mut value) = model::config_of(&config, args);
            lines.insert(0, ("size", size.clone()));
            value["kind"] = json!("model_size");
            (lines, value)
        }
        (Some(path), None) => describe(path, args, &ui)?,
        (None, None) => bail!("give the path of a file or folder, or --model-size"),
    };
    let width = lines
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, text) in &lines {
        ui.line(format!("{name:width$}  {text}"))?;
    }
    ui.result(&value)?;
    Ok(Outcome::Done)
}

fn describe(path: &Path, args: &Args, ui: &Ui) -> Result<Described> {
    let metadata = std::fs::metadata(path)
        .with_context(|| format!("cannot look at {}; check the path", path.display()))?;
    if metadata.is_dir() {
        if path.join("adapter_config.json").exists() {
            return model::adapter(path);
        }
        if path.join("MANIFEST.json").exists() {
            return model::checkpoint(&open_checkpoint_with(path, Verify::Everything)?, args);
        }
        let found = find_checkpoint(path, Verify::Everything)?;
        report_skipped(&found.skipped, ui);
        let described = model::checkpoint(&found.checkpoint, args)?;
        #[cfg(feature = "train")]
        let described = run::with_record(path, described)?;
        return Ok(described);
    }
    if metadata.len() == 0 {
        bail!("{} is empty", path.display());
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(16).read_to_end(&mut start))
        .with_context(|| format!("cannot read {}", path.display()))?;
    if path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("safetensors"))
    {
        return model::model_file(path, args);
    }
    if start.first() == Some(&b'{') {
        return files::tokenizer(path);
    }
    if start.starts_with(b"PTBRTOKN") {
        return files::token_file(path);
    }
    bail!(
        "{} is nothing that this program makes: not a token file, not a tokenizer.json, not a .safetensors model file",
        path.display()
    )
}
