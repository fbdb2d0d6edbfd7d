//! One writer for an output folder, and what a killed one left behind.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{CheckpointError, checkpoint_name, step_of_old_name};
use crate::storage::{DiskStorage, Storage, name_of_temporary};

/// Held while a process trains into a folder. The system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct OutputLock {
    path: PathBuf,
    /// `None` on a file system without locks.
    exclusive: Option<File>,
}

impl OutputLock {
    /// Creates the folder where it is missing and takes its lock; an error when another process holds it or the folder cannot be written.
    pub fn acquire(output_dir: &Path) -> Result<Self, CheckpointError> {
        fs::create_dir_all(output_dir).map_err(CheckpointError::io("create", output_dir))?;
        let path = output_dir.join(".lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(CheckpointError::io("write", &path))?;
        let exclusive = match file.try_lock() {
            Ok(()) => Some(file),
            Err(TryLockError::WouldBlock) => {
                return Err(CheckpointError::Locked {
                    path: output_dir.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => None,
            Err(TryLockError::Error(error)) => {
                return Err(CheckpointError::io("lock", &path)(error));
            }
        };
        Ok(Self {
            path: output_dir.to_owned(),
            exclusive,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes what a killed process left in the folder: `*.tmp-<pid>`, and checkpoints moved aside whose successor is in place. One without a successor gets its name back. Returns what was removed.
///
/// Nothing is touched where the file system has no locks, since another process may be writing.
pub fn clean_leftovers(lock: &OutputLock) -> Result<Vec<PathBuf>, CheckpointError> {
    let mut removed = Vec::new();
    if lock.exclusive.is_none() {
        return Ok(removed);
    }
    let storage = DiskStorage;
    for entry in fs::read_dir(&lock.path).map_err(CheckpointError::io("list", &lock.path))? {
        let entry = entry.map_err(CheckpointError::io("list", &lock.path))?;
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else { continue };
        if let Some(step) = step_of_old_name(name) {
            let in_place = lock.path.join(checkpoint_name(step));
            if !in_place.exists() {
                storage
                    .rename(&path, &in_place)
                    .map_err(CheckpointError::io("rename", &path))?;
                continue;
            }
        } else if name_of_temporary(name).is_none() {
            continue;
        }
        let result = if path.is_dir() {
            storage.remove_dir_all(&path)
        } else {
            storage.remove_file(&path)
        };
        result.map_err(CheckpointError::io("remove", &path))?;
        removed.push(path);
    }
    Ok(removed)
}
