//! What can be wrong with a checkpoint, said so that the reader knows which file and what to do.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::find::SkippedCheckpoint;
use crate::error::{ConfigError, TensorError};
use crate::storage::StorageError;

/// A checkpoint that cannot be written, read or found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The disk has no room for the checkpoint; nothing was written.
    #[error("{} has {} free, the checkpoint needs {}: free some space or choose another --output; the previous checkpoint is untouched", path.display(), megabytes(*available), megabytes(*needed))]
    NoSpace {
        /// The output folder.
        path: PathBuf,
        /// Bytes to write.
        needed: u64,
        /// Bytes free.
        available: u64,
    },
    /// The folder has no manifest.
    #[error("{} is not a checkpoint: it holds no MANIFEST.json", path.display())]
    NotACheckpoint {
        /// The folder.
        path: PathBuf,
    },
    /// A file is not the one that was written.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// `config.json` holds no usable configuration.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The tensors are not those of the configuration, or not finite.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The contents handed over for saving do not belong together.
    #[error("cannot save a checkpoint: {reason}")]
    Contents {
        /// What does not fit.
        reason: String,
    },
    /// A fine-tuning run's checkpoint where a model is wanted.
    #[error("{} belongs to a fine-tuning run: it holds what was trained beside a model, not the model; use the --model that it was tuned from with the --adapter of the run, or go on with `finetune --resume`", path.display())]
    FineTuning {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A checkpoint of a whole model where that of a fine-tuning run is wanted.
    #[error("{} holds a whole model, not what a fine-tuning run trained beside one: give --output another folder", path.display())]
    WholeModel {
        /// The checkpoint.
        path: PathBuf,
    },
    /// The folder holds no checkpoint that can be used.
    #[error("{} holds no usable checkpoint{}", path.display(), list(skipped))]
    NoneUsable {
        /// The output folder.
        path: PathBuf,
        /// The checkpoints that were tried.
        skipped: Vec<SkippedCheckpoint>,
    },
    /// Another process trains into the folder.
    #[error("another process is training into {}: stop it first, or choose another --output", path.display())]
    Locked {
        /// The output folder.
        path: PathBuf,
    },
}

impl CheckpointError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

impl From<StorageError> for CheckpointError {
    fn from(
        StorageError {
            action,
            path,
            source,
        }: StorageError,
    ) -> Self {
        Self::Io {
            action,
            path,
            source,
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn list(skipped: &[SkippedCheckpoint]) -> String {
    if skipped.is_empty() {
        return ": nothing was saved there yet".to_owned();
    }
    skipped
        .iter()
        .map(|one| format!("; {}", one.reason))
        .collect()
}
