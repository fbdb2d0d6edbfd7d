//! LoRA adapters as folders in the PEFT layout, so that other tools can load ours and we theirs.
//!
//! `adapter_config.json` holds rank, alpha and targets; `adapter_model.safetensors` holds for every target `base_model.model.<HF module>.lora_A.weight` `[rank, in]`
//! and `.lora_B.weight` `[out, rank]`, and in its metadata the id of the model that the adapter was trained on. Here is only the format: applying an adapter is the runtime's.

mod config;
mod error;
mod export;
mod id;
mod merge;
mod name;
mod names;
mod read;
mod write;

use crate::arch::ArchConfig;

pub use config::AdapterConfig;
pub use error::AdapterError;
pub use export::{write_adapter_as, write_web_rwkv_adapter};
pub use merge::{MergedWeights, WeightedAdapter};
pub use name::AdapterName;
pub use read::read_adapter;
pub use write::write_adapter;

pub(crate) const CONFIG_FILE: &str = "adapter_config.json";
pub(crate) const TENSOR_FILE: &str = "adapter_model.safetensors";

/// The low-rank change of one matrix: `W + scale · B·A`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraModule {
    /// The matrix by its official name without `.weight`, e.g. `blocks.0.att.key`.
    pub target: String,
    /// Columns of the matrix.
    pub in_features: usize,
    /// Rows of the matrix.
    pub out_features: usize,
    /// `[rank, in_features]`, row-major.
    pub a: Vec<f32>,
    /// `[out_features, rank]`, row-major.
    pub b: Vec<f32>,
}

/// An adapter in memory; all values are finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Rank, alpha, targets.
    pub config: AdapterConfig,
    /// Id of the model that it was trained on; absent in folders of other tools.
    pub model_id: Option<String>,
    /// Sorted by target.
    pub modules: Vec<LoraModule>,
}

/// How sure it is that an adapter belongs to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterMatch {
    /// It names this very model.
    SameModel,
    /// It names none; its shapes fit. Worth a warning.
    ShapesOnly,
}

impl Adapter {
    /// Whether the adapter can be used on a model: every target exists with these dimensions, and the model id, where there is one, is this model's.
    pub fn check_against(
        &self,
        config: &ArchConfig,
        model_id: &str,
    ) -> Result<AdapterMatch, AdapterError> {
        let specs = config.tensor_specs();
        for module in &self.modules {
            let weight = format!("{}.weight", module.target);
            let Some(spec) = specs.iter().find(|spec| spec.name == weight) else {
                return Err(AdapterError::NoSuchTarget {
                    target: module.target.clone(),
                });
            };
            if spec.shape != [module.out_features, module.in_features] {
                let found = [module.out_features, module.in_features];
                return Err(AdapterError::Shape {
                    target: module.target.clone(),
                    found,
                    expected: spec.shape.clone(),
                });
            }
        }
        match &self.model_id {
            None => Ok(AdapterMatch::ShapesOnly),
            Some(id) if id == model_id => Ok(AdapterMatch::SameModel),
            Some(id) => Err(AdapterError::OtherModel {
                expected: id.clone(),
                found: model_id.to_owned(),
            }),
        }
    }
}
