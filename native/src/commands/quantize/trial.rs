//! What a plan costs: the model in its formats, in memory, measured on the data.

use std::ops::ControlFlow;

use anyhow::Result;
use ptbr_model::{ModelFileInfo, ModelSource, QuantizationPlan, model_file_bytes};
use ptbr_tokenizer::TokenId;

use crate::loading;
use crate::options::EngineDevice;

/// A model and the data that its roundings are measured on.
pub struct Trial<'a> {
    source: &'a ModelSource,
    tokens: Vec<TokenId>,
    /// Loss of the f32 model, nats a token.
    before: f64,
    device: EngineDevice,
}

impl<'a> Trial<'a> {
    /// `before` is the f32 model's loss on `tokens`.
    pub fn new(
        source: &'a ModelSource,
        tokens: Vec<TokenId>,
        before: f64,
        device: EngineDevice,
    ) -> Self {
        Self {
            source,
            tokens,
            before,
            device,
        }
    }

    /// By what share the perplexity rises with the formats of `plan`, through the engine that will run the file.
    ///
    /// # Errors
    /// When a weight is beyond a format's range or the model computes no numbers.
    pub fn increase(&self, plan: &QuantizationPlan) -> Result<f64> {
        let specs = self.source.config().tensor_specs();
        let bytes = model_file_bytes(
            &document(self.source, plan),
            &self.source.tensors().in_order(&specs),
        )?;
        let model = loading::model_in_memory("the quantized model", bytes, self.device)?;
        let metrics =
            ptbr_runtime::evaluate(&model, &self.tokens, &mut |_, _| ControlFlow::Continue(()))?;
        Ok((metrics.loss - self.before).exp_m1())
    }
}

/// What the file of `source` with the formats of `plan` says of itself.
pub fn document(source: &ModelSource, plan: &QuantizationPlan) -> ModelFileInfo {
    ModelFileInfo::quantized(
        plan,
        source.config().clone(),
        source.tokenizer_json().map(str::to_owned),
        source.model_id().to_owned(),
    )
}
