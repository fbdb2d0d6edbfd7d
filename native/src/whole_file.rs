//! Small outputs, written whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::loading::folder_of;

/// Writes a file through a temporary one in the same folder: after an error or a crash, what was there before is unchanged.
///
/// # Errors
/// When the folder cannot be written to or the disk is full.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = tempfile::Builder::new()
        .prefix(".ptbr-slm")
        .suffix(".tmp")
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename lasts once the folder is on disk; a system that cannot open a folder has no such step.
    if let Ok(folder) = File::open(folder) {
        folder.sync_all()?;
    }
    Ok(())
}
