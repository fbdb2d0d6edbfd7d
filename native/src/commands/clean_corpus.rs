//! `clean-corpus`: text from anywhere to clean documents.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};
use ptbr_corpus::{BlankLines, CleanOptions, CleanSummary, JoinLines};

use crate::Outcome;
use crate::options::Common;
use crate::ui::{self, Ui};

/// What a blank line in a .txt file stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Blank {
    /// Judged for each file
    Auto,
    /// The end of a document
    Documents,
    /// The end of a paragraph; a file is one document
    Paragraphs,
}

/// Turn text from anywhere into clean documents
///
/// Takes .txt and .jsonl files or folders of them: joins lines that were broken at the width of a page, takes out control
/// characters, page numbers, documents that are too short, and paragraphs that were seen before. The output has the same
/// names; plain text comes out with a paragraph on each line and a blank line between documents.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  ptbr-slm clean-corpus --input texts --output clean")]
pub struct Args {
    /// A .txt or .jsonl file, or a folder of them
    #[arg(long, value_name = "PATH")]
    pub input: PathBuf,
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Leave out documents with fewer characters than this
    #[arg(long, value_name = "N", default_value_t = CleanOptions::default().min_chars)]
    pub min_chars: usize,
    /// Keep repeated paragraphs of at least this many characters only once; shorter ones may repeat
    #[arg(long, value_name = "N", default_value_t = CleanOptions::default().min_duplicate_chars)]
    pub min_duplicate_chars: usize,
    /// Leave the lines of plain text as they are
    #[arg(long)]
    pub keep_lines: bool,
    /// What a blank line in a .txt file stands for
    #[arg(long, value_enum, default_value_t = Blank::Auto)]
    blank_lines: Blank,
    /// Leave out bytes that are not UTF-8 instead of stopping at them
    #[arg(long)]
    pub replace_invalid_utf8: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the input is missing, holds no text or bytes that are not UTF-8, or the output cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let options = CleanOptions {
        min_chars: args.min_chars,
        min_duplicate_chars: args.min_duplicate_chars,
        join_lines: if args.keep_lines {
            JoinLines::Never
        } else {
            JoinLines::Auto
        },
        blank_lines: match args.blank_lines {
            Blank::Auto => BlankLines::Auto,
            Blank::Documents => BlankLines::Documents,
            Blank::Paragraphs => BlankLines::Paragraphs,
        },
        replace_invalid_utf8: args.replace_invalid_utf8,
    };
    let summary = clean(&args.input, &args.output, &options, &ui)?;
    ui.line(format!(
        "{}: {} of {} documents, {} of {}, from {} files",
        summary.output.display(),
        ui::thousands(summary.documents_kept),
        ui::thousands(summary.documents_seen),
        ui::bytes(summary.output_bytes),
        ui::bytes(summary.input_bytes),
        ui::thousands(summary.files),
    ))?;
    ui.line(format!(
        "left out: {} documents too short, {} seen before, {} paragraphs seen before, {} page numbers",
        ui::thousands(summary.dropped_too_short),
        ui::thousands(summary.dropped_duplicate),
        ui::thousands(summary.paragraphs_duplicate),
        ui::thousands(summary.page_numbers),
    ))?;
    ui.line(format!(
        "mended: {} broken lines in {} files, {} words that were split at a line end",
        ui::thousands(summary.lines_joined),
        ui::thousands(summary.files_joined),
        ui::thousands(summary.words_rejoined),
    ))?;
    if summary.invalid_utf8 > 0 {
        ui.note(format!(
            "warning: {} byte sequences are not valid UTF-8 and were left out",
            ui::thousands(summary.invalid_utf8)
        ));
    }
    ui.result(&summary)?;
    ui.next(&format!(
        "ptbr-slm train-tokenizer --input {} --output tokenizer.json --vocab-size 32000",
        args.output.display()
    ));
    Ok(Outcome::Done)
}

/// Cleans a file or folder, with a bar.
///
/// # Errors
/// As [`run`].
pub fn clean(input: &Path, output: &Path, options: &CleanOptions, ui: &Ui) -> Result<CleanSummary> {
    let bar = ui.count_bar(0, "cleaning files");
    let summary = ptbr_corpus::clean_corpus(input, output, options, &mut |progress| {
        bar.set_length(progress.files);
        bar.set_position(progress.files_done);
    });
    bar.finish_and_clear();
    Ok(summary?)
}
