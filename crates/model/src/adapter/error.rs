//! What can be wrong with an adapter.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::digest::short_hex;
use crate::error::TensorError;
use crate::storage::StorageError;

/// An adapter that cannot be read, written or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdapterError {
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
    /// A name that is no adapter name.
    #[error(
        "\"{name}\" is not an adapter name: 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// `adapter_config.json` is unusable.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tensor file is unusable.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A tensor that is no part of a LoRA adapter of this architecture, or lacks its other half, or has another rank.
    #[error("{file}: {reason}")]
    Content {
        /// The file.
        file: String,
        /// What does not fit.
        reason: String,
    },
    /// The model has no such matrix.
    #[error("the adapter changes `{target}`, which this model does not have")]
    NoSuchTarget {
        /// The matrix.
        target: String,
    },
    /// The matrix has other dimensions.
    #[error(
        "the adapter's `{target}` is {found:?}, the model's is {expected:?}: it was trained on a model of another size"
    )]
    Shape {
        /// The matrix.
        target: String,
        /// `[out, in]` of the adapter.
        found: [usize; 2],
        /// `[out, in]` of the model.
        expected: Vec<usize>,
    },
    /// The adapter names another model.
    #[error(
        "the adapter was trained on the model {}…, this is {}…",
        short_hex(expected),
        short_hex(found)
    )]
    OtherModel {
        /// Id in the adapter.
        expected: String,
        /// Id of the model.
        found: String,
    },
}

impl AdapterError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl From<StorageError> for AdapterError {
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
