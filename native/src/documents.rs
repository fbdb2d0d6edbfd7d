//! Reads the documents of several inputs in batches, with progress.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ptbr_corpus::{Document, read_documents};
use serde::Serialize;

use crate::ui::{self, Ui};

/// Text in memory at a time: enough work for every core, and little beside what a command needs anyway.
const BATCH_BYTES: usize = 8 << 20;

/// How much was read.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Count {
    /// Number of documents.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
}

/// Calls `take` with batches of documents, in the order of the inputs.
///
/// # Errors
/// When an input cannot be read, when `take` fails, or when there is no text at all.
pub fn for_each_batch(
    inputs: &[PathBuf],
    ui: &Ui,
    what: &str,
    mut take: impl FnMut(&[Document]) -> Result<()>,
) -> Result<Count> {
    let total = inputs.iter().map(|path| size_of(path)).sum();
    let bar = ui.bytes_bar(total, what);
    let mut count = Count::default();
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    for input in inputs {
        for document in read_documents(input)? {
            let document = document?;
            let bytes = document.text.len();
            count.documents += 1;
            count.bytes += bytes as u64;
            bar.inc(bytes as u64);
            batch_bytes += bytes;
            batch.push(document);
            if batch_bytes >= BATCH_BYTES {
                take(&batch)?;
                batch.clear();
                batch_bytes = 0;
            }
        }
    }
    if !batch.is_empty() {
        take(&batch)?;
    }
    bar.finish_and_clear();
    if count.bytes == 0 {
        let names: Vec<String> = inputs
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        bail!(
            "there is no text in {}; it takes .txt files (a blank line between documents), .jsonl files with a `text` \
             field, or folders of them",
            names.join(", ")
        );
    }
    Ok(count)
}

/// Bytes of a file or of all files in a folder; what cannot be read counts nothing (reading it will say why).
fn size_of(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    std::fs::read_dir(path)
        .map(|entries| entries.flatten().map(|entry| size_of(&entry.path())).sum())
        .unwrap_or(0)
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} documents, {}",
            ui::thousands(self.documents),
            ui::bytes(self.bytes)
        )
    }
}
