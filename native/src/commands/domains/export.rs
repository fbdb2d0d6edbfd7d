//! `domains export`: the texts of domains as plain files.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_corpus::export_split;
use ptbr_model::Split;
use serde_json::json;

use crate::Outcome;
use crate::domains::DomainOptions;
use crate::options::Common;
use crate::ui;

/// Write the training, validation and test texts of domains
///
/// Writes <output>/<domain>/train.txt, validation.txt and test.txt, a blank line between documents, in an order that depends
/// on the files alone. Lines that a more held out split also has are left out: training sees no line of validation or test.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm domains export --data-root texts --output domains\n  \
                  ptbr-slm domains export --domain legal,medical --data-root texts --output domains"
)]
pub struct Args {
    /// The folder to write into
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    #[command(flatten)]
    domains: DomainOptions,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When a domain or one of its texts is not there, or a file cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let registry = args.domains.registry()?;
    let root = args.domains.data_root()?;
    let mut written = Vec::new();
    for domain in args.domains.chosen(&registry)? {
        for split in Split::ALL {
            if domain.data().sources(split).is_empty() {
                continue;
            }
            let path = args.output.join(domain.name()).join(format!("{split}.txt"));
            let summary = export_split(domain, &root, split, &path)?;
            let removed = match summary.removed_lines {
                0 => String::new(),
                lines => format!(", {} held-out lines left out", ui::thousands(lines)),
            };
            ui.line(format!(
                "{}: {} documents, {}{removed}",
                path.display(),
                ui::thousands(summary.documents),
                ui::bytes(summary.bytes),
            ))?;
            written.push(summary);
        }
    }
    ui.result(&json!({ "splits": written }))?;
    Ok(Outcome::Done)
}
