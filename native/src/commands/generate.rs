//! `generate`: goes on from a prompt.

mod auto;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use ptbr_runtime::{
    GenerateOptions, Generation, LoadedAdapter, Model, RuntimeError, SamplerConfig, Session,
    StopReason,
};
use ptbr_tokenizer::{TokenId, Tokenizer};
use serde::Serialize;

use crate::Outcome;
use crate::adapters::{AUTO, AdapterOption};
use crate::loading;
use crate::options::{Common, EngineOptions, MemoryOption};
use crate::state_file;
use crate::ui::Ui;
use auto::Choice;

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
///
/// With --adapter auto the prompt is read with every adapter of the model, and the one that makes it most likely writes on; the
/// model alone does where no adapter makes the prompt at least e times as likely. What was taken, and by how much, is said on
/// stderr.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  ptbr-slm generate --model run --prompt \"O Brasil é\" --max-tokens 100\n  \
                  ptbr-slm generate --model run --adapter legal --prompt \"Art. 1º\" --stop \"Art. 2º\"\n  \
                  ptbr-slm generate --model run --adapter auto --prompt \"O réu foi condenado a\"\n  \
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
    memory: MemoryOption,
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
    /// How it was chosen, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
}

/// Runs the command.
///
/// # Errors
/// When the model, the adapter or the state cannot be loaded, they do not belong together, or a sampling value is out of range.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let model = loading::model_with_tokenizer(
        &args.model,
        args.tokenizer.as_deref(),
        args.memory,
        args.engine.device,
        &ui,
    )?;
    let (mut session, choice) = session(args, &model, &ui)?;
    ui.text(&args.prompt)?;
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        sampler: args.sampling.config(),
        stop: args.stop.clone(),
        add_bos: false,
    };
    let on_piece = &mut |piece: &str| ui.text(piece);
    let mut written = match &choice {
        Some(_) => write_after(&mut session, &args.prompt, &options, on_piece)?,
        None => write_on(&mut session, &args.prompt, &options, on_piece)?,
    };
    written.choice = choice;
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

/// The session that writes: it goes on from a state, or has read the prompt already when its adapter was chosen by it.
fn session(args: &Args, model: &Arc<Model>, ui: &Ui) -> Result<(Session, Option<Choice>)> {
    if args.adapter.adapter.as_deref() == Some(AUTO) {
        if let Some(path) = args.state.as_deref().filter(|path| path.exists()) {
            bail!(
                "{} goes on with the adapter that it was made with; name that one instead of {AUTO}",
                path.display()
            );
        }
        let prompt = encode(model, &args.prompt)?;
        let (session, choice) = auto::choose(model, &args.model, &prompt, ui)?;
        return Ok((session, Some(choice)));
    }
    let mut session = Session::new(Arc::clone(model));
    session.set_adapter(args.adapter.load(model, &args.model, ui)?.as_ref())?;
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
    Ok((session, None))
}

fn encode(model: &Model, text: &str) -> Result<Vec<TokenId>> {
    let tokenizer = model.tokenizer().ok_or(RuntimeError::NoTokenizer)?;
    Ok(tokenizer.encode(text))
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
    if prompt.is_empty() {
        let model = Arc::clone(session.model());
        let tokenizer = model.tokenizer().ok_or(RuntimeError::NoTokenizer)?;
        session.prefill(&[tokenizer.eos_id()])?;
    }
    summarize(session, prompt, on_piece, &mut |session, on_piece| {
        ptbr_runtime::generate(session, prompt, options, on_piece)
    })
}

/// The same where `session` has read the prompt already.
fn write_after(
    session: &mut Session,
    prompt: &str,
    options: &GenerateOptions,
    on_piece: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<Summary> {
    let read = encode(session.model(), prompt)?;
    summarize(session, prompt, on_piece, &mut |session, on_piece| {
        ptbr_runtime::generate_after(session, &read, options, on_piece)
    })
}

/// Hands what `write` writes to `on_piece`, and says what it was.
fn summarize(
    session: &mut Session,
    prompt: &str,
    on_piece: &mut dyn FnMut(&str) -> io::Result<()>,
    write: &mut Write<'_>,
) -> Result<Summary> {
    let start = Instant::now();
    let mut text = String::new();
    let mut failed = None;
    let written = write(session, &mut |piece| {
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
        choice: None,
    })
}

/// One of the runtime's ways to write, with what it writes after.
type Write<'a> = dyn FnMut(&mut Session, &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<Generation, RuntimeError>
    + 'a;
