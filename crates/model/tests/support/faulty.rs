//! A storage that goes wrong at its k-th operation, in one of the ways in which disks and processes do. Syncing is only recorded: waiting for the disk would take most of a test's time and
//! prove nothing.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ptbr_model::{DiskStorage, Storage, StorageFile};

/// Bytes that one write takes at most: large files then have many moments at which to fail.
const WRITE_LIMIT: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails as on a full disk; later ones succeed.
    Full,
    /// A write takes half of its bytes, then the disk is full; later operations succeed.
    ShortWrite,
    /// The process is killed at the operation; a write under way takes half of its bytes.
    Kill,
    /// The power fails: as `Kill`, and what was not synced is lost: half of each unsynced file, new files and renames of unsynced folders.
    PowerLoss,
}

pub const FAULTS: [Fault; 4] = [
    Fault::Full,
    Fault::ShortWrite,
    Fault::Kill,
    Fault::PowerLoss,
];

#[derive(Default)]
struct Log {
    operations: usize,
    dead: bool,
    unsynced_files: Vec<PathBuf>,
    /// Files created in a folder that was not synced since.
    unsynced_entries: Vec<PathBuf>,
    /// Renames in a folder that was not synced since, with the file that each replaced.
    unsynced_renames: Vec<(PathBuf, PathBuf, Option<Vec<u8>>)>,
}

pub struct FaultyStorage {
    fault: Fault,
    at: usize,
    log: Arc<Mutex<Log>>,
}

enum Verdict {
    Proceed,
    Half,
    Refuse,
}

fn full() -> io::Error {
    io::Error::new(
        io::ErrorKind::StorageFull,
        "no space left on device (simulated)",
    )
}

fn step(log: &mut Log, fault: Fault, at: usize, is_write: bool) -> Verdict {
    if log.dead {
        return Verdict::Refuse;
    }
    log.operations += 1;
    if log.operations != at {
        return Verdict::Proceed;
    }
    log.dead = matches!(fault, Fault::Kill | Fault::PowerLoss);
    if is_write && fault != Fault::Full {
        Verdict::Half
    } else {
        Verdict::Refuse
    }
}

impl FaultyStorage {
    /// Goes wrong at operation `at`, counted from 1.
    pub fn new(fault: Fault, at: usize) -> Self {
        Self {
            fault,
            at,
            log: Arc::default(),
        }
    }

    /// Never goes wrong.
    pub fn sound() -> Self {
        Self::new(Fault::Full, usize::MAX)
    }

    /// Whether the operation was reached.
    pub fn struck(&self) -> bool {
        self.log.lock().unwrap().operations >= self.at
    }

    /// After a power loss, leaves on the disk what would be there.
    pub fn lose_unsynced(&self) {
        let mut log = self.log.lock().unwrap();
        if self.fault != Fault::PowerLoss || !log.dead {
            return;
        }
        for (from, to, replaced) in std::mem::take(&mut log.unsynced_renames).into_iter().rev() {
            fs::rename(&to, &from).unwrap();
            if let Some(content) = replaced {
                fs::write(&to, content).unwrap();
            }
        }
        for path in std::mem::take(&mut log.unsynced_files) {
            if let Ok(file) = fs::File::options().write(true).open(&path) {
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }
        }
        for path in std::mem::take(&mut log.unsynced_entries) {
            let _ = fs::remove_file(path);
        }
    }

    fn check(&self) -> io::Result<()> {
        match step(&mut self.log.lock().unwrap(), self.fault, self.at, false) {
            Verdict::Proceed => Ok(()),
            _ => Err(full()),
        }
    }
}

struct FaultyFile {
    path: PathBuf,
    inner: Box<dyn StorageFile>,
    fault: Fault,
    at: usize,
    log: Arc<Mutex<Log>>,
    /// A short write reports its half; the error follows at the next call.
    full: bool,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.full {
            return Err(full());
        }
        let bytes = &bytes[..bytes.len().min(WRITE_LIMIT)];
        match step(&mut self.log.lock().unwrap(), self.fault, self.at, true) {
            Verdict::Proceed => self.inner.write(bytes),
            Verdict::Refuse => Err(full()),
            Verdict::Half => {
                self.full = true;
                match bytes.len() / 2 {
                    0 => Err(full()),
                    half => self.inner.write(&bytes[..half]),
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl StorageFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        match step(&mut log, self.fault, self.at, false) {
            Verdict::Proceed => {
                log.unsynced_files.retain(|path| *path != self.path);
                Ok(())
            }
            _ => Err(full()),
        }
    }
}

impl Storage for FaultyStorage {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        DiskStorage.create_dir_all(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.check()?;
        let inner = DiskStorage.create_file(path)?;
        let mut log = self.log.lock().unwrap();
        log.unsynced_files.push(path.to_owned());
        log.unsynced_entries.push(path.to_owned());
        Ok(Box::new(FaultyFile {
            path: path.to_owned(),
            inner,
            fault: self.fault,
            at: self.at,
            log: Arc::clone(&self.log),
            full: false,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        let replaced = to.is_file().then(|| fs::read(to).unwrap());
        DiskStorage.rename(from, to)?;
        let mut log = self.log.lock().unwrap();
        log.unsynced_entries.retain(|path| path != from);
        log.unsynced_renames
            .push((from.to_owned(), to.to_owned(), replaced));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        let mut log = self.log.lock().unwrap();
        log.unsynced_entries
            .retain(|entry| entry.parent() != Some(path));
        log.unsynced_renames
            .retain(|(_, to, _)| to.parent() != Some(path));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        DiskStorage.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        DiskStorage.remove_dir_all(path)
    }

    fn available_space(&self, _path: &Path) -> io::Result<Option<u64>> {
        self.check()?;
        Ok(None)
    }
}
