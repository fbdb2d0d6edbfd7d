//! The training run: steps, evaluations, checkpoints, and going on after a stop.

mod accumulate;
mod checkpoint;
mod distributed;
mod fine_tune;
mod lanes;
mod log;
mod observer;
mod pace;
mod rehearsal;
mod sources;
mod start;
mod step;
mod tensorboard;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ptbr_dataset::{BatchSlice, MmapDataset};
use ptbr_model::{
    ArchConfig, GradScaler, OutputLock, Precision, RwkvConfig, TensorSpec, TrainState,
    TrainingConfig, Verify, find_checkpoint,
};
use serde::Serialize;

use crate::collective::ProcessGroup;
use crate::device::Selected;
use crate::evaluate::Sums;
use crate::model::Rwkv;
use crate::model::init::initial_values;
use crate::model::parameters::build;
use crate::optim::AdamW;
use crate::{EvalMetrics, Evaluator, TrainDevice, TrainError};

pub use checkpoint::load_model;
use distributed::Owners;
pub use fine_tune::FineTuneSetup;
use lanes::Lanes;
pub use log::{MetricsCsv, TrainLogger};
pub use observer::{EvaluationReport, RunInfo, SourceReport, StepReport, TrainObserver};
use pace::Pace;
pub use rehearsal::Rehearsal;
pub use sources::ValidationSource;
use start::Start;

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
    /// The processes that share the run; [`ProcessGroup::solo`] for one alone.
    pub group: Arc<ProcessGroup>,
}

/// What `resume` may change.
#[derive(Debug, Clone)]
pub struct ResumeOverrides {
    /// Train up to this step instead of the one that the run was given.
    pub max_steps: Option<u64>,
    /// Where to compute.
    pub device: TrainDevice,
    /// The processes that share the run, of any number: the result differs by rounding.
    pub group: Arc<ProcessGroup>,
}

impl Default for ResumeOverrides {
    fn default() -> Self {
        Self {
            max_steps: None,
            device: TrainDevice::default(),
            group: ProcessGroup::solo(),
        }
    }
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
    /// Processes that shared the run.
    pub ranks: usize,
    /// Bytes of optimizer state that this process held.
    pub optimizer_bytes: u64,
    /// Part of the time of the steps that this process waited for others; 0 without others.
    pub waited_share: f64,
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
    /// What is trained, in the order in which checkpoints hold it.
    specs: Vec<TensorSpec>,
    state: TrainState,
    /// What products are computed in: what was asked for, or f32 where an f16 run goes on on the CPU.
    precision: Precision,
    /// The loss scale, when products are in f16.
    scaler: Option<GradScaler>,
    /// The states that the next windows begin with, where the run carries states.
    lanes: Option<Lanes>,
    tokenizer_json: String,
    data: Arc<MmapDataset>,
    val: Option<Arc<MmapDataset>>,
    sources: Vec<ValidationSource>,
    evaluator: Evaluator,
    selected: Selected,
    /// The folder for checkpoints and metrics.
    folder: PathBuf,
    /// Held by the process that writes into the folder.
    lock: Option<OutputLock>,
    group: Arc<ProcessGroup>,
    /// Which micro-batches of a step this process learns from.
    batches: BatchSlice,
    /// Which process keeps the optimizer's state of a parameter, where not every one keeps all.
    owners: Option<Owners>,
}

impl Trainer {
    /// A new run with freshly initialised weights.
    pub fn new(setup: TrainerSetup) -> Result<Self, TrainError> {
        let TrainerSetup {
            model_config: config,
            training,
            tokenizer_json,
            data,
            val,
            output_dir,
            device,
            group,
        } = setup;
        let seed = training.seed;
        let start = Start {
            specs: config.tensor_specs(),
            state: TrainState {
                config_sha256: ArchConfig::Rwkv4(config.clone()).sha256(),
                config: training,
                ..TrainState::default()
            },
            selected: device.select_among(&group)?,
            tokenizer_json,
            config,
            group,
        };
        start.begin(data, val, &output_dir, |start| {
            let values =
                &mut |spec: &_| Ok::<_, TrainError>(initial_values(&start.config, spec, seed));
            build(&start.config, &start.autodiff(), values)
        })
    }

    /// The run in `output_dir`, from its newest undamaged checkpoint.
    pub fn resume(output_dir: &Path, overrides: ResumeOverrides) -> Result<Self, TrainError> {
        let found = find_checkpoint(output_dir, Verify::Everything)?;
        let checkpoint = found.checkpoint;
        let config = match checkpoint.config.clone() {
            ArchConfig::Rwkv4(config) => config,
            other => return Err(TrainError::Architecture(other.name().to_owned())),
        };
        let start = Start {
            specs: config.tensor_specs(),
            selected: overrides.device.select_among(&overrides.group)?,
            tokenizer_json: checkpoint.tokenizer_json.clone().unwrap_or_default(),
            state: checkpoint.state.clone(),
            config,
            group: overrides.group,
        };
        start.go_on(output_dir, overrides.max_steps, |start| {
            let device = start.autodiff();
            let model = load_model(&checkpoint.model, &start.config, &device)?;
            let file = checkpoint.optimizer.as_ref();
            let training = &start.state.config;
            let optimizer =
                checkpoint::load_optimizer(file, &start.specs_kept_here(), training, &device)?;
            let lanes = checkpoint::load_lanes(file, start, &device)?;
            Ok((model, optimizer, lanes))
        })
    }

