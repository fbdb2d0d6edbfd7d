//! `domains`: which kinds of text there are, and what their texts are.

mod export;
mod list;

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};

use crate::Outcome;

/// List domains and write out their texts
///
/// A domain is a kind of text that a model can be tuned to: a TOML file that names its training, validation and test texts
/// and says how it is learned. The program knows seven; with --domain-configs a folder of your own adds others.
#[derive(Debug, ClapArgs)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  ptbr-slm domains list\n  ptbr-slm domains export --domain legal --data-root texts --output legal"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::Args),
    Export(export::Args),
}

/// Runs the command.
///
/// # Errors
/// Whatever the action reports.
pub fn run(args: &Args) -> Result<Outcome> {
    match &args.action {
        Action::List(args) => list::run(args),
        Action::Export(args) => export::run(args),
    }
}
