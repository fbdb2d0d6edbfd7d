//! `logits`: what a model expects after given tokens, for other tools to compare with.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use ptbr_runtime::Session;
use ptbr_tokenizer::{TokenId, Tokenizer};
use serde_json::json;

use crate::Outcome;
use crate::adapters::AdapterOption;
use crate::loading;
use crate::options::{Common, EngineOptions};

/// Print the logits after a sequence of tokens
///
/// Without --json the ten most likely next tokens are shown; with it, all logits, so that another implementation can be
/// compared with this one.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  ptbr-slm logits --model run --tokens 5,17,42 --json")]
pub struct Args {
    /// A checkpoint folder, a training output folder (its latest checkpoint) or a model file
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Token ids, with commas between them
    #[arg(long, value_name = "ID,ID,…", value_delimiter = ',', required = true)]
    pub tokens: Vec<TokenId>,
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
/// When the model or the adapter cannot be loaded or a token is not in its vocabulary.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let model = loading::model(&args.model, args.engine.device, &ui)?;
    let mut session = Session::new(model.clone());
    session.set_adapter(args.adapter.load(&model, &args.model, &ui)?.as_ref())?;
    let logits = session.prefill(&args.tokens)?;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    for &id in order.iter().take(10) {
        let probability = f64::from(logits[id] - most).exp() / sum;
        let text = model.tokenizer().map_or_else(String::new, |tokenizer| {
            format!("{:?}", tokenizer.decode(&[id as TokenId]))
        });
        ui.line(format!(
            "{id:>6}  {:>9.4}  {:>6.2} %  {text}",
            logits[id],
            100.0 * probability
        ))?;
    }
    ui.result(&json!({ "logits": logits }))?;
    Ok(Outcome::Done)
}
