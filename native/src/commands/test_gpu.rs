//! `test-gpu`: is there a GPU, does it compute what it should, and what fits?

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use ptbr_dataset::{MmapDataset, TokenizedDatasetWriter};
use ptbr_model::{PRESETS, Precision, TrainingConfig, preset};
use ptbr_tokenizer::{BpeTrainer, BpeTrainerConfig};
use ptbr_train::collective::ProcessGroup;
use ptbr_train::device::{Adapter, Selected};
use ptbr_train::{StepReport, TrainDevice, TrainObserver, Trainer, TrainerSetup};
use serde_json::{Value, json};

use crate::Outcome;
use crate::gpu_check::check_wkv;
use crate::model_size::named_size;
use crate::options::Common;
use crate::ui::{self, Ui};

/// Find GPU adapters, check what they compute, and train one step
///
/// Lists the adapters with their limits, runs the WKV shaders on a case whose answer is known, takes one training step on
/// the adapter that --device gpu would take, and says which sizes fit. Exit status 1 means that there is no adapter, or that
/// it computes something wrong.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  ptbr-slm test-gpu --model-size micro --batch-size 4 --seq-len 256"
)]
pub struct Args {
    /// The size that takes the step: a preset, or a .toml file like those in configs/models
    #[arg(long, value_name = "SIZE", default_value = "nano")]
    pub model_size: String,
    /// Sequences in the step
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub batch_size: usize,
    /// Tokens in a sequence
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub seq_len: usize,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the size is unknown, or the step cannot be prepared.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let config = named_size(&args.model_size)?;
    let training = TrainingConfig {
        max_steps: 1,
        batch_size: args.batch_size,
        seq_len: args.seq_len,
        gradient_accumulation_steps: 1,
        ..TrainingConfig::default()
    };
    training.validate()?;
    let adapters = ptbr_train::device::adapters();
    let Some(first) = adapters.first() else {
        ui.line("no GPU adapter was found")?;
        ui.note("install the graphics driver of this machine; on Debian, for a software adapter: apt-get install mesa-vulkan-drivers libvulkan1");
        ui.result(&json!({ "ok": false, "adapters": [] }))?;
        return Ok(Outcome::No);
    };

    let mut ok = true;
    let mut listed = Vec::new();
    for adapter in &adapters {
        ok &= show(adapter, &mut listed, &ui)?;
    }

    ui.line(format!(
        "step     {} on {}, {} x {} tokens",
        args.model_size, first.name, args.batch_size, args.seq_len
    ))?;
    let step = match one_step(&args.model_size, training) {
        Ok(step) => {
            let expected = (step.vocab_size as f64).ln() + 0.125;
            let is_right = (step.loss - expected).abs() < 0.5 && !step.skipped;
            ok &= is_right;
            ui.line(format!(
                "         loss {:.4} (an untrained model: about {expected:.4}) in {}{}",
                step.loss,
                ui::duration(std::time::Duration::from_secs_f64(step.seconds)),
                if is_right { "" } else { ": WRONG" }
            ))?;
            json!({ "model_size": args.model_size, "loss": step.loss, "expected_loss": expected, "seconds": step.seconds })
        }
        Err(error) => {
            ok = false;
            ui.line(format!("         failed: {error:#}"))?;
            json!({ "model_size": args.model_size, "error": format!("{error:#}") })
        }
    };

    let sizes = which_fit(first, args, &ui)?;
    ui.line(if ok {
        "all is well"
    } else {
        "do not trust this GPU: train with --device cpu"
    })?;
    ui.result(&json!({ "ok": ok, "adapters": listed, "step": step, "sizes": sizes, "parameters": config.num_parameters() }))?;
    Ok(if ok { Outcome::Done } else { Outcome::No })
}

