//! `adapters inspect`: everything about one adapter.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_model::{AdapterMatch, ModelSource};

use super::{bytes, described, fit, kinds, parameters, read};
use crate::Outcome;
use crate::adapters::find;
use crate::options::Common;
use crate::ui;

/// Describe one adapter, and say whether it fits a model
///
/// With --model, exit status 1 says that it does not fit.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm adapters inspect legal --model run\n  ptbr-slm adapters inspect downloads/legal"
)]
pub struct Args {
    /// The adapter: a folder, or a name in the model's folder `adapters`
    #[arg(value_name = "NAME|FOLDER")]
    pub adapter: String,
    /// Check it against this model
    #[arg(long, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the adapter or the model cannot be read.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let folder = find(&args.adapter, args.model.as_deref())?;
    let adapter = read(&folder)?;
    let model = args.model.as_deref().map(ModelSource::open).transpose()?;
    let fit = model.as_ref().map(|model| fit(&adapter, model));
    let config = &adapter.config;
    let made_for = adapter.model_id.as_deref();
    let mut lines = vec![
        ("path", folder.display().to_string()),
        ("id", adapter.id()),
        ("rank", config.rank.to_string()),
        (
            "alpha",
            format!("{} (scale {})", config.alpha, config.scale()),
        ),
        ("parameters", ui::thousands(parameters(&adapter))),
        ("size", ui::bytes(bytes(&folder))),
        (
            "changes",
            format!(
                "{} matrices: {}",
                adapter.modules.len(),
                kinds(&adapter).join(" ")
            ),
        ),
        ("made for", made_for.unwrap_or("not said").to_owned()),
    ];
    if let Some(fit) = &fit {
        let verdict = match fit {
            Ok(AdapterMatch::SameModel) => "yes, it was made for this model".to_owned(),
            Ok(AdapterMatch::ShapesOnly) => {
                "by its shapes; which model it was made for it does not say".to_owned()
            }
            Err(problem) => format!("no: {problem}"),
        };
        lines.push(("fits", verdict));
    }
    for (name, text) in lines {
        ui.line(format!("{name:10}  {text}"))?;
    }
    ui.result(&described(&adapter, &folder, fit.as_ref()))?;
    Ok(match fit {
        Some(Err(_)) => Outcome::No,
        _ => Outcome::Done,
    })
}
