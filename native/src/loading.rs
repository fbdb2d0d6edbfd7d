//! Loads the model that `--model` names, and says what was odd about it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use ptbr_model::SkippedCheckpoint;
use ptbr_runtime::Model;
use ptbr_tokenizer::BpeTokenizer;

use crate::options::EngineDevice;
use crate::ui::Ui;

/// Loads a model with the tokenizer that it carries.
///
/// # Errors
/// When there is no whole model at `path`.
pub fn model(path: &Path, device: EngineDevice, ui: &Ui) -> Result<Arc<Model>> {
    let model = match device {
        EngineDevice::Auto | EngineDevice::Cpu => Model::load(path)?,
    };
    report_skipped(model.skipped(), ui);
    Ok(model)
}

/// Loads a model file that is already in memory; `label` names it in messages.
///
/// # Errors
/// When it is no whole model file.
pub fn model_in_memory(label: &str, bytes: Vec<u8>, device: EngineDevice) -> Result<Arc<Model>> {
    Ok(match device {
        EngineDevice::Auto | EngineDevice::Cpu => Model::from_bytes(label, bytes)?,
    })
}

/// Loads a model with the tokenizer of a file: for models that carry none.
///
/// # Errors
/// When there is no whole model at `path`, or it carries another tokenizer than the one given.
pub fn model_with_tokenizer(
    path: &Path,
    tokenizer: &Path,
    device: EngineDevice,
    ui: &Ui,
) -> Result<Arc<Model>> {
    let given = BpeTokenizer::from_file(tokenizer)?;
    let sha256 = given.sha256();
    let model = match device {
        EngineDevice::Auto | EngineDevice::Cpu => Model::load_with_tokenizer(path, given)?,
    };
    report_skipped(model.skipped(), ui);
    let own = ptbr_model::ModelSource::open(path)?;
    if let Some(json) = own.tokenizer_json()
        && BpeTokenizer::from_json(json.as_bytes())?.sha256() != sha256
    {
        bail!(
            "{} was trained with another tokenizer than {}, and would write nonsense with it; leave out --tokenizer to \
             use the one inside the model",
            path.display(),
            tokenizer.display()
        );
    }
    Ok(model)
}

/// Names every damaged checkpoint that was passed over.
pub fn report_skipped(skipped: &[SkippedCheckpoint], ui: &Ui) {
    for one in skipped {
        ui.note(format!(
            "warning: skipped {}: {}",
            one.path.display(),
            one.reason
        ));
    }
}
