//! `chat`: a text written in turns, by a person and a model.

mod conversation;
mod input;
mod interrupt;
mod line;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use serde_json::json;

use crate::Outcome;
use crate::adapters::AdapterOption;
use crate::commands::generate::Sampling;
use crate::loading;
use crate::options::{Common, EngineOptions, MemoryOption};
use conversation::Conversation;
use input::Input;
use interrupt::Interrupt;
use line::Line;

/// Write a text in turns with a model
///
/// Each line is read after all that was written before, and the model goes on from there until it ends the text or has written
/// --max-tokens; an empty line lets it go on. Ctrl-C stops the writing and not the program, Ctrl-D leaves. Commands: /adapter
/// NAME (or none), /reset, /save FILE, /load FILE, /temp X, /info, /help, /quit. In a pipe, stdin is read line by line, stdout
/// holds what the model writes, and the first command that fails ends the program.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  ptbr-slm chat --model run\n  \
                  ptbr-slm chat --model run --adapter legal --stop \"\\n\"\n  \
                  printf 'O Brasil é\\n/save b.state\\n' | ptbr-slm chat --model run")]
pub struct Args {
    /// A checkpoint folder, a training output folder (its latest checkpoint) or a model file
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Most tokens that the model writes in a turn
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_tokens: usize,
    /// End a turn before this text would be written; may be given several times, and \n is a line break
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
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
    sampling: Sampling,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the model or the adapter cannot be loaded, or in a pipe a command fails.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let model = loading::model_with_tokenizer(
        &args.model,
        args.tokenizer.as_deref(),
        args.memory,
        args.engine.device,
        &ui,
    )?;
    let adapter = args.adapter.load(&model, &args.model, &ui)?;
    let interrupt = Interrupt::watch()?;
    let mut conversation = Conversation::new(model, &args.model, adapter.as_ref(), args, &ui)?;
    let mut input = Input::new(args.common.json)?;
    if input.is_a_person() {
        ui.note("write a line and the model goes on; /help lists the commands, Ctrl-D leaves");
    }
    while let Some(text) = input.line()? {
        let done = match Line::parse(&text) {
            Ok(Line::Quit) => break,
            Ok(Line::Text(text)) => conversation.write_on(&text, &interrupt),
            Ok(Line::Command(command)) => conversation.obey(&command),
            Err(error) => Err(error),
        };
        match done {
            Err(error) if input.is_a_person() => ui.note(format!("error: {error:#}")),
            done => done?,
        }
    }
    ui.result(&json!({ "turns": conversation.turns() }))?;
    Ok(Outcome::Done)
}
