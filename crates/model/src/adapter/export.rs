//! Adapters for other programs: half-precision PEFT folders, and the single file that web-rwkv blends in.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use half::f16;
use safetensors::tensor::{Dtype, TensorView, serialize};

use super::names::hf_module;
use super::write::{check, write_folder};
use super::{Adapter, AdapterError, LoraModule};
use crate::format::WeightFormat;
use crate::model_file::DOCUMENT_KEY;
use crate::storage::{DiskStorage, write_atomic};

/// Writes `adapter` as the PEFT folder `folder` with f32 or f16 tensors, replacing one that is there.
///
/// Errors: those of [`write_adapter`](super::write_adapter); a value that f16 cannot hold; a format other than f32 and f16.
pub fn write_adapter_as(
    folder: &Path,
    adapter: &Adapter,
    format: WeightFormat,
) -> Result<(), AdapterError> {
    match format {
        WeightFormat::F32 => super::write_adapter(folder, adapter),
        WeightFormat::F16 => {
            check(folder, adapter)?;
            let mut tensors = Vec::with_capacity(2 * adapter.modules.len());
            for module in &adapter.modules {
                let name = hf_module(&module.target).ok_or_else(|| AdapterError::NoSuchTarget {
                    target: module.target.clone(),
                })?;
                let name = format!("base_model.model.{name}");
                let rank = adapter.config.rank;
                tensors.push(Half::new(
                    folder,
                    format!("{name}.lora_A.weight"),
                    [rank, module.in_features],
                    &module.a,
                )?);
                tensors.push(Half::new(
                    folder,
                    format!("{name}.lora_B.weight"),
                    [module.out_features, rank],
                    &module.b,
                )?);
            }
            let document = adapter
                .model_id
                .as_ref()
                .map(|id| serde_json::json!({ "model_id": id }).to_string());
            let bytes = Half::file(folder, &tensors, document)?;
            write_folder(folder, adapter, &mut |out| out.write_all(&bytes))
        }
        other => Err(content(
            folder,
            format!("adapters are written in f32 or f16, not in {other}"),
        )),
    }
}

/// Writes `adapter` as the f16 safetensors file that web-rwkv blends into a model while loading it: `<matrix>.lora.0` is A transposed, `[in, rank]`, `<matrix>.lora.1` is B,
/// `[out, rank]`. The file has no place for the scale: returns the blend factor to load it with, which web-rwkv divides by the rank.
///
/// Errors: a change of the head, which its patterns do not reach; a value that f16 cannot hold; and whatever the system refuses.
pub fn write_web_rwkv_adapter(path: &Path, adapter: &Adapter) -> Result<f32, AdapterError> {
    check(path, adapter)?;
    let rank = adapter.config.rank;
    let mut tensors = Vec::with_capacity(2 * adapter.modules.len());
    for module in &adapter.modules {
        if !module.target.starts_with("blocks.") {
            return Err(content(
                path,
                format!(
                    "web-rwkv blends adapters into the matrices of layers only, and this one changes `{}`; merge it into the model instead",
                    module.target
                ),
            ));
        }
        tensors.push(Half::new(
            path,
            format!("{}.lora.0", module.target),
            [module.in_features, rank],
            &transposed_a(module, rank),
        )?);
        tensors.push(Half::new(
            path,
            format!("{}.lora.1", module.target),
            [module.out_features, rank],
            &module.b,
        )?);
    }
    let bytes = Half::file(path, &tensors, None)?;
    write_atomic(&DiskStorage, path, &bytes).map_err(AdapterError::io("write", path))?;
    Ok(adapter.config.scale() * rank as f32)
}

/// A tensor in f16.
struct Half {
    name: String,
    shape: [usize; 2],
    bytes: Vec<u8>,
}

impl Half {
    fn new(
        path: &Path,
        name: String,
        shape: [usize; 2],
        values: &[f32],
    ) -> Result<Self, AdapterError> {
        let mut bytes = Vec::with_capacity(values.len() * 2);
        for &value in values {
            let half = f16::from_f32(value);
            if !half.is_finite() {
                return Err(content(
                    path,
                    format!("`{name}` holds {value}, which f16 cannot; export it in f32"),
                ));
            }
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        Ok(Self { name, shape, bytes })
    }

    fn file(
        path: &Path,
        tensors: &[Self],
        document: Option<String>,
    ) -> Result<Vec<u8>, AdapterError> {
        let views = tensors
            .iter()
            .map(|tensor| {
                let view = TensorView::new(Dtype::F16, tensor.shape.to_vec(), &tensor.bytes)?;
                Ok((tensor.name.as_str(), view))
            })
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        // One key, so that the bytes do not depend on the map's order.
        let metadata = match document {
            Some(document) => HashMap::from([(DOCUMENT_KEY.to_owned(), document)]),
            None => HashMap::from([("format".to_owned(), "pt".to_owned())]),
        };
        views
            .and_then(|views| serialize(views, Some(metadata)))
            .map_err(|error| AdapterError::io("write", path)(io::Error::other(error)))
    }
}

/// A as `[in, rank]`.
fn transposed_a(module: &LoraModule, rank: usize) -> Vec<f32> {
    let mut transposed = Vec::with_capacity(module.a.len());
    for column in 0..module.in_features {
        transposed.extend((0..rank).map(|row| module.a[row * module.in_features + column]));
    }
    transposed
}

fn content(path: &Path, reason: String) -> AdapterError {
    AdapterError::Content {
        file: path.display().to_string(),
        reason,
    }
}
