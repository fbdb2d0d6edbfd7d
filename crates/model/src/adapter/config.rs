//! `adapter_config.json`: what PEFT writes there and which of it is understood.

use serde::{Deserialize, Serialize};

/// Largest rank that is believed.
pub(super) const MAX_RANK: usize = 65_536;

/// Rank, scale and origin of an adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    /// Inner dimension of the low-rank product.
    pub rank: usize,
    /// The product is scaled by `alpha / rank` (or `alpha / √rank`).
    pub alpha: f64,
    /// Whether the scale is `alpha / √rank` (rank-stabilised LoRA).
    pub rank_stabilized: bool,
    /// What the folder calls its base model: a model id in folders written here.
    pub base_model: Option<String>,
}

impl AdapterConfig {
    /// Factor of B·A.
    pub fn scale(&self) -> f32 {
        let rank = self.rank as f64;
        (self.alpha
            / if self.rank_stabilized {
                rank.sqrt()
            } else {
                rank
            }) as f32
    }
}

/// The file as PEFT writes it. Fields that change nothing for us are not read; those that change the mathematics are, so that they can be refused.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PeftConfig {
    peft_type: String,
    #[serde(default)]
    task_type: Option<String>,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default = "none")]
    bias: String,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    inference_mode: bool,
    /// A list of names, or one pattern; which matrices are changed is read from the tensors.
    #[serde(default)]
    target_modules: serde_json::Value,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default, skip_serializing)]
    use_dora: bool,
    #[serde(default, skip_serializing)]
    rank_pattern: serde_json::Map<String, serde_json::Value>,
    #[serde(default, skip_serializing)]
    alpha_pattern: serde_json::Map<String, serde_json::Value>,
}

fn none() -> String {
    "none".to_owned()
}

impl PeftConfig {
    pub fn new(config: &AdapterConfig, target_modules: Vec<String>) -> Self {
        Self {
            peft_type: "LORA".to_owned(),
            task_type: Some("CAUSAL_LM".to_owned()),
            base_model_name_or_path: config.base_model.clone(),
            r: config.rank,
            lora_alpha: config.alpha,
            lora_dropout: 0.0,
            bias: none(),
            fan_in_fan_out: false,
            inference_mode: true,
            target_modules: target_modules.into(),
            modules_to_save: None,
            use_rslora: config.rank_stabilized,
            use_dora: false,
            rank_pattern: serde_json::Map::new(),
            alpha_pattern: serde_json::Map::new(),
        }
    }

    /// The part that we use, or why this adapter is none that we can apply.
    pub fn understood(self) -> Result<AdapterConfig, String> {
        if self.peft_type != "LORA" {
            return Err(format!(
                "`peft_type` is {}: only LORA adapters can be used",
                self.peft_type
            ));
        }
        if !(1..=MAX_RANK).contains(&self.r) {
            return Err(format!("`r` is {}: must be from 1 to {MAX_RANK}", self.r));
        }
        // As f32, which is what outputs are multiplied with.
        if !((self.lora_alpha as f32).is_finite() && self.lora_alpha > 0.0) {
            return Err(format!(
                "`lora_alpha` is {}: must be greater than 0 and fit into an f32",
                self.lora_alpha
            ));
        }
        let unsupported = [
            (self.bias != "none", "`bias` other than \"none\""),
            (self.fan_in_fan_out, "`fan_in_fan_out`"),
            (
                self.modules_to_save
                    .is_some_and(|modules| !modules.is_empty()),
                "`modules_to_save`",
            ),
            (self.use_dora, "`use_dora`"),
            (!self.rank_pattern.is_empty(), "`rank_pattern`"),
            (!self.alpha_pattern.is_empty(), "`alpha_pattern`"),
        ];
        if let Some((_, what)) = unsupported.into_iter().find(|(used, _)| *used) {
            return Err(format!(
                "it uses {what}, which is not supported: train it without, or merge it with its own tool"
            ));
        }
        Ok(AdapterConfig {
            rank: self.r,
            alpha: self.lora_alpha,
            rank_stabilized: self.use_rslora,
            base_model: self.base_model_name_or_path,
        })
    }
}
