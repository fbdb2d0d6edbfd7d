//! `adapters`: what a model's adapters are, how good they are, and what they become elsewhere.

mod evaluate;
mod export;
mod inspect;
mod list;
mod merge;

use std::path::Path;

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Subcommand};
use ptbr_model::{Adapter, AdapterMatch, ModelSource, read_adapter};
use serde_json::{Value, json};

use crate::Outcome;
use crate::adapters::name_of;

/// List, describe, measure, merge and export LoRA adapters
///
/// An adapter is a folder in the PEFT layout; those in the folder `adapters` of a training output folder, or beside a model
/// file, are called by their names.
#[derive(Debug, ClapArgs)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  ptbr-slm adapters list --model run\n  ptbr-slm adapters evaluate --model run --data-root texts\n  ptbr-slm adapters merge --model run --adapter legal --output legal.safetensors"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::Args),
    Inspect(inspect::Args),
    Evaluate(evaluate::Args),
    Merge(merge::Args),
    Export(export::Args),
}

/// Runs the command.
///
/// # Errors
/// Whatever the action reports.
pub fn run(args: &Args) -> Result<Outcome> {
    match &args.action {
        Action::List(args) => list::run(args),
        Action::Inspect(args) => inspect::run(args),
        Action::Evaluate(args) => evaluate::run(args),
        Action::Merge(args) => merge::run(args),
        Action::Export(args) => export::run(args),
    }
}

fn read(folder: &Path) -> Result<Adapter> {
    read_adapter(folder).with_context(|| format!("cannot read the adapter {}", folder.display()))
}

/// Numbers in its matrices.
fn parameters(adapter: &Adapter) -> u64 {
    adapter
        .modules
        .iter()
        .map(|module| (module.a.len() + module.b.len()) as u64)
        .sum()
}

/// Bytes of the folder's files.
fn bytes(folder: &Path) -> u64 {
    ["adapter_config.json", "adapter_model.safetensors"]
        .iter()
        .filter_map(|file| std::fs::metadata(folder.join(file)).ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// Whether an adapter fits a model, or why not.
fn fit(adapter: &Adapter, model: &ModelSource) -> Result<AdapterMatch, String> {
    adapter
        .check_against(model.config(), model.model_id())
        .map_err(|error| error.to_string())
}

/// What `list` and `inspect` print for machines.
fn described(
    adapter: &Adapter,
    folder: &Path,
    fit: Option<&Result<AdapterMatch, String>>,
) -> Value {
    let fits = fit.and_then(|fit| fit.as_ref().ok()).map(|fit| match fit {
        AdapterMatch::SameModel => "same_model",
        AdapterMatch::ShapesOnly => "shapes_only",
    });
    json!({
        "name": name_of(folder),
        "path": folder,
        "id": adapter.id(),
        "rank": adapter.config.rank,
        "alpha": adapter.config.alpha,
        "scale": adapter.config.scale(),
        "parameters": parameters(adapter),
        "bytes": bytes(folder),
        "model_id": adapter.model_id,
        "targets": adapter.modules.iter().map(|module| &module.target).collect::<Vec<_>>(),
        "fits": fits,
        "problem": fit.and_then(|fit| fit.as_ref().err()),
    })
}

/// The kinds of matrices that it changes: `att.key` for every `blocks.N.att.key`.
fn kinds(adapter: &Adapter) -> Vec<&str> {
    let mut kinds: Vec<&str> = adapter
        .modules
        .iter()
        .map(|module| module.target.splitn(3, '.').last().unwrap_or_default())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}
