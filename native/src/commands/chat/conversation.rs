//! One text in turns: the session, and what the commands do to it.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use ptbr_runtime::{
    GenerateOptions, LoadedAdapter, Model, RuntimeError, Sampler, SamplerConfig, Session,
    StopReason, generate, generate_after,
};
use serde::Serialize;

use super::Args;
use super::interrupt::Interrupt;
use super::line::{Command, HELP};
use crate::adapters;
use crate::loading;
use crate::state_file;
use crate::ui::Ui;

/// A line and what the model wrote after it.
#[derive(Debug, Serialize)]
pub struct Turn {
    prompt: String,
    text: String,
    tokens: usize,
    stop: &'static str,
}

/// The text so far.
pub struct Conversation<'a> {
    model_path: &'a Path,
    session: Session,
    options: GenerateOptions,
    turns: Vec<Turn>,
    ui: &'a Ui,
}

impl<'a> Conversation<'a> {
    /// A new text.
    ///
    /// # Errors
    /// When the model has no tokenizer, the adapter does not fit or a sampling value is out of range.
    pub fn new(
        model: Arc<Model>,
        model_path: &'a Path,
        adapter: Option<&Arc<LoadedAdapter>>,
        args: &Args,
        ui: &'a Ui,
    ) -> Result<Self> {
        model.tokenizer().ok_or(RuntimeError::NoTokenizer)?;
        let sampler = args.sampling.config();
        check(&sampler)?;
        let mut session = Session::new(model);
        session.set_adapter(adapter)?;
        let stop = args.stop.iter().map(|text| text.replace("\\n", "\n"));
        Ok(Self {
            model_path,
            session,
            options: GenerateOptions {
                max_tokens: args.max_tokens,
                sampler,
                stop: stop.collect(),
                add_bos: false,
            },
            turns: Vec::new(),
            ui,
        })
    }

    /// What was said.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// Lets the model go on after `line`; at once where that is empty.
    ///
    /// # Errors
    /// When there is nothing to go on from, or stdout cannot be written.
    pub fn write_on(&mut self, line: &str, interrupt: &Interrupt) -> Result<()> {
        let (ui, mut text, mut failed) = (self.ui, String::new(), None);
        let mut on_piece = |piece: &str| {
            text.push_str(piece);
            match ui.text(piece) {
                Ok(()) if interrupt.is_asked_to_stop() => ControlFlow::Break(()),
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let (session, options) = (&mut self.session, &self.options);
        if line.is_empty() {
            begin(session)?;
        }
        let written = interrupt.while_writing(|| match line {
            "" => generate_after(session, &[], options, &mut on_piece),
            // A line of its own below what is there.
            line if session.position() > 0 => {
                generate(session, &format!("\n{line}"), options, &mut on_piece)
            }
            line => generate(session, line, options, &mut on_piece),
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        ui.line("")?;
        self.turns.push(Turn {
            prompt: line.to_owned(),
            text,
            tokens: written.tokens.len(),
            stop: match written.stop {
                StopReason::EndOfText => "end_of_text",
                StopReason::StopText => "stop_text",
                StopReason::MaxTokens => "max_tokens",
                StopReason::Interrupted => "interrupted",
            },
        });
        Ok(())
    }

    /// Does what a command says.
    ///
    /// # Errors
    /// When it cannot be done; the conversation is then as it was.
    pub fn obey(&mut self, command: &Command) -> Result<()> {
        let ui = self.ui;
        match command {
            Command::Adapter(None) => {
                self.session.set_adapter(None)?;
                ui.note("without an adapter");
            }
            Command::Adapter(Some(name)) => {
                let folder = adapters::find(name, Some(self.model_path))?;
                let adapter = adapters::load(self.session.model(), &folder, ui)?;
                self.session.set_adapter(Some(&adapter))?;
                ui.note(format!("with the adapter {}", adapters::name_of(&folder)));
            }
            Command::Reset => {
                self.session.reset()?;
                ui.note("a new text");
            }
            Command::Save(path) => {
                state_file::save(&self.session.state()?, path)?;
                let position = self.session.position();
                ui.note(format!(
                    "{position} tokens remembered in {}",
                    path.display()
                ));
            }
            Command::Load(path) => {
                if !state_file::restore(&mut self.session, path)? {
                    bail!("there is no file {}", path.display());
                }
                ui.note(format!("going on after {} tokens", self.session.position()));
            }
            Command::Temperature(temperature) => {
                let sampler = SamplerConfig {
                    temperature: *temperature,
                    ..self.options.sampler.clone()
                };
                check(&sampler)?;
                self.options.sampler = sampler;
                ui.note(format!("temperature {temperature}"));
            }
            Command::Info => self.info(),
            Command::Help => ui.note(HELP),
        }
        Ok(())
    }

    fn info(&self) {
        let model = self.session.model();
        let adapter = self.session.adapter();
        let sampler = &self.options.sampler;
        let gpu = loading::gpu_name(model);
        for (what, value) in [
            ("model", self.model_path.display().to_string()),
            ("model id", model.model_id().to_owned()),
            (
                "parameters",
                crate::ui::thousands(model.config().num_parameters()),
            ),
            ("runs on", gpu.unwrap_or_else(|| "the CPU".to_owned())),
            (
                "adapter",
                adapter.map_or_else(|| "none".to_owned(), |one| one.id().to_owned()),
            ),
            ("tokens read", crate::ui::thousands(self.session.position())),
            ("temperature", sampler.temperature.to_string()),
            ("top p", sampler.top_p.to_string()),
            ("most tokens", self.options.max_tokens.to_string()),
        ] {
            self.ui.note(format!("{what:12} {value}"));
        }
    }
}

/// Makes sure that there is something to go on from: a new document where nothing was read.
fn begin(session: &mut Session) -> Result<()> {
    if session.logits().is_some() {
        return Ok(());
    }
    if session.position() > 0 {
        bail!("a text that was loaded needs words to go on with; write a line");
    }
    let model = Arc::clone(session.model());
    let tokenizer = model.tokenizer().ok_or(RuntimeError::NoTokenizer)?;
    session.prefill(&[tokenizer.eos_id()])?;
    Ok(())
}

/// Refuses values that no token can be drawn with.
fn check(sampler: &SamplerConfig) -> Result<()> {
    Sampler::new(sampler.clone())?;
    Ok(())
}
