//! A loaded model: weights, configuration, tokenizer.

pub(crate) mod rwkv4;
mod weights;

use crate::engine::Executor;
use crate::engine::cpu::Isa;
use crate::engine::cpu::rwkv4::Forward;
#[cfg(feature = "gpu")]
use crate::engine::gpu::{AdapterChoice, GpuEngine, GpuOptions, GpuSettings};
use crate::{LoadedAdapter, RuntimeError, StateSpec};
use ptbr_model::{
    Adapter, AdapterError, ArchConfig, ModelError, ModelSource, ModelStream, SkippedCheckpoint,
    TensorFile, TensorSource, read_adapter, write_safetensors,
};
use ptbr_tokenizer::{BpeTokenizer, TokenId, Tokenizer};
use rwkv4::Rwkv4Weights;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "gpu")]
use std::sync::Mutex;
pub(crate) use weights::{Matrix, Weights};

/// A loaded model. It never changes, so any number of sessions on any threads share one.
pub struct Model {
    config: ArchConfig,
    model_id: Arc<str>,
    tokenizer: Option<BpeTokenizer>,
    weights: Weights,
    layers: Rwkv4Weights,
    state_spec: Arc<StateSpec>,
    isa: Isa,
    #[cfg(feature = "gpu")]
    gpu: Mutex<Option<Arc<GpuEngine>>>,
}

impl Model {
    /// Loads a checkpoint folder, a training output folder (its latest undamaged checkpoint; see [`Model::skipped`]) or a model file.
    ///
    /// Matrices are mapped, not copied. Fails when anything about the files is not as it should be: see `ptbr_model::ModelSource::open`.
    pub fn load(path: &Path) -> Result<Arc<Self>, RuntimeError> {
        Self::from_source(ModelSource::open(path)?, None)
    }

    /// Loads a model that is to be used with another tokenizer than the one it carries, or carries none.
    pub fn load_with_tokenizer(
        path: &Path,
        tokenizer: BpeTokenizer,
    ) -> Result<Arc<Self>, RuntimeError> {
        Self::from_source(ModelSource::open(path)?, Some(tokenizer))
    }

    /// Loads a model file that is already in memory (embedded in a program, or downloaded by a page); `label` names it in messages.
    pub fn from_bytes(label: &str, bytes: Vec<u8>) -> Result<Arc<Self>, RuntimeError> {
        Self::from_source(ModelSource::from_bytes(label, bytes)?, None)
    }

    /// Loads a model file that is a part of the program: what [`include_model!`](crate::include_model) calls. At an aligned address its matrices are used where they lie.
    pub fn from_static(label: &str, bytes: &'static [u8]) -> Result<Arc<Self>, RuntimeError> {
        Self::from_source(ModelSource::from_static(label, bytes)?, None)
    }

    /// Loads a model file that has no name, or is open already; `label` names it in messages. Matrices are mapped: nobody may write to it while the model lives.
    pub fn from_file(label: &str, file: &File) -> Result<Arc<Self>, RuntimeError> {
        Self::from_source(ModelSource::from_file(label, file)?, None)
    }

    /// Loads a model file that is read tensor by tensor, and stays where it is: its matrices are brought to a GPU by [`Model::use_gpu_async`], one at a time, or to memory by
    /// [`Model::hold_weights`]. Until one of these has been done, whoever computes fails with [`RuntimeError::WeightsNotHeld`].
    pub fn from_stream(mut stream: ModelStream) -> Result<Arc<Self>, RuntimeError> {
        let json = stream.take_tokenizer_json();
        let tokenizer = json.map(|json| BpeTokenizer::from_json(json.as_bytes()));
        let (config, model_id) = (stream.config().clone(), stream.model_id().to_owned());
        Self::new(
            config,
            &model_id,
            tokenizer.transpose()?,
            Weights::from_stream(stream),
        )
    }

    /// Copies a model out of whatever holds its tensors, a trainer for instance. They must be those of `config`, and finite.
    pub fn from_tensors(
        config: ArchConfig,
        tensors: &dyn TensorSource,
        tokenizer: Option<BpeTokenizer>,
    ) -> Result<Arc<Self>, RuntimeError> {
        const LABEL: &str = "the model in memory";
        config.validate().map_err(|source| ModelError::Config {
            file: LABEL.to_owned(),
            source,
        })?;
        let io = |source| ModelError::Io {
            path: LABEL.into(),
            source,
        };
        let mut bytes = Vec::new();
        write_safetensors(tensors, &[], &mut bytes, None).map_err(io)?;
        let file = TensorFile::from_bytes(LABEL, bytes).map_err(ModelError::from)?;
        let specs = config.tensor_specs();
        file.check_layout(&specs).map_err(ModelError::from)?;
        file.check_finite().map_err(ModelError::from)?;
        let model_id = ptbr_model::model_id(&file.in_order(&specs)).map_err(io)?;
        Self::new(config, &model_id, tokenizer, Weights::from_file(file))
    }

