//! `audit-corpus`: what is in a corpus.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_corpus::{
    AuditReport, BuildProgress, FilterConfig, Residue, audit_corpus, write_audit_page,
};
use serde::Serialize;

use crate::Outcome;
use crate::options::Common;
use crate::ui::{self, Ui};

/// Look at a corpus: lengths, languages, residue of markup, duplicates
///
/// Reads every document and reports how long they are, in which languages and variants of Portuguese, what is left of markup, what repeats, and what the filters would
/// drop. --html writes a page with plots and samples, which needs nothing beside itself. The exit status is 1 when there is more residue than --max-residue allows.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  ptbr-slm audit-corpus --input texts --html audit.html")]
pub struct Args {
    /// Text: .txt files, .jsonl files, packed by gzip or zstd or not, or folders of them
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub input: Vec<PathBuf>,
    /// The page to write
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// Residue of markup that is allowed, for 1,000 words
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub max_residue: f64,
    /// Rules that differ from configs/corpus/filters.toml
    #[arg(long, value_name = "FILE.toml")]
    pub filters: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What `audit-corpus --json` prints.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    clean: bool,
    max_residue: f64,
    #[serde(flatten)]
    report: &'a AuditReport,
}

/// Runs the command.
///
/// # Errors
/// When an input is missing or cannot be read, or the page cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let rules = match &args.filters {
        Some(path) => FilterConfig::from_file(path)?,
        None => FilterConfig::default(),
    };
    let bar = ui.bytes_bar(0, "reading");
    let report = audit_corpus(&args.input, &rules, &mut |at: &BuildProgress<'_>| {
        bar.set_length(at.total.max(at.done));
        bar.set_position(at.done);
    });
    bar.finish_and_clear();
    let report = report?;
    let clean = report.residue.per_1000_words <= args.max_residue;
    show(&report, clean, args.max_residue, &ui)?;
    if let Some(path) = &args.html {
        let names: Vec<String> = args
            .input
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        write_audit_page(path, &report, &names.join(", "), args.max_residue)?;
        ui.line(format!("{}: the page", path.display()))?;
    }
    ui.result(&Shown {
        clean,
        max_residue: args.max_residue,
        report: &report,
    })?;
    Ok(if clean { Outcome::Done } else { Outcome::No })
}

fn show(report: &AuditReport, clean: bool, max_residue: f64, ui: &Ui) -> Result<()> {
    let percent = |part: u64| part as f64 * 100.0 / report.documents.max(1) as f64;
    ui.line(format!(
        "{} documents, {} words, {}",
        ui::thousands(report.documents),
        ui::thousands(report.words),
        ui::bytes(report.bytes)
    ))?;
    let [shortest, .., longest] = report.length.deciles;
    ui.line(format!(
        "length: {} to {} words, half of them up to {}",
        ui::thousands(shortest),
        ui::thousands(longest),
        ui::thousands(report.length.deciles[5])
    ))?;
    let mut languages: Vec<(&String, &u64)> = report.languages.iter().collect();
    languages.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let languages: Vec<String> = languages
        .into_iter()
        .take(6)
        .map(|(code, count)| {
            let code = if code.is_empty() { "?" } else { code };
            format!("{code} {:.1} %", percent(*count))
        })
        .collect();
    ui.line(format!("languages: {}", languages.join(", ")))?;
    let variants: Vec<String> = report
        .variants
        .iter()
        .map(|(variant, count)| format!("{} {:.1} %", variant.code(), percent(*count)))
        .collect();
    ui.line(format!("variants: {}", variants.join(", ")))?;
    let duplicates = &report.duplicates;
    ui.line(format!(
        "duplicates: {} exact, {} near, {:.2} % of the documents",
        ui::thousands(duplicates.exact),
        ui::thousands(duplicates.near),
        duplicates.rate * 100.0
    ))?;
    let dropped: u64 = report.filters.values().sum();
    ui.line(format!(
        "the filters would drop {} documents ({:.1} %)",
        ui::thousands(dropped),
        percent(dropped)
    ))?;
    let kinds: Vec<String> = Residue::ALL
        .iter()
        .map(|kind| (kind, report.residue.counts.get(*kind)))
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{} {}", kind.name(), ui::thousands(count)))
        .collect();
    ui.line(format!(
        "residue: {:.3} for 1,000 words, {} {max_residue}{}{}",
        report.residue.per_1000_words,
        if clean { "within" } else { "more than" },
        if kinds.is_empty() { "" } else { ": " },
        kinds.join(", ")
    ))?;
    Ok(())
}
