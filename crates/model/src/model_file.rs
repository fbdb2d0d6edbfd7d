//! A model as one file: tensors, and one JSON document with everything else in the metadata.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::arch::ArchConfig;
use crate::digest::is_sha256_hex;
use crate::error::ModelError;
use crate::format::WeightFormat;
use crate::plan::QuantizationPlan;
use crate::tensor_index::TensorIndex;

/// Key of the document in the safetensors metadata.
pub(crate) const DOCUMENT_KEY: &str = "ptbr-slm";

/// The document in a model file's metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFileInfo {
    /// Number format of the matrices; vectors are f32.
    pub format: WeightFormat,
    /// Matrices of another format, by official name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exceptions: BTreeMap<String, WeightFormat>,
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
        let plan = QuantizationPlan::uniform(WeightFormat::F32);
        Self::quantized(&plan, config, tokenizer, model_id)
    }

    /// The document of a model whose matrices have the formats of `plan`.
    pub fn quantized(
        plan: &QuantizationPlan,
        config: ArchConfig,
        tokenizer: Option<String>,
        model_id: String,
    ) -> Self {
        Self {
            format: plan.format(),
            exceptions: plan.exceptions().clone(),
            config,
            tokenizer,
            model_id,
        }
    }

    /// The formats of the matrices.
    pub fn plan(&self) -> QuantizationPlan {
        QuantizationPlan::new(self.format, self.exceptions.clone())
    }

    /// Reads and validates the document of a file with this header.
    pub(crate) fn read(file: &TensorIndex) -> Result<Self, ModelError> {
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
        // Before anything is listed for the sizes that the document claims. Quantized matrices have tensors for their scales as well.
        let (claimed, found) = (info.config.num_tensors(), file.len());
        if claimed > found {
            return Err(not_a_model(format!(
                "its configuration asks for {claimed} tensors, and the file holds {found}"
            )));
        }
        if !info.exceptions.is_empty() {
            let matrices = info.config.matrix_names();
            if let Some(name) = info.exceptions.keys().find(|name| !matrices.contains(name)) {
                return Err(not_a_model(format!(
                    "its document gives a format to `{name}`, which is no matrix of the model"
                )));
            }
        }
        Ok(info)
    }
}
