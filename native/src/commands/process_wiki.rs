//! `process-wiki`: a MediaWiki dump to text.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_corpus::{WikiOptions, WikiSummary};

use crate::Outcome;
use crate::options::Common;
use crate::ui::{self, Ui};

/// Turn a Wikipedia dump into clean text
///
/// Reads a MediaWiki pages-articles dump, compressed with bz2 or not, without ever holding it in memory, and writes one
/// JSON line for each article: id, title, url, source, text. Redirects, disambiguation pages and everything outside the
/// article namespace are left out. A dump that ends early keeps what was whole.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  ptbr-slm process-wiki --input ptwiki-latest-pages-articles.xml.bz2 --output texts"
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
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
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
        ..WikiOptions::default()
    };
    let summary = process(&args.input, &args.output, &options, &ui)?;
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
    ui.result(&summary)?;
    ui.next(&format!(
        "ptbr-slm clean-corpus --input {} --output clean",
        args.output.display()
    ));
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
