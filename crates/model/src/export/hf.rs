//! The small files of a transformers folder: `config.json` of `RwkvForCausalLM`, and what makes its tokenizer load.

use serde_json::{Value, json};

use super::ExportTokenizer;
use crate::format::WeightFormat;
use crate::hf_names;
use crate::rwkv4::RwkvConfig;
use crate::tensor::TensorSpec;

/// Layers after which transformers halves the residual stream of half-precision models, so that it does not overflow; its own default.
const RESCALE_EVERY: usize = 6;

/// `config.json`.
pub(super) fn config(
    config: &RwkvConfig,
    dtype: WeightFormat,
    tokenizer: Option<&ExportTokenizer<'_>>,
) -> Value {
    let half = dtype == WeightFormat::F16;
    let mut json = json!({
        "architectures": ["RwkvForCausalLM"],
        "model_type": "rwkv",
        "vocab_size": config.vocab_size,
        "context_length": config.max_seq_len,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "attention_hidden_size": config.d_model,
        "intermediate_size": config.d_ffn,
        "layer_norm_epsilon": config.layer_norm_eps,
        // Halving changes nothing but the last bits, and f32 does not need it.
        "rescale_every": if half { RESCALE_EVERY } else { 0 },
        "tie_word_embeddings": false,
        "use_cache": true,
        "torch_dtype": if half { "float16" } else { "float32" },
    });
    if let Some(tokenizer) = tokenizer {
        json["bos_token_id"] = tokenizer.bos.0.into();
        json["eos_token_id"] = tokenizer.eos.0.into();
        json["pad_token_id"] = tokenizer.pad.0.into();
    }
    json
}

/// `tokenizer_config.json`.
pub(super) fn tokenizer_config(tokenizer: &ExportTokenizer<'_>) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.bos.1,
        "eos_token": tokenizer.eos.1,
        "pad_token": tokenizer.pad.1,
        "unk_token": tokenizer.unk.1,
        "clean_up_tokenization_spaces": false,
    })
}

/// Name and number format of a tensor in `model.safetensors`. transformers keeps decay and bonus in f32 in a half-precision model.
pub(super) fn stored(spec: &TensorSpec, dtype: WeightFormat) -> (String, WeightFormat) {
    let wide = [".time_decay", ".time_first"];
    let dtype = match wide.iter().any(|end| spec.name.ends_with(end)) {
        true => WeightFormat::F32,
        false => dtype,
    };
    // Every tensor of the architecture has a name there (tested in `hf_names`).
    let name = hf_names::to_hf(&spec.name).unwrap_or_else(|| spec.name.clone());
    (name, dtype)
}
