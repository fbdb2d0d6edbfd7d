//! `benchmark`: how fast a model reads and writes text on this machine, or learns.

mod bandwidth;
mod candidate;
mod measure;
#[cfg(feature = "train")]
mod train;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use ptbr_model::WeightFormat;
use rayon::ThreadPool;
use serde::Serialize;
use serde_json::json;

use crate::Outcome;
use crate::loading;
use crate::memory;
use crate::options::{Common, EngineDevice, EngineOptions, MemoryOption};
use crate::ui::{self, Ui};
use candidate::Candidate;
use measure::{PREFILL_TOKENS, Speed};

/// Measure how fast a model reads and writes text on this machine
///
/// For each number format: tokens a second while writing (decode) and while reading (prefill), the bytes of weights read for
/// a token, and what share that is of the bandwidth at which the same threads can read memory (measured on 1 GB of it).
/// Formats that are not the model's own are made in the system's temporary folder (TMPDIR names another one), one at a time.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm benchmark --model-size 85m\n  ptbr-slm benchmark --train --model-size micro --batch-size 8 --seq-len 256\n  \
                  ptbr-slm benchmark --model model.safetensors --format int8,int4 --threads 4 --json"
)]
pub struct Args {
    /// A checkpoint folder, a training output folder (its latest checkpoint) or a model file
    #[arg(
        long,
        value_name = "MODEL",
        required_unless_present = "model_size",
        conflicts_with = "model_size"
    )]
    pub model: Option<PathBuf>,
    /// Random weights of this size instead: a preset, or a .toml file like those in configs/models
    #[arg(long, value_name = "SIZE")]
    pub model_size: Option<String>,
    /// Number formats to measure: f32, f16, int8, fp8, int4 or all; a quantized model has its own only
    #[arg(
        long,
        value_name = "FORMATS",
        value_delimiter = ',',
        default_value = "all"
    )]
    pub format: Vec<Formats>,
    /// Threads; all of the machine's unless given
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Hold the CPU to vectors of at most so many bits: how a narrower machine would fare (x86-64)
    #[arg(long, value_name = "N", value_parser = ["128", "256", "512"])]
    pub vector_bits: Option<String>,
    #[command(flatten)]
    engine: EngineOptions,
    #[command(flatten)]
    memory: MemoryOption,
    #[cfg(feature = "train")]
    #[command(flatten)]
    train: train::TrainFlags,
    #[command(flatten)]
    common: Common,
}

/// One word of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formats {
    /// Every format that the model can have.
    All,
    /// This one.
    One(WeightFormat),
}

impl FromStr for Formats {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "all" => Ok(Self::All),
            _ => name.parse().map(Self::One),
        }
    }
}

/// One line of the result.
#[derive(Debug, Serialize)]
struct Run {
    /// `cpu`, or the name of the GPU.
    device: String,
    format: WeightFormat,
    decode: Speed,
    prefill: Speed,
    weight_bytes_per_token: u64,
    /// 10⁹ bytes of weights a second while decoding.
    gb_per_second: f64,
    /// Of the bandwidth measured; above 1 where weights stay in a cache. None on a GPU, which reads its own memory.
    bandwidth_share: Option<f64>,
    start_up_seconds: f64,
    file_bytes: u64,
    /// None where the system does not say.
    peak_memory_bytes: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// When the model cannot be read, a format cannot be made from it, or the temporary folder cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    if let Some(bits) = &args.vector_bits {
        ptbr_kernels::cpu::limit_vectors(bits.parse().context("--vector-bits")?);
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.map_or(0, NonZeroUsize::get))
        .build()
        .context("cannot start the threads")?;
    #[cfg(feature = "train")]
    if args.train.train {
        let size = args.model_size.as_deref().unwrap_or_default();
        train::run(&args.train, size, args.engine.device, &pool, &ui)?;
        return Ok(Outcome::Done);
    }
    let candidate = match (&args.model, &args.model_size) {
        (Some(path), _) => Candidate::open(path, &ui)?,
        (None, size) => Candidate::random(size.as_deref().unwrap_or_default())?,
    };
    let formats = candidate.formats(&args.format)?;
    let threads = pool.current_num_threads();
    let bandwidth = bandwidth::measure(&pool);
    let parameters = candidate.config().num_parameters();
    ui.line(format!(
        "{}: {} parameters; {threads} {} read memory at {:.1} GB/s",
        candidate.label(),
        ui::thousands(parameters),
        if threads == 1 { "thread" } else { "threads" },
        bandwidth / 1e9
    ))?;
    ui.line(format!(
        "{:6} {:6} {:>22} {:>22} {:>9} {:>6} {:>6} {:>9} {:>10}",
        "device",
        "format",
        "decode tok/s",
        format!("prefill {PREFILL_TOKENS} tok/s"),
        "MB/token",
        "GB/s",
        "share",
        "start-up",
        "memory"
    ))?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut runs = Vec::new();
    let mut instructions = "";
    for format in formats {
        let file = candidate.file(format, folder.path(), &ui)?;
        let (run, set) = one(
            &file,
            format,
            (args.memory, args.engine.device),
            &pool,
            bandwidth,
            &ui,
        )?;
        ui.line(line(&run))?;
        runs.push(run);
        instructions = set;
        if file.starts_with(&folder) {
            std::fs::remove_file(&file)
                .with_context(|| format!("cannot remove {}", file.display()))?;
        }
    }
    ui.note(format!(
        "instructions {instructions}; median of several runs with the slowest and the fastest; weights in the system's \
         file cache at start-up"
    ));
    ui.result(&json!({
        "model": candidate.label(),
        "config": candidate.config(),
        "parameters": parameters,
        "threads": threads,
        "instruction_set": instructions,
        "bandwidth_bytes_per_second": bandwidth,
        "prefill_tokens": PREFILL_TOKENS,
        "runs": runs,
    }))?;
    Ok(Outcome::Done)
}

