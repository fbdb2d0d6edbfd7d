//! What can go wrong while a model is written for other tools.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::storage::StorageError;

/// A model that cannot be written in another tool's format.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The operating system refused, or a weight does not fit the number format.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The path has the name of another kind of file than the format's.
    #[error(
        "{} does not say what to write: name a file that ends in {expected}, or a folder, which also gets the tokenizer and a model card", path.display()
    )]
    Extension {
        /// The path.
        path: PathBuf,
        /// The endings of the format.
        expected: &'static str,
    },
    /// A folder that holds something would be replaced.
    #[error("{} is there already and not empty; remove it or give another name", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The number format is not one of the file format's.
    #[error("models are exported as f32 or f16, not as {dtype}")]
    Dtype {
        /// The number format.
        dtype: crate::format::WeightFormat,
    },
    /// A single ONNX file holds at most 2 GiB.
    #[error(
        "the model takes {bytes} bytes, and one ONNX file holds less than 2 GiB; export to a folder, where the weights get a file of their own"
    )]
    OnnxTooLarge {
        /// Bytes of the file.
        bytes: u64,
    },
}

impl From<StorageError> for ExportError {
    fn from(error: StorageError) -> Self {
        Self::Io {
            action: error.action,
            path: error.path,
            source: error.source,
        }
    }
}
