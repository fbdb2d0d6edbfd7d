//! The training run: steps, evaluations, checkpoints, and going on after a stop.

mod checkpoint;
mod log;
mod observer;
mod pace;
mod step;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ptbr_dataset::{DataLoader, LoaderConfig, MmapDataset};
use ptbr_model::{
    ArchConfig, OutputLock, RwkvConfig, TrainState, TrainingConfig, Verify, clean_leftovers,
    find_checkpoint, hex,
};
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
use serde::Serialize;

use crate::device::Selected;
use crate::model::Rwkv;
use crate::model::init::initial_values;
use crate::model::parameters::build;
use crate::optim::AdamW;
use crate::{EvalMetrics, Evaluator, TrainDevice, TrainError};

pub use checkpoint::load_model;
pub use log::{MetricsCsv, TrainLogger};
pub use observer::{EvaluationReport, RunInfo, StepReport, TrainObserver};
use pace::Pace;

/// Weight of the newest step in the moving average of the loss.
const EMA_WEIGHT: f64 = 0.05;

/// Everything that a new run is made of.
pub struct TrainerSetup {
    /// Sizes of the model.
    pub model_config: RwkvConfig,
    /// Hyper-parameters.
    pub training: TrainingConfig,
    /// The tokenizer that made the token files, as JSON.
    pub tokenizer_json: String,
    /// Tokens to learn from.
    pub data: Arc<MmapDataset>,
    /// Tokens to judge by.
    pub val: Option<Arc<MmapDataset>>,
    /// Folder for checkpoints and metrics.
    pub output_dir: PathBuf,
    /// Where to compute.
    pub device: TrainDevice,
}

/// What `resume` may change.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResumeOverrides {
    /// Train up to this step instead of the one that the run was given.
    pub max_steps: Option<u64>,
    /// Where to compute.
    pub device: TrainDevice,
}

/// How a run ended.
#[derive(Debug, Clone, Serialize)]
pub struct TrainStats {
    /// Steps done.
    pub steps: u64,
    /// Steps asked for.
    pub max_steps: u64,
    /// Tokens learnt from.
    pub tokens_seen: u64,
    /// Moving average of the training loss; `None` before the first step.
    pub ema_loss: Option<f64>,
    /// Lowest training loss of a step.
    pub best_loss: Option<f64>,
    /// Lowest validation loss.
    pub best_eval_loss: Option<f64>,
    /// The last evaluation.
    pub last_evaluation: Option<EvalMetrics>,
    /// Steps skipped because of a NaN or infinite loss or gradient.
    pub nan_steps: u32,
    /// Tokens a second, evaluations and checkpoints left out.
    pub tokens_per_second: f64,
    /// The device's name.
    pub device: String,
    /// Whether it was told to stop.
    pub stopped_by_user: bool,
    /// Whether validation had stopped improving.
    pub stopped_early: bool,
}

/// A run that is ready to take steps.
pub struct Trainer {
    model: Rwkv,
    optimizer: AdamW,
    config: RwkvConfig,
    state: TrainState,
    tokenizer_json: String,
    data: Arc<MmapDataset>,
    val: Option<Arc<MmapDataset>>,
    evaluator: Evaluator,
    selected: Selected,
    lock: OutputLock,
}

impl Trainer {
    /// A new run with freshly initialised weights.
    pub fn new(setup: TrainerSetup) -> Result<Self, TrainError> {
        let TrainerSetup {
            model_config,
            training,
            tokenizer_json,
            data,
            val,
            output_dir,
            device,
        } = setup;
        let tokenizer = BpeTokenizer::from_json(tokenizer_json.as_bytes())?;
        let state = TrainState {
            seed: training.seed,
            config_sha256: ArchConfig::Rwkv4(model_config.clone()).sha256(),
            data_sha256: hex(&data.data_sha256()),
            tokenizer_sha256: hex(&tokenizer.sha256()),
            data_path: data.path().display().to_string(),
            val_path: val.as_ref().map(|v| v.path().display().to_string()),
            raw_data: data.header().is_none(),
            config: training,
            ..TrainState::default()
        };
        let seed = state.seed;
        Self::with(
            model_config,
            state,
            &tokenizer,
            tokenizer_json,
            (data, val),
            &output_dir,
            device,
            |config, selected| {
                let values =
                    &mut |spec: &_| Ok::<_, TrainError>(initial_values(config, spec, seed));
                Ok((
                    build(config, &selected.device.clone().autodiff(), values)?,
                    AdamW::default(),
                ))
            },
        )
    }