/// Measures the model in a file; also the instructions it ran on.
fn one(
    file: &Path,
    format: WeightFormat,
    (memory, device): (MemoryOption, EngineDevice),
    pool: &ThreadPool,
    bandwidth: f64,
    ui: &Ui,
) -> Result<(Run, &'static str)> {
    let memory_counts = memory::reset_peak();
    let start = Instant::now();
    let model = loading::model_kept(file, memory, device, ui)?;
    let start_up_seconds = start.elapsed().as_secs_f64();
    let measured = pool.install(|| measure::measure(&model))?;
    let per_second = measured.weight_bytes_per_token as f64 * measured.decode.median;
    let gpu = loading::gpu_name(&model);
    let run = Run {
        device: gpu.clone().unwrap_or_else(|| "cpu".to_owned()),
        format,
        weight_bytes_per_token: measured.weight_bytes_per_token,
        gb_per_second: per_second / 1e9,
        bandwidth_share: gpu.is_none().then_some(per_second / bandwidth),
        decode: measured.decode,
        prefill: measured.prefill,
        start_up_seconds,
        file_bytes: candidate::num_bytes(file)?,
        peak_memory_bytes: memory::peak().filter(|_| memory_counts),
    };
    Ok((run, model.instruction_set().name()))
}

fn line(run: &Run) -> String {
    let speed = |speed: &Speed| {
        format!(
            "{:.1} ({:.1}–{:.1})",
            speed.median, speed.lowest, speed.highest
        )
    };
    format!(
        "{:6} {:6} {:>22} {:>22} {:>9.1} {:>6.1} {:>6} {:>7.2} s {:>10}",
        // The adapter's whole name is in the note above the table, and in the JSON.
        if run.device == "cpu" { "cpu" } else { "gpu" },
        run.format,
        speed(&run.decode),
        speed(&run.prefill),
        run.weight_bytes_per_token as f64 / 1e6,
        run.gb_per_second,
        run.bandwidth_share
            .map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
        run.start_up_seconds,
        run.peak_memory_bytes
            .map_or_else(|| "?".to_owned(), ui::bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_names() {
        assert_eq!("all".parse(), Ok(Formats::All));
        assert_eq!("int8".parse(), Ok(Formats::One(WeightFormat::Int8)));
        assert!("int3".parse::<Formats>().is_err());
    }

    #[test]
    fn a_line_has_every_figure() {
        let speed = |median: f64| Speed {
            median,
            lowest: median - 1.0,
            highest: median + 1.0,
        };
        let run = Run {
            device: "cpu".to_owned(),
            format: WeightFormat::Int8,
            decode: speed(148.0),
            prefill: speed(2400.0),
            weight_bytes_per_token: 123_900_000,
            gb_per_second: 18.3,
            bandwidth_share: Some(0.91),
            start_up_seconds: 0.25,
            file_bytes: 150_000_000,
            peak_memory_bytes: Some(1 << 28),
        };
        assert_eq!(
            line(&run).split_whitespace().collect::<Vec<_>>().join(" "),
            "cpu int8 148.0 (147.0–149.0) 2400.0 (2399.0–2401.0) 123.9 18.3 91 % 0.25 s 256.0 MiB"
        );
    }
}
