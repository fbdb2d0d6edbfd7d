//! `adapters list`: which adapters there are, and whether they fit the model.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use ptbr_model::{ModelSource, read_adapter};
use serde_json::{Value, json};

use super::{described, fit, kinds, parameters};
use crate::Outcome;
use crate::adapters::{adapters_in, folder_of, is_adapter, name_of};
use crate::options::Common;
use crate::ui;

/// List the adapters of a model and of folders
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm adapters list --model run\n  ptbr-slm adapters list downloads/adapters --model run"
)]
pub struct Args {
    /// Adapters, or folders that hold some, beside those of the model
    #[arg(value_name = "FOLDER")]
    pub folders: Vec<PathBuf>,
    /// The model: its own adapters are listed, and every adapter is checked against it
    #[arg(long, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the model or a folder cannot be read. A damaged adapter is listed as one.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    if args.model.is_none() && args.folders.is_empty() {
        bail!("give the --model whose adapters are to be listed, or folders that hold adapters");
    }
    let model = args.model.as_deref().map(ModelSource::open).transpose()?;
    let mut folders = match &args.model {
        Some(path) => adapters_in(&folder_of(path))?,
        None => Vec::new(),
    };
    for folder in &args.folders {
        if is_adapter(folder) {
            folders.push(folder.clone());
        } else if folder.is_dir() {
            folders.extend(adapters_in(folder)?);
        } else {
            bail!("there is no folder {}", folder.display());
        }
    }
    let mut adapters: Vec<Value> = Vec::with_capacity(folders.len());
    for folder in &folders {
        let name = name_of(folder);
        let adapter = match read_adapter(folder) {
            Ok(adapter) => adapter,
            Err(error) => {
                ui.line(format!("{name}  cannot be used: {error}"))?;
                adapters
                    .push(json!({ "name": name, "path": folder, "problem": error.to_string() }));
                continue;
            }
        };
        let fit = model.as_ref().map(|model| fit(&adapter, model));
        let verdict = match &fit {
            None => String::new(),
            Some(Ok(ptbr_model::AdapterMatch::SameModel)) => "  made for this model".to_owned(),
            Some(Ok(ptbr_model::AdapterMatch::ShapesOnly)) => "  fits by its shapes".to_owned(),
            Some(Err(problem)) => format!("  does not fit: {problem}"),
        };
        ui.line(format!(
            "{name}  rank {}, {} parameters, changes {}{verdict}",
            adapter.config.rank,
            ui::thousands(parameters(&adapter)),
            kinds(&adapter).join(" "),
        ))?;
        adapters.push(described(&adapter, folder, fit.as_ref()));
    }
    if folders.is_empty() {
        ui.note("no adapters");
    }
    ui.result(&json!({ "adapters": adapters }))?;
    Ok(Outcome::Done)
}
