//! What can be wrong with another project's file.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::error::{ConfigError, TensorError};

/// Weights of another project that cannot be imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A `.pth` file whose archive is not what `torch.save` writes.
    #[error("{file} is not a whole .pth file: {reason}")]
    Archive {
        /// The file.
        file: String,
        /// What was found.
        reason: String,
    },
    /// The pickle inside a `.pth` file asks for something that a list of tensors does not need. Nothing of it was run.
    #[error("{file}: its pickle is refused at byte {offset}: {reason}")]
    Pickle {
        /// The file.
        file: String,
        /// Byte of `data.pkl`.
        offset: usize,
        /// The opcode or the global by name, or what is wrong with a value.
        reason: String,
    },
    /// A tensor of a `.pth` file whose numbers cannot be read.
    #[error("{file}: the tensor `{name}` {reason}")]
    PthTensor {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights of another version of RWKV.
    #[error(
        "{file} holds an {version} model (it has `{tensor}`); only RWKV-4 can be imported so far"
    )]
    OtherVersion {
        /// The file.
        file: String,
        /// `RWKV-5`, `RWKV-6` or `RWKV-7`.
        version: &'static str,
        /// The tensor that tells.
        tensor: String,
    },
    /// The tensors are not those of an RWKV-4 model.
    #[error("{file} holds no RWKV-4 model: {reason}")]
    NotRwkv4 {
        /// The file.
        file: String,
        /// What is missing or different.
        reason: String,
    },
    /// `config.json` or the index of a transformers folder cannot be used.
    #[error("{}: {reason}", path.display())]
    HfFolder {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The sizes of the model are beyond what this project computes with.
    #[error("{file}: {source}")]
    Config {
        /// The file.
        file: String,
        /// Which size, and what is allowed.
        source: ConfigError,
    },
    /// The tensors are unusable.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl ImportError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
