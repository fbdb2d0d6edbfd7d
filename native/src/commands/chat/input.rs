//! Where lines come from: an editor with history at a terminal, stdin line by line in a pipe.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, Result};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

const PROMPT: &str = "> ";

/// The lines.
pub enum Input {
    /// A person at a terminal.
    Editor(Box<DefaultEditor>),
    /// A pipe or a file.
    Pipe,
}

impl Input {
    /// An editor where stdin and stdout are a terminal, and stdout does not have to hold JSON.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub fn new(json: bool) -> Result<Self> {
        if json || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Self::Pipe);
        }
        let editor = DefaultEditor::new().context("cannot use the terminal")?;
        Ok(Self::Editor(Box::new(editor)))
    }

    /// Whether somebody sees errors and can do better in the next line.
    pub fn is_a_person(&self) -> bool {
        matches!(self, Self::Editor(_))
    }

    /// The next line without its end; `None` behind the last.
    ///
    /// # Errors
    /// When stdin cannot be read or is not UTF-8.
    pub fn line(&mut self) -> Result<Option<String>> {
        match self {
            Self::Editor(editor) => loop {
                match editor.readline(PROMPT) {
                    Ok(line) => {
                        editor.add_history_entry(line.as_str())?;
                        return Ok(Some(line));
                    }
                    // Ctrl-C drops the line, as in a shell.
                    Err(ReadlineError::Interrupted) => {}
                    Err(ReadlineError::Eof) => return Ok(None),
                    Err(error) => return Err(error).context("cannot read from the terminal"),
                }
            },
            Self::Pipe => {
                let mut line = String::new();
                let read = io::stdin().lock().read_line(&mut line);
                if read.context("cannot read stdin")? == 0 {
                    return Ok(None);
                }
                let text = line.strip_suffix('\n').unwrap_or(&line);
                Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
            }
        }
    }
}