/// Prints an adapter and what the WKV shaders compute on it; true when that is right.
fn show(adapter: &Adapter, listed: &mut Vec<Value>, ui: &Ui) -> Result<bool> {
    let subgroups = adapter.subgroups.map_or_else(
        || "no subgroups".to_owned(),
        |(least, most)| format!("subgroups of {least} to {most}"),
    );
    ui.line(format!(
        "adapter  {} ({}, {}{})",
        adapter.name,
        adapter.backend,
        adapter.kind,
        if adapter.is_hardware {
            ""
        } else {
            "; software, so --device auto takes the CPU instead"
        }
    ))?;
    ui.line(format!(
        "         one binding {}, one buffer {}, {} storage buffers, f16 {}, {subgroups}",
        ui::bytes(adapter.max_binding_bytes),
        ui::bytes(adapter.max_buffer_bytes),
        adapter.max_storage_buffers,
        if adapter.shader_f16 { "yes" } else { "no" },
    ))?;
    let mut value = json!({
        "name": adapter.name,
        "backend": adapter.backend,
        "kind": adapter.kind,
        "is_hardware": adapter.is_hardware,
        "max_binding_bytes": adapter.max_binding_bytes,
        "max_buffer_bytes": adapter.max_buffer_bytes,
        "max_storage_buffers": adapter.max_storage_buffers,
        "shader_f16": adapter.shader_f16,
        "subgroups": adapter.subgroups,
    });
    let is_right = match check_wkv(&adapter.name, &adapter.backend) {
        Ok(errors) => {
            let is_right = errors.is_right();
            ui.line(format!(
                "         WKV {}: {errors}",
                if is_right { "right" } else { "WRONG" }
            ))?;
            value["wkv"] = json!({ "ok": is_right, "forward_error": errors.forward, "backward_error": errors.backward });
            is_right
        }
        Err(error) => {
            ui.line(format!("         WKV failed: {error:#}"))?;
            value["wkv"] = json!({ "ok": false, "error": format!("{error:#}") });
            false
        }
    };
    listed.push(value);
    Ok(is_right)
}

/// What one step gave.
struct Step {
    vocab_size: usize,
    loss: f64,
    skipped: bool,
    seconds: f64,
}

impl TrainObserver for Step {
    fn on_step(&mut self, report: &StepReport) {
        self.loss = report.loss;
        self.skipped = report.skipped;
    }
}

/// Trains one step on tokens without meaning, in a folder that goes away again.
fn one_step(size: &str, training: TrainingConfig) -> Result<Step> {
    let folder = tempfile::tempdir().context("there is no place for temporary files")?;
    // The smallest tokenizer there is: its ids are not looked at, but a run belongs to one.
    let mut words = BpeTrainer::new(BpeTrainerConfig {
        vocab_size: 261,
        ..Default::default()
    });
    words.feed("ptbr");
    let tokenizer = words.train(&mut |_, _| {})?;
    let mut model_config = named_size(size)?;
    model_config.max_seq_len = model_config.max_seq_len.max(training.seq_len);
    let path = folder.path().join("step.bin");
    let mut data =
        TokenizedDatasetWriter::create(&path, model_config.vocab_size, tokenizer.sha256())?;
    let count = training
        .batch_size
        .saturating_mul(training.seq_len.saturating_add(1))
        .saturating_add(1);
    let vocab = model_config.vocab_size as u64;
    // Spread over the whole vocabulary, so that every row of the embedding has its turn.
    let tokens: Vec<u16> = (0..count as u64)
        .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16) % vocab)
        .filter_map(|id| u16::try_from(id).ok())
        .collect();
    data.push_document(&tokens)?;
    data.finish()?;

    let mut step = Step {
        vocab_size: model_config.vocab_size,
        loss: f64::NAN,
        skipped: false,
        seconds: 0.0,
    };
    let mut trainer = Trainer::new(TrainerSetup {
        model_config,
        training,
        tokenizer_json: tokenizer.to_json(),
        data: Arc::new(MmapDataset::open(&path)?),
        val: None,
        output_dir: folder.path().join("run"),
        device: TrainDevice::Gpu,
        group: ProcessGroup::solo(),
    })?;
    let start = Instant::now();
    trainer.run(&mut step, &AtomicBool::new(false))?;
    step.seconds = start.elapsed().as_secs_f64();
    Ok(step)
}

/// Says for each preset what a step needs and whether every tensor fits the adapter's bindings. How much memory a GPU has is
/// not something that it tells.
fn which_fit(adapter: &Adapter, args: &Args, ui: &Ui) -> Result<Vec<Value>> {
    let selected = TrainDevice::Gpu.select()?;
    ui.line(format!(
        "sizes    in steps of {} x {} tokens on {}",
        args.batch_size, args.seq_len, adapter.name
    ))?;
    let mut sizes = Vec::with_capacity(PRESETS.len());
    for name in PRESETS {
        let config = preset(name)?;
        let bytes = config
            .estimated_vram(args.batch_size, args.seq_len, Precision::F32)
            .total();
        let fits = fits(&selected, &config, args);
        ui.line(match &fits {
            Ok(()) => format!(
                "         {name:<6} fits a GPU with about {} free",
                ui::bytes(bytes)
            ),
            Err(reason) => format!("         {name:<6} does not fit: {reason}"),
        })?;
        sizes.push(
            json!({ "size": name, "fits": fits.is_ok(), "bytes": bytes, "reason": fits.err() }),
        );
    }
    Ok(sizes)
}

fn fits(
    selected: &Selected,
    config: &ptbr_model::RwkvConfig,
    args: &Args,
) -> std::result::Result<(), String> {
    selected
        .check_buffers(config, args.batch_size, args.seq_len)
        .map_err(|error| error.to_string())
}
