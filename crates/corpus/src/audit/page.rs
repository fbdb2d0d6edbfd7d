//! The report as one HTML page: nothing is loaded from anywhere, no script runs, every text is escaped.

use std::fmt::Write;
use std::path::Path;

use super::plot::{bars, escape, histogram};
use super::report::AuditReport;
use crate::error::CorpusError;
use crate::filters::{Reason, Variant};
use crate::output::AtomicFile;
use crate::residue::Residue;
use crate::thousands::thousands;

/// Colours of both modes, and a layout that is one column on a phone.
const STYLE: &str = include_str!("page.css");

/// The page for `report`, under this title. `max_residue` is the residue per 1,000 words above which the corpus is not clean, for the mark on its figure.
pub fn audit_page(report: &AuditReport, title: &str, max_residue: f64) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Audit of {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Audit of {title}</h1>\n",
        title = escape(title)
    );
    page.push_str(&tiles(report, max_residue));
    section(&mut page, "Length of documents, words", &length(report));
    section(&mut page, "Languages", &languages(report));
    section(&mut page, "Variants of Portuguese", &variants(report));
    section(&mut page, "Residue of markup", &residue(report));
    section(&mut page, "What the filters would drop", &filters(report));
    section(&mut page, "Characters", &characters(report));
    section(&mut page, "Sources", &bars(&by_count(&report.sources)));
    let frequent = |rows: &[super::Frequent]| {
        let rows: Vec<(String, u64)> = rows
            .iter()
            .map(|row| (row.text.clone(), row.count))
            .collect();
        listed(&rows)
    };
    section(
        &mut page,
        "Most frequent lines",
        &frequent(&report.frequent_lines),
    );
    section(
        &mut page,
        "Most frequent phrases of five words",
        &frequent(&report.frequent_phrases),
    );
    section(&mut page, "Samples by length", &samples(report));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Writes [`audit_page`] to `path`, which appears whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_audit_page(
    path: &Path,
    report: &AuditReport,
    title: &str,
    max_residue: f64,
) -> Result<(), CorpusError> {
    let mut file = AtomicFile::create(path)?;
    file.write(audit_page(report, title, max_residue).as_bytes())?;
    file.commit()
}

fn section(page: &mut String, title: &str, body: &str) {
    let _ = write!(
        page,
        "<section>\n<h2>{}</h2>\n{body}</section>\n",
        escape(title)
    );
}

fn tiles(report: &AuditReport, max_residue: f64) -> String {
    let residue = report.residue.per_1000_words;
    let clean = residue <= max_residue;
    let tiles = [
        ("documents", thousands(report.documents), ""),
        ("words", thousands(report.words), ""),
        ("megabytes", format!("{:.1}", report.bytes as f64 / 1e6), ""),
        (
            "duplicates",
            format!("{:.2} %", report.duplicates.rate * 100.0),
            "",
        ),
        (
            "residue per 1,000 words",
            format!("{residue:.3}"),
            if clean { " good" } else { " bad" },
        ),
    ];
    let mut out = String::from("<dl class=\"tiles\">\n");
    for (name, value, class) in tiles {
        let _ = writeln!(
            out,
            "<div class=\"tile{class}\"><dt>{name}</dt><dd>{value}</dd></div>"
        );
    }
    out.push_str("</dl>\n");
    let _ = writeln!(
        out,
        "<p>Exact duplicates: {}. Near duplicates: {}. Residue is {} of {max_residue} per 1,000 words.</p>",
        thousands(report.duplicates.exact),
        thousands(report.duplicates.near),
        if clean {
            "within the limit"
        } else {
            "over the limit"
        },
    );
    out
}

fn length(report: &AuditReport) -> String {
    let rows: Vec<(String, u64)> = report
        .length
        .histogram
        .iter()
        .map(|bin| (short(bin.from), bin.documents))
        .collect();
    let mut out = histogram("documents by length in words", &rows);
    let deciles: Vec<String> = report
        .length
        .deciles
        .iter()
        .map(|words| thousands(*words))
        .collect();
    let _ = writeln!(
        out,
        "<p>Each bar holds documents of at least so many words and fewer than the next. Mean {:.0}; shortest, tenths and longest: {}.</p>",
        report.length.mean,
        deciles.join(" · ")
    );
    out
}

