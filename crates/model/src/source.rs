//! Whatever the user calls "the model": a checkpoint folder, a training output folder, or a model file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::arch::ArchConfig;
use crate::checkpoint::{
    Checkpoint, MANIFEST_FILE, SkippedCheckpoint, TrainState, Verify, find_checkpoint,
    open_checkpoint_with,
};
use crate::error::{ModelError, TensorError};
use crate::format::{MatrixData, WeightFormat};
use crate::model_file::ModelFileInfo;
use crate::model_id::model_id;
use crate::plan::QuantizationPlan;
use crate::tensor_file::TensorFile;

/// A model opened for reading: every tensor of the configuration is there, has its shape and is finite.
#[derive(Debug)]
pub struct ModelSource {
    path: PathBuf,
    config: ArchConfig,
    plan: QuantizationPlan,
    tokenizer_json: Option<String>,
    model_id: String,
    tensors: TensorFile,
    training: Option<Box<TrainState>>,
    skipped: Vec<SkippedCheckpoint>,
}

impl ModelSource {
    /// Opens a checkpoint folder, a training output folder (its latest undamaged checkpoint) or a `.safetensors` model file.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let metadata = fs::metadata(path).map_err(|source| ModelError::Io {
            path: path.to_owned(),
            source,
        })?;
        if metadata.is_file() {
            return Self::from_tensors(TensorFile::open(path)?);
        }
        if path.join(MANIFEST_FILE).exists() {
            return Ok(Self::from_checkpoint(
                open_checkpoint_with(path, Verify::WithoutOptimizer)?,
                Vec::new(),
            ));
        }
        let found = find_checkpoint(path, Verify::WithoutOptimizer)?;
        Ok(Self::from_checkpoint(found.checkpoint, found.skipped))
    }

    /// The same model, its weights copied into memory: see [`TensorFile::into_memory`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn into_memory(self) -> Result<Self, ModelError> {
        Ok(Self {
            tensors: self.tensors.into_memory()?,
            ..self
        })
    }

    /// Opens a model file that has no name, or is open already; `label` names it in messages.
    pub fn from_file(label: &str, file: &File) -> Result<Self, ModelError> {
        Self::from_tensors(TensorFile::from_file(label, file)?)
    }

    /// Opens a model file that is already in memory; `label` names it in messages.
    pub fn from_bytes(label: &str, bytes: Vec<u8>) -> Result<Self, ModelError> {
        Self::from_tensors(TensorFile::from_bytes(label, bytes)?)
    }

    /// Opens a model file that is a part of the program; `label` names it in messages. At an aligned address nothing of it is copied.
    pub fn from_static(label: &str, bytes: &'static [u8]) -> Result<Self, ModelError> {
        Self::from_tensors(TensorFile::from_static(label, bytes)?)
    }

    fn from_tensors(mut tensors: TensorFile) -> Result<Self, ModelError> {
        let info = ModelFileInfo::read(tensors.index())?;
        let (specs, plan) = (info.config.tensor_specs(), info.plan());
        tensors.check_model(&specs, &plan)?;
        tensors.check_finite()?;
        let path = PathBuf::from(tensors.label());
        // The id is that of the f32 weights: from rounded ones it cannot be computed again.
        if plan == QuantizationPlan::uniform(WeightFormat::F32) {
            let found = model_id(&tensors.in_order(&specs)).map_err(|source| ModelError::Io {
                path: path.clone(),
                source,
            })?;
            if found != info.model_id {
                return Err(ModelError::ModelId {
                    file: tensors.label().to_owned(),
                    expected: info.model_id,
                    found,
                });
            }
        }
        Ok(Self {
            path,
            config: info.config,
            plan,
            tokenizer_json: info.tokenizer,
            model_id: info.model_id,
            tensors,
            training: None,
            skipped: Vec::new(),
        })
    }

    fn from_checkpoint(checkpoint: Checkpoint, skipped: Vec<SkippedCheckpoint>) -> Self {
        Self {
            path: checkpoint.path,
            config: checkpoint.config,
            plan: QuantizationPlan::uniform(WeightFormat::F32),
            tokenizer_json: checkpoint.tokenizer_json,
            model_id: checkpoint.model_id,
            tensors: checkpoint.model,
            training: Some(Box::new(checkpoint.state)),
            skipped,
        }
    }

    /// The file or checkpoint folder that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's configuration.
    pub fn config(&self) -> &ArchConfig {
        &self.config
    }

    /// The number formats of its matrices.
    pub fn plan(&self) -> &QuantizationPlan {
        &self.plan
    }

    /// `tokenizer.json`, where the model carries one.
    pub fn tokenizer_json(&self) -> Option<&str> {
        self.tokenizer_json.as_deref()
    }

    /// Id of the f32 weights: 64 hexadecimal digits.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// The elements of a tensor by its official name, row-major. Quantized matrices have none in f32: see [`matrix`](Self::matrix).
    pub fn tensor(&self, name: &str) -> Result<&[f32], TensorError> {
        self.tensors.tensor(name)
    }

    /// A matrix by its official name, in its number format.
    pub fn matrix(&self, name: &str) -> Result<MatrixData<'_>, TensorError> {
        self.tensors.matrix(name)
    }

    /// All tensors.
    pub fn tensors(&self) -> &TensorFile {
        &self.tensors
    }

    /// Where the run stood that trained it: of checkpoints only.
    pub fn training(&self) -> Option<&TrainState> {
        self.training.as_deref()
    }

    /// Damaged checkpoints that were passed over, for the caller to report.
    pub fn skipped(&self) -> &[SkippedCheckpoint] {
        &self.skipped
    }
}
