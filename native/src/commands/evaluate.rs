//! `evaluate`: how well a model predicts a text.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_dataset::MmapDataset;
use ptbr_runtime::{EvalMetrics, Model, RuntimeError, Session};
use ptbr_tokenizer::{BpeTokenizer, TokenId};

use crate::Outcome;
use crate::adapters::AdapterOption;
use crate::documents;
use crate::loading;
use crate::options::{Common, EngineOptions};
use crate::ui::{self, Ui};

/// Measure how well a model predicts a text
///
/// Prints the loss (nats a token), perplexity, bits per byte, and how often the most likely token was the right one. Bits
/// per byte can be compared between models of different vocabularies; the others cannot.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm evaluate --model run --data held-out.txt\n  ptbr-slm evaluate --model run --adapter legal --data laws.txt"
)]
pub struct Args {
    /// A checkpoint folder, a training output folder (its latest checkpoint) or a model file
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// A token file made with the model's tokenizer, or text (.txt, .jsonl, a folder)
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Read the data as bare 16-bit token ids without a header
    #[arg(long)]
    pub raw: bool,
    /// Read at most this many tokens; 0 reads all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_tokens: u64,
    #[command(flatten)]
    adapter: AdapterOption,
    #[command(flatten)]
    engine: EngineOptions,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the model or the data cannot be read, or the data belongs to another tokenizer.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let model = loading::model(&args.model, args.engine.device, &ui)?;
    let tokenizer = model.tokenizer().ok_or(RuntimeError::NoTokenizer)?;
    let tokens = read_tokens(&args.data, args.raw, tokenizer, args.max_tokens, &ui)?;
    let start = Instant::now();
    let mut session = Session::new(Arc::clone(&model));
    session.set_adapter(args.adapter.load(&model, &args.model, &ui)?.as_ref())?;
    let metrics = measure_session(&mut session, &tokens, &ui)?;
    for line in describe(&metrics) {
        ui.line(line)?;
    }
    ui.note(format!("in {}", ui::duration(start.elapsed())));
    ui.result(&metrics)?;
    Ok(Outcome::Done)
}

/// Predicts every token but the first from all before it, with a bar.
///
/// # Errors
/// When there are too few tokens or the model computes no numbers.
pub fn measure(model: &Arc<Model>, tokens: &[TokenId], ui: &Ui) -> Result<EvalMetrics> {
    measure_session(&mut Session::new(Arc::clone(model)), tokens, ui)
}

/// The same with the session's adapter.
fn measure_session(session: &mut Session, tokens: &[TokenId], ui: &Ui) -> Result<EvalMetrics> {
    let bar = ui.count_bar(tokens.len() as u64, "evaluating");
    let metrics = ptbr_runtime::evaluate_session(session, tokens, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    Ok(metrics?)
}

/// The result for people, a line each.
pub fn describe(metrics: &EvalMetrics) -> [String; 5] {
    [
        format!("loss           {:.4} nats a token", metrics.loss),
        format!("perplexity     {:.2}", metrics.perplexity),
        format!("bits per byte  {:.4}", metrics.bits_per_byte),
        format!("accuracy       {:.2} %", 100.0 * metrics.accuracy),
        format!("tokens         {}", ui::thousands(metrics.tokens)),
    ]
}

/// The tokens of a token file, or of text encoded as `tokenize` would; `max_tokens` and the one that they begin after, where that is not 0.
///
/// # Errors
/// When the data cannot be read or belongs to another tokenizer.
pub fn read_tokens(
    path: &Path,
    raw: bool,
    tokenizer: &BpeTokenizer,
    max_tokens: u64,
    ui: &Ui,
) -> Result<Vec<TokenId>> {
    let mut tokens = all_tokens(path, raw, tokenizer, ui)?;
    if max_tokens > 0 {
        let most = usize::try_from(max_tokens).unwrap_or(usize::MAX);
        tokens.truncate(most.saturating_add(1));
    }
    Ok(tokens)
}

/// Whether a path names text rather than a token file: a folder, .txt or .jsonl.
pub fn is_text(path: &Path) -> bool {
    path.is_dir()
        || path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("txt") || end.eq_ignore_ascii_case("jsonl"))
}

fn all_tokens(path: &Path, raw: bool, tokenizer: &BpeTokenizer, ui: &Ui) -> Result<Vec<TokenId>> {
    if raw {
        return Ok(MmapDataset::open_raw(path)?.tokens().to_vec());
    }
    if !is_text(path) {
        let data = MmapDataset::open(path)?;
        data.check_tokenizer(&tokenizer.sha256())?;
        return Ok(data.tokens().to_vec());
    }
    documents::tokens_of_files(&[path.to_owned()], tokenizer, ui)
}
