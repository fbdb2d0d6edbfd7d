//! `--state FILE`: a session's memory on disk.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ptbr_model::write_whole_file;
use ptbr_runtime::{RwkvState, Session};

/// Bytes of a state file beside its values, with room to spare.
const HEADER: u64 = 4096;

/// Lets `session` go on from a saved state. False when there is no such file yet.
///
/// # Errors
/// When the file is damaged, or belongs to another model or adapter.
pub fn restore(session: &mut Session, path: &Path) -> Result<bool> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let values = session.model().state_spec().len() as u64;
    if length > 4 * values + HEADER {
        bail!(
            "{} is {length} bytes long, and a state of this model has about {}; it is no state, or that of another model",
            path.display(),
            4 * values
        );
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    session
        .restore(&bytes)
        .with_context(|| format!("cannot go on from {}", path.display()))?;
    Ok(true)
}

/// Writes a state through a temporary file in the same folder: after an error or a crash, what was there before is unchanged.
///
/// # Errors
/// When the folder cannot be written to or the disk is full.
pub fn save(state: &RwkvState, path: &Path) -> Result<()> {
    write_whole_file(path, &state.to_bytes())
        .with_context(|| format!("cannot save the state to {}", path.display()))
}
