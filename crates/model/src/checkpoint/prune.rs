//! Which checkpoints are kept.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CheckpointError, checkpoint_name, find, step_of_name};
use crate::storage::{Storage, temporary_sibling};

/// When checkpoints are written and which are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; 0 saves only the last.
    pub save_every: u64,
    /// Checkpoints kept besides the best; 0 keeps all.
    pub keep_last: usize,
}

impl CheckpointConfig {
    /// Whether a checkpoint is due after `step` steps of `max_steps`.
    pub fn is_due(&self, step: u64, max_steps: u64) -> bool {
        step == max_steps
            || (self.save_every > 0 && step > 0 && step.is_multiple_of(self.save_every))
    }
}

/// Removes all but the newest `keep_last` checkpoints; never the one that `latest` names, never that of `best_step`. Returns what was removed.
///
/// A folder first loses its name, so that a crash half-way leaves a leftover and not a damaged checkpoint.
pub fn prune_checkpoints(
    storage: &dyn Storage,
    output_dir: &Path,
    config: &CheckpointConfig,
    best_step: Option<u64>,
) -> Result<Vec<PathBuf>, CheckpointError> {
    if config.keep_last == 0 {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    for entry in fs::read_dir(output_dir).map_err(CheckpointError::io("list", output_dir))? {
        let name = entry
            .map_err(CheckpointError::io("list", output_dir))?
            .file_name();
        steps.extend(name.to_str().and_then(step_of_name));
    }
    steps.sort_unstable();
    let mut kept: BTreeSet<u64> = steps.iter().rev().take(config.keep_last).copied().collect();
    kept.extend(best_step);
    kept.extend(find::latest(output_dir)?);
    let mut nameless = Vec::new();
    let mut removed = Vec::new();
    for step in steps.into_iter().filter(|step| !kept.contains(step)) {
        let path = output_dir.join(checkpoint_name(step));
        let temporary = temporary_sibling(&path);
        storage
            .rename(&path, &temporary)
            .map_err(CheckpointError::io("rename", &path))?;
        nameless.push(temporary);
        removed.push(path);
    }
    if !removed.is_empty() {
        storage
            .sync_dir(output_dir)
            .map_err(CheckpointError::io("sync", output_dir))?;
    }
    for path in nameless {
        storage
            .remove_dir_all(&path)
            .map_err(CheckpointError::io("remove", &path))?;
    }
    Ok(removed)
}
