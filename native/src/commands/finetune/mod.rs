//! `finetune`: tunes a model to one domain or several.

mod data;
mod flags;
mod result;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use ptbr_model::{
    AdapterName, ArchConfig, CheckpointError, Domain, DomainFineTuneConfig, DomainRegistry,
    FineTuneMethod, QuantizationPlan, TrainState, Verify, WeightFormat, find_checkpoint,
    find_fine_tune_checkpoint,
};
use ptbr_tokenizer::BpeTokenizer;
use ptbr_train::collective::ProcessGroup;
use ptbr_train::fine_tune::BaseModel;
use ptbr_train::{FineTuneSetup, ResumeOverrides, TrainDevice, Trainer};
use serde::Serialize;

use self::data::Texts;
use self::flags::{Run, Tuning};
use self::result::Written;
use crate::Outcome;
use crate::adapters::folder_of;
use crate::domains::DomainOptions;
use crate::loading::report_skipped;
use crate::options::{Common, Device};
use crate::training::{
    Console, DisplayFlags, DistributedFlags, SAVING, SampleText, Stop, TrainingResult,
    run_to_its_end, stop_on_ctrl_c,
};
use crate::ui::{self, Ui};

/// Tune a model to a kind of text
///
/// Trains a small adapter beside the model, which stays as it is and is loaded once for all domains. Each domain has a folder
/// of its own in the output folder, with checkpoints, metrics and the result: what was best on the validation text. Ctrl-C
/// saves and stops; the same command with --resume goes on, and leaves alone what is finished.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm finetune --model run --domain legal --data laws.txt --val held-out.txt --output tuned\n  \
                  ptbr-slm finetune --model run --domain legal,medical,news --data-root texts --output tuned --install\n  \
                  ptbr-slm finetune --model run.int8.safetensors --domain legal --data laws.txt --output tuned --method state"
)]
pub struct Args {
    /// A checkpoint folder, a training output folder (its latest checkpoint) or a model file in any number format
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// The folder for the domains' folders
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Learn from this instead of the domain's own texts: a token file, or text (.txt, .jsonl, a folder); for one domain
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Judge by this, of the same kinds; without it the last step is the result
    #[arg(long, value_name = "FILE", requires = "data")]
    pub val: Option<PathBuf>,
    /// Read --data and --val as bare 16-bit token ids without a header
    #[arg(long, requires = "data")]
    pub raw: bool,
    /// Go on with the runs in the output folder, with the values that they were begun with
    #[arg(long)]
    pub resume: bool,
    /// Put each adapter into the model's folder `adapters` too, where --adapter NAME finds it
    #[arg(long)]
    pub install: bool,
    /// Write the model with the adapter merged into it too
    #[arg(long)]
    pub merge: bool,
    /// Where to train
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    pub device: Device,
    #[command(flatten)]
    domains: DomainOptions,
    #[command(flatten)]
    tuning: Tuning,
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    display: DisplayFlags,
    #[command(flatten)]
    distributed: DistributedFlags,
    #[command(flatten)]
    common: Common,
}

/// A domain to tune to.
struct Task<'a> {
    name: String,
    tuning: DomainFineTuneConfig,
    /// None for a name that stands only for the files of --data.
    domain: Option<&'a Domain>,
}

/// What `finetune --json` prints of a domain.
#[derive(Debug, Serialize)]
struct DomainResult {
    domain: String,
    #[serde(flatten)]
    written: Written,
    /// Absent for a run that was finished before.
    training: Option<TrainingResult>,
}

/// Runs the command.
///
/// # Errors
/// When the model, a domain or a text cannot be read, a value is out of range, an output cannot be written or already holds a run, or a
/// run diverges.
pub fn run(args: &Args) -> Result<Outcome> {
    let (group, ui) = args.distributed.connect(args.common.ui())?;
    let registry = args.domains.registry()?;
    let tasks = tasks(args, &registry)?;
    let base = BaseModel::open_among(&args.model, TrainDevice::from(args.device), &group)?;
    report_skipped(base.source().skipped(), &ui);
    // A slip in the last domain is said before the first is trained.
    let arch = ArchConfig::Rwkv4(base.config().clone());
    for task in &tasks {
        task.tuning.target_matrices(&arch)?;
        refuse_merging_into_rounded(args, task, &base)?;
        refuse_old_run(args, task)?;
    }
    let Some(tokenizer) = base.source().tokenizer_json() else {
        bail!(
            "{} carries no tokenizer, and its texts cannot be read without; give the training output or model file that has one",
            args.model.display()
        );
    };
    let tokenizer = BpeTokenizer::from_json(tokenizer.as_bytes())?;
    ui.line(format!(
        "base      {} parameters in {}, on {}",
        ui::thousands(base.config().num_parameters()),
        base.source().plan().format(),
        base.device_name()
    ))?;
    let stop = stop_on_ctrl_c(SAVING)?;
    let mut results = Vec::new();
    for task in &tasks {
        let training = tune(args, task, &base, &tokenizer, (&group, &stop), &ui)
            .with_context(|| format!("cannot tune to {}", task.name))?;
        if training.as_ref().is_some_and(|t| t.stats.stopped_by_user) {
            ui.next("the same command with --resume");
            group.finish()?;
            return Ok(Outcome::Done);
        }
        // One process writes the result, and the next run begins when it has.
        let written = if group.is_writer() {
            conclude(args, task, &base, &ui)?
        } else {
            Written::default()
        };
        group.barrier()?;
        results.push(DomainResult {
            domain: task.name.clone(),
            written,
            training,
        });
    }
    group.finish()?;
    ui.result(&serde_json::json!({ "domains": results }))?;
    for result in &results {
        ui.next(&next_command(args, result));
    }
    Ok(Outcome::Done)
}

