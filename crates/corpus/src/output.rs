//! Output files that appear whole or not at all.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::CorpusError;

/// A file written under a temporary name in the folder of its final one; [`AtomicFile::commit`] syncs and renames it.
/// Dropped without a commit, it leaves nothing behind.
pub(crate) struct AtomicFile {
    writer: BufWriter<NamedTempFile>,
    path: PathBuf,
    bytes: u64,
}

impl AtomicFile {
    /// Opens a temporary file beside `path`, making the folder when it is missing.
    pub(crate) fn create(path: &Path) -> Result<Self, CorpusError> {
        let folder = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder).map_err(CorpusError::io("make the folder", folder))?;
        let file = tempfile::Builder::new()
            .prefix(".ptbr-")
            .suffix(".tmp")
            .tempfile_in(folder)
            .map_err(CorpusError::io("write into", folder))?;
        Ok(Self {
            writer: BufWriter::with_capacity(1 << 20, file),
            path: path.to_path_buf(),
            bytes: 0,
        })
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CorpusError> {
        self.bytes += bytes.len() as u64;
        self.writer
            .write_all(bytes)
            .map_err(CorpusError::io("write", &self.path))
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Syncs the file, gives it its name and syncs the folder.
    pub(crate) fn commit(self) -> Result<(), CorpusError> {
        let path = self.path;
        let file = self
            .writer
            .into_inner()
            .map_err(|e| CorpusError::io("write", &path)(e.into_error()))?;
        set_usual_permissions(file.as_file());
        file.as_file()
            .sync_all()
            .map_err(CorpusError::io("sync", &path))?;
        file.persist(&path)
            .map_err(|e| CorpusError::io("rename the output to", &path)(e.error))?;
        sync_folder(&path);
        Ok(())
    }
}

/// Gives the written and synced file `from` its final name.
pub(crate) fn publish(from: &Path, path: &Path) -> Result<(), CorpusError> {
    std::fs::rename(from, path).map_err(CorpusError::io("rename the output to", path))?;
    sync_folder(path);
    Ok(())
}

/// Makes a renaming durable.
fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        // Windows cannot open folders; there the rename itself is durable enough.
        if let Ok(handle) = std::fs::File::open(folder) {
            handle.sync_all().ok();
        }
    }
}

/// Temporary files are made private (0600); a corpus is to be read by others as any other output.
#[cfg(unix)]
fn set_usual_permissions(file: &std::fs::File) {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
        .ok();
}

#[cfg(not(unix))]
fn set_usual_permissions(_file: &std::fs::File) {}