    /// The model as it is now.
    pub fn model(&self) -> &Rwkv {
        &self.model
    }

    /// What products are computed in: `precision` of the configuration, but f32 when a run that was begun in f16 goes on on the CPU.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Numbers that are trained.
    pub fn num_trained(&self) -> u64 {
        let count = |spec: &TensorSpec| spec.num_elements().unwrap_or(0) as u64;
        self.specs.iter().map(count).sum()
    }

    /// Sizes of the model.
    pub fn config(&self) -> &RwkvConfig {
        &self.config
    }

    /// Where it computes.
    pub fn device(&self) -> &Selected {
        &self.selected
    }

    /// What is read: `train`, then `validation` and `validation:<source>`.
    pub fn token_files(&self) -> Vec<(String, &MmapDataset)> {
        let val = self.val.iter().map(|val| ("validation".to_owned(), &**val));
        let sources = self.sources.iter();
        [("train".to_owned(), &*self.data)]
            .into_iter()
            .chain(val)
            .chain(sources.map(|source| (format!("validation:{}", source.name), &*source.data)))
            .collect()
    }

    /// Whether this process, of those that share the run, is the one that writes into its folder.
    pub fn is_writer(&self) -> bool {
        self.group.is_writer()
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
        self.check_agreement_at_start()?;
        let mut loader = self.loader()?;
        let mut log = match &self.lock {
            Some(lock) => Some(TrainLogger::open(lock.path(), self.state.step)?),
            None => None,
        };
        observer.on_start(&RunInfo {
            device: self.selected.name.clone(),
            parameters: self.num_trained(),
            step: self.state.step,
            max_steps: training.max_steps,
            tokens_per_step: training.tokens_per_step(),
        });
        let mut pace = Pace::start(self.state.elapsed_seconds);
        let mut last_evaluation = None;
        let (mut stopped_by_user, mut stopped_early) = (false, false);
        let mut saved_at = None;
        let mut waited = 0.0;
        self.group.set_busy(false);
        while self.state.step < training.max_steps && !stopped_by_user && !stopped_early {
            let report = self.guarded(|trainer| trainer.step(&mut loader, &mut pace))?;
            if let Some(log) = &mut log {
                log.step(&report)?;
            }
            waited += report.waited_seconds.unwrap_or(0.0);
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
                if let Some(log) = &mut log {
                    log.evaluation(&report, self.state.tokens_seen, self.state.elapsed_seconds)?;
                }
                observer.on_evaluation(&report);
                for report in self.guarded(|trainer| trainer.evaluate_sources())? {
                    if let Some(log) = &mut log {
                        log.source(&report, self.state.tokens_seen, self.state.elapsed_seconds)?;
                    }
                    observer.on_source(&report);
                }
                last_evaluation = Some(metrics);
                let patience = training.early_stopping_patience;
                stopped_early = patience > 0 && self.state.evals_since_best >= patience;
                // The best is worth a checkpoint of its own: it is the one that early stopping goes back to, and the result of fine-tuning.
                if report.is_best && (patience > 0 || self.state.fine_tune.is_some()) {
                    self.save_and_tell(observer)?;
                    saved_at = Some(step);
                }
            }
            stopped_by_user = self.agree(stop.load(Ordering::SeqCst), &report)?;
            if training.checkpoints().is_due(step, training.max_steps) && saved_at != Some(step) {
                self.save_and_tell(observer)?;
                saved_at = Some(step);
            }
            pace.resume();
        }
        if saved_at != Some(self.state.step) {
            self.save_and_tell(observer)?;
        }
        self.group.set_busy(true);
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
            ranks: self.group.place().world,
            optimizer_bytes: self.optimizer.bytes(),
            waited_share: waited / pace.seconds().max(1e-9),
            stopped_by_user: stopped_by_user && self.state.step < training.max_steps,
            stopped_early,
        })
    }

    /// Evaluates on the validation tokens; `None` without any.
    pub fn evaluate(&mut self) -> Result<Option<EvalMetrics>, TrainError> {
        match &self.val {
            Some(val) => self.evaluate_on(val).map(Some),
            None => Ok(None),
        }
    }

    /// Evaluates on `data`, whose windows all processes share.
    fn evaluate_on(&self, data: &MmapDataset) -> Result<EvalMetrics, TrainError> {
        let place = self.group.place();
        let share = self
            .evaluator
            .share(&self.model, &self.config, data, place)?;
        let shares = self.group.gather_f64(share.to_array())?;
        Ok(Sums::total(&shares).metrics())
    }

    fn save_and_tell(&mut self, observer: &mut dyn TrainObserver) -> Result<(), TrainError> {
        let path = self.save()?;
        // What is shown of a checkpoint, such as a sample of text, may take longer than a step.
        self.group.while_busy(|| observer.on_checkpoint(&path));
        Ok(())
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
