//! `export`: writes a model for other tools.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use ptbr_model::{
    ExportContents, ExportFormat, ExportTokenizer, ModelCard, ModelSource, QuantizationPlan,
    WeightFormat, export_model,
};
use ptbr_tokenizer::{BpeTokenizer, TokenId};
use serde_json::{Value, json};

use crate::Outcome;
use crate::counted::Counted;
use crate::loading::{self, report_skipped};
use crate::options::Common;
use crate::ui::{self, Ui};

/// Write a model for other tools
///
/// rwkv is safetensors with the official names, as web-rwkv loads them; hf a folder for transformers; rwkv-cpp a ggmf file of
/// version 101; onnx one recurrent step, with token and state in and logits and state out. A path that ends as the format's
/// files do (.safetensors or .st, .bin, .onnx) becomes that file alone; any other becomes a folder with tokenizer.json and a
/// model card.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm export --model run --format rwkv --output model.st\n  \
                  ptbr-slm export --model run --format hf --output for-transformers --license cc-by-sa-4.0 \\\n    \
                  --data \"Portuguese Wikipedia of June 2026\"\n  \
                  ptbr-slm export --model run --format onnx --output for-onnx --dtype f16"
)]
pub struct Args {
    /// An f32 model: a checkpoint folder, a training output folder (its latest checkpoint) or a model file
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Whose format to write
    #[arg(long, value_enum)]
    pub format: Format,
    /// The file or the folder to write
    #[arg(long, value_name = "PATH")]
    pub output: PathBuf,
    /// Number format of the matrices; f16 for rwkv and rwkv-cpp and f32 for the others unless given
    #[arg(long, value_enum)]
    pub dtype: Option<Dtype>,
    /// What the model card calls the model; the output's name unless given
    #[arg(long, value_name = "NAME", help_heading = "Model card")]
    pub name: Option<String>,
    /// The licence of the weights, as an SPDX identifier
    #[arg(long, value_name = "ID", help_heading = "Model card")]
    pub license: Option<String>,
    /// What the model was trained on, in a sentence
    #[arg(long, value_name = "TEXT", help_heading = "Model card")]
    pub data: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Layouts that can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// safetensors with the official names
    Rwkv,
    /// A folder of transformers
    Hf,
    /// A ggmf file
    RwkvCpp,
    /// One recurrent step as a graph
    Onnx,
}

/// Number formats that every reader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// 32-bit floats, exact
    F32,
    /// 16-bit floats
    F16,
}

/// Runs the command.
///
/// # Errors
/// When the model cannot be read or is quantized, a weight is beyond f16, or the output is taken or cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    loading::check_output(&args.model, &args.output)?;
    let source = ModelSource::open(&args.model)?;
    report_skipped(source.skipped(), &ui);
    if *source.plan() != QuantizationPlan::uniform(WeightFormat::F32) {
        bail!(
            "{} is quantized ({}), and other tools take exact weights; give the f32 model it was made from",
            args.model.display(),
            source.plan().format()
        );
    }
    let format = match args.format {
        Format::Rwkv => ExportFormat::Rwkv,
        Format::Hf => ExportFormat::Hf,
        Format::RwkvCpp => ExportFormat::RwkvCpp,
        Format::Onnx => ExportFormat::Onnx,
    };
    let dtype = match args.dtype {
        Some(Dtype::F32) => WeightFormat::F32,
        Some(Dtype::F16) => WeightFormat::F16,
        None => format.usual_dtype(),
    };
    write(args, &source, format, dtype, &ui)?;
    report(args, &source, format, dtype, &ui)?;
    Ok(Outcome::Done)
}

fn write(
    args: &Args,
    source: &ModelSource,
    format: ExportFormat,
    dtype: WeightFormat,
    ui: &Ui,
) -> Result<()> {
    let specs = source.config().tensor_specs();
    let bar = ui.count_bar(source.config().num_parameters(), "exporting");
    let stem = args.output.file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    let contents = ExportContents {
        config: source.config(),
        model: &Counted {
            source: &source.tensors().in_order(&specs),
            bar: &bar,
        },
        tokenizer: source.tokenizer_json().map(tokenizer).transpose()?,
        card: ModelCard {
            name: args.name.as_deref().unwrap_or(&stem),
            license: args.license.as_deref(),
            data: args.data.as_deref(),
            model_id: source.model_id(),
            training: source.training(),
        },
    };
    export_model(&args.output, format, dtype, &contents)?;
    bar.finish_and_clear();
    Ok(())
}

/// What other tools need to know of the model's tokenizer.
fn tokenizer(json: &str) -> Result<ExportTokenizer<'_>> {
    let tokenizer = BpeTokenizer::from_json(json.as_bytes())?;
    let special = |id: TokenId| (id, tokenizer.vocab().token_text(id).unwrap_or_default());
    Ok(ExportTokenizer {
        json,
        bos: special(tokenizer.bos_id()),
        eos: special(tokenizer.eos_id()),
        pad: special(tokenizer.pad_id()),
        unk: special(tokenizer.unk_id()),
    })
}

fn report(
    args: &Args,
    source: &ModelSource,
    format: ExportFormat,
    dtype: WeightFormat,
    ui: &Ui,
) -> Result<()> {
    let files = files(&args.output)?;
    for (path, bytes) in &files {
        ui.line(format!("{}: {}", path.display(), ui::bytes(*bytes)))?;
    }
    let vocab_size = source.config().vocab_size();
    if format == ExportFormat::Rwkv {
        if dtype == WeightFormat::F32 {
            ui.note("web-rwkv reads f16 only; --dtype f16 writes that");
        } else if !vocab_size.is_multiple_of(8) {
            ui.note(format!(
                "web-rwkv takes RWKV-4 models whose vocabulary is a multiple of 8 only; this one has {} tokens",
                vocab_size
            ));
        }
    }
    let files: Vec<Value> = files
        .iter()
        .map(|(path, bytes)| json!({ "path": path, "bytes": bytes }))
        .collect();
    ui.result(&json!({
        "output": args.output,
        "dtype": dtype,
        "model_id": source.model_id(),
        "parameters": source.config().num_parameters(),
        "files": files,
    }))
}

/// What was written, with its bytes.
fn files(output: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let look = || format!("cannot look at {}", output.display());
    let mut paths = vec![output.to_owned()];
    if output.is_dir() {
        let entries = std::fs::read_dir(output).with_context(look)?;
        let entries: std::io::Result<Vec<PathBuf>> =
            entries.map(|entry| Ok(entry?.path())).collect();
        paths = entries.with_context(look)?;
        paths.sort();
    }
    paths
        .into_iter()
        .map(|path| {
            let bytes = path.metadata().with_context(look)?.len();
            Ok((path, bytes))
        })
        .collect()
}
