//! A model as one file: tensors, and one JSON document with everything else in the metadata.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::arch::ArchConfig;
use crate::digest::is_sha256_hex;
use crate::error::ModelError;
use crate::safetensors_writer::write_safetensors;
use crate::storage::{DiskStorage, replace_file};
use crate::tensor::TensorSource;
use crate::tensor_file::TensorFile;

/// Key of the document in the safetensors metadata.
pub(crate) const DOCUMENT_KEY: &str = "ptbr-slm";

/// The document in a model file's metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFileInfo {
    /// Number format of the weights.
    pub format: String,
    /// The model's configuration.
    pub config: ArchConfig,
    /// `tokenizer.json`, where there is one.
    pub tokenizer: Option<String>,
    /// Id of the f32 weights that the file was made from.
    pub model_id: String,
}

impl ModelFileInfo {
    /// The document of an f32 model.
    pub fn f32(config: ArchConfig, tokenizer: Option<String>, model_id: String) -> Self {
        Self {
            format: "f32".to_owned(),
            config,
            tokenizer,
            model_id,
        }
    }

    /// Reads and validates the document of `file`.
    pub(crate) fn read(file: &TensorFile) -> Result<Self, ModelError> {
        let not_a_model = |reason: String| ModelError::NotAModel {
            path: file.label().into(),
            reason,
        };
        let Some(json) = file.metadata(DOCUMENT_KEY) else {
            return Err(not_a_model(format!(
                "the safetensors file has no \"{DOCUMENT_KEY}\" document in its metadata (weights of another project? use import)"
            )));
        };
        let info: Self = serde_json::from_str(json).map_err(|error| {
            not_a_model(format!(
                "its \"{DOCUMENT_KEY}\" document cannot be read: {error}"
            ))
        })?;
        info.config
            .validate()
            .map_err(|source| ModelError::Config {
                file: file.label().to_owned(),
                source,
            })?;
        if !is_sha256_hex(&info.model_id) {
            return Err(not_a_model("its model id is not a SHA-256".to_owned()));
        }
        Ok(info)
    }
}

/// Writes an f32 model file atomically. `model` lists [`ArchConfig::tensor_specs`] in that order.
pub fn write_model_file(
    path: &Path,
    info: &ModelFileInfo,
    model: &dyn TensorSource,
) -> Result<(), ModelError> {
    let io = |source| ModelError::Io {
        path: path.to_owned(),
        source,
    };
    let document = serde_json::to_string(info).map_err(|error| io(error.into()))?;
    let metadata = [("format", "pt"), (DOCUMENT_KEY, document.as_str())];
    replace_file(&DiskStorage, path, &mut |out| {
        write_safetensors(model, &metadata, out, None).map(drop)
    })
    .map_err(io)
}
