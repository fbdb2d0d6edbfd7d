//!
//! Nothing here computes: no burn, no GPU. Weights are described ([`TensorSpec`]), streamed out ([`TensorSource`]) and mapped in ([`TensorFile`]); the
//! trainer and the runtime give them meaning. Whatever is read from a file is checked before it is believed.
//!
//! | you have | you want | use |
//! |---|---|---|
//! | a preset's name | sizes | [`preset`] |
//! | weights in memory or on a GPU | a checkpoint | [`save_checkpoint`] |
//! | a training output folder | its newest undamaged checkpoint | [`find_checkpoint`] |
//! | whatever the user calls "the model" | weights, configuration, tokenizer | [`ModelSource::open`] |
//! | a model file that must not be in memory as a whole | one tensor after the other | [`ModelStream::open`] |
//! | an f16 run's overflows | the factor of its loss | [`GradScaler`] |
//! | a domain's name | how a model is tuned to it, and on which texts | [`DomainRegistry`] |
//! | weights of another project | a model of this one | [`ForeignModel`], then [`save_checkpoint`] |
//! | a model | a file of another tool | [`export_model`] |
//! | f32 weights | a smaller model file | [`QuantizationPlan`], [`write_model_file_with`] |
#![deny(missing_docs)]

#[cfg(target_endian = "big")]
compile_error!("weights are mapped as little-endian f32: this needs a little-endian machine");

mod adapter;
mod arch;
mod checkpoint;
mod digest;
mod domain;
mod error;
mod exact_float;
#[cfg(not(target_arch = "wasm32"))]
mod export;
mod finite;
mod format;
mod grad_scaler;
mod gradient_checkpointing;
mod hf_names;
#[cfg(not(target_arch = "wasm32"))]
mod import;
mod memory;
mod memory_fit;
mod model_file;
mod model_id;
mod model_writer;
mod moments;
mod nearest;
mod optimizer;
mod plan;
mod presets;
mod quantize;
mod random_tensors;
mod rwkv4;
mod safetensors_writer;
mod source;
mod storage;
mod stream;
mod tensor;
mod tensor_file;
mod tensor_index;
mod training;

pub use adapter::{
    Adapter, AdapterConfig, AdapterError, AdapterMatch, AdapterName, LoraModule, MergedWeights,
    WeightedAdapter, read_adapter, write_adapter, write_adapter_as, write_web_rwkv_adapter,
};
pub use arch::ArchConfig;
pub use checkpoint::{
    Checkpoint, CheckpointConfig, CheckpointContents, CheckpointError, FineTuneCheckpoint,
    FineTuneContents, FineTuneState, FoundCheckpoint, LossScaleState, OutputLock,
    SkippedCheckpoint, TrainState, ValidationFile, Verify, checkpoint_name, clean_leftovers,
    find_checkpoint, find_fine_tune_checkpoint, open_checkpoint, open_checkpoint_with,
    open_fine_tune_checkpoint, prune_checkpoints, save_checkpoint, save_checkpoint_with,
    save_fine_tune_checkpoint,
};
pub use digest::{hex, sha256, short_hex};
pub use domain::{
    DataSource, Domain, DomainData, DomainError, DomainFineTuneConfig, DomainRegistry,
    FineTuneMethod, Split,
};
pub use error::{ConfigError, ModelError, TensorError};
#[cfg(not(target_arch = "wasm32"))]
pub use export::{
    ExportContents, ExportError, ExportFormat, ExportTokenizer, ModelCard, export_model,
};
pub use format::{GROUP, MatrixData, WeightFormat, e4m3_to_f32, half_of, scale_and_minimum};
pub use grad_scaler::{GradScaler, GradScalerConfig, ScaledStep};
pub use gradient_checkpointing::GradientCheckpointing;
#[cfg(not(target_arch = "wasm32"))]
pub use import::{ForeignModel, ImportError};
pub use memory::{MemoryEstimate, Placement, Precision, StepPlan};
pub use memory_fit::{MemoryFit, fit_step};
pub use model_file::ModelFileInfo;
pub use model_id::{ModelIdHasher, model_id};
pub use model_writer::{
    WrittenTensor, model_file_bytes, write_model, write_model_file, write_model_file_with,
};
pub use moments::MomentFormat;
pub use optimizer::{CARRIED_ROWS, Optimizer};
pub use plan::{KindSize, PatternError, QuantizationPlan, matrix_kind};
pub use presets::{PRESETS, preset};
pub use quantize::{QuantizeError, QuantizedMatrix};
pub use random_tensors::RandomTensors;
pub use rwkv4::RwkvConfig;
pub use safetensors_writer::write_safetensors;
pub use source::ModelSource;
pub use storage::{DiskStorage, Storage, StorageFile, write_whole_file};
pub use stream::{ModelStream, ReadAt, TensorLocation};
pub use tensor::{MemoryTensors, TensorSource, TensorSpec};
pub use tensor_file::TensorFile;
pub use training::{Recipe, TrainingConfig};
