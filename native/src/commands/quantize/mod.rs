//! `quantize`: writes a smaller model file.

mod search;
mod trial;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use ptbr_model::{
    ModelSource, QuantizationPlan, WeightFormat, WrittenTensor, matrix_kind, write_model_file_with,
};
use ptbr_runtime::EvalMetrics;
use serde_json::json;

use crate::Outcome;
use crate::commands::evaluate;
use crate::loading::{self, report_skipped};
use crate::options::{Common, EngineOptions};
use crate::ui::{self, Ui};
use search::{Found, Search};
use trial::Trial;

/// Write a model as a smaller file: 16, 8 or 4 bits a weight
///
/// Reads a trained model tensor by tensor and writes a model file that holds the same tokenizer and model id, so states and
/// adapters of the original fit. int8 and fp8 take 8.5 bits a weight, int4 takes 5. With --data the perplexity is measured
/// before and after; with --max-perplexity-increase the tensors that suffer most are kept wider until the bound holds.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm quantize --model run --format int8 --output int8.safetensors\n  \
                  ptbr-slm quantize --model run --format int4 --output int4.safetensors --keep-f16 head \\\n    \
                  --data held-out.txt --max-perplexity-increase 1%"
)]
pub struct Args {
    /// An f32 model: a checkpoint folder, a training output folder (its latest checkpoint) or a model file
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Number format of the matrices: f32, f16, int8, fp8 or int4
    #[arg(long, value_name = "FORMAT")]
    pub format: WeightFormat,
    /// The model file to write
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Keep these matrices in f32: kinds (head, emb, att.key, ffn.value, …), parts (att, ffn, blocks.0) or whole names
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub keep_f32: Vec<String>,
    /// Keep these in f16
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub keep_f16: Vec<String>,
    /// Keep these in int8
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub keep_int8: Vec<String>,
    /// Keep these in fp8
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub keep_fp8: Vec<String>,
    /// Measure the perplexity on this before and after: a token file made with the model's tokenizer, or text (.txt, .jsonl, a folder)
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Read at most this many tokens of the data; 0 reads all
    #[arg(long, value_name = "N", default_value_t = 0, requires = "data")]
    pub max_tokens: u64,
    /// Keep as many matrices wider as it takes for the perplexity to rise by at most this; exit status 1 when f16 is not enough
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "data")]
    pub max_perplexity_increase: Option<f64>,
    #[command(flatten)]
    engine: EngineOptions,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the model cannot be read or is quantized already, a name fits no matrix, a weight is beyond the format's range, or the output cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let start = Instant::now();
    loading::check_output(&args.model, &args.output)?;
    let source = ModelSource::open(&args.model)?;
    report_skipped(source.skipped(), &ui);
    if *source.plan() != QuantizationPlan::uniform(WeightFormat::F32) {
        bail!(
            "{} is quantized already ({}), and rounding it again would lose more than the format has to; give the f32 \
             model it was made from",
            args.model.display(),
            source.plan().format()
        );
    }
    let mut plan = kept(args, &source)?;
    let measured = match &args.data {
        Some(data) => Some(Measured::new(args, data, &source, &ui)?),
        None => None,
    };
    if let (Some(measured), Some(most)) = (&measured, args.max_perplexity_increase) {
        let search = Search {
            config: source.config(),
            increase: &|plan| measured.trial.increase(plan),
            ui: &ui,
        };
        match search.widen(&plan, most)? {
            Found::Plan(found) => plan = found,
            Found::OutOfReach { increase } => {
                ui.line(format!(
                    "the perplexity rises by {} with every matrix in f16 that may be, more than {}; nothing was written",
                    as_percent(increase),
                    as_percent(most)
                ))?;
                ui.result(&json!({ "output": null, "perplexity_increase": increase }))?;
                return Ok(Outcome::No);
            }
        }
    }
    let written = write(args, &source, &plan, &ui)?;
    let after = match &measured {
        Some(measured) => {
            let model = loading::model(&args.output, args.engine.device, &ui)?;
            Some(evaluate::measure(&model, &measured.tokens, &ui)?)
        }
        None => None,
    };
    report(
        args,
        &source,
        &plan,
        &written,
        measured.map(|m| m.before).zip(after),
        start,
        &ui,
    )?;
    Ok(Outcome::Done)
}

/// Writes a model with all its matrices in one format; bytes of the tensors before and after.
///
/// # Errors
/// As [`run`].
#[cfg(feature = "train")]
pub fn to_file(model: &Path, format: WeightFormat, output: &Path) -> Result<[u64; 2]> {
    let source = ModelSource::open(model)?;
    let plan = QuantizationPlan::uniform(format);
    let specs = source.config().tensor_specs();
    write_model_file_with(
        output,
        &trial::document(&source, &plan),
        &source.tensors().in_order(&specs),
        &mut |_| (),
    )?;
    Ok([source.plan(), &plan].map(|plan| plan.num_bytes(source.config())))
}

/// The plan that the flags ask for; where several name a matrix, the widest format has it.
fn kept(args: &Args, source: &ModelSource) -> Result<QuantizationPlan> {
    let mut plan = QuantizationPlan::uniform(args.format);
    for (patterns, format) in [
        (&args.keep_fp8, WeightFormat::Fp8),
        (&args.keep_int8, WeightFormat::Int8),
        (&args.keep_f16, WeightFormat::F16),
        (&args.keep_f32, WeightFormat::F32),
    ] {
        for pattern in patterns {
            plan.keep(source.config(), pattern, format)?;
        }
    }
    Ok(plan)
}

/// The data, and what the f32 model makes of it.
struct Measured<'a> {
    tokens: Vec<ptbr_tokenizer::TokenId>,
    before: EvalMetrics,
    trial: Trial<'a>,
}

