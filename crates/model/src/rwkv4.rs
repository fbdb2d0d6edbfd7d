//! RWKV-4: its sizes, and the official names and shapes of its tensors.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::memory::{MemoryEstimate, Placement, Precision, StepPlan};
use crate::tensor::TensorSpec;

/// Token ids are u16.
pub(crate) const MAX_VOCABULARY: usize = 65_536;
// Bounds that no model of this architecture reaches; they keep every product of sizes inside u64, whatever a file says.
const MAX_D_MODEL: usize = 65_536;
const MAX_D_FFN: usize = 1 << 20;
const MAX_LAYERS: usize = 1_024;
const MAX_SEQ_LEN: usize = 1 << 24;

/// Sizes of an RWKV-4 model: embedding, `n_layers` blocks of time mixing and channel mixing, an untied head.
///
/// Reading one from JSON or TOML fills in `d_ffn` (4·d_model), `dropout` (0.1) and `layer_norm_eps` (1e-5) and does not validate: call
/// [`validate`](Self::validate).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "RwkvConfigFile")]
pub struct RwkvConfig {
    /// Number of tokens, at most 65,536.
    pub vocab_size: usize,
    /// Width C of the residual stream, a multiple of 32.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Width F of channel mixing, a multiple of 32.
    pub d_ffn: usize,
    /// Longest sequence seen in training. Generation is not bound by it.
    pub max_seq_len: usize,
    /// Dropout probability in training; evaluation and generation use none.
    pub dropout: f64,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RwkvConfigFile {
    vocab_size: usize,
    d_model: usize,
    n_layers: usize,
    d_ffn: Option<usize>,
    max_seq_len: usize,
    dropout: Option<f64>,
    layer_norm_eps: Option<f64>,
}

impl From<RwkvConfigFile> for RwkvConfig {
    fn from(file: RwkvConfigFile) -> Self {
        let config = Self::new(
            file.vocab_size,
            file.d_model,
            file.n_layers,
            file.max_seq_len,
        );
        Self {
            d_ffn: file.d_ffn.unwrap_or(config.d_ffn),
            dropout: file.dropout.unwrap_or(config.dropout),
            layer_norm_eps: file.layer_norm_eps.unwrap_or(config.layer_norm_eps),
            ..config
        }
    }
}

impl RwkvConfig {
    /// A configuration with the usual `d_ffn` (4·d_model), `dropout` (0.1) and `layer_norm_eps` (1e-5).
    pub fn new(vocab_size: usize, d_model: usize, n_layers: usize, max_seq_len: usize) -> Self {
        Self {
            vocab_size,
            d_model,
            n_layers,
            d_ffn: d_model.saturating_mul(4),
            max_seq_len,
            dropout: 0.1,
            layer_norm_eps: 1e-5,
        }
    }