    /// Loads a model from an opened source, with a tokenizer in the place of the one that it carries, if one is given. With [`ModelSource::into_memory`] the CPU reads
    /// weights from large pages: a slower start, and tokens up to half as fast again.
    pub fn from_source(
        source: ModelSource,
        tokenizer: Option<BpeTokenizer>,
    ) -> Result<Arc<Self>, RuntimeError> {
        let tokenizer = match (tokenizer, source.tokenizer_json()) {
            (Some(tokenizer), _) => Some(tokenizer),
            (None, Some(json)) => Some(BpeTokenizer::from_json(json.as_bytes())?),
            (None, None) => None,
        };
        let (config, model_id) = (source.config().clone(), source.model_id().to_owned());
        Self::new(config, &model_id, tokenizer, Weights::from_source(source))
    }

    fn new(
        config: ArchConfig,
        model_id: &str,
        tokenizer: Option<BpeTokenizer>,
        weights: Weights,
    ) -> Result<Arc<Self>, RuntimeError> {
        if let Some(tokenizer) = tokenizer
            .as_ref()
            .filter(|tokenizer| tokenizer.vocab_size() > config.vocab_size())
        {
            return Err(RuntimeError::TokenizerMismatch {
                tokenizer: tokenizer.vocab_size(),
                model: config.vocab_size(),
            });
        }
        let layers = match &config {
            ArchConfig::Rwkv4(config) => Rwkv4Weights::new(config, &weights)?,
            other => return Err(RuntimeError::Architecture { name: other.name() }),
        };
        let state_spec = Arc::new(StateSpec::new(&config)?);
        Ok(Arc::new(Self {
            config,
            model_id: model_id.into(),
            tokenizer,
            weights,
            layers,
            state_spec,
            isa: Isa::detect(),
            #[cfg(feature = "gpu")]
            gpu: Mutex::default(),
        }))
    }

    /// Reads into memory what the CPU engine computes with, where it is not there already: of a model [from a stream](Model::from_stream), all of its matrices. It stays there.
    pub fn hold_weights(&self) -> Result<(), RuntimeError> {
        self.weights.hold(self.layers.matrices())
    }

    /// Whether the CPU engine can compute.
    pub(crate) fn check_weights(&self) -> Result<(), RuntimeError> {
        if self.weights.is_held(&self.layers.head) {
            return Ok(());
        }
        Err(RuntimeError::WeightsNotHeld)
    }

    /// Architecture and sizes.
    pub fn config(&self) -> &ArchConfig {
        &self.config
    }

    /// The tokenizer, where the model carries one.
    pub fn tokenizer(&self) -> Option<&BpeTokenizer> {
        self.tokenizer.as_ref()
    }

    /// Id of the f32 weights: 64 hexadecimal digits. States and adapters name it.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// Newer checkpoints that were passed over because they are damaged, for the caller to report.
    pub fn skipped(&self) -> &[SkippedCheckpoint] {
        self.weights.skipped()
    }

    /// What a session's state consists of.
    pub fn state_spec(&self) -> &StateSpec {
        &self.state_spec
    }

    /// Opens a GPU, checks that it computes rightly and brings the model to its memory: sessions and batches made from now on compute there. Those made before stay where they are
    /// ([`Session::recover`](crate::Session::recover) moves one).
    ///
    /// Fails with [`RuntimeError::Gpu`]; the model then goes on as before. That an adapter is missing, has too little memory or computes wrongly is for the caller to say, and the CPU there
    /// to go on with.
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    pub fn use_gpu(&self, choice: AdapterChoice) -> Result<(), RuntimeError> {
        crate::engine::gpu::block_on(self.use_gpu_async(choice))
    }

    /// [`Model::use_gpu`] where nobody may wait.
    #[cfg(feature = "gpu")]
    pub async fn use_gpu_async(&self, choice: AdapterChoice) -> Result<(), RuntimeError> {
        self.use_gpu_with_async(GpuSettings::new(choice)).await
    }

    /// [`Model::use_gpu`] with choices that need a reason.
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    pub fn use_gpu_with(&self, settings: GpuSettings) -> Result<(), RuntimeError> {
        crate::engine::gpu::block_on(self.use_gpu_with_async(settings))
    }

    /// [`Model::use_gpu_with`] where nobody may wait.
    #[cfg(feature = "gpu")]
    pub async fn use_gpu_with_async(&self, settings: GpuSettings) -> Result<(), RuntimeError> {
        self.open_gpu(GpuOptions::new(settings)).await
    }

