//! Checkpoints of fine-tuning: what was trained beside a base that is somewhere else, and names it by its id.

use std::path::{Path, PathBuf};

use super::find::find_with;
use super::read::{check_files, map_verified, read_manifest, read_state, required};
use super::write::{Files, check_optimizer, save_folder};
use super::{
    CheckpointError, FineTuneState, FoundCheckpoint, MODEL_FILE, OPTIMIZER_FILE, TRAINED_FILE,
    TrainState, Verify,
};
use crate::storage::DiskStorage;
use crate::tensor::{TensorSource, TensorSpec};
use crate::tensor_file::TensorFile;

/// What one checkpoint of a fine-tuning run holds.
pub struct FineTuneContents<'a> {
    /// The trained parameters.
    pub trained: &'a dyn TensorSource,
    /// Adam's moments, `<name>.m` and `<name>.v` for every one of them.
    pub optimizer: &'a dyn TensorSource,
    /// Where the run stands, [`TrainState::fine_tune`] included.
    pub state: &'a TrainState,
}

/// A verified checkpoint of a fine-tuning run.
#[derive(Debug)]
pub struct FineTuneCheckpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Id of the model that was tuned.
    pub base_model_id: String,
    /// The trained parameters: all finite, f32. Which ones there must be is a question of `tuning` and of the base.
    pub trained: TensorFile,
    /// Adam's moments of exactly those; absent under [`Verify::WithoutOptimizer`].
    pub optimizer: Option<TensorFile>,
    /// Where the run stood.
    pub state: TrainState,
    /// What is trained: that of `state`.
    pub tuning: FineTuneState,
}

/// Writes `output_dir/step-NNNNNN` and points `latest` at it, as [`save_checkpoint`](super::save_checkpoint) does; returns the folder.
pub fn save_fine_tune_checkpoint(
    output_dir: &Path,
    contents: &FineTuneContents<'_>,
) -> Result<PathBuf, CheckpointError> {
    let Some(tuning) = &contents.state.fine_tune else {
        return Err(CheckpointError::Contents {
            reason: "the state does not say what is tuned".to_owned(),
        });
    };
    let expected = contents
        .state
        .config
        .optimizer_specs(&contents.trained.specs());
    check_optimizer(contents.optimizer, expected)?;
    let files = Files {
        tensors: &[Some(contents.trained), Some(contents.optimizer)],
        text_bytes: 0,
    };
    save_folder(
        &DiskStorage,
        output_dir,
        contents.state.step,
        &files,
        &mut |folder| {
            folder.tensors(TRAINED_FILE, contents.trained, None)?;
            folder.tensors(OPTIMIZER_FILE, contents.optimizer, None)?;
            folder.state(tuning.base_model_id.clone(), contents.state)
        },
    )
}

/// Opens a checkpoint folder of a fine-tuning run and verifies it. Any damage is an error that names the file.
pub fn open_fine_tune_checkpoint(
    path: &Path,
    verify: Verify,
) -> Result<FineTuneCheckpoint, CheckpointError> {
    let manifest = read_manifest(path)?;
    check_files(path, &manifest)?;
    if manifest.file(MODEL_FILE).is_some() {
        return Err(CheckpointError::WholeModel {
            path: path.to_owned(),
        });
    }
    let file = read_state(path, &manifest)?;
    let Some(tuning) = file.train.fine_tune.clone() else {
        let state = path.join(super::STATE_FILE);
        return Err(CheckpointError::damaged(
            &state,
            "it does not say what is tuned",
        ));
    };
    let trained = map_verified(path, required(path, &manifest, TRAINED_FILE)?)?;
    trained.check_finite()?;
    let listed = required(path, &manifest, OPTIMIZER_FILE)?;
    let optimizer = match verify {
        Verify::WithoutOptimizer => None,
        Verify::Everything => {
            let optimizer = map_verified(path, listed)?;
            let config = &file.train.config;
            optimizer.check_layout(&config.optimizer_specs(&specs(&trained)?))?;
            optimizer.check_finite()?;
            Some(optimizer)
        }
    };
    Ok(FineTuneCheckpoint {
        path: path.to_owned(),
        base_model_id: tuning.base_model_id.clone(),
        trained,
        optimizer,
        state: file.train,
        tuning,
    })
}

/// The checkpoint of a fine-tuning run to go on from: the one that `output_dir/latest` names; when it is damaged or gone, the newest
/// undamaged one.
pub fn find_fine_tune_checkpoint(
    output_dir: &Path,
    verify: Verify,
) -> Result<FoundCheckpoint<FineTuneCheckpoint>, CheckpointError> {
    find_with(output_dir, |path| open_fine_tune_checkpoint(path, verify))
}

fn specs(file: &TensorFile) -> Result<Vec<TensorSpec>, CheckpointError> {
    let specs = file
        .names()
        .map(|name| Ok(TensorSpec::new(name, file.shape(name)?.to_vec())));
    Ok(specs.collect::<Result<_, crate::TensorError>>()?)
}
