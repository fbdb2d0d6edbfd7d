//! What RWKV-4 is by its tensors: sizes from their shapes, and which names belong to a later version.

use std::collections::BTreeMap;

use super::{ImportError, Located};
use crate::arch::ArchConfig;
use crate::error::TensorError;
use crate::rwkv4::RwkvConfig;

/// Parts of names that RWKV-4 does not have, latest version first: a later version keeps some of an earlier one's.
const LATER: [(&str, &str); 7] = [
    (".att.r_k", "RWKV-7"),
    (".att.x_rg", "RWKV-7"),
    (".att.time_maa_", "RWKV-6"),
    (".ffn.time_maa_", "RWKV-6"),
    (".att.time_faaaa", "RWKV-5"),
    (".att.gate.", "RWKV-5"),
    (".att.ln_x.", "RWKV-5"),
];

/// The configuration of the model that `tensors` (by official name) are; every one of them is there, has its shape, and there is no other.
///
/// The longest sequence seen in training cannot be told from shapes: it is `max_seq_len`. Dropout is 0, as in the published recipe.
pub(super) fn config(
    label: &str,
    tensors: &BTreeMap<String, Located<'_>>,
    max_seq_len: usize,
    layer_norm_eps: f64,
) -> Result<ArchConfig, ImportError> {
    refuse_later_versions(label, tensors.keys())?;
    let not_rwkv4 = |reason: String| ImportError::NotRwkv4 {
        file: label.to_owned(),
        reason,
    };
    let rows_and_columns = |name: &str| match tensors.get(name).map(|located| located.shape) {
        Some(&[rows, columns]) => Ok((rows, columns)),
        Some(shape) => Err(not_rwkv4(format!(
            "`{name}` has the shape {shape:?}, a matrix belongs there"
        ))),
        None => Err(not_rwkv4(format!("the tensor `{name}` is missing"))),
    };
    let (vocab_size, d_model) = rows_and_columns("emb.weight")?;
    let (d_att, _) = rows_and_columns("blocks.0.att.key.weight")?;
    let (d_ffn, _) = rows_and_columns("blocks.0.ffn.key.weight")?;
    if d_att != d_model {
        return Err(not_rwkv4(format!(
            "time mixing is {d_att} wide and the residual stream {d_model}; only models where both are equal can be imported"
        )));
    }
    let layers = tensors.keys().filter_map(|name| {
        let (layer, _) = name.strip_prefix("blocks.")?.split_once('.')?;
        layer.parse::<usize>().ok()?.checked_add(1)
    });
    let config = RwkvConfig {
        d_ffn,
        dropout: 0.0,
        layer_norm_eps,
        ..RwkvConfig::new(vocab_size, d_model, layers.max().unwrap_or(0), max_seq_len)
    };
    // Before anything is listed for the number of layers that a name claims.
    if config.num_tensors() > tensors.len() {
        return Err(not_rwkv4(format!(
            "{} layers have {} tensors, and there are {}",
            config.n_layers,
            config.num_tensors(),
            tensors.len()
        )));
    }
    config.validate().map_err(|source| ImportError::Config {
        file: label.to_owned(),
        source,
    })?;
    let config = ArchConfig::Rwkv4(config);
    check(label, &config, tensors)?;
    Ok(config)
}

fn refuse_later_versions<'a>(
    label: &str,
    names: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), ImportError> {
    for (part, version) in LATER {
        if let Some(tensor) = names.clone().find(|name| name.contains(part)) {
            return Err(ImportError::OtherVersion {
                file: label.to_owned(),
                version,
                tensor: tensor.clone(),
            });
        }
    }
    Ok(())
}

/// Checks that `tensors` are those of `config`. Dimensions of one element do not count: a vector may be stored as `[C]` or `[1, 1, C]`.
fn check(
    label: &str,
    config: &ArchConfig,
    tensors: &BTreeMap<String, Located<'_>>,
) -> Result<(), ImportError> {
    let specs = config.tensor_specs();
    for spec in &specs {
        let Some(located) = tensors.get(&spec.name) else {
            return Err(TensorError::Missing {
                file: label.to_owned(),
                name: spec.name.clone(),
            }
            .into());
        };
        let same = match spec.is_matrix() {
            true => located.shape == spec.shape,
            false => squeezed(located.shape).eq(squeezed(&spec.shape)),
        };
        if !same {
            return Err(TensorError::Shape {
                file: label.to_owned(),
                name: spec.name.clone(),
                found: located.shape.to_vec(),
                expected: spec.shape.clone(),
            }
            .into());
        }
    }
    if tensors.len() != specs.len() {
        let known: std::collections::BTreeSet<&str> =
            specs.iter().map(|spec| spec.name.as_str()).collect();
        if let Some(name) = tensors.keys().find(|name| !known.contains(name.as_str())) {
            return Err(TensorError::Unexpected {
                file: label.to_owned(),
                name: name.clone(),
            }
            .into());
        }
    }
    Ok(())
}

fn squeezed(shape: &[usize]) -> impl Iterator<Item = &usize> {
    shape.iter().filter(|&&dim| dim != 1)
}
