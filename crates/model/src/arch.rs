//! Which architecture a model has: the content of `config.json`.

use serde::{Deserialize, Serialize};

use crate::digest::{hex, sha256};
use crate::error::ConfigError;
use crate::rwkv4::RwkvConfig;
use crate::tensor::TensorSpec;

/// A model's architecture with its sizes; in JSON an object whose `architecture` field says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture")]
#[non_exhaustive]
pub enum ArchConfig {
    /// RWKV-4.
    #[serde(rename = "rwkv4")]
    Rwkv4(RwkvConfig),
}

impl ArchConfig {
    /// Reads and validates `config.json`.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(json)
            .map_err(|error| ConfigError::parse("config.json", error))?;
        config.validate()?;
        Ok(config)
    }

    /// Reads and validates a configuration in TOML, as in `configs/models/`.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)
            .map_err(|error| ConfigError::parse("the model configuration", error))?;
        config.validate()?;
        Ok(config)
    }

    /// `config.json`: the same bytes for the same configuration.
    pub fn to_json(&self) -> String {
        // A plain object of numbers: serialisation has no way to fail, and an empty text would be refused by every reader.
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }

    /// SHA-256 of [`to_json`](Self::to_json) in hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&sha256(self.to_json().as_bytes()))
    }

    /// The architecture's name as in `config.json`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rwkv4(_) => "rwkv4",
        }
    }

    /// Checks every field.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::Rwkv4(config) => config.validate(),
        }
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Rwkv4(config) => config.vocab_size,
        }
    }

    /// Exact number of parameters.
    pub fn num_parameters(&self) -> u64 {
        match self {
            Self::Rwkv4(config) => config.num_parameters(),
        }
    }

    /// Every tensor in canonical order.
    pub fn tensor_specs(&self) -> Vec<TensorSpec> {
        match self {
            Self::Rwkv4(config) => config.tensor_specs(),
        }
    }

    /// How many tensors there are, without listing them.
    pub fn num_tensors(&self) -> usize {
        match self {
            Self::Rwkv4(config) => config.num_tensors(),
        }
    }

    /// Names of the matrices: the tensors that have a number format in a model file.
    pub fn matrix_names(&self) -> Vec<String> {
        let matrices = self
            .tensor_specs()
            .into_iter()
            .filter(TensorSpec::is_matrix);
        matrices.map(|spec| spec.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trip_and_defaults() {
        let config = ArchConfig::from_json(br#"{"architecture":"rwkv4","vocab_size":512,"d_model":64,"n_layers":2,"max_seq_len":32}"#).unwrap();
        let ArchConfig::Rwkv4(rwkv) = &config;
        assert_eq!(
            (rwkv.d_ffn, rwkv.dropout, rwkv.layer_norm_eps),
            (256, 0.1, 1e-5)
        );
        assert_eq!(
            ArchConfig::from_json(config.to_json().as_bytes()).unwrap(),
            config
        );
        assert!(
            config
                .to_json()
                .starts_with("{\n  \"architecture\": \"rwkv4\",")
        );
    }

    #[test]
    fn bad_documents_are_explained() {
        let error = |json: &str| {
            ArchConfig::from_json(json.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(error(r#"{"architecture":"gpt2"}"#).contains("unknown variant `gpt2`"));
        assert!(error("{}").contains("missing field `architecture`"));
        assert!(error("").contains("config.json cannot be read"));
        let typo = r#"{"architecture":"rwkv4","vocab_size":512,"d_modle":64,"n_layers":2,"max_seq_len":32}"#;
        assert!(
            error(typo).contains("unknown field `d_modle`"),
            "{}",
            error(typo)
        );
        let negative = r#"{"architecture":"rwkv4","vocab_size":-1,"d_model":64,"n_layers":2,"max_seq_len":32}"#;
        assert!(
            error(negative).contains("invalid value"),
            "{}",
            error(negative)
        );
    }
}