    /// The run in `output_dir`, from its newest undamaged checkpoint.
    pub fn resume(output_dir: &Path, overrides: ResumeOverrides) -> Result<Self, TrainError> {
        let found = find_checkpoint(output_dir, Verify::Everything)?;
        let checkpoint = found.checkpoint;
        let config = match checkpoint.config.clone() {
            ArchConfig::Rwkv4(config) => config,
            other => return Err(TrainError::Architecture(other.name().to_owned())),
        };
        let mut state = checkpoint.state.clone();
        if let Some(max_steps) = overrides.max_steps {
            state.config.max_steps = max_steps;
        }
        if state.step >= state.config.max_steps {
            return Err(TrainError::Finished {
                step: state.step,
                max_steps: state.config.max_steps,
            });
        }
        let tokenizer_json = checkpoint.tokenizer_json.clone().unwrap_or_default();
        let tokenizer = BpeTokenizer::from_json(tokenizer_json.as_bytes())?;
        let open = |path: &str| -> Result<Arc<MmapDataset>, TrainError> {
            let path = Path::new(path);
            Ok(Arc::new(if state.raw_data {
                MmapDataset::open_raw(path)?
            } else {
                MmapDataset::open(path)?
            }))
        };
        let data = open(&state.data_path)?;
        if hex(&data.data_sha256()) != state.data_sha256 {
            return Err(TrainError::OtherData {
                path: data.path().to_owned(),
            });
        }
        let val = state.val_path.as_deref().map(open).transpose()?;
        let device = overrides.device;
        Self::with(
            config,
            state,
            &tokenizer,
            tokenizer_json,
            (data, val),
            output_dir,
            device,
            |config, selected| {
                let device = selected.device.clone().autodiff();
                let model = load_model(&checkpoint.model, config, &device)?;
                Ok((
                    model,
                    checkpoint::load_optimizer(&checkpoint, config, &device)?,
                ))
            },
        )
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the parts that a new and a resumed run share"
    )]
    fn with(
        config: RwkvConfig,
        mut state: TrainState,
        tokenizer: &BpeTokenizer,
        tokenizer_json: String,
        (data, val): (Arc<MmapDataset>, Option<Arc<MmapDataset>>),
        output_dir: &Path,
        device: TrainDevice,
        weights: impl FnOnce(&RwkvConfig, &Selected) -> Result<(Rwkv, AdamW), TrainError>,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        state.config.validate()?;
        let training = &state.config;
        for dataset in [Some(&data), val.as_ref()].into_iter().flatten() {
            dataset.check_vocabulary(config.vocab_size)?;
            if dataset.header().is_some() {
                dataset.check_tokenizer(&tokenizer.sha256())?;
                // Opening a file checks its sizes and tokens; a run of hours can afford to read it once.
                dataset.verify_payload()?;
            }
        }
        let lock = OutputLock::acquire(output_dir)?;
        clean_leftovers(&lock)?;
        let selected = device.select()?;
        selected.check_buffers(&config, training.batch_size, training.seq_len)?;
        state.device.clone_from(&selected.name);
        let evaluator = Evaluator {
            batch_size: training.batch_size,
            seq_len: training.seq_len,
            max_tokens: training.eval_tokens,
            token_bytes: Arc::new(token_bytes(tokenizer)),
        };
        let (model, optimizer) = weights(&config, &selected)?;
        Ok(Self {
            model,
            optimizer,
            config,
            state,
            tokenizer_json,
            data,
            val,
            evaluator,
            selected,
            lock,
        })
    }

    /// The model as it is now.
    pub fn model(&self) -> &Rwkv {
        &self.model
    }

    /// Where the run stands.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// Takes steps until the last one, until `stop` is set, or until validation stops improving. A checkpoint ends the run in each case.
    pub fn run(
        &mut self,
        observer: &mut dyn TrainObserver,
        stop: &AtomicBool,
    ) -> Result<TrainStats, TrainError> {
        let training = self.state.config.clone();
        let mut loader = DataLoader::new(
            Arc::clone(&self.data),
            LoaderConfig {
                batch_size: training.batch_size,
                seq_len: training.seq_len,
                seed: self.state.seed,
                start: self.state.batches_seen,
            },
        )?;
        let mut log = TrainLogger::open(self.lock.path(), self.state.step)?;
        observer.on_start(&RunInfo {
            device: self.selected.name.clone(),
            parameters: self.config.num_parameters(),
            step: self.state.step,
            max_steps: training.max_steps,
            tokens_per_step: training.tokens_per_step(),
        });
        let mut pace = Pace::start(self.state.elapsed_seconds);
        let mut last_evaluation = None;
        let (mut stopped_by_user, mut stopped_early) = (false, false);
        let mut saved_at = None;
        while self.state.step < training.max_steps && !stopped_by_user && !stopped_early {
            let report = self.guarded(|trainer| trainer.step(&mut loader, &mut pace))?;
            log.step(&report)?;
            observer.on_step(&report);
            if report.skipped && self.state.nan_steps > training.max_nan_steps {
                return Err(TrainError::Diverged {
                    count: self.state.nan_steps,
                    step: report.step,
                });
            }
            let step = self.state.step;
            let due = training.eval_every > 0
                && (step.is_multiple_of(training.eval_every) || step == training.max_steps);
            if due && let Some(metrics) = self.guarded(|trainer| trainer.evaluate())? {
                let report = self.judge(metrics);
                log.evaluation(&report, self.state.tokens_seen, self.state.elapsed_seconds)?;
                observer.on_evaluation(&report);
                last_evaluation = Some(metrics);
                let patience = training.early_stopping_patience;
                stopped_early = patience > 0 && self.state.evals_since_best >= patience;
                // The best is worth a checkpoint of its own: it is the one that early stopping goes back to.
                if report.is_best && patience > 0 {
                    observer.on_checkpoint(&self.save()?);
                    saved_at = Some(step);
                }
            }
            stopped_by_user = stop.load(Ordering::SeqCst);
            if training.checkpoints().is_due(step, training.max_steps) && saved_at != Some(step) {
                observer.on_checkpoint(&self.save()?);
                saved_at = Some(step);
            }
            pace.resume();
        }
        if saved_at != Some(self.state.step) {
            observer.on_checkpoint(&self.save()?);
        }
        Ok(TrainStats {
            steps: self.state.step,
            max_steps: training.max_steps,
            tokens_seen: self.state.tokens_seen,
            ema_loss: self.state.ema_loss,
            best_loss: self.state.best_loss,
            best_eval_loss: self.state.best_eval,
            last_evaluation,
            nan_steps: self.state.nan_steps,
            tokens_per_second: pace.overall(),
            device: self.selected.name.clone(),
            stopped_by_user: stopped_by_user && self.state.step < training.max_steps,
            stopped_early,
        })
    }

    /// Evaluates on the validation tokens; `None` without any.
    pub fn evaluate(&mut self) -> Result<Option<EvalMetrics>, TrainError> {
        let Some(val) = &self.val else {
            return Ok(None);
        };
        Ok(Some(self.evaluator.evaluate(
            &self.model,
            &self.config,
            val,
        )?))
    }

    /// Compares an evaluation with the best one.
    fn judge(&mut self, metrics: EvalMetrics) -> EvaluationReport {
        let is_best = self.state.best_eval.is_none_or(|best| metrics.loss < best);
        if is_best {
            self.state.best_eval = Some(metrics.loss);
            self.state.best_eval_step = Some(self.state.step);
            self.state.evals_since_best = 0;
        } else {
            self.state.evals_since_best += 1;
        }
        EvaluationReport::new(self.state.step, metrics, is_best)
    }

    /// Writes a checkpoint of this moment; returns its folder.
    pub fn save(&mut self) -> Result<PathBuf, TrainError> {
        checkpoint::save(
            self.lock.path(),
            &self.config,
            &self.tokenizer_json,
            &self.model,
            &self.optimizer,
            &self.state,
        )
    }

    /// Runs `work`; what burn panics with when a GPU fails or is lost becomes an error that names the device. On the CPU a panic is a
    /// bug and stays one.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        if self.selected.adapter.is_none() {
            return work(self);
        }
        let (device, step) = (self.selected.name.clone(), self.state.step);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(self))) {
            Ok(result) => result,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let reason = text
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("it gave no reason")
                    .to_owned();
                Err(TrainError::Device {
                    device,
                    step,
                    reason,
                })
            }
        }
    }
}

/// The number of bytes that every token stands for; special tokens stand for none.
fn token_bytes(tokenizer: &BpeTokenizer) -> Vec<u32> {
    let bytes = |id: usize| {
        u16::try_from(id)
            .ok()
            .and_then(|id| tokenizer.token_bytes(id))
            .map_or(0, |bytes| bytes.len() as u32)
    };
    (0..tokenizer.vocab_size()).map(bytes).collect()
}
