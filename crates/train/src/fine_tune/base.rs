//! The model that is tuned: opened once, however many domains are trained on it.

use std::path::Path;
use std::sync::Arc;

use ptbr_model::{ArchConfig, ModelSource, RwkvConfig};

use crate::collective::ProcessGroup;
use crate::device::Selected;
use crate::model::Rwkv;
use crate::model::parameters::build_frozen;
use crate::{TrainDevice, TrainError};

/// A base model, frozen, on its device. Runs share its weights.
#[derive(Debug)]
pub struct BaseModel {
    pub(crate) source: Arc<ModelSource>,
    pub(crate) config: RwkvConfig,
    pub(crate) selected: Selected,
    pub(crate) frozen: Rwkv,
}

impl BaseModel {
    /// Opens a checkpoint folder, a training output folder or a model file in any number format.
    ///
    /// On the CPU rounded weights stay as small as in the file. On a GPU the base is uploaded as f32.
    pub fn open(path: &Path, device: TrainDevice) -> Result<Self, TrainError> {
        Self::open_among(path, device, &ProcessGroup::solo())
    }

    /// The same for the processes of `group`, each on a device of its own.
    pub fn open_among(
        path: &Path,
        device: TrainDevice,
        group: &ProcessGroup,
    ) -> Result<Self, TrainError> {
        let source = Arc::new(ModelSource::open(path)?);
        let config = match source.config() {
            ArchConfig::Rwkv4(config) => config.clone(),
            other => return Err(TrainError::Architecture(other.name().to_owned())),
        };
        let selected = device.select_among(group)?;
        selected.check_buffers(&config, 1, 1)?;
        let frozen = build_frozen(&source, &config, &selected.device.clone().autodiff())?;
        Ok(Self {
            source,
            config,
            selected,
            frozen,
        })
    }

    /// The opened file.
    pub fn source(&self) -> &ModelSource {
        &self.source
    }

    /// Its sizes.
    pub fn config(&self) -> &RwkvConfig {
        &self.config
    }

    /// The name of the device that it is on.
    pub fn device_name(&self) -> &str {
        &self.selected.name
    }

    /// The model without anything trained.
    pub fn model(&self) -> &Rwkv {
        &self.frozen
    }
}
