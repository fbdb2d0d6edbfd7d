//! The run itself: data in, trainer, result.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ptbr_dataset::MmapDataset;
use ptbr_model::{Placement, RwkvConfig, StepPlan, TrainingConfig, Verify, find_checkpoint};
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
use ptbr_train::collective::ProcessGroup;
use ptbr_train::{ResumeOverrides, TrainDevice, TrainStats, Trainer, TrainerSetup};
use serde::Serialize;

use super::allocator;
use super::console::{Console, SampleText};
use super::distributed::note_shared_adapter;
use super::flags::model_config;
use super::interrupt::{SAVING, Stop, stop_on_ctrl_c};
use super::memory_budget::{MemoryBudget, announce_memory};
use super::run_file::RunFile;
use super::validation::Validation;
use crate::loading::report_skipped;
use crate::options::Device;
use crate::ui::{self, Ui};

/// Everything that a training run is made of.
pub struct Plan<'a> {
    /// The token file to learn from.
    pub data: &'a Path,
    /// The token file to judge by.
    pub val: Option<&'a Path>,
    /// A folder of token files to judge by: val.bin, where `val` is none, and one for each source.
    pub val_dir: Option<&'a Path>,
    /// Both are bare token ids.
    pub raw: bool,
    /// The tokenizer that both were made with.
    pub tokenizer: &'a BpeTokenizer,
    /// Where it was read from.
    pub tokenizer_path: &'a Path,
    /// The folder for checkpoints and metrics.
    pub output: &'a Path,
    /// A preset, or a file of sizes.
    pub model_size: &'a str,
    /// Where to train.
    pub device: Device,
    /// The processes that share the run.
    pub group: Arc<ProcessGroup>,
    /// The hyper-parameters.
    pub training: TrainingConfig,
    /// How much memory there is.
    pub memory: MemoryBudget,
    /// What each checkpoint writes.
    pub sample: SampleText,
    /// Lines instead of a dashboard.
    pub plain: bool,
}

impl From<Device> for TrainDevice {
    fn from(device: Device) -> Self {
        match device {
            Device::Auto => Self::Auto,
            Device::Cpu => Self::Cpu,
            Device::Gpu => Self::Gpu,
            #[cfg(feature = "cuda")]
            Device::Cuda(index) => Self::Cuda(index),
            #[cfg(feature = "rocm")]
            Device::Rocm(index) => Self::Rocm(index),
        }
    }
}

/// Trains a new model until its last step or Ctrl-C.
///
/// # Errors
/// When an input is missing or of another tokenizer, a value is out of range, the output cannot be written or already holds
/// a run, the model does not fit, or the run diverges.
pub fn train(plan: &Plan<'_>, ui: &Ui) -> Result<TrainingResult> {
    let model_config = model_config(
        plan.model_size,
        plan.tokenizer.vocab_size(),
        plan.training.seq_len,
    )?;
    let data = open_data(plan.data, plan.raw, plan.tokenizer)?;
    let Validation { val, sources } = Validation::open(plan, ui)?;
    make_folder(plan.output)?;
    refuse_old_run(plan.output)?;
    let device = TrainDevice::from(plan.device).select_among(&plan.group)?;
    if device.adapter.is_some() {
        note_shared_adapter(plan.group.place(), ui);
    }
    let placement = match device.adapter {
        None => Placement::Cpu,
        Some(_) => Placement::Gpu,
    };
    let (training, budget) = (&plan.training, plan.memory);
    announce(ui, &model_config, training, &data, placement, budget)?;
    let stop = stop_on_ctrl_c(SAVING)?;
    let log_every = plan.training.log_every;
    let mut console = Console::new(
        *ui,
        stop.screen(),
        plan.sample.clone(),
        log_every,
        plan.plain,
    );
    let mut trainer = Trainer::new(TrainerSetup {
        model_config,
        training: plan.training.clone(),
        tokenizer_json: plan.tokenizer.to_json(),
        data,
        val,
        output_dir: plan.output.to_owned(),
        device: plan.device.into(),
        group: Arc::clone(&plan.group),
    })?;
    trainer.judge_by_source(sources)?;
    let tokenizer = Some(plan.tokenizer_path);
    run_to_its_end(trainer, &mut console, plan.output, tokenizer, &stop)
}

/// Maps a token file into memory and makes sure that it was written with this tokenizer.
///
/// # Errors
/// When the file is missing, damaged, or of another tokenizer.
pub fn open_data(path: &Path, raw: bool, tokenizer: &BpeTokenizer) -> Result<Arc<MmapDataset>> {
    if raw {
        return Ok(Arc::new(MmapDataset::open_raw(path)?));
    }
    let data = MmapDataset::open(path)?;
    data.check_tokenizer(&tokenizer.sha256())?;
    Ok(Arc::new(data))
}

/// Refuses a folder in which a run was already begun: starting again would bury what it holds.
///
/// # Errors
/// When there is a checkpoint in it.
fn refuse_old_run(output: &Path) -> Result<()> {
    if output.is_dir() && find_checkpoint(output, Verify::WithoutOptimizer).is_ok() {
        bail!(
            "{} already holds a training run; go on with it by `ptbr-slm resume --output {}`, or give --output another folder",
            output.display(),
            output.display()
        );
    }
    Ok(())
}