impl<'a> Measured<'a> {
    fn new(args: &'a Args, data: &Path, source: &'a ModelSource, ui: &Ui) -> Result<Self> {
        let model = loading::model(&args.model, args.engine.device, ui)?;
        let tokenizer = model
            .tokenizer()
            .context("the model carries no tokenizer to read --data with")?;
        let tokens = evaluate::read_tokens(data, false, tokenizer, args.max_tokens, ui)?;
        let before = evaluate::measure(&model, &tokens, ui)?;
        let trial = Trial::new(
            source,
            loading::folder_of(&args.output),
            tokens.clone(),
            before.loss,
            args.engine.device,
        );
        Ok(Self {
            tokens,
            before,
            trial,
        })
    }
}

/// Writes the file with a bar, and returns what was written.
fn write(
    args: &Args,
    source: &ModelSource,
    plan: &QuantizationPlan,
    ui: &Ui,
) -> Result<Vec<WrittenTensor>> {
    let specs = source.config().tensor_specs();
    let bar = ui.count_bar(source.config().num_parameters(), "quantizing");
    let mut written = Vec::with_capacity(specs.len());
    write_model_file_with(
        &args.output,
        &trial::document(source, plan),
        &source.tensors().in_order(&specs),
        &mut |tensor| {
            bar.inc(tensor.elements as u64);
            written.push(tensor.clone());
        },
    )?;
    bar.finish_and_clear();
    Ok(written)
}

/// Root of the mean of the relative squared errors of a kind's tensors; 0 for vectors.
fn error_of(kind: &str, written: &[WrittenTensor]) -> f64 {
    let of_kind = written
        .iter()
        .filter(|tensor| matrix_kind(&tensor.name) == kind);
    let (sum, count) = of_kind.fold((0.0, 0), |(sum, count), tensor| {
        (sum + tensor.relative_error.powi(2), count + 1)
    });
    (sum / f64::from(count.max(1))).sqrt()
}

fn report(
    args: &Args,
    source: &ModelSource,
    plan: &QuantizationPlan,
    written: &[WrittenTensor],
    metrics: Option<(EvalMetrics, EvalMetrics)>,
    start: Instant,
    ui: &Ui,
) -> Result<()> {
    let config = source.config();
    let bytes = std::fs::metadata(&args.output)
        .with_context(|| format!("cannot look at {}", args.output.display()))?
        .len();
    let f32_bytes = QuantizationPlan::uniform(WeightFormat::F32).num_bytes(config);
    let stored = plan.num_bytes(config);
    let bits = bits_per_weight(stored, config.num_parameters());
    let kinds: Vec<_> = plan
        .by_kind(config)
        .into_iter()
        .map(|size| {
            let error = error_of(&size.kind, written);
            (size, error)
        })
        .collect();
    for (size, error) in &kinds {
        let exact = size.formats == [WeightFormat::F32];
        let error = if exact {
            String::new()
        } else {
            format!("error {:.2} %", 100.0 * error)
        };
        let line = format!(
            "{:15} {:>9}  {:10}  {error}",
            size.kind,
            ui::bytes(size.bytes),
            names(&size.formats)
        );
        ui.line(line.trim_end())?;
    }
    ui.line(format!(
        "{}: {}, {bits:.2} bits a weight, {:.1} times smaller than f32",
        args.output.display(),
        ui::bytes(bytes),
        f32_bytes as f64 / stored as f64
    ))?;
    let increase = metrics.map(|(before, after)| after.perplexity / before.perplexity - 1.0);
    if let (Some((before, after)), Some(increase)) = (metrics, increase) {
        ui.line(format!(
            "perplexity {:.3} before, {:.3} after: {}",
            before.perplexity,
            after.perplexity,
            as_percent(increase)
        ))?;
    }
    ui.note(format!("in {}", ui::duration(start.elapsed())));
    ui.next(&format!(
        "ptbr-slm generate --model {} --prompt \"O Brasil é\"",
        args.output.display()
    ));
    let kinds: Vec<_> = kinds
        .iter()
        .map(|(size, error)| {
            let mut value = json!(size);
            value["relative_error"] = json!(error);
            value
        })
        .collect();
    ui.result(&json!({
        "output": args.output,
        "format": plan.format(),
        "exceptions": plan.exceptions(),
        "bytes": bytes,
        "f32_bytes": f32_bytes,
        "bits_per_weight": bits,
        "kinds": kinds,
        "before": metrics.map(|(before, _)| before),
        "after": metrics.map(|(_, after)| after),
        "perplexity_increase": increase,
        "seconds": start.elapsed().as_secs_f64(),
    }))
}

/// Bits of all tensors over the number of parameters.
pub fn bits_per_weight(bytes: u64, parameters: u64) -> f64 {
    bytes as f64 * 8.0 / parameters.max(1) as f64
}

/// Formats for people: `int4`, or `f16, int4`.
pub fn names(formats: &[WeightFormat]) -> String {
    let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
    names.join(", ")
}

/// A share as a signed percentage.
fn as_percent(share: f64) -> String {
    format!("{:+.2} %", 100.0 * share)
}

/// `1%`, `1` and `0.5 %` as shares.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent.is_finite() && percent >= 0.0 => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is no percentage; write 1% or 0.5%")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_with_and_without_the_sign() {
        assert_eq!(percent("1%"), Ok(0.01));
        assert_eq!(percent("0.5 %"), Ok(0.005));
        assert_eq!(percent("2"), Ok(0.02));
        for bad in ["", "%", "-1%", "nan", "one", "inf"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
        assert_eq!(as_percent(0.00123), "+0.12 %");
    }
}
