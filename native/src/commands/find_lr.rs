//! `find-lr`: which learning rate to give to `train`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use indicatif::ProgressStyle;
use ptbr_model::write_whole_file;
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
use ptbr_train::collective::ProcessGroup;
use ptbr_train::{LrCurveEnd, LrFinder, LrFinderResult, Trainer, TrainerSetup};
use serde::Serialize;

use crate::Outcome;
use crate::chart::{self, Chart, Mark, Series};
use crate::options::{Common, Device};
use crate::training::{self, Hyperparameters};
use crate::ui::{self, Ui};

/// Find a learning rate for a training run
///
/// Takes steps from the run's initial weights while the learning rate grows from step to step, and draws the loss over it. The
/// suggestion, for `train --learning-rate`, is half of the rate at which the loss is lowest. Nothing is written, but for --svg.
/// The flags of `train` are taken, so that one --config file serves both; those of checkpoints, evaluations and logs change nothing.
/// Exit status 1 when the curve shows no such rate.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  ptbr-slm find-lr --data train.bin --tokenizer tokenizer.json --model-size micro \\\n      \
                  --batch-size 8 --seq-len 256 --svg curve.svg"
)]
pub struct Args {
    /// The token file to learn from
    #[arg(long, value_name = "FILE.bin")]
    pub data: PathBuf,
    /// Read --data as bare 16-bit token ids without a header
    #[arg(long)]
    pub raw: bool,
    /// The tokenizer.json that the token file was made with
    #[arg(long, value_name = "FILE.json")]
    pub tokenizer: PathBuf,
    /// nano, micro, 85m, 400m, 800m, 1b or 1.5b, or a .toml file like those in configs/models
    #[arg(long, value_name = "SIZE")]
    pub model_size: String,
    /// Where to train
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    pub device: Device,
    /// Draw the curve into this file too
    #[arg(long, value_name = "FILE.svg")]
    pub svg: Option<PathBuf>,
    #[command(flatten)]
    ramp: Ramp,
    #[command(flatten)]
    pub hyperparameters: Hyperparameters,
    #[command(flatten)]
    common: Common,
}

/// The flags of the ramp.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Ramp")]
struct Ramp {
    /// Learning rate of the first step [default: 1e-5]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    start_lr: Option<f64>,
    /// Learning rate of the last step, should the loss not explode before [default: 1]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    end_lr: Option<f64>,
    /// Steps of the ramp [default: 100]
    #[arg(long, value_name = "N")]
    ramp_steps: Option<u64>,
    /// Weight of the past in the moving average of the loss [default: 0.8]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    smooth: Option<f64>,
}

impl Ramp {
    fn finder(&self) -> Result<LrFinder> {
        let default = LrFinder::default();
        let finder = LrFinder {
            start: self.start_lr.unwrap_or(default.start),
            end: self.end_lr.unwrap_or(default.end),
            steps: self.ramp_steps.unwrap_or(default.steps),
            smoothing: self.smooth.unwrap_or(default.smoothing),
        };
        finder.validate()?;
        Ok(finder)
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    finder: LrFinder,
    #[serde(flatten)]
    found: &'a LrFinderResult,
    device: String,
    seconds: f64,
}

/// Runs the command.
///
/// # Errors
/// When an input is missing or of another tokenizer, a value is out of range, the model does not fit, or the drawing cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let finder = args.ramp.finder()?;
    let config = args.hyperparameters.training_config()?;
    let tokenizer = BpeTokenizer::from_file(&args.tokenizer)?;
    let model_config =
        training::model_config(&args.model_size, tokenizer.vocab_size(), config.seq_len)?;
    let tokens_per_step = config.tokens_per_step();
    // The trainer wants a folder of its own; no step of a ramp writes into it.
    let folder = tempfile::tempdir().context("there is no place for temporary files")?;
    let start = Instant::now();
    let mut trainer = Trainer::new(TrainerSetup {
        model_config,
        training: config,
        tokenizer_json: tokenizer.to_json(),
        data: training::open_data(&args.data, args.raw, &tokenizer)?,
        val: None,
        output_dir: folder.path().to_owned(),
        device: args.device.into(),
        group: ProcessGroup::solo(),
    })?;
    let device = trainer.state().device.clone();
    ui.line(format!(
        "{} steps of {} tokens, learning rate from {:e} to {:e}, on {device}",
        finder.steps,
        ui::thousands(tokens_per_step),
        finder.start,
        finder.end
    ))?;
    let stop =
        training::stop_on_ctrl_c("stopping after this step; press Ctrl-C again to stop at once")?;
    let bar = stop.screen().bar();
    bar.set_length(finder.steps);
    bar.set_style(
        ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")?.progress_chars("=> "),
    );
    let found = finder.run(&mut trainer, &mut |point| {
        bar.inc(1);
        bar.set_message(format!(
            "rate {:.1e}  loss {:.3}",
            point.learning_rate, point.average
        ));
        !stop.is_set()
    });
    bar.finish_and_clear();
    let found = found?;
    let seconds = start.elapsed().as_secs_f64();
    show(&found, seconds, &ui)?;
    if let Some(path) = &args.svg {
        let drawing = chart::svg(&drawing(&found, true));
        write_whole_file(path, drawing.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        ui.line(format!("drawn into {}", path.display()))?;
    }
    ui.result(&Report {
        finder,
        found: &found,
        device,
        seconds,
    })?;
    let Some(rate) = found.suggestion else {
        return Ok(Outcome::No);
    };
    ui.next(&format!(
        "ptbr-slm train --data {} --tokenizer {} --model-size {} --learning-rate {rate:e} --output run …",
        args.data.display(),
        args.tokenizer.display(),
        args.model_size
    ));
    Ok(Outcome::Done)
}

/// The curve and what it says.
fn show(found: &LrFinderResult, seconds: f64, ui: &Ui) -> Result<()> {
    let (size, glyphs) = ui.plane();
    for line in chart::draw(&drawing(found, false), size, glyphs) {
        ui.line(line)?;
    }
    let ended = match found.ended {
        LrCurveEnd::Finished => "went to its last rate",
        LrCurveEnd::Exploded => "ended where the loss exploded",
        LrCurveEnd::Stopped => "was stopped",
    };
    ui.line(format!(
        "the ramp {ended}, after {} steps in {}",
        found.points.len(),
        ui::duration(Duration::from_secs_f64(seconds))
    ))?;
    ui.line(match found.suggestion {
        Some(rate) => format!("suggestion: --learning-rate {rate:e}, {}", found.reason),
        None => format!("no suggestion: {}", found.reason),
    })?;
    Ok(())
}

/// The smoothed curve, with the loss of each step beside it where there is room for two.
fn drawing(found: &LrFinderResult, both: bool) -> Chart {
    let curve = |name: &str, y: fn(&ptbr_train::LrPoint) -> f64| Series {
        name: name.to_owned(),
        points: found
            .points
            .iter()
            .map(|p| (p.learning_rate, y(p)))
            .collect(),
    };
    let mut series = vec![curve("smoothed", |point| point.smoothed)];
    if both {
        series.push(curve("each step", |point| point.loss));
    }
    let mark = |rate: f64| Mark {
        x: rate,
        label: format!("suggestion {rate:e}"),
    };
    Chart {
        title: "Loss while the learning rate grows".to_owned(),
        x_label: "learning rate".to_owned(),
        x_logarithmic: true,
        y_label: "loss (nats a token)".to_owned(),
        series,
        marks: found.suggestion.map(mark).into_iter().collect(),
    }
}
