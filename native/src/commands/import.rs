//! `import`: makes a model of another project's weights.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use ptbr_model::{
    CheckpointContents, ForeignModel, ModelSource, OutputLock, TrainState, clean_leftovers,
    save_checkpoint,
};
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
use serde_json::json;

use crate::Outcome;
use crate::counted::Counted;
use crate::options::Common;
use crate::ui::{self, Ui};

/// Make a model of another project's RWKV-4 weights
///
/// rwkv is the official layout: a .pth file as PyTorch writes it, or .safetensors with the same names; sizes come from the
/// shapes. hf is the folder of a transformers RwkvForCausalLM with its tokenizer. Numbers may be f32, f16 or bf16. A .pth file
/// is read by a reader that knows tensors and can run nothing. The output is a folder that every command takes as its model.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm import --format rwkv --input RWKV-4-169M.pth --output imported\n  \
                  ptbr-slm import --format hf --input transformers-folder --output imported"
)]
pub struct Args {
    /// Whose format it is
    #[arg(long, value_enum)]
    pub format: Format,
    /// The .pth or .safetensors file (rwkv), or the folder (hf)
    #[arg(long, value_name = "PATH")]
    pub input: PathBuf,
    /// The model's folder; a new or an empty one
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// The tokenizer.json that the model was trained with; of a transformers folder its own is taken
    #[arg(long, value_name = "FILE.json", conflicts_with = "no_tokenizer")]
    pub tokenizer: Option<PathBuf>,
    /// Import the weights alone, for commands that take tokens; for a folder whose tokenizer is of another kind
    #[arg(long)]
    pub no_tokenizer: bool,
    /// The longest sequence seen in training, which a file of weights does not say; nothing is bound by it but further training
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub max_seq_len: usize,
    #[command(flatten)]
    common: Common,
}

/// Layouts that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The official names, in .pth or .safetensors
    Rwkv,
    /// A folder of transformers
    Hf,
}

/// Runs the command.
///
/// # Errors
/// When the input is no RWKV-4 model or its tokenizer is of another kind, or the output cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let model = match args.format {
        Format::Rwkv if args.input.is_dir() => bail!(
            "{} is a folder; --format rwkv takes a file, and --format hf the folders of transformers",
            args.input.display()
        ),
        Format::Rwkv => ForeignModel::open_rwkv(&args.input, args.max_seq_len)?,
        Format::Hf => ForeignModel::open_hf(&args.input)?,
    };
    let tokenizer = tokenizer(args, &model)?;
    let lock = OutputLock::acquire(&args.output)?;
    clean_leftovers(&lock)?;
    refuse_used(&args.output)?;
    save(args, &model, tokenizer.as_ref(), &ui)?;
    // Every byte is read back and compared with its digest.
    let written = ModelSource::open(&args.output)?;
    let (config, dtypes) = (model.config(), model.dtypes());
    ui.line(format!(
        "{}: RWKV-4 with {} parameters ({}), vocabulary {}, {}",
        args.output.display(),
        ui::thousands(config.num_parameters()),
        dtypes.join(", "),
        ui::thousands(config.vocab_size() as u64),
        match tokenizer {
            Some(_) => "with its tokenizer",
            None => "without a tokenizer",
        }
    ))?;
    ui.line(format!("model id {}", written.model_id()))?;
    ui.next(&match tokenizer {
        Some(_) => format!(
            "ptbr-slm generate --model {} --prompt \"O Brasil é\"",
            args.output.display()
        ),
        None => format!(
            "ptbr-slm logits --model {} --tokens 5,17,42",
            args.output.display()
        ),
    });
    ui.result(&json!({
        "output": args.output,
        "model_id": written.model_id(),
        "parameters": config.num_parameters(),
        "config": config,
        "dtypes": dtypes,
        "tokenizer": tokenizer.is_some(),
    }))?;
    Ok(Outcome::Done)
}

/// The tokenizer of the flag or of the folder, which has to fit the model.
fn tokenizer(args: &Args, model: &ForeignModel) -> Result<Option<BpeTokenizer>> {
    let tokenizer = match (&args.tokenizer, model.tokenizer_json()) {
        _ if args.no_tokenizer => return Ok(None),
        (Some(path), _) => BpeTokenizer::from_file(path)?,
        (None, Some(json)) => BpeTokenizer::from_json(json.as_bytes()).with_context(|| {
            format!(
                "the tokenizer in {} cannot be used here; --no-tokenizer imports the weights alone, for commands that take tokens",
                args.input.display()
            )
        })?,
        (None, None) => return Ok(None),
    };
    if tokenizer.vocab_size() > model.config().vocab_size() {
        bail!(
            "the tokenizer has {} tokens and the model {}: it is not the one that the model was trained with",
            tokenizer.vocab_size(),
            model.config().vocab_size()
        );
    }
    Ok(Some(tokenizer))
}

/// Refuses a folder that holds something beside the lock.
fn refuse_used(output: &Path) -> Result<()> {
    let entries = std::fs::read_dir(output);
    for entry in entries.with_context(|| format!("cannot look into {}", output.display()))? {
        let name = entry
            .with_context(|| format!("cannot look into {}", output.display()))?
            .file_name();
        if name != ".lock" {
            bail!(
                "{} is not empty (it holds {}); give a new folder",
                output.display(),
                name.display()
            );
        }
    }
    Ok(())
}

/// Writes the model as a checkpoint of no steps: what every command takes as a model.
fn save(
    args: &Args,
    model: &ForeignModel,
    tokenizer: Option<&BpeTokenizer>,
    ui: &Ui,
) -> Result<()> {
    let json = tokenizer.map(BpeTokenizer::to_json);
    let state = TrainState {
        config_sha256: model.config().sha256(),
        tokenizer_sha256: tokenizer.map_or_else(String::new, |own| ui::hex(&own.sha256())),
        ..TrainState::default()
    };
    let bar = ui.count_bar(model.config().num_parameters(), "importing");
    let counted = Counted {
        source: model,
        bar: &bar,
    };
    save_checkpoint(
        &args.output,
        &CheckpointContents {
            config: model.config(),
            tokenizer_json: json.as_deref(),
            model: &counted,
            optimizer: None,
            state: &state,
        },
    )?;
    bar.finish_and_clear();
    Ok(())
}
