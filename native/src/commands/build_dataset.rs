//! `build-dataset`: from sources to token files.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use ptbr_corpus::{BuildConfig, BuildOptions, BuildProgress, BuildSummary, build_dataset};

use crate::Outcome;
use crate::domains::data_root_from_environment;
use crate::ui::{self, Ui};

/// Build token files from dumps, statutes and texts
///
/// The configuration names the sources: MediaWiki dumps, statutes, text files and JSON lines. They are read, filtered, deduplicated inside and across each other,
/// split by document, and tokenized into train.bin, val.bin and a val-<source>.bin for each source. Beside these are removed.jsonl (which document removed which),
/// rejects/ (samples of what the filters dropped, with the reasons) and build.json. Every stage is kept under the hash of what it depends on: a build that was
/// killed goes on, and a changed configuration does again only what it changes.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  ptbr-slm build-dataset --config configs/corpus/data-folder.toml --data-root texts --output corpus"
)]
pub struct Args {
    /// What the corpus consists of: a file as those in configs/corpus
    // Not called `config`: the file describes a corpus and holds no flags of this program.
    #[arg(id = "corpus", long = "config", value_name = "FILE.toml")]
    pub corpus: PathBuf,
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// The folder below which the sources are [default: `root` in the configuration, or the one that PTBR_DATA names]
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// The tokenizer.json to use [default: the configuration's, or one that is learned from the training texts]
    #[arg(long, value_name = "FILE.json")]
    pub tokenizer: Option<PathBuf>,
    /// Where finished stages are kept [default: cache in the output folder]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Drop nothing: what would be dropped carries the reason, in the documents of the cache
    #[arg(long)]
    pub tag_only: bool,
    /// Print the result as JSON on stdout, and everything else on stderr
    #[arg(long, help_heading = "General")]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the configuration is wrong, a source is missing or cannot be read, nothing is left, or an output cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = Ui::new(args.json);
    let mut config = BuildConfig::from_file(&args.corpus)?;
    config.tag_only |= args.tag_only;
    let root = args
        .data_root
        .clone()
        .or_else(|| config.root.clone())
        .or_else(data_root_from_environment);
    if let Some(root) = root.as_ref().filter(|root| !root.is_dir()) {
        bail!(
            "there is no folder {}; --data-root, `root` in the configuration, or PTBR_DATA, names the one below which the sources are",
            root.display()
        );
    }
    let options = BuildOptions {
        root,
        tokenizer: args.tokenizer.clone(),
        cache: args.cache.clone(),
    };
    let bar = ui.bytes_bar(0, "reading");
    let summary = build_dataset(
        &config,
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
    show(&summary, &ui)?;
    ui.result(&summary)?;
    ui.next(&format!(
        "ptbr-slm train --data {0}/train.bin --val-dir {0} --tokenizer {0}/tokenizer.json --output run --model-size micro --max-steps 1000",
        args.output.display()
    ));
    Ok(Outcome::Done)
}

fn show(summary: &BuildSummary, ui: &Ui) -> Result<()> {
    let width = summary
        .filters
        .keys()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .max(6);
    ui.line(format!(
        "{:width$} {:>10} {:>10} {:>10} {:>10} {:>12}",
        "source", "documents", "filtered", "duplicate", "kept", "text"
    ))?;
    for (name, filters) in &summary.filters {
        let dedup = summary.dedup.get(name).cloned().unwrap_or_default();
        ui.line(format!(
            "{name:width$} {:>10} {:>10} {:>10} {:>10} {:>12}",
            ui::thousands(filters.documents),
            ui::thousands(filters.reasons.values().sum()),
            ui::thousands(dedup.exact + dedup.near),
            ui::thousands(dedup.kept),
            ui::bytes(dedup.kept_bytes),
        ))?;
    }
    let lines: u64 = summary
        .dedup
        .values()
        .map(|counts| counts.held_out_lines)
        .sum();
    if lines > 0 {
        ui.line(format!(
            "left out of training: {} lines that are held out",
            ui::thousands(lines)
        ))?;
    }
    for file in &summary.files {
        ui.line(format!(
            "{}: {} tokens, {} documents{}",
            file.path.display(),
            ui::thousands(file.tokens),
            ui::thousands(file.documents),
            if file.cached { ", as before" } else { "" },
        ))?;
    }
    let cached = summary.stages.iter().filter(|stage| stage.cached).count();
    ui.line(format!(
        "{} stages, {cached} of them done before, in {:.1} s",
        summary.stages.len(),
        summary.seconds
    ))?;
    Ok(())
}
