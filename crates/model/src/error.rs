//! What can be wrong with a configuration, a tensor file, or what a user named as a model.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::format::WeightFormat;
use crate::quantize::QuantizeError;

/// A configuration, a preset name or a hyper-parameter that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// One field holds a value outside its range.
    #[error("`{field}` is {value}: {reason}")]
    Invalid {
        /// The field, as it is called in the configuration and (with dashes) on the command line.
        field: &'static str,
        /// The value that was given.
        value: String,
        /// What is allowed.
        reason: String,
    },
    /// No preset has this name.
    #[error("no model size is called \"{name}\"; did you mean \"{nearest}\"? Sizes: {available}")]
    UnknownPreset {
        /// What was asked for.
        name: String,
        /// The preset whose name is the fewest edits away.
        nearest: &'static str,
        /// All presets, separated by commas.
        available: String,
    },
    /// The text is not the JSON or TOML that was expected.
    #[error("{what} cannot be read: {message}")]
    Parse {
        /// What was being read, e.g. `config.json`.
        what: String,
        /// The parser's message with line and column.
        message: String,
    },
}

impl ConfigError {
    pub(crate) fn invalid(
        field: &'static str,
        value: impl std::fmt::Display,
        reason: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field,
            value: value.to_string(),
            reason: reason.into(),
        }
    }

    pub(crate) fn parse(what: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Parse {
            what: what.into(),
            message: message.to_string().trim_end().to_owned(),
        }
    }
}

/// A safetensors file that cannot be read, or whose tensors are not the expected ones.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Not a safetensors file, or one whose header and length disagree.
    #[error("{file} is not a whole safetensors file: {message}")]
    Format {
        /// The file.
        file: String,
        /// What the parser found.
        message: String,
    },
    /// A tensor that the configuration asks for is not there.
    #[error("{file}: the tensor `{name}` is missing")]
    Missing {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
    },
    /// A tensor that the configuration does not know.
    #[error("{file}: the tensor `{name}` does not belong to this model")]
    Unexpected {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
    },
    /// A tensor with other dimensions than the configuration's.
    #[error(
        "{file}: the tensor `{name}` has the shape {found:?}, the configuration asks for {expected:?}"
    )]
    Shape {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// Dimensions in the file.
        found: Vec<usize>,
        /// Dimensions by the configuration.
        expected: Vec<usize>,
    },
    /// A tensor of another number format.
    #[error("{file}: the tensor `{name}` is {found}, expected {expected}")]
    Dtype {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// Number format in the file.
        found: String,
        /// Number format asked for.
        expected: String,
    },
    /// f32 numbers of a matrix that is stored in another format.
    #[error(
        "{file}: the matrix `{name}` is stored as {format}, and f32 numbers are needed here; use the f32 model that the file was made from"
    )]
    Quantized {
        /// The file.
        file: String,
        /// The matrix.
        name: String,
        /// What it is stored as.
        format: WeightFormat,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{file}: the tensor `{name}` holds {value} at element {index}; the training run that wrote it had diverged, or the file is damaged"
    )]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// Index of the first such element, row-major.
        index: usize,
        /// `NaN`, `inf` or `-inf`.
        value: f32,
    },
}

impl TensorError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// A model that cannot be opened or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The path names neither a checkpoint, nor a training output folder, nor a model file.
    #[error("{} is not a model: {reason}. A model is a checkpoint folder, a training output folder or a .safetensors model file", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The tensors of a model file are not those its id was made from.
    #[error(
        "{file}: the weights do not match the model id {} in the file; the file is damaged or was edited",
        crate::digest::short_hex(expected)
    )]
    ModelId {
        /// The file.
        file: String,
        /// Id in the file.
        expected: String,
        /// Id of the tensors.
        found: String,
    },
    /// The file is not the one that was asked for.
    #[error(
        "{file}: the SHA-256 of its bytes is {}, not {}; it is damaged, incomplete or another file",
        crate::digest::short_hex(found),
        crate::digest::short_hex(expected)
    )]
    Digest {
        /// The file.
        file: String,
        /// SHA-256 asked for.
        expected: String,
        /// SHA-256 of the file.
        found: String,
    },
    /// A matrix cannot be rounded into the format asked for.
    #[error("the matrix `{name}` cannot be written as {format}: {source}")]
    Quantize {
        /// The matrix.
        name: String,
        /// The format.
        format: WeightFormat,
        /// Why not.
        source: QuantizeError,
    },
    /// The configuration is unusable.
    #[error("{file}: {source}")]
    Config {
        /// Where the configuration was read.
        file: String,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The tensors are unusable.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The checkpoint is unusable.
    #[error(transparent)]
    Checkpoint(#[from] Box<CheckpointError>),
}

impl From<CheckpointError> for ModelError {
    fn from(source: CheckpointError) -> Self {
        Self::Checkpoint(Box::new(source))
    }
}