/// The domains that were asked for.
fn tasks<'a>(args: &Args, registry: &'a DomainRegistry) -> Result<Vec<Task<'a>>> {
    if args.domains.domain.is_empty() {
        bail!(
            "name the domains to tune to: --domain legal, --domain legal,medical; `ptbr-slm domains list` shows all"
        );
    }
    if let (Some(data), [name]) = (&args.data, args.domains.domain.as_slice()) {
        // With texts of its own a name needs no file.
        if !registry.names().any(|known| known == name) {
            let name: AdapterName = name.parse()?;
            if !data.exists() {
                bail!("there is nothing at {}", data.display());
            }
            return Ok(vec![Task {
                name: name.to_string(),
                tuning: args.tuning.over(&DomainFineTuneConfig::default())?,
                domain: None,
            }]);
        }
    } else if args.data.is_some() {
        bail!("--data is the text of one domain; name one --domain with it");
    }
    args.domains
        .chosen(registry)?
        .into_iter()
        .map(|domain| {
            Ok(Task {
                name: domain.name().to_owned(),
                tuning: args.tuning.over(domain.fine_tune())?,
                domain: Some(domain),
            })
        })
        .collect()
}

/// The state of the run in `folder`; `None` where there is none.
fn state_of(folder: &Path) -> Result<Option<TrainState>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    match find_fine_tune_checkpoint(folder, Verify::WithoutOptimizer) {
        Ok(found) => return Ok(Some(found.checkpoint.state)),
        Err(CheckpointError::NoneUsable { skipped, .. }) if skipped.is_empty() => return Ok(None),
        Err(_) => {}
    }
    // A run that trains all weights has the checkpoints of a model.
    Ok(Some(
        find_checkpoint(folder, Verify::WithoutOptimizer)?
            .checkpoint
            .state,
    ))
}

/// Refuses a folder in which a run was already begun, unless it is to go on.
fn refuse_old_run(args: &Args, task: &Task<'_>) -> Result<()> {
    let folder = args.output.join(&task.name);
    if !args.resume && state_of(&folder)?.is_some() {
        bail!(
            "{} already holds a fine-tuning run; go on with it by --resume, or give --output another folder",
            folder.display()
        );
    }
    Ok(())
}

/// Refuses what can only end in a merged model where the base is rounded: merging would round it again.
fn refuse_merging_into_rounded(args: &Args, task: &Task<'_>, base: &BaseModel) -> Result<()> {
    let format = base.source().plan().format();
    let tuning = &task.tuning;
    let lora = tuning.method == FineTuneMethod::Lora && tuning.freeze_base;
    let merges = args.merge || tuning.train_time || tuning.train_norms;
    if lora && merges && base.source().plan() != &QuantizationPlan::uniform(WeightFormat::F32) {
        bail!(
            "--merge, --train-time and --train-norms make a whole model, and {} holds weights in {format}, which would be rounded twice; give the f32 model that it was made from",
            args.model.display()
        );
    }
    Ok(())
}

