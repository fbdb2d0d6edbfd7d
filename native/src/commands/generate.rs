//! `generate`: goes on from a prompt.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use ptbr_runtime::{
    GenerateOptions, LoadedAdapter, Model, RuntimeError, SamplerConfig, Session, StopReason,
};
use serde::Serialize;

use crate::Outcome;
use crate::adapters::AdapterOption;
use crate::loading;
use crate::options::{Common, EngineOptions};
use crate::state_file;

/// How the next token is drawn: flags of every command that writes text.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Sampling")]
pub struct Sampling {
    /// 0 always takes the most likely token; higher writes more freely
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.8,
        allow_hyphen_values = true
    )]
    pub temperature: f32,
    /// Draw from this many most likely tokens; 0 is all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top_k: usize,
    /// Draw from the most likely tokens that together have this probability
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.9,
        allow_hyphen_values = true
    )]
    pub top_p: f32,
    /// Above 1, tokens that were written lately become less likely
    #[arg(
        long,
        value_name = "X",
        default_value_t = 1.0,
        allow_hyphen_values = true
    )]
    pub repetition_penalty: f32,
    /// The same seed writes the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl Sampling {
    /// What the flags ask for.
    pub fn config(&self) -> SamplerConfig {
        SamplerConfig {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            ..SamplerConfig::default()
        }
    }
}

/// Write text that goes on from a prompt
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm generate --model run --prompt \"O Brasil é\" --max-tokens 100\n  \
                  ptbr-slm generate --model run --adapter legal --prompt \"Art. 1º\" --stop \"Art. 2º\"\n  \
                  ptbr-slm generate --model run --prompt \"Era uma vez\" --state story.state"
)]
pub struct Args {
    /// A checkpoint folder, a training output folder (its latest checkpoint) or a model file
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// The text to go on from; an empty one begins a document
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// Stop after this many tokens, or before at the end of a document
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_tokens: usize,
    /// Stop before this text would be written; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on from the memory in this file, where there is one, and leave it there in the end
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterOption,
    /// The tokenizer.json of a model that carries none
    #[arg(long, value_name = "FILE.json")]
    pub tokenizer: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineOptions,
    #[command(flatten)]
    pub sampling: Sampling,
    #[command(flatten)]
    common: Common,
}

/// What `generate --json` prints.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// What it went on from.
    pub prompt: String,
    /// What it wrote, the prompt not included.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// The tokens written.
    pub tokens: Vec<u16>,
    /// `max_tokens`, `end_of_text` or `stop_text`.
    pub stop: &'static str,
    /// Tokens written each second, reading the prompt included.
    pub tokens_per_second: f64,
    /// The adapter's id, where there was one.
    pub adapter: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When the model, the adapter or the state cannot be loaded, they do not belong together, or a sampling value is out of range.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let model = match &args.tokenizer {
        Some(tokenizer) => {
            loading::model_with_tokenizer(&args.model, tokenizer, args.engine.device, &ui)?
        }
        None => loading::model(&args.model, args.engine.device, &ui)?,
    };
    let mut session = Session::new(Arc::clone(&model));
    session.set_adapter(args.adapter.load(&model, &args.model, &ui)?.as_ref())?;
    if let Some(path) = &args.state
        && state_file::restore(&mut session, path)?
    {
        if args.prompt.is_empty() {
            bail!(
                "{} goes on from a text, and needs words to go on with: give a --prompt that is not empty",
                path.display()
            );
        }
        ui.note(format!("going on after {} tokens", session.position()));
    }
    ui.text(&args.prompt)?;
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        sampler: args.sampling.config(),
        stop: args.stop.clone(),
        add_bos: false,
    };
    let written = write_on(&mut session, &args.prompt, &options, &mut |piece| {
        ui.text(piece)
    })?;
    ui.line("")?;
    if let Some(path) = &args.state {
        state_file::save(&session.state()?, path)?;
        ui.note(format!(
            "{} tokens remembered in {}",
            session.position(),
            path.display()
        ));
    }
    ui.note(format!(
        "{} tokens, {:.1} tokens a second",
        written.tokens.len(),
        written.tokens_per_second
    ));
    ui.result(&written)?;
    Ok(Outcome::Done)
}

/// Lets `model` go on from `prompt` in a session of its own; see [`write_on`].
///
/// # Errors
/// As [`write_on`].
pub fn continue_text(
    model: &Arc<Model>,
    prompt: &str,
    max_tokens: usize,
    sampler: SamplerConfig,
    on_piece: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<Summary> {
    let options = GenerateOptions {
        max_tokens,
        sampler,
        add_bos: false,
        ..GenerateOptions::default()
    };
    write_on(
        &mut Session::new(Arc::clone(model)),
        prompt,
        &options,
        on_piece,
    )
}

/// Lets `session` go on from `prompt`, handing out whole characters as they come.
///
/// The prompt stands alone: nothing is put in front of it, as training starts its sequences anywhere in a text. An empty
/// prompt begins a new document, which is what comes after `[EOS]`.
///
/// # Errors
/// When the model has no tokenizer, a sampling value is out of range, or `on_piece` cannot write.
fn write_on(
    session: &mut Session,
    prompt: &str,
    options: &GenerateOptions,
    on_piece: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<Summary> {
    let start = Instant::now();
    if prompt.is_empty() {
        let model = Arc::clone(session.model());
        let tokenizer = model.tokenizer().ok_or(RuntimeError::NoTokenizer)?;
        session.prefill(&[tokenizer.eos_id()])?;
    }
    let mut text = String::new();
    let mut failed = None;
    let written = ptbr_runtime::generate(session, prompt, options, &mut |piece| {
        text.push_str(piece);
        match on_piece(piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Summary {
        prompt: prompt.to_owned(),
        text,
        prompt_tokens: written.prompt_tokens,
        tokens_per_second: written.tokens.len() as f64 / seconds.max(1e-9),
        tokens: written.tokens,
        stop: match written.stop {
            StopReason::EndOfText => "end_of_text",
            StopReason::StopText => "stop_text",
            StopReason::MaxTokens | StopReason::Interrupted => "max_tokens",
        },
        adapter: session
            .adapter()
            .map(|adapter: &Arc<LoadedAdapter>| adapter.id().to_owned()),
    })
}
