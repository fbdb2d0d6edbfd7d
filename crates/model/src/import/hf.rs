//! The folder of a transformers `RwkvForCausalLM`: `config.json`, weights in one file or in several with an index, perhaps a tokenizer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ImportError;
use super::weights::WeightFile;
use crate::arch::ArchConfig;

/// Longest text file that is read: indexes have a line for every tensor, tokenizers a few for every token.
const MAX_TEXT_BYTES: u64 = 32 << 20;
/// Most files that an index may name.
const MAX_SHARDS: usize = 1024;

/// What is read of `config.json`; the rest is about running the model there.
#[derive(Debug, Deserialize)]
pub(super) struct HfConfig {
    model_type: String,
    vocab_size: usize,
    #[serde(default = "context_length")]
    pub context_length: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    attention_hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    #[serde(default = "layer_norm_epsilon")]
    pub layer_norm_epsilon: f64,
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

// What transformers takes where config.json says nothing.
fn context_length() -> usize {
    1024
}
fn layer_norm_epsilon() -> f64 {
    1e-5
}

impl HfConfig {
    /// Reads `config.json`; `path` names it in messages.
    pub fn parse(path: &Path, json: &[u8]) -> Result<Self, ImportError> {
        let config: Self =
            serde_json::from_slice(json).map_err(|error| wrong(path, error.to_string()))?;
        if config.model_type != "rwkv" {
            return Err(wrong(
                path,
                format!(
                    "`model_type` is \"{}\"; only \"rwkv\" (RWKV-4) can be imported",
                    config.model_type
                ),
            ));
        }
        Ok(config)
    }

    /// Checks that the sizes found in the weights are those that `config.json` claims.
    pub fn check(&self, path: &Path, found: &ArchConfig) -> Result<(), ImportError> {
        let ArchConfig::Rwkv4(found) = found;
        let width = self.hidden_size;
        for (field, claimed, found) in [
            ("vocab_size", self.vocab_size, found.vocab_size),
            ("hidden_size", width, found.d_model),
            ("num_hidden_layers", self.num_hidden_layers, found.n_layers),
            (
                "attention_hidden_size",
                self.attention_hidden_size.unwrap_or(width),
                found.d_model,
            ),
            (
                "intermediate_size",
                self.intermediate_size.unwrap_or(width.saturating_mul(4)),
                found.d_ffn,
            ),
        ] {
            if claimed != found {
                return Err(wrong(
                    path,
                    format!("`{field}` is {claimed}, and in the weights it is {found}"),
                ));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens the weights of a folder: the index's files, or the one file.
pub(super) fn weights(folder: &Path) -> Result<Vec<WeightFile>, ImportError> {
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let index = folder.join(format!("{name}.index.json"));
        if index.is_file() {
            let shards = shards(&index, &read(&index)?)?;
            return shards
                .into_iter()
                .map(|shard| WeightFile::open(&folder.join(shard)))
                .collect();
        }
        let path = folder.join(name);
        if path.is_file() {
            return Ok(vec![WeightFile::open(&path)?]);
        }
    }
    Err(wrong(
        folder,
        "it holds neither model.safetensors, nor pytorch_model.bin, nor an index of several"
            .to_owned(),
    ))
}

/// The files that an index names. They lie beside it: anything that leads elsewhere is refused.
pub(super) fn shards(path: &Path, json: &[u8]) -> Result<BTreeSet<PathBuf>, ImportError> {
    let index: Index =
        serde_json::from_slice(json).map_err(|error| wrong(path, error.to_string()))?;
    let mut shards = BTreeSet::new();
    for name in index.weight_map.into_values() {
        let shard = PathBuf::from(&name);
        if shard.file_name() != Some(shard.as_os_str()) {
            return Err(wrong(
                path,
                format!("`{name}` is not the name of a file in this folder"),
            ));
        }
        shards.insert(shard);
        if shards.len() > MAX_SHARDS {
            return Err(wrong(
                path,
                format!("it names more than {MAX_SHARDS} files"),
            ));
        }
    }
    if shards.is_empty() {
        return Err(wrong(path, "its `weight_map` is empty".to_owned()));
    }
    Ok(shards)
}

/// The bytes of a small file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    let io = |error| ImportError::io(path)(error);
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(wrong(
            path,
            format!("it is longer than {MAX_TEXT_BYTES} bytes"),
        ));
    }
    Ok(bytes)
}

/// `tokenizer.json` of a folder, where there is one.
pub(super) fn tokenizer(folder: &Path) -> Result<Option<String>, ImportError> {
    let path = folder.join("tokenizer.json");
    if !path.is_file() {
        return Ok(None);
    }
    let text = String::from_utf8(read(&path)?);
    text.map(Some)
        .map_err(|error| wrong(&path, error.to_string()))
}

pub(super) fn wrong(path: &Path, reason: String) -> ImportError {
    ImportError::HfFolder {
        path: path.to_owned(),
        reason,
    }
}
