//! The checkpoint to go on from: `latest`, or the newest undamaged one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{
    Checkpoint, CheckpointError, LATEST_FILE, Verify, checkpoint_name, open_checkpoint_with,
    step_of_name, step_of_old_name,
};

/// A checkpoint that was passed over.
#[derive(Debug)]
pub struct SkippedCheckpoint {
    /// Its folder (or the file `latest`).
    pub path: PathBuf,
    /// Why; the message names the file.
    pub reason: CheckpointError,
}

/// The checkpoint to use.
#[derive(Debug)]
pub struct FoundCheckpoint<T = Checkpoint> {
    /// Verified.
    pub checkpoint: T,
    /// Newer ones that are damaged, for the caller to report.
    pub skipped: Vec<SkippedCheckpoint>,
}

/// Opens the checkpoint that `output_dir/latest` names; when it is damaged or gone, the others from the newest to the oldest.
pub fn find_checkpoint(
    output_dir: &Path,
    verify: Verify,
) -> Result<FoundCheckpoint, CheckpointError> {
    find_with(output_dir, |path| open_checkpoint_with(path, verify))
}

/// The first that `open` accepts, tried in the order of [`find_checkpoint`].
pub(super) fn find_with<T>(
    output_dir: &Path,
    open: impl Fn(&Path) -> Result<T, CheckpointError>,
) -> Result<FoundCheckpoint<T>, CheckpointError> {
    let mut skipped = Vec::new();
    let mut candidates = candidates(output_dir)?;
    match latest(output_dir) {
        Ok(Some(step)) => {
            // Stable: the others keep their order, newest first.
            candidates.sort_by_key(|candidate| candidate.step != step);
            if candidates
                .first()
                .is_none_or(|candidate| candidate.step != step)
            {
                let path = output_dir.join(LATEST_FILE);
                let reason = format!("it names {}, which is not there", checkpoint_name(step));
                skipped.push(SkippedCheckpoint {
                    reason: CheckpointError::damaged(&path, reason),
                    path,
                });
            }
        }
        Ok(None) => {}
        Err(reason) => skipped.push(SkippedCheckpoint {
            path: output_dir.join(LATEST_FILE),
            reason,
        }),
    }
    for Candidate { path, .. } in candidates {
        match open(&path) {
            Ok(checkpoint) => {
                return Ok(FoundCheckpoint {
                    checkpoint,
                    skipped,
                });
            }
            Err(reason) => skipped.push(SkippedCheckpoint { path, reason }),
        }
    }
    Err(CheckpointError::NoneUsable {
        path: output_dir.to_owned(),
        skipped,
    })
}

/// The step that `latest` names; `None` when there is no such file.
pub(super) fn latest(output_dir: &Path) -> Result<Option<u64>, CheckpointError> {
    let path = output_dir.join(LATEST_FILE);
    let length = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CheckpointError::io("read", &path)(error)),
    };
    let damaged = || CheckpointError::damaged(&path, "it does not name a checkpoint folder");
    if length > 64 {
        return Err(damaged());
    }
    let bytes = fs::read(&path).map_err(CheckpointError::io("read", &path))?;
    let name = String::from_utf8(bytes).map_err(|_| damaged())?;
    step_of_name(name.trim_end()).map(Some).ok_or_else(damaged)
}

/// A checkpoint folder, in the order in which they are tried when sorted backwards.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    step: u64,
    /// Not moved aside.
    in_place: bool,
    path: PathBuf,
}

/// Checkpoint folders, newest first; of one step, the one moved aside (`.old-<pid>`) after the one in place.
fn candidates(output_dir: &Path) -> Result<Vec<Candidate>, CheckpointError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(output_dir).map_err(CheckpointError::io("list", output_dir))? {
        let entry = entry.map_err(CheckpointError::io("list", output_dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let in_place = step_of_name(name);
        if let Some(step) = in_place.or_else(|| step_of_old_name(name)) {
            found.push(Candidate {
                step,
                in_place: in_place.is_some(),
                path: entry.path(),
            });
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}
