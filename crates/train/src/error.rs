//! What can go wrong in training.

use std::io;
use std::path::PathBuf;

use ptbr_dataset::DatasetError;
use ptbr_model::{CheckpointError, ConfigError, ModelError, PatternError, TensorError, short_hex};
use ptbr_tokenizer::TokenizerError;
use thiserror::Error;

use crate::collective::CollectiveError;

/// A run that cannot start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A hyper-parameter or size is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The token files are unusable.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint's tensors are unusable.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The tokenizer is unusable.
    #[error("the tokenizer of the run: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// A file beside the checkpoints cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no GPU adapter.
    #[error(
        "there is no GPU adapter: install a Vulkan driver (on Debian for a software one: mesa-vulkan-drivers libvulkan1), or use --device cpu"
    )]
    NoAdapter,
    /// One buffer would be larger than the adapter allows.
    #[error(
        "{tensor} needs {bytes} bytes in one buffer and {adapter} binds at most {limit}: use a smaller batch, sequence or model, or --device cpu"
    )]
    BufferTooLarge {
        /// What does not fit.
        tensor: String,
        /// Its bytes.
        bytes: u64,
        /// The adapter's name.
        adapter: String,
        /// Its limit in bytes.
        limit: u64,
    },
    /// The GPU failed while it computed.
    #[error(
        "{device} failed at step {step}: {reason}; the last checkpoint is whole, go on with `resume`"
    )]
    Device {
        /// The device's name.
        device: String,
        /// The step that was being computed.
        step: u64,
        /// What the driver or burn said.
        reason: String,
    },
    /// Half precision was asked for on the CPU.
    #[error(
        "--precision f16 is for GPUs, and this run would be on the CPU, which computes in f32: leave it out, or give --device gpu"
    )]
    HalfOnCpu,
    /// The run diverged.
    #[error(
        "{count} steps had a NaN or infinite loss or gradient, the last one step {step}: lower --learning-rate, or lengthen --warmup-steps; the last checkpoint is from before"
    )]
    Diverged {
        /// Skipped steps.
        count: u32,
        /// The last of them.
        step: u64,
    },
    /// The run's data is not what it was.
    #[error("{} is not the file that this run was trained on (its tokens have another hash): put the old one back, or start a new run", path.display())]
    OtherData {
        /// The token file.
        path: PathBuf,
    },
    /// The model cannot be opened.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A fine-tuning target names no matrix.
    #[error(transparent)]
    Target(#[from] PatternError),
    /// A fine-tuning run was begun on another base.
    #[error("{} was tuned from the model {}…, and this is {}…: give the --model that it was begun with", path.display(), short_hex(expected), short_hex(found))]
    OtherBase {
        /// The run's checkpoint.
        path: PathBuf,
        /// Id of the base that it was begun with.
        expected: String,
        /// Id of the base that was given.
        found: String,
    },
    /// States are carried where the weights are trained from the beginning.
    #[error(
        "--carry-state is for `train`: fine-tuning begins every window anew, from the memory that it trains or from nothing"
    )]
    CarriedFineTune,
    /// States are carried by one process.
    #[error(
        "--carry-state is for one process: the lanes of a batch are not shared out; start the run without mpirun, or without --carry-state"
    )]
    CarriedByMany,
    /// A source of validation text has a name that cannot be used.
    #[error(
        "a source of validation text is called `{0}`: each needs a name of its own, of letters, digits, `.`, `_` and `-`"
    )]
    SourceName(String),
    /// The run's last step is behind it.
    #[error("the run is already at step {step} of {max_steps}: give a larger --max-steps")]
    Finished {
        /// Steps done.
        step: u64,
        /// Steps asked for.
        max_steps: u64,
    },
    /// The processes of a run cannot work together.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// This architecture cannot be trained.
    #[error("checkpoints of the architecture `{0}` cannot be trained by this version")]
    Architecture(String),
}