/// `2048` as `2k`.
fn short(words: u64) -> String {
    match words {
        0..1024 => words.to_string(),
        1024..1_048_576 => format!("{}k", words / 1024),
        _ => format!("{}M", words / 1_048_576),
    }
}

fn by_count<K: ToString>(counts: &std::collections::BTreeMap<K, u64>) -> Vec<(String, u64)> {
    let mut rows: Vec<(String, u64)> = counts
        .iter()
        .map(|(key, count)| (key.to_string(), *count))
        .collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    rows
}

fn languages(report: &AuditReport) -> String {
    let mut rows = by_count(&report.languages);
    for (name, _) in &mut rows {
        if name.is_empty() {
            "cannot be told".clone_into(name);
        }
    }
    bars(&rows)
}

fn variants(report: &AuditReport) -> String {
    let rows: Vec<(String, u64)> = Variant::ALL
        .iter()
        .map(|variant| {
            let name = match variant {
                Variant::Br => "Brazilian",
                Variant::Pt => "European",
                Variant::Mixed => "both",
                Variant::Unknown => "cannot be told",
            };
            (
                name.to_owned(),
                report.variants.get(variant).copied().unwrap_or(0),
            )
        })
        .collect();
    bars(&rows)
}

fn residue(report: &AuditReport) -> String {
    let rows: Vec<(String, u64)> = Residue::ALL
        .iter()
        .map(|kind| {
            (
                kind.name().replace('_', " "),
                report.residue.counts.get(*kind),
            )
        })
        .collect();
    let mut out = bars(&rows);
    if !report.residue.examples.is_empty() {
        out.push_str("<details><summary>Examples</summary>\n<ul>\n");
        for example in &report.residue.examples {
            let _ = writeln!(
                out,
                "<li><b>{}</b> <q lang=\"pt\">{}</q> <small>{}</small></li>",
                example.kind.name().replace('_', " "),
                escape(&example.excerpt),
                escape(&example.id)
            );
        }
        out.push_str("</ul>\n</details>\n");
    }
    out
}

fn filters(report: &AuditReport) -> String {
    let dropped: u64 = report.filters.values().sum();
    let rows: Vec<(String, u64)> = Reason::ALL
        .iter()
        .filter_map(|reason| {
            Some((
                reason.code().replace('_', " "),
                *report.filters.get(reason)?,
            ))
        })
        .collect();
    format!(
        "<p>{} of {} documents, by the first rule that they break.</p>\n{}",
        thousands(dropped),
        thousands(report.documents),
        bars(&rows)
    )
}

fn characters(report: &AuditReport) -> String {
    let kinds: Vec<(String, u64)> = {
        let mut rows: Vec<(String, u64)> = report
            .alphabet
            .kinds
            .iter()
            .map(|(kind, count)| ((*kind).to_owned(), *count))
            .collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        rows
    };
    let unusual: Vec<(String, u64)> = report
        .alphabet
        .unusual
        .iter()
        .map(|c| (format!("{} {}", c.character, c.code), c.count))
        .collect();
    format!(
        "{}<h3>Characters that Portuguese does not need</h3>\n{}",
        bars(&kinds),
        bars(&unusual)
    )
}

fn listed(rows: &[(String, u64)]) -> String {
    if rows.is_empty() {
        return "<p>Nothing occurs twice.</p>\n".to_owned();
    }
    let mut out = String::from("<table class=\"list\">\n");
    for (text, count) in rows {
        let _ = writeln!(
            out,
            "<tr><td class=\"n\">{}</td><td lang=\"pt\">{}</td></tr>",
            thousands(*count),
            escape(text)
        );
    }
    out.push_str("</table>\n");
    out
}

fn samples(report: &AuditReport) -> String {
    let mut out = String::new();
    for decile in &report.samples {
        let _ = writeln!(out, "<h3>Tenth {}</h3>", decile.decile);
        for sample in &decile.documents {
            let name = if sample.title.is_empty() {
                &sample.id
            } else {
                &sample.title
            };
            let _ = writeln!(
                out,
                "<details><summary>{} <small>{} words</small></summary><pre lang=\"pt\">{}</pre></details>",
                escape(name),
                thousands(sample.words),
                escape(&sample.text)
            );
        }
    }
    out
}