    /// Checks every field; the error names the first bad one and says what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        size(
            "vocab_size",
            self.vocab_size,
            MAX_VOCABULARY,
            "token ids are 16 bits",
        )?;
        width("d_model", self.d_model, MAX_D_MODEL)?;
        size(
            "n_layers",
            self.n_layers,
            MAX_LAYERS,
            "more blocks than any published model",
        )?;
        width("d_ffn", self.d_ffn, MAX_D_FFN)?;
        size(
            "max_seq_len",
            self.max_seq_len,
            MAX_SEQ_LEN,
            "longer than any training sequence",
        )?;
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(ConfigError::invalid(
                "dropout",
                self.dropout,
                "must be at least 0 and below 1",
            ));
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps <= 0.1) {
            return Err(ConfigError::invalid(
                "layer_norm_eps",
                self.layer_norm_eps,
                "must be greater than 0 and at most 0.1",
            ));
        }
        Ok(())
    }

    /// Exact number of parameters: `2·V·C + 4·C + L·(5·C² + 2·C·F + 11·C)`.
    pub fn num_parameters(&self) -> u64 {
        let (v, c, f, l) = (
            self.vocab_size as u64,
            self.d_model as u64,
            self.d_ffn as u64,
            self.n_layers as u64,
        );
        // Per block: ln1, ln2 (4C), decay, first (2C), five mixes (5C); four square products in time mixing and one in channel mixing; key and value of
        // channel mixing.
        let vectors = c.saturating_mul(11);
        let squares = c.saturating_mul(c).saturating_mul(5);
        let wide = c.saturating_mul(f).saturating_mul(2);
        let block = vectors.saturating_add(squares).saturating_add(wide);
        v.saturating_mul(c)
            .saturating_mul(2)
            .saturating_add(c.saturating_mul(4))
            .saturating_add(l.saturating_mul(block))
    }

    /// Bytes of a training step on a GPU with several micro-batches of `batch` × `seq_len` tokens, by use.
    pub fn estimated_vram(
        &self,
        batch: usize,
        seq_len: usize,
        precision: Precision,
    ) -> MemoryEstimate {
        let plan = StepPlan {
            precision,
            ..StepPlan::new(batch, seq_len, 2)
        };
        self.estimated_memory(&plan, Placement::Gpu)
    }

    /// Bytes of a training step wherever it computes, by use.
    pub fn estimated_memory(&self, plan: &StepPlan, placement: Placement) -> MemoryEstimate {
        MemoryEstimate::of(self, plan, placement)
    }

    /// Number of tensors: `18·n_layers + 6`.
    pub fn num_tensors(&self) -> usize {
        self.n_layers.saturating_mul(18).saturating_add(6)
    }

    /// Every tensor in canonical order, with the official RWKV-4 names and shapes (linear weights are `[out, in]`): the order of tensors in files and in the model id.
    ///
    /// Call [`validate`](Self::validate) first on a configuration that came from a file: the list has [`num_tensors`](Self::num_tensors) entries.
    pub fn tensor_specs(&self) -> Vec<TensorSpec> {
        let (v, c, f) = (self.vocab_size, self.d_model, self.d_ffn);
        let mut specs = vec![TensorSpec::new("emb.weight", [v, c])];
        for layer in 0..self.n_layers {
            let mut block = |name: &str, shape: &[usize]| {
                specs.push(TensorSpec {
                    name: format!("blocks.{layer}.{name}"),
                    shape: shape.to_vec(),
                })
            };
            for norm in if layer == 0 {
                &["ln0", "ln1", "ln2"][..]
            } else {
                &["ln1", "ln2"][..]
            } {
                block(&format!("{norm}.weight"), &[c]);
                block(&format!("{norm}.bias"), &[c]);
            }
            block("att.time_decay", &[c]);
            block("att.time_first", &[c]);
            block("att.time_mix_k", &[1, 1, c]);
            block("att.time_mix_v", &[1, 1, c]);
            block("att.time_mix_r", &[1, 1, c]);
            block("att.key.weight", &[c, c]);
            block("att.value.weight", &[c, c]);
            block("att.receptance.weight", &[c, c]);
            block("att.output.weight", &[c, c]);
            block("ffn.time_mix_k", &[1, 1, c]);
            block("ffn.time_mix_r", &[1, 1, c]);
            block("ffn.key.weight", &[f, c]);
            block("ffn.receptance.weight", &[c, c]);
            block("ffn.value.weight", &[c, f]);
        }
        specs.push(TensorSpec::new("ln_out.weight", [c]));
        specs.push(TensorSpec::new("ln_out.bias", [c]));
        specs.push(TensorSpec::new("head.weight", [v, c]));
        specs
    }
}

fn size(field: &'static str, value: usize, most: usize, why: &str) -> Result<(), ConfigError> {
    if value == 0 {
        return Err(ConfigError::invalid(field, value, "must be at least 1"));
    }
    if value > most {
        return Err(ConfigError::invalid(
            field,
            value,
            format!("must be at most {most} ({why})"),
        ));
    }
    Ok(())
}