    #[cfg(feature = "gpu")]
    pub(crate) async fn open_gpu(&self, options: GpuOptions) -> Result<(), RuntimeError> {
        self.set_engine(GpuEngine::open(options, &self.weights, &self.layers).await?);
        Ok(())
    }

    #[cfg(feature = "gpu")]
    pub(crate) fn set_engine(&self, engine: GpuEngine) {
        *self.gpu() = Some(Arc::new(engine));
    }

    /// Sessions and batches made from now on compute on the CPU.
    #[cfg(feature = "gpu")]
    pub fn use_cpu(&self) {
        *self.gpu() = None;
    }

    /// The name of the GPU where new sessions compute.
    #[cfg(feature = "gpu")]
    pub fn gpu_name(&self) -> Option<String> {
        self.gpu().as_ref().map(|engine| engine.name().to_owned())
    }

    /// Dispatches that a token takes on the GPU where new sessions compute: without an adapter, and with one.
    #[cfg(feature = "gpu")]
    pub fn gpu_dispatches(&self) -> Option<[usize; 2]> {
        self.gpu().as_ref().map(|engine| engine.dispatches())
    }

    /// Takes the GPU away from the model and its sessions, as a driver does that resets: whatever they compute there next fails. For tests of what follows.
    #[cfg(feature = "gpu")]
    #[doc(hidden)]
    pub fn lose_gpu(&self) {
        if let Some(engine) = self.gpu().as_ref() {
            engine.destroy();
        }
    }

    #[cfg(feature = "gpu")]
    fn gpu(&self) -> std::sync::MutexGuard<'_, Option<Arc<GpuEngine>>> {
        self.gpu
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Where a new session computes.
    pub(crate) fn executor(&self) -> Executor {
        #[cfg(feature = "gpu")]
        if let Some(engine) = self.gpu().as_ref() {
            return Executor::Gpu(Arc::clone(engine), crate::engine::cpu::Work::default());
        }
        Executor::cpu()
    }

    /// The instructions that the CPU engine uses on this machine.
    pub fn instruction_set(&self) -> Isa {
        self.isa
    }

    /// Has the CPU engine use others than the widest: to measure what a smaller machine would do. Before sessions are made, since it takes the only handle (`Arc::get_mut`).
    pub fn set_instruction_set(&mut self, isa: Isa) {
        self.isa = isa;
    }

    /// Loads an adapter folder in the PEFT layout for this model; its weights stay as they are. Fails when it is damaged, names another model, or has other shapes.
    ///
    /// An adapter that names no model loads when its shapes fit: [`LoadedAdapter::matching`] says so, for the caller to report.
    pub fn load_adapter(&self, folder: &Path) -> Result<Arc<LoadedAdapter>, RuntimeError> {
        self.add_adapter(read_adapter(folder)?)
    }

    /// The same for an adapter in memory.
    pub fn add_adapter(&self, adapter: Adapter) -> Result<Arc<LoadedAdapter>, RuntimeError> {
        LoadedAdapter::new(adapter, &self.config, &self.model_id).map(Arc::new)
    }

    /// Whether an adapter was loaded for this model. The same model in another number format will do.
    pub(crate) fn check_adapter(&self, adapter: &LoadedAdapter) -> Result<(), RuntimeError> {
        if adapter.is_for(&self.model_id, &self.config) {
            return Ok(());
        }
        Err(AdapterError::OtherModel {
            expected: adapter.model_id().to_owned(),
            found: self.model_id().to_owned(),
        }
        .into())
    }

    /// Whether every token is in the vocabulary.
    pub(crate) fn check_tokens(&self, tokens: &[TokenId]) -> Result<(), RuntimeError> {
        let vocab_size = self.config.vocab_size();
        match tokens
            .iter()
            .position(|&token| usize::from(token) >= vocab_size)
        {
            Some(index) => Err(RuntimeError::TokenOutOfRange {
                token: tokens[index],
                index,
                vocab_size,
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn shared_id(&self) -> &Arc<str> {
        &self.model_id
    }

    pub(crate) fn shared_state_spec(&self) -> &Arc<StateSpec> {
        &self.state_spec
    }

    #[cfg(feature = "gpu")]
    pub(crate) fn parts(&self) -> (&Weights, &Rwkv4Weights) {
        (&self.weights, &self.layers)
    }

    pub(crate) fn forward(&self) -> Forward<'_> {
        Forward {
            isa: self.isa,
            weights: &self.weights,
            model: &self.layers,
        }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the weights: nobody reads a hundred million numbers.
        f.debug_struct("Model")
            .field("model_id", &self.model_id)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