/// Trains until the end of the run or Ctrl-C; `None` when it was finished before.
fn tune(
    args: &Args,
    task: &Task<'_>,
    base: &BaseModel,
    tokenizer: &BpeTokenizer,
    (group, stop): (&Arc<ProcessGroup>, &Stop),
    ui: &Ui,
) -> Result<Option<TrainingResult>> {
    let folder = args.output.join(&task.name);
    let trainer = match state_of(&folder)? {
        Some(state) if state.is_over() => {
            ui.line(format!(
                "{}: finished before, at step {}",
                task.name,
                ui::thousands(state.step)
            ))?;
            return Ok(None);
        }
        Some(state) => {
            ui.line(format!(
                "{}: going on from step {} of {}",
                task.name,
                ui::thousands(state.step),
                ui::thousands(state.config.max_steps)
            ))?;
            if state.is_beside_a_base() {
                Trainer::resume_fine_tune(base, &folder, tokenizer.to_json(), Arc::clone(group))?
            } else {
                let overrides = ResumeOverrides {
                    max_steps: None,
                    device: args.device.into(),
                    group: Arc::clone(group),
                };
                Trainer::resume(&folder, overrides)?
            }
        }
        None => begin(args, task, base, tokenizer, (&folder, group), ui)?,
    };
    let sample = SampleText {
        prompt: String::new(),
        tokens: 0,
    };
    let log_every = trainer.state().config.log_every;
    let plain = args.display.plain;
    let mut console = Console::new(*ui, stop.screen(), sample, log_every, plain);
    let result = run_to_its_end(trainer, &mut console, &folder, None, stop)?;
    ui.line(format!("{}: {}", task.name, result.in_short()))?;
    Ok(Some(result))
}

fn begin(
    args: &Args,
    task: &Task<'_>,
    base: &BaseModel,
    tokenizer: &BpeTokenizer,
    (folder, group): (&Path, &Arc<ProcessGroup>),
    ui: &Ui,
) -> Result<Trainer> {
    let root;
    let texts = match (&args.data, task.domain) {
        (Some(train), _) => Texts::Files {
            train,
            validation: args.val.as_deref(),
            raw: args.raw,
        },
        (None, Some(domain)) => {
            root = args.domains.data_root()?;
            Texts::Domain(domain, &root)
        }
        (None, None) => bail!(
            "the domain {} has no texts; name them with --data",
            task.name
        ),
    };
    // One process after the other: they may write the same files, of the same bytes.
    let mut files = None;
    for rank in 0..group.place().world {
        if rank == group.place().rank {
            files = Some(texts.token_files(&folder.join("data"), tokenizer, ui)?);
        }
        group.barrier()?;
    }
    let files = files.context("every process has a turn")?;
    let tokens = files.train.tokens().len() as u64;
    let training = args.run.training(&task.tuning, tokens)?;
    let (steps, tokens_per_step) = (training.max_steps, training.tokens_per_step());
    let has_validation = files.validation.is_some();
    let trainer = Trainer::fine_tune(
        base,
        FineTuneSetup {
            tuning: task.tuning.clone(),
            training,
            tokenizer_json: tokenizer.to_json(),
            data: files.train,
            val: files.validation,
            output_dir: folder.to_owned(),
            group: Arc::clone(group),
        },
    )?;
    let trained = trainer.num_trained();
    ui.line(format!(
        "{}: {} tokens, {} steps of {} tokens; {} trained parameters, {:.2} % of the base{}",
        task.name,
        ui::thousands(tokens),
        ui::thousands(steps),
        ui::thousands(tokens_per_step),
        ui::thousands(trained),
        100.0 * trained as f64 / base.config().num_parameters() as f64,
        if has_validation {
            ""
        } else {
            "; no validation text: the last step is the result"
        }
    ))?;
    Ok(trainer)
}

/// Turns a finished run into its result.
fn conclude(args: &Args, task: &Task<'_>, base: &BaseModel, ui: &Ui) -> Result<Written> {
    let folder = args.output.join(&task.name);
    if !state_of(&folder)?.is_some_and(|state| state.is_beside_a_base()) {
        return Ok(Written {
            model: Some(folder),
            trained_parameters: base.config().num_parameters(),
            ..Written::default()
        });
    }
    let installed = folder_of(&args.model).join(&task.name);
    let install = args.install.then_some(installed.as_path());
    result::write(base, &args.model, &folder, install, args.merge, ui)
        .with_context(|| format!("cannot write what was trained for {}", task.name))
}

fn next_command(args: &Args, result: &DomainResult) -> String {
    let model = args.model.display();
    let prompt = "--prompt \"O Brasil é\"";
    match &result.written {
        Written {
            adapter: Some(_), ..
        } if args.install => {
            format!(
                "ptbr-slm generate --model {model} --adapter {} {prompt}",
                result.domain
            )
        }
        Written {
            adapter: Some(path),
            ..
        } => format!(
            "ptbr-slm generate --model {model} --adapter {} {prompt}",
            path.display()
        ),
        Written {
            state: Some(path), ..
        } => format!(
            "cp {0} text.state && ptbr-slm generate --model {model} --state text.state {prompt}",
            path.display()
        ),
        Written { model: tuned, .. } => format!(
            "ptbr-slm generate --model {} {prompt}",
            tuned.as_deref().unwrap_or(&args.model).display()
        ),
    }
}
