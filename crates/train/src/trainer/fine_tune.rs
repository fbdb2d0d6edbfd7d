//! Fine-tuning runs: the same steps over other parameters.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ptbr_dataset::MmapDataset;
use ptbr_model::{
    ArchConfig, DomainFineTuneConfig, FineTuneState, TrainState, TrainingConfig, Verify,
    find_fine_tune_checkpoint,
};

use super::checkpoint::load_optimizer;
use super::{Start, Trainer};
use crate::TrainError;
use crate::collective::ProcessGroup;
use crate::fine_tune::{BaseModel, initial_values, trained_specs, tuned_model};
use crate::model::parameters::{build, f32_values};

/// Everything that a fine-tuning run is made of, besides its base.
pub struct FineTuneSetup {
    /// What is trained, and how.
    pub tuning: DomainFineTuneConfig,
    /// The run that `tuning` makes of the data: [`DomainFineTuneConfig::training_config`], with its remaining values chosen.
    pub training: TrainingConfig,
    /// The tokenizer of the base, as JSON.
    pub tokenizer_json: String,
    /// Tokens to learn from.
    pub data: Arc<MmapDataset>,
    /// Tokens to judge by.
    pub val: Option<Arc<MmapDataset>>,
    /// Folder for checkpoints and metrics.
    pub output_dir: PathBuf,
    /// The processes that share the run; [`ProcessGroup::solo`] for one alone.
    pub group: Arc<ProcessGroup>,
}

impl Trainer {
    /// A new run that tunes `base`: its low-rank changes or its initial state, or, where the base is not to stay frozen, all of its
    /// weights.
    pub fn fine_tune(base: &BaseModel, setup: FineTuneSetup) -> Result<Self, TrainError> {
        let FineTuneSetup {
            tuning,
            training,
            tokenizer_json,
            data,
            val,
            output_dir,
            group,
        } = setup;
        tuning.validate()?;
        let seed = training.seed;
        let start = Start {
            specs: if tuning.freeze_base {
                trained_specs(&tuning, &base.config)?
            } else {
                base.config.tensor_specs()
            },
            state: TrainState {
                config_sha256: ArchConfig::Rwkv4(base.config.clone()).sha256(),
                config: training,
                fine_tune: Some(FineTuneState {
                    base_path: base.source.path().display().to_string(),
                    base_model_id: base.source.model_id().to_owned(),
                    config: tuning.clone(),
                }),
                ..TrainState::default()
            },
            selected: base.selected.clone(),
            config: base.config.clone(),
            tokenizer_json,
            group,
        };
        start.begin(data, val, &output_dir, |start| {
            if !tuning.freeze_base {
                let values = &mut |spec: &_| f32_values(&base.source, spec);
                return Ok(build(&start.config, &start.autodiff(), values)?);
            }
            let values = &mut |spec: &_| initial_values(base, spec, seed);
            tuned_model(base, &tuning, &start.specs, values)
        })
    }

    /// The fine-tuning run in `output_dir`, from its newest undamaged checkpoint, with the values that it was begun with. A run that
    /// trains all weights is resumed by [`Trainer::resume`].
    ///
    /// Fails with [`TrainError::OtherBase`] when `base` is not what it was begun on.
    pub fn resume_fine_tune(
        base: &BaseModel,
        output_dir: &Path,
        tokenizer_json: String,
        group: Arc<ProcessGroup>,
    ) -> Result<Self, TrainError> {
        let checkpoint = find_fine_tune_checkpoint(output_dir, Verify::Everything)?.checkpoint;
        let found = base.source.model_id();
        if checkpoint.base_model_id != found {
            return Err(TrainError::OtherBase {
                path: checkpoint.path,
                expected: checkpoint.base_model_id,
                found: found.to_owned(),
            });
        }
        let tuning = checkpoint.tuning.config;
        let specs = trained_specs(&tuning, &base.config)?;
        checkpoint.trained.check_layout(&specs)?;
        let start = Start {
            specs,
            state: checkpoint.state,
            selected: base.selected.clone(),
            config: base.config.clone(),
            tokenizer_json,
            group,
        };
        start.go_on(output_dir, None, |start| {
            let values = &mut |spec: &ptbr_model::TensorSpec| {
                Ok(checkpoint.trained.tensor(&spec.name)?.to_vec())
            };
            let model = tuned_model(base, &tuning, &start.specs, values)?;
            let moments = checkpoint.optimizer.as_ref();
            let optimizer = load_optimizer(
                moments,
                &start.specs_kept_here(),
                &start.state.config,
                &start.autodiff(),
            )?;
            Ok((model, optimizer, None))
        })
    }
}
