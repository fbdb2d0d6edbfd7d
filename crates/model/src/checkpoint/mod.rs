//! Checkpoint folders: written so that a crash at any moment leaves the old or the new one, read only after every byte was verified.
//!
//! ```text
//! output/
//!   step-000500/           one checkpoint
//!     model.safetensors      f32, official names; bytes depend on the weights alone
//!     optimizer.safetensors  <name>.m and <name>.v
//!     config.json  tokenizer.json  state.json
//!     MANIFEST.json          length and SHA-256 of each of the others
//!   step-000500/           one of a fine-tuning run: what was trained, not the base
//!     trained.safetensors  optimizer.safetensors  state.json  MANIFEST.json
//!   latest                 the name of the newest
//!   .lock                  held while a process trains into the folder
//!   step-000750.tmp-4242/  being written, or left by a process that was killed
//! ```

mod error;
mod find;
mod fine_tune;
mod lock;
mod manifest;
mod prune;
mod read;
mod state;
mod write;

pub use error::CheckpointError;
pub use find::{FoundCheckpoint, SkippedCheckpoint, find_checkpoint};
pub use fine_tune::{
    FineTuneCheckpoint, FineTuneContents, find_fine_tune_checkpoint, open_fine_tune_checkpoint,
    save_fine_tune_checkpoint,
};
pub use lock::{OutputLock, clean_leftovers};
pub use prune::{CheckpointConfig, prune_checkpoints};
pub use read::{Checkpoint, Verify, open_checkpoint, open_checkpoint_with};
pub use state::{FineTuneState, LossScaleState, TrainState, ValidationFile};
pub use write::{CheckpointContents, save_checkpoint, save_checkpoint_with};

pub(crate) const MODEL_FILE: &str = "model.safetensors";
pub(crate) const TRAINED_FILE: &str = "trained.safetensors";
pub(crate) const OPTIMIZER_FILE: &str = "optimizer.safetensors";
pub(crate) const CONFIG_FILE: &str = "config.json";
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";
pub(crate) const STATE_FILE: &str = "state.json";
pub(crate) const MANIFEST_FILE: &str = "MANIFEST.json";
pub(crate) const LATEST_FILE: &str = "latest";

/// Name of the folder of a step: `step-000500`.
pub fn checkpoint_name(step: u64) -> String {
    format!("step-{step:06}")
}

/// The step of a checkpoint folder's name; `None` for any other name.
pub(crate) fn step_of_name(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (checkpoint_name(step) == name).then_some(step)
}

/// The step of a complete checkpoint that was moved aside while its successor took its name (`step-000500.old-4242`).
pub(crate) fn step_of_old_name(name: &str) -> Option<u64> {
    let (step, _) = name.split_once(".old-")?;
    step_of_name(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(checkpoint_name(500), "step-000500");
        assert_eq!(checkpoint_name(12_345_678), "step-12345678");
        assert_eq!(step_of_name("step-12345678"), Some(12_345_678));
        for other in [
            "step-500",
            "step-000500.tmp-1",
            "step-+00500",
            "latest",
            "step-",
            "../step-000500",
        ] {
            assert_eq!(step_of_name(other), None, "{other}");
        }
        assert_eq!(step_of_old_name("step-000500.old-12"), Some(500));
    }
}
