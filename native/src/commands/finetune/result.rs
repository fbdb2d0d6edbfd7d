//! What a finished run is turned into: an adapter folder, a state file, a whole model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ptbr_model::{ArchConfig, ModelFileInfo, model_id, write_adapter, write_model_file};
use ptbr_runtime::{Model, RwkvState};
use ptbr_train::fine_tune::{BaseModel, FineTuned};
use serde::Serialize;

use crate::state_file;
use crate::ui::Ui;

/// Where the results of a domain are; what there is none of is left out.
#[derive(Debug, Default, Serialize)]
pub struct Written {
    /// An adapter folder in the PEFT layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
    /// A state that `generate --state` goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// A model file with everything that was trained in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// The step that it is from.
    pub best_step: Option<u64>,
    /// Numbers trained.
    pub trained_parameters: u64,
}

/// Writes what the run in `folder` has trained: its best checkpoint's parameters.
///
/// # Errors
/// When the checkpoint is gone or damaged, or a file cannot be written.
pub fn write(
    base: &BaseModel,
    base_path: &Path,
    folder: &Path,
    install: Option<&Path>,
    merge: bool,
    ui: &Ui,
) -> Result<Written> {
    let tuned = FineTuned::open(folder, base)?;
    let mut written = Written {
        best_step: Some(tuned.step()),
        trained_parameters: tuned.num_parameters() as u64,
        ..Written::default()
    };
    if let Some(values) = tuned.state_values() {
        let path = folder.join("initial.state");
        let model = Model::load(base_path)?;
        let state = RwkvState::from_values(&model, values)
            .context("the trained state does not fit the model")?;
        state_file::save(&state, &path)?;
        written.state = Some(path);
        return Ok(written);
    }
    let adapter = tuned.adapter().filter(|_| tuned.is_adapter());
    if let Some(adapter) = adapter {
        let path = folder.join("adapter");
        write_adapter(&path, adapter)?;
        written.adapter = Some(path);
        if let Some(installed) = install {
            write_adapter(installed, adapter)?;
            ui.line(format!("installed as {}", installed.display()))?;
            written.adapter = Some(installed.to_owned());
        }
    } else {
        ui.line(
            "the vectors that were trained along have no place in an adapter folder: the result is a whole model",
        )?;
    }
    if merge || adapter.is_none() {
        let path = folder.join("model.safetensors");
        let merged = tuned.merged(base)?;
        let id = model_id(&merged).context("cannot merge the weights")?;
        let tokenizer = base.source().tokenizer_json().map(str::to_owned);
        let config = ArchConfig::Rwkv4(base.config().clone());
        write_model_file(&path, &ModelFileInfo::f32(config, tokenizer, id), &merged)?;
        written.model = Some(path);
    }
    Ok(written)
}
