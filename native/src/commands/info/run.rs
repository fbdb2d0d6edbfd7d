//! What `info` says of how a run came about.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::Described;
use crate::training::RunFile;

/// Adds the essentials of `run.json`, where the folder has one.
///
/// # Errors
/// When the file cannot be read.
pub fn with_record(folder: &Path, described: Described) -> Result<Described> {
    let Some(run) = RunFile::read(folder)? else {
        return Ok(described);
    };
    let (mut lines, mut value) = described;
    let mut record = Vec::new();
    for start in &run.starts {
        let revision = start.revision.as_deref().unwrap_or("an unknown commit");
        record.push((
            if start.step == 0 { "begun" } else { "resumed" },
            format!(
                "{} at step {}, on {}, by version {} of {}",
                start.time,
                start.step,
                start.device,
                start.version,
                revision.get(..12).unwrap_or(revision)
            ),
        ));
        record.push(("", start.command.join(" ")));
    }
    for file in &run.data {
        let path = file.path.as_deref().unwrap_or("?");
        let sha256 = file.sha256.get(..16).unwrap_or(&file.sha256);
        record.push(("data", format!("{}: {path} (sha256 {sha256}…)", file.what)));
    }
    // After what the folder is, before the sizes of the model.
    let at = lines.len().min(3);
    lines.splice(at..at, record);
    value["run"] = json!(run);
    Ok((lines, value))
}