fn width(field: &'static str, value: usize, most: usize) -> Result<(), ConfigError> {
    size(field, value, most, "wider than any published model")?;
    if !value.is_multiple_of(32) {
        return Err(ConfigError::invalid(
            field,
            value,
            "must be a multiple of 32 (the group size of the quantized formats)",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::{PRESETS, preset};

    #[test]
    fn parameter_count_is_the_sum_over_tensors() {
        for name in PRESETS {
            let config = preset(name).unwrap();
            let sum: u64 = config
                .tensor_specs()
                .iter()
                .map(|spec| spec.num_elements().unwrap() as u64)
                .sum();
            assert_eq!(config.num_parameters(), sum, "{name}");
        }
        // Counted by hand once for the 768 × 12 model with 32,000 tokens.
        assert_eq!(preset("85m").unwrap().num_parameters(), 141_268_992);
    }

    #[test]
    fn canonical_order_is_the_official_one() {
        let config = RwkvConfig::new(64, 32, 2, 16);
        let specs = config.tensor_specs();
        let names: Vec<&str> = specs.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(
            names[..5],
            [
                "emb.weight",
                "blocks.0.ln0.weight",
                "blocks.0.ln0.bias",
                "blocks.0.ln1.weight",
                "blocks.0.ln1.bias"
            ]
        );
        assert_eq!(
            names[names.len() - 3..],
            ["ln_out.weight", "ln_out.bias", "head.weight"]
        );
        assert_eq!(names.len(), 18 * 2 + 6);
        assert_eq!(names.len(), config.num_tensors());
        assert!(
            !names.contains(&"blocks.1.ln0.weight"),
            "only the first block norms the embedding"
        );
        let shape = |name: &str| specs.iter().find(|s| s.name == name).unwrap().shape.clone();
        assert_eq!(shape("blocks.1.att.time_mix_r"), [1, 1, 32]);
        assert_eq!(shape("blocks.1.ffn.key.weight"), [128, 32]);
        assert_eq!(shape("blocks.1.ffn.value.weight"), [32, 128]);
        assert_eq!(shape("blocks.1.ffn.receptance.weight"), [32, 32]);
    }

    #[test]
    fn each_bad_field_is_named() {
        let good = RwkvConfig::new(2048, 128, 4, 128);
        good.validate().unwrap();
        let cases: [(RwkvConfig, &str); 9] = [
            (
                RwkvConfig {
                    vocab_size: 65_537,
                    ..good.clone()
                },
                "`vocab_size` is 65537: must be at most 65536 (token ids are 16 bits)",
            ),
            (
                RwkvConfig {
                    vocab_size: 0,
                    ..good.clone()
                },
                "`vocab_size` is 0: must be at least 1",
            ),
            (
                RwkvConfig {
                    d_model: 100,
                    ..good.clone()
                },
                "`d_model` is 100: must be a multiple of 32 (the group size of the quantized formats)",
            ),
            (
                RwkvConfig {
                    d_model: 0,
                    ..good.clone()
                },
                "`d_model` is 0: must be at least 1",
            ),
            (
                RwkvConfig {
                    n_layers: 0,
                    ..good.clone()
                },
                "`n_layers` is 0: must be at least 1",
            ),
            (
                RwkvConfig {
                    d_ffn: 7,
                    ..good.clone()
                },
                "`d_ffn` is 7: must be a multiple of 32 (the group size of the quantized formats)",
            ),
            (
                RwkvConfig {
                    max_seq_len: 0,
                    ..good.clone()
                },
                "`max_seq_len` is 0: must be at least 1",
            ),
            (
                RwkvConfig {
                    dropout: f64::NAN,
                    ..good.clone()
                },
                "`dropout` is NaN: must be at least 0 and below 1",
            ),
            (
                RwkvConfig {
                    layer_norm_eps: 0.0,
                    ..good.clone()
                },
                "`layer_norm_eps` is 0: must be greater than 0 and at most 0.1",
            ),
        ];
        for (config, message) in cases {
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        }
    }
}
