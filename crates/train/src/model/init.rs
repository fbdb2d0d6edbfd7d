//! The published RWKV-4 initialisation (RWKV-LM, `RWKV-v4neo/src/model.py`), as a pure function of (configuration, seed, name).

use ptbr_model::{RwkvConfig, TensorSpec};

use super::orthogonal::{orthogonal, uniform};
use crate::ops::dropout::mix64;

/// Half-width of the uniform distribution of the embedding. The layer norm after it makes any small number do.
const EMBEDDING_SCALE: f64 = 1e-4;

/// The initial elements of the tensor `spec`, row-major.
///
/// Zero for the projections that end a branch or gate it (att.key, att.receptance, att.output, ffn.value, ffn.receptance): at the
/// first step every layer passes its input on, and the loss is that of the head alone: about ln V + 0.125, the head's gain giving
/// logits of standard deviation 0.5.
pub fn initial_values(config: &RwkvConfig, spec: &TensorSpec, seed: u64) -> Vec<f32> {
    let count: usize = spec.shape.iter().product();
    let name = spec.name.as_str();
    let (layer, part) = split_layer(name);
    // 0 at the first layer, 1 at the last; and 1 at the first, approaching 0.
    let depth = layer as f64 / (config.n_layers.max(2) - 1) as f64;
    let rest = 1.0 - layer as f64 / config.n_layers as f64;
    let c = config.d_model as f64;
    let channels = |f: &dyn Fn(usize) -> f64| (0..count).map(|i| f(i) as f32).collect::<Vec<f32>>();
    let key = || {
        mix64(
            seed ^ name
                .bytes()
                .fold(0, |hash, byte| mix64(hash ^ u64::from(byte))),
        )
    };
    let gain = |shape: &[usize]| (shape[0] as f64 / shape[1] as f64).max(1.0).sqrt();
    match part {
        "emb.weight" => uniform(count, EMBEDDING_SCALE, key()),
        "head.weight" => orthogonal(spec.shape[0], spec.shape[1], 0.5 * gain(&spec.shape), key()),
        "att.value.weight" | "ffn.key.weight" => {
            orthogonal(spec.shape[0], spec.shape[1], gain(&spec.shape), key())
        }
        "att.time_decay" => {
            let last = (count.max(2) - 1) as f64;
            channels(&|i| -5.0 + 8.0 * (i as f64 / last).powf(0.7 + 1.3 * depth))
        }
        "att.time_first" => channels(&|i| 0.3f64.ln() + 0.5 * (((i + 1) % 3) as f64 - 1.0)),
        "att.time_mix_k" | "ffn.time_mix_k" | "ffn.time_mix_r" => {
            channels(&|i| (i as f64 / c).powf(rest))
        }
        "att.time_mix_v" => channels(&|i| (i as f64 / c).powf(rest) + 0.3 * depth),
        "att.time_mix_r" => channels(&|i| (i as f64 / c).powf(0.5 * rest)),
        _ if part.starts_with("ln") && part.ends_with(".weight") => vec![1.0; count],
        _ => vec![0.0; count],
    }
}

/// `blocks.3.att.key.weight` → (3, `att.key.weight`); a name without a layer → (0, the name).
pub fn split_layer(name: &str) -> (usize, &str) {
    name.strip_prefix("blocks.")
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(layer, part)| Some((layer.parse().ok()?, part)))
        .unwrap_or((0, name))
}
