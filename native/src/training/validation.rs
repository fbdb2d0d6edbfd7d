//! The token files that a run is judged by.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ptbr_dataset::MmapDataset;
use ptbr_train::ValidationSource;

use super::run::{Plan, open_data};
use crate::ui::Ui;

/// The tokens of all sources, and those of each.
pub struct Validation {
    pub val: Option<Arc<MmapDataset>>,
    pub sources: Vec<ValidationSource>,
}

impl Validation {
    /// Opens what `--val` and `--val-dir` name.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another tokenizer, or the folder holds none.
    pub fn open(plan: &Plan<'_>, ui: &Ui) -> Result<Self> {
        let open = |path: &Path| open_data(path, plan.raw, plan.tokenizer);
        let mut val = plan.val.map(open).transpose()?;
        let mut sources = Vec::new();
        if let Some(folder) = plan.val_dir {
            for (name, path) in source_files(folder)? {
                let data = open(&path)?;
                if data.tokens().len() < 2 {
                    ui.note(format!("{} holds nothing to judge by", path.display()));
                    continue;
                }
                sources.push(ValidationSource { name, data });
            }
            let whole = folder.join("val.bin");
            if val.is_none() && whole.exists() {
                val = Some(open(&whole)?);
            }
            if val.is_none() && sources.is_empty() {
                bail!(
                    "{} holds neither val.bin nor a val-<source>.bin; give the folder that build-dataset wrote, or a file with --val",
                    folder.display()
                );
            }
        }
        Ok(Self { val, sources })
    }
}

/// The files `val-<source>.bin` of a folder with the names of their sources, in the order of the names.
fn source_files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let cannot = || format!("cannot list {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let source = name.and_then(|name| name.strip_prefix("val-")?.strip_suffix(".bin"));
        if let Some(source) = source.filter(|source| !source.is_empty()) {
            found.push((source.to_owned(), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}
