//! Reading an adapter folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;

use super::config::PeftConfig;
use super::names::official_module;
use super::{Adapter, AdapterConfig, AdapterError, CONFIG_FILE, LoraModule, TENSOR_FILE};
use crate::digest::is_sha256_hex;
use crate::error::TensorError;
use crate::model_file::DOCUMENT_KEY;
use crate::tensor_file::TensorFile;

/// More than any `adapter_config.json` has; a longer file is not read at all.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Reads a PEFT folder. Checked: that it is a LoRA adapter of RWKV matrices whose tensors come in pairs of the stated rank, in f32, f16 or bf16, all finite. Whether it fits a model is
/// [`Adapter::check_against`]'s question.
pub fn read_adapter(folder: &Path) -> Result<Adapter, AdapterError> {
    let path = folder.join(CONFIG_FILE);
    let length = fs::metadata(&path)
        .map_err(AdapterError::io("read", &path))?
        .len();
    if length > MAX_CONFIG_BYTES {
        return Err(AdapterError::Config {
            path,
            reason: format!("{length} bytes are too many for an adapter's configuration"),
        });
    }
    let json = fs::read(&path).map_err(AdapterError::io("read", &path))?;
    let config = read_config(path, &json)?;
    from_file(config, &TensorFile::open(&folder.join(TENSOR_FILE))?)
}

impl Adapter {
    /// The same from the contents of `adapter_config.json` and `adapter_model.safetensors`, which a program may have embedded or downloaded; `label` names them in messages.
    pub fn from_bytes(label: &str, config: &[u8], tensors: Vec<u8>) -> Result<Self, AdapterError> {
        let config = read_config(Path::new(label).join(CONFIG_FILE), config)?;
        let label = Path::new(label).join(TENSOR_FILE).display().to_string();
        from_file(config, &TensorFile::from_bytes(label, tensors)?)
    }
}

fn read_config(path: PathBuf, json: &[u8]) -> Result<AdapterConfig, AdapterError> {
    serde_json::from_slice::<PeftConfig>(json)
        .map_err(|error| error.to_string())
        .and_then(PeftConfig::understood)
        .map_err(|reason| AdapterError::Config { path, reason })
}

fn from_file(config: AdapterConfig, file: &TensorFile) -> Result<Adapter, AdapterError> {
    let content = |reason: String| AdapterError::Content {
        file: file.label().to_owned(),
        reason,
    };
    let mut halves: BTreeMap<String, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for name in file.names() {
        let Some((target, is_a)) = parse_name(name) else {
            return Err(content(format!(
                "the tensor `{name}` is no part of a LoRA adapter of an RWKV-4 model"
            )));
        };
        let pair = halves.entry(target).or_default();
        *(if is_a { &mut pair.0 } else { &mut pair.1 }) = Some(name);
    }
    if halves.is_empty() {
        return Err(content("it holds no tensors".to_owned()));
    }
    let mut modules = Vec::with_capacity(halves.len());
    for (target, pair) in halves {
        let (Some(a_name), Some(b_name)) = pair else {
            return Err(content(format!(
                "`{target}` has only one of lora_A and lora_B"
            )));
        };
        let (&[a_rank, in_features], &[out_features, b_rank]) =
            (file.shape(a_name)?, file.shape(b_name)?)
        else {
            return Err(content(format!("`{target}` is not made of two matrices")));
        };
        if a_rank != config.rank || b_rank != config.rank {
            return Err(content(format!(
                "`{target}` has the ranks {a_rank} and {b_rank}, the configuration says {}",
                config.rank
            )));
        }
        let (a, b) = (values(file, a_name)?, values(file, b_name)?);
        modules.push(LoraModule {
            target,
            in_features,
            out_features,
            a,
            b,
        });
    }
    let model_id = model_id(file).map_err(content)?;
    Ok(Adapter {
        config,
        model_id,
        modules,
    })
}

/// `base_model.model.rwkv.blocks.0.attention.key.lora_A.weight` → (`blocks.0.att.key`, true).
fn parse_name(name: &str) -> Option<(String, bool)> {
    let name = name.strip_prefix("base_model.model.")?;
    let (module, is_a) = match name.strip_suffix(".lora_A.weight") {
        Some(module) => (module, true),
        None => (name.strip_suffix(".lora_B.weight")?, false),
    };
    Some((official_module(module)?, is_a))
}

/// The elements of a tensor as f32, all finite. Copied: adapters are small and change while they are used.
fn values(file: &TensorFile, name: &str) -> Result<Vec<f32>, AdapterError> {
    let raw = file.raw(name)?;
    let halves = || {
        raw.chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    };
    let values: Vec<f32> = match file.dtype(name)? {
        Dtype::F32 => file.tensor(name)?.to_vec(),
        Dtype::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => halves()
            .map(|bits| bf16::from_bits(bits).to_f32())
            .collect(),
        other => {
            let found = format!("{other:?}");
            return Err(TensorError::Dtype {
                file: file.label().to_owned(),
                name: name.to_owned(),
                found,
                expected: "F32, F16 or BF16".to_owned(),
            }
            .into());
        }
    };
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(TensorError::NotFinite {
            file: file.label().to_owned(),
            name: name.to_owned(),
            index,
            value: values[index],
        }
        .into());
    }
    Ok(values)
}

fn model_id(file: &TensorFile) -> Result<Option<String>, String> {
    let Some(document) = file.metadata(DOCUMENT_KEY) else {
        return Ok(None);
    };
    let document: serde_json::Value = serde_json::from_str(document)
        .map_err(|error| format!("its \"{DOCUMENT_KEY}\" document cannot be read: {error}"))?;
    match document.get("model_id").and_then(|id| id.as_str()) {
        Some(id) if is_sha256_hex(id) => Ok(Some(id.to_owned())),
        _ => Err(format!("its \"{DOCUMENT_KEY}\" document holds no model id")),
    }
}
