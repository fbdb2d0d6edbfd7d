//! `filter-corpus`: documents in, good ones out, each once.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_corpus::{BuildProgress, DedupOptions, FilterConfig, FilterOptions, filter_corpus};

use crate::Outcome;
use crate::options::Common;
use crate::ui;

/// Keep the good documents, each once
///
/// Asks the rules of configs/corpus/filters.toml (language, quality, repetition, stubs that a bot made) about every document, and removes documents that repeat an
/// earlier one, exactly or nearly. Writes documents.jsonl with language, variant and number of words; rejects.jsonl, samples of what was dropped with the reasons;
/// and removed.jsonl, which document removed which.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  ptbr-slm filter-corpus --input texts --output filtered")]
pub struct Args {
    /// Text: .txt files, .jsonl files, packed by gzip or zstd or not, or folders of them
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub input: Vec<PathBuf>,
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Rules that differ from configs/corpus/filters.toml
    #[arg(long, value_name = "FILE.toml")]
    pub filters: Option<PathBuf>,
    /// Drop nothing: documents carry `filter`, the reason, or `duplicate_of` instead
    #[arg(long)]
    pub tag_only: bool,
    /// Leave duplicates
    #[arg(long)]
    pub keep_duplicates: bool,
    /// Documents of this Jaccard similarity of 5-word shingles are duplicates
    #[arg(long, value_name = "X", default_value_t = DedupOptions::default().similarity)]
    pub similarity: f64,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When an input is missing or cannot be read, the rules are wrong, nothing is left, or an output cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    if !(0.5..=1.0).contains(&args.similarity) {
        anyhow::bail!("--similarity {} must be from 0.5 to 1", args.similarity);
    }
    let options = FilterOptions {
        filters: match &args.filters {
            Some(path) => FilterConfig::from_file(path)?,
            None => FilterConfig::default(),
        },
        dedup: (!args.keep_duplicates).then(|| DedupOptions {
            similarity: args.similarity,
            ..DedupOptions::default()
        }),
        tag_only: args.tag_only,
    };
    let bar = ui.bytes_bar(0, "reading");
    let summary = filter_corpus(
        &args.input,
        &args.output,
        &options,
        &mut |at: &BuildProgress<'_>| {
            bar.set_message(at.stage.to_owned());
            bar.set_length(at.total);
            bar.set_position(at.done);
        },
    );
    bar.finish_and_clear();
    let summary = summary?;
    let (filters, dedup) = (&summary.filters, summary.dedup.clone().unwrap_or_default());
    let left = summary
        .dedup
        .as_ref()
        .map_or(filters.kept, |dedup| dedup.kept);
    ui.line(format!(
        "{}: {} of {} documents",
        summary.output.display(),
        ui::thousands(left),
        ui::thousands(filters.documents),
    ))?;
    for (reason, count) in &filters.reasons {
        ui.line(format!("  {:>10}  {reason}", ui::thousands(*count)))?;
    }
    for (count, what) in [
        (dedup.exact, "exact duplicates"),
        (dedup.near, "near duplicates"),
    ] {
        if count > 0 {
            ui.line(format!("  {:>10}  {what}", ui::thousands(count)))?;
        }
    }
    ui.result(&summary)?;
    ui.next(&format!(
        "ptbr-slm audit-corpus --input {}",
        summary.output.display()
    ));
    Ok(Outcome::Done)
}