/// Says what is going to be trained, on how much, and what memory it takes.
///
/// # Errors
/// When stdout cannot be written.
fn announce(
    ui: &Ui,
    model: &RwkvConfig,
    training: &TrainingConfig,
    data: &MmapDataset,
    placement: Placement,
    budget: MemoryBudget,
) -> Result<()> {
    let parameters = model.num_parameters();
    let tokens = data.tokens().len() as u64;
    let planned = training
        .tokens_per_step()
        .saturating_mul(training.max_steps);
    ui.line(format!(
        "model     {} parameters: vocabulary {}, width {}, {} layers",
        ui::thousands(parameters),
        ui::thousands(model.vocab_size as u64),
        model.d_model,
        model.n_layers
    ))?;
    ui.line(format!(
        "data      {} tokens; {} steps of {} tokens read it {:.1} times ({:.1} tokens a parameter)",
        ui::thousands(tokens),
        ui::thousands(training.max_steps),
        ui::thousands(training.tokens_per_step()),
        planned as f64 / tokens.max(1) as f64,
        planned as f64 / parameters.max(1) as f64
    ))?;
    announce_memory(ui, model, &StepPlan::from(training), placement, budget)
}

/// How a run ended.
#[derive(Debug, Serialize)]
pub struct TrainingResult {
    /// The output folder.
    pub output: PathBuf,
    /// The checkpoint to use.
    pub checkpoint: Option<PathBuf>,
    /// What the trainer counted.
    #[serde(flatten)]
    pub stats: TrainStats,
    /// Wall time of this call, seconds.
    pub seconds: f64,
}

impl TrainingResult {
    /// One line for people.
    pub fn in_short(&self) -> String {
        let stats = &self.stats;
        let loss = stats.ema_loss.map_or_else(
            || "no step taken".to_owned(),
            |loss| format!("loss {loss:.4}"),
        );
        let best = stats
            .best_eval_loss
            .map_or_else(String::new, |loss| format!(", best validation {loss:.4}"));
        format!(
            "step {} of {}, {} tokens, {loss}{best}, {} tokens a second",
            ui::thousands(stats.steps),
            ui::thousands(stats.max_steps),
            ui::thousands(stats.tokens_seen),
            ui::thousands(stats.tokens_per_second as u64),
        )
    }

    /// Prints the result of `train` and `resume`, and what to run next.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn show(&self, ui: &Ui) -> Result<()> {
        ui.line(format!(
            "{}; in {}",
            self.in_short(),
            ui::duration(Duration::from_secs_f64(self.seconds))
        ))?;
        ui.result(self)?;
        let output = self.output.display();
        if self.stats.stopped_by_user {
            ui.next(&format!("ptbr-slm resume --output {output}"));
        } else {
            ui.next(&format!(
                "ptbr-slm generate --model {output} --prompt \"O Brasil é\""
            ));
            ui.next(&format!(
                "ptbr-slm evaluate --model {output} --data held-out.txt"
            ));
        }
        Ok(())
    }
}

/// Goes on with the run in `output` from its newest undamaged checkpoint.
///
/// # Errors
/// When there is none, its data is gone or was changed, or as [`train`].
pub fn resume(
    output: &Path,
    max_steps: Option<u64>,
    device: Device,
    group: Arc<ProcessGroup>,
    (sample, plain): (SampleText, bool),
    ui: &Ui,
) -> Result<TrainingResult> {
    let found = find_checkpoint(output, Verify::WithoutOptimizer)?;
    report_skipped(&found.skipped, ui);
    let state = &found.checkpoint.state;
    ui.line(format!(
        "going on from {} (step {} of {})",
        found.checkpoint.path.display(),
        ui::thousands(state.step),
        ui::thousands(max_steps.unwrap_or(state.config.max_steps))
    ))?;
    let stop = stop_on_ctrl_c(SAVING)?;
    let log_every = state.config.log_every;
    let mut console = Console::new(*ui, stop.screen(), sample, log_every, plain);
    drop(found);
    let trainer = Trainer::resume(
        output,
        ResumeOverrides {
            max_steps,
            device: device.into(),
            group,
        },
    )?;
    run_to_its_end(trainer, &mut console, output, None, &stop)
}

/// Runs until the end or until `stop` is set, and takes the bar away whatever happens.
///
/// # Errors
/// When a checkpoint cannot be written, the device fails, or the run diverges.
pub fn run_to_its_end(
    mut trainer: Trainer,
    console: &mut Console,
    output: &Path,
    tokenizer: Option<&Path>,
    stop: &Stop,
) -> Result<TrainingResult> {
    allocator::keep_freed_memory();
    let (asked, precision) = (trainer.state().config.precision, trainer.precision());
    if asked != precision {
        console.note(&format!(
            "the run was begun in {asked}; on the CPU it goes on in {precision}"
        ));
    }
    if trainer.is_writer() {
        RunFile::record(output, &trainer, tokenizer)?;
    }
    let start = Instant::now();
    let stats = trainer.run(console, stop.flag());
    console.finish();
    Ok(TrainingResult {
        output: output.to_owned(),
        checkpoint: console.last_checkpoint().map(Path::to_owned),
        stats: stats?,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Makes the folder that a result goes into.
///
/// # Errors
/// When it cannot be made, naming it.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| {
        format!(
            "cannot make the folder {}; give --output a place that can be written",
            path.display()
        )
    })
}
