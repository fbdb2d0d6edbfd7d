//! `process-wiki`: a MediaWiki dump to text.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_corpus::{Shard, WikiOptions, WikiSummary, merge_shards, write_template_report};

use crate::Outcome;
use crate::options::Common;
use crate::ui::{self, Ui};

/// Turn a Wikipedia dump into clean text
///
/// Reads a MediaWiki pages-articles dump, compressed with bz2 or not, without ever holding it in memory, and writes one
/// JSON line for each article: id, title, url, source, text. Redirects, disambiguation pages and everything outside the
/// article namespace are left out. A dump that ends early keeps what was whole, and a run that was killed goes on where it
/// was when it is started again.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm process-wiki --input ptwiki-latest-pages-articles.xml.bz2 --output texts\n  \
                  ptbr-slm process-wiki --input ptwiki-latest-pages-articles.xml.bz2 --output texts --shard 0/8"
)]
pub struct Args {
    /// The dump
    #[arg(long, value_name = "DUMP.xml[.bz2]")]
    pub input: PathBuf,
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Leave out articles with fewer characters of text than this
    #[arg(long, value_name = "N", default_value_t = WikiOptions::default().min_chars)]
    pub min_chars: usize,
    /// Threads to use; 0 is one for each core
    #[arg(long, visible_alias = "jobs", value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Do only part I (from 0) of N, for many machines that share a folder; --merge joins the parts
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Join the parts that --shard made in the output folder, when all of them are complete
    #[arg(long, conflicts_with = "shard")]
    pub merge: bool,
    /// Write the 500 templates that were dropped most often to a file, with counts and an example each
    #[arg(long, value_name = "FILE.tsv")]
    pub report: Option<PathBuf>,
    /// What templates show, instead of the table inside the program (configs/corpus/templates.toml)
    #[arg(long, value_name = "FILE.toml")]
    pub templates: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the dump is missing, no dump, or ends early (what was whole is kept then), or the output cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let options = WikiOptions {
        min_chars: args.min_chars,
        threads: args.threads,
        shard: args.shard,
        templates: args.templates.clone(),
        // The report of the whole is made of those of its parts.
        count_templates: args.report.is_some() || args.shard.is_some(),
        ..WikiOptions::default()
    };
    let mut summary = match args.merge {
        true => merge_shards(&args.input, &args.output)?,
        false => process(&args.input, &args.output, &options, &ui)?,
    };
    match &args.report {
        Some(report) => write_template_report(report, &summary)?,
        None => summary.templates.clear(),
    }
    let dropped = &summary.dropped;
    ui.line(format!(
        "{}: {} articles, {} of text, from {} of XML at {:.1} MB/s",
        summary.output.display(),
        ui::thousands(summary.pages_kept),
        ui::bytes(summary.text_bytes),
        ui::bytes(summary.xml_bytes),
        summary.mb_per_second,
    ))?;
    ui.line(format!(
        "left out: {} outside the article namespace, {} redirects, {} disambiguation pages, {} too short, {} too large",
        ui::thousands(dropped.other_namespace),
        ui::thousands(dropped.redirect),
        ui::thousands(dropped.disambiguation),
        ui::thousands(dropped.too_short),
        ui::thousands(dropped.oversized),
    ))?;
    if let Some((title, offset)) = &summary.invalid_utf8_first {
        ui.note(format!(
            "warning: {} byte sequences in {} pages are not valid UTF-8 and were left out, the first in \"{title}\" at byte \
             {offset} of the XML",
            summary.invalid_utf8, summary.invalid_utf8_pages
        ));
    }
    if summary.pages_taken_over > 0 {
        ui.note(format!(
            "{} of {} pages had been read by a run that was interrupted",
            ui::thousands(summary.pages_taken_over),
            ui::thousands(summary.pages_seen),
        ));
    }
    ui.result(&summary)?;
    let output = args.output.display();
    ui.next(&match args.shard {
        None => format!("ptbr-slm clean-corpus --input {output} --output clean"),
        Some(shard) => format!(
            "ptbr-slm process-wiki --input {} --output {output} --merge, when all {} parts are complete",
            args.input.display(),
            shard.count(),
        ),
    });
    Ok(Outcome::Done)
}

/// Cleans a dump, with a bar.
///
/// # Errors
/// As [`run`].
pub fn process(input: &Path, output: &Path, options: &WikiOptions, ui: &Ui) -> Result<WikiSummary> {
    let bar = ui.bytes_bar(0, "reading");
    let summary = ptbr_corpus::process_wiki(input, output, options, &mut |progress| {
        bar.set_length(progress.input_bytes);
        bar.set_position(progress.input_position);
    });
    bar.finish_and_clear();
    Ok(summary?)
}
