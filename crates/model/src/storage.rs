//! The few file operations behind everything that must survive a crash, as a trait: a test's storage fails, or stops for good, at any one of them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file being written.
pub trait StorageFile: Write {
    /// Returns when the content is on the disk, not only in the system's memory.
    fn sync(&mut self) -> io::Result<()>;
}

/// Where outputs are written. Reading needs no such trait: what was read is checked.
pub trait Storage {
    /// Creates a folder and its parents; one that exists is fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Creates a file, emptying one that exists.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Renames a file (replacing one that exists) or a folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Returns when the folder's entries are on the disk: new files and renames become durable by it.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and all in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Bytes that may still be written at `path`, where the system can tell.
    fn available_space(&self, path: &Path) -> io::Result<Option<u64>>;
}

/// The disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskStorage;

impl StorageFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Storage for DiskStorage {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = File::create(path)?;
        // The system releases it when the process ends, however it ends: by this `remove_leftovers` tells what is being written from what was. Without locks nothing can be told, and nothing is removed.
        let _ = file.try_lock();
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    // Windows opens no folder for syncing; its file systems journal renames.
    #[cfg(not(unix))]
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn available_space(&self, path: &Path) -> io::Result<Option<u64>> {
        fs4::available_space(path).map(Some)
    }

    #[cfg(target_arch = "wasm32")]
    fn available_space(&self, _path: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// Which operation of several failed, and on what.
#[derive(Debug)]
pub(crate) struct StorageError {
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl StorageError {
    pub fn on(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

/// Gives the finished folder `temporary` its name. A folder that already has it is moved aside first, to `<name>.old-<pid>`, and removed last: it is whole at every moment.
pub(crate) fn replace_dir(
    storage: &dyn Storage,
    temporary: &Path,
    target: &Path,
) -> Result<(), StorageError> {
    let parent = parent_of(target);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let old = parent.join(format!("{name}.old-{}", process_id()));
    let replaced = target.exists();
    if replaced {
        if old.exists() {
            storage
                .remove_dir_all(&old)
                .map_err(StorageError::on("remove", &old))?;
        }
        storage
            .rename(target, &old)
            .map_err(StorageError::on("rename", target))?;
    }
    if let Err(error) = storage.rename(temporary, target) {
        if replaced {
            // Best effort; under its other name the old folder is still found.
            let _ = storage.rename(&old, target);
        }
        return Err(StorageError::on("rename", temporary)(error));
    }
    storage
        .sync_dir(parent)
        .map_err(StorageError::on("sync", parent))?;
    if replaced {
        storage
            .remove_dir_all(&old)
            .map_err(StorageError::on("remove", &old))?;
    }
    Ok(())
}

/// Writes the folder `target` whole or not at all, replacing one that is there: `write` is handed the place for its files.
pub(crate) fn replace_folder(
    storage: &dyn Storage,
    target: &Path,
    write: &mut dyn FnMut(&NewFolder<'_>) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let parent = parent_of(target);
    storage
        .create_dir_all(parent)
        .map_err(StorageError::on("create", parent))?;
    let temporary = temporary_sibling(target);
    if temporary.exists() {
        storage
            .remove_dir_all(&temporary)
            .map_err(StorageError::on("remove", &temporary))?;
    }
    let folder = NewFolder {
        storage,
        path: &temporary,
    };
    let result = storage
        .create_dir_all(&temporary)
        .map_err(StorageError::on("create", &temporary))
        .and_then(|()| write(&folder))
        .and_then(|()| {
            let synced = storage.sync_dir(&temporary);
            synced.map_err(StorageError::on("sync", &temporary))
        })
        .and_then(|()| replace_dir(storage, &temporary, target));
    if result.is_err() {
        // Best effort; the error is the one to report.
        let _ = storage.remove_dir_all(&temporary);
    }
    result
}

/// A folder that is being written under a temporary name.
pub(crate) struct NewFolder<'a> {
    storage: &'a dyn Storage,
    path: &'a Path,
}

impl NewFolder<'_> {
    /// Writes the file `name` and waits until it is on the disk.
    pub fn file(
        &self,
        name: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), StorageError> {
        let path = self.path.join(name);
        let result = self.storage.create_file(&path).and_then(|mut file| {
            write(&mut file)?;
            file.sync()
        });
        result.map_err(StorageError::on("write", &path))
    }
}

/// The folder that holds `path`; the current one when the path is a bare name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `name.tmp-<pid>` beside `path`: where it is written before it takes its name.
pub(crate) fn temporary_sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parent_of(path).join(format!("{name}.tmp-{}", process_id()))
}

/// What a file or folder with this name was to be called, if it is one of [`temporary_sibling`].
pub(crate) fn name_of_temporary(name: &str) -> Option<&str> {
    let (name, pid) = name.rsplit_once(".tmp-")?;
    (!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// Removes what killed processes left of writing the file `path` with [`replace_file`]: what nobody has locked. Best effort: a leftover is no reason not to write.
pub(crate) fn remove_leftovers(path: &Path) {
    let name = path.file_name().and_then(|name| name.to_str());
    let Ok(entries) = fs::read_dir(parent_of(path)) else {
        return;
    };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let of = file_name.to_str().and_then(name_of_temporary);
        if of.is_none() || of != name {
            continue;
        }
        let leftover = entry.path();
        if leftover.is_file() && File::open(&leftover).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(&leftover);
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn process_id() -> u32 {
    std::process::id()
}

// A browser has no processes, and asking for the number of one panics.
#[cfg(target_arch = "wasm32")]
fn process_id() -> u32 {
    0
}

/// Writes a small file through a temporary one beside it: after an error or a crash, what was there before is unchanged.
pub fn write_whole_file(path: &Path, content: &[u8]) -> io::Result<()> {
    write_atomic(&DiskStorage, path, content)
}

/// Writes a small file so that a crash leaves the old or the new one: temporary name, sync, rename, sync of the folder.
pub(crate) fn write_atomic(storage: &dyn Storage, path: &Path, content: &[u8]) -> io::Result<()> {
    replace_file(storage, path, &mut |out| out.write_all(content))
}

/// The same for content that is streamed.
pub(crate) fn replace_file(
    storage: &dyn Storage,
    path: &Path,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary_sibling(path);
    let result = (|| {
        let mut file = storage.create_file(&temporary)?;
        write(&mut file)?;
        file.sync()?;
        drop(file);
        storage.rename(&temporary, path)?;
        storage.sync_dir(parent_of(path))
    })();
    if result.is_err() {
        // Best effort: the reason of the failure is the one to report.
        let _ = storage.remove_file(&temporary);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_the_dead_are_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let target = path("m.safetensors");
        for name in [
            "m.safetensors",
            "m.safetensors.tmp-4242",
            "m.safetensors.tmp-",
            "m.safetensors.tmp-4x",
            "other.safetensors.tmp-4242",
        ] {
            fs::write(path(name), "x").unwrap();
        }
        fs::create_dir(path("m.safetensors.tmp-1")).unwrap();
        // Another one, which is being written.
        let written = DiskStorage
            .create_file(&path("m.safetensors.tmp-4343"))
            .unwrap();
        remove_leftovers(&target);
        let names = || {
            let entries = fs::read_dir(root.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let left = [
            "m.safetensors",
            "m.safetensors.tmp-",
            "m.safetensors.tmp-1",
            "m.safetensors.tmp-4343",
            "m.safetensors.tmp-4x",
            "other.safetensors.tmp-4242",
        ];
        assert_eq!(names(), left);
        drop(written);
        remove_leftovers(&target);
        assert!(!path("m.safetensors.tmp-4343").exists());
    }
}
