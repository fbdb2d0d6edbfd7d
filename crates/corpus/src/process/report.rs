//! The list of dropped templates as a file that a person sorts and reads.

use std::path::Path;

use super::WikiSummary;
use crate::error::CorpusError;
use crate::output::AtomicFile;

/// Writes the templates of `summary` to `path` as tab-separated columns with a head: how often each was dropped, its name, why (`unknown`: not in the
/// table, or its arguments did not fit; `family`: the table says that its kind shows nothing), the page where it was seen first and how it was
/// written there, on one line.
///
/// # Errors
/// The file cannot be written; then none appears.
pub fn write_template_report(path: &Path, summary: &WikiSummary) -> Result<(), CorpusError> {
    let mut file = AtomicFile::create(path)?;
    file.write(b"count\ttemplate\twhy\tpage\texample\n")?;
    for template in &summary.templates {
        let why = if template.family { "family" } else { "unknown" };
        let line = format!(
            "{}\t{}\t{why}\t{}\t{}\n",
            template.count,
            one_line(&template.name),
            one_line(&template.page),
            one_line(&template.example),
        );
        file.write(line.as_bytes())?;
    }
    file.commit()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
