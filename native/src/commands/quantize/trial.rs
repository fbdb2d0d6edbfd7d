//! What a plan costs: the model in its formats, measured on the data.
//!
//! Its file lies in the folder of the output, where there has to be room for one, and has no name: the system removes it with the last use of it, also when the program is killed. What is
//! in memory is what the system keeps of it there.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result};
use ptbr_model::{ModelFileInfo, ModelSource, QuantizationPlan, write_model};
use ptbr_tokenizer::TokenId;

use crate::loading;
use crate::options::EngineDevice;

/// What messages call a trial's file.
const LABEL: &str = "the file for trying number formats";

/// A model and the data that its roundings are measured on.
pub struct Trial<'a> {
    source: &'a ModelSource,
    /// Where the files of trials are.
    folder: &'a Path,
    tokens: Vec<TokenId>,
    /// Loss of the f32 model, nats a token.
    before: f64,
    device: EngineDevice,
}

impl<'a> Trial<'a> {
    /// `before` is the f32 model's loss on `tokens`; files are made in `folder`.
    pub fn new(
        source: &'a ModelSource,
        folder: &'a Path,
        tokens: Vec<TokenId>,
        before: f64,
        device: EngineDevice,
    ) -> Self {
        Self {
            source,
            folder,
            tokens,
            before,
            device,
        }
    }

    /// By what share the perplexity rises with the formats of `plan`, through the engine that will run the file.
    ///
    /// # Errors
    /// When a weight is beyond a format's range, there is no room for the file or the model computes no numbers.
    pub fn increase(&self, plan: &QuantizationPlan) -> Result<f64> {
        let specs = self.source.config().tensor_specs();
        let mut file = tempfile::tempfile_in(self.folder).with_context(|| {
            format!(
                "cannot make a file without a name in {}, for trying number formats",
                self.folder.display()
            )
        })?;
        let label = format!("{LABEL} in {}", self.folder.display());
        write_model(
            &label,
            &mut file,
            &document(self.source, plan),
            &self.source.tensors().in_order(&specs),
        )?;
        let model = loading::model_from_file(LABEL, &file, self.device)?;
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
