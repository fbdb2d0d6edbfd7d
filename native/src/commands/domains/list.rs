//! `domains list`: which kinds of text there are.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_model::FineTuneMethod;
use serde_json::json;

use crate::Outcome;
use crate::domains::registry;
use crate::options::Common;

/// List the domains and how a model is tuned to each
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm domains list\n  ptbr-slm domains list --domain-configs my-domains --json"
)]
pub struct Args {
    /// A folder of domains of your own, a file <name>.toml each, beside those that the program knows
    #[arg(long, value_name = "DIR")]
    pub domain_configs: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When a domain's file is wrong.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let registry = registry(args.domain_configs.as_deref())?;
    let width = registry.names().map(str::len).max().unwrap_or(0);
    for domain in registry.iter() {
        let tune = domain.fine_tune();
        let how = match tune.method {
            FineTuneMethod::Lora => {
                format!("LoRA of rank {} on {}", tune.rank, tune.targets.join(" "))
            }
            FineTuneMethod::State => "a state".to_owned(),
        };
        ui.line(format!(
            "{:width$}  {}; {how}",
            domain.name(),
            domain.description()
        ))?;
    }
    let domains: Vec<_> = registry.iter().collect();
    ui.result(&json!({ "domains": domains }))?;
    Ok(Outcome::Done)
}
