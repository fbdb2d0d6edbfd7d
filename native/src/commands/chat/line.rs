//! What a line means: text, or a command that begins with a slash.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// What the commands are.
pub const HELP: &str = "\
/adapter NAME   write with this adapter from here on (a folder, or a name in the model's folder); /adapter none without one
/reset          forget all that was written
/save FILE      keep the memory of the text in a file
/load FILE      go on from such a file
/temp X         temperature: 0 always takes the most likely token
/info           what runs, and how much was read
/quit           leave (Ctrl-D does too)
//text          a line that begins with a slash";

/// A line of input.
#[derive(Debug, PartialEq)]
pub enum Line {
    /// To be read by the model; empty: it goes on.
    Text(String),
    /// To be obeyed.
    Command(Command),
    /// The last one.
    Quit,
}

/// What can be asked for beside text.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Another adapter; `None` for none.
    Adapter(Option<String>),
    /// A new text.
    Reset,
    /// The state into a file.
    Save(PathBuf),
    /// The state from a file.
    Load(PathBuf),
    /// Another temperature.
    Temperature(f32),
    /// What runs.
    Info,
    /// The list of commands.
    Help,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// When it begins with a slash and is no command, or the command lacks what it needs.
    pub fn parse(line: &str) -> Result<Self> {
        let Some(command) = line.strip_prefix('/') else {
            return Ok(Self::Text(line.to_owned()));
        };
        if command.starts_with('/') {
            return Ok(Self::Text(command.to_owned()));
        }
        let (name, argument) = command.split_once(' ').unwrap_or((command, ""));
        let argument = argument.trim();
        let needed = |what: &str| match argument {
            "" => bail!("/{name} needs {what}"),
            argument => Ok(argument),
        };
        let command = match name.trim_end() {
            "adapter" => match needed("the name of an adapter, or none")? {
                "none" => Command::Adapter(None),
                name => Command::Adapter(Some(name.to_owned())),
            },
            "save" => Command::Save(needed("the name of a file")?.into()),
            "load" => Command::Load(needed("the name of a file")?.into()),
            "temp" => match needed("a number")?.replace(',', ".").parse() {
                Ok(number) => Command::Temperature(number),
                Err(_) => bail!("/temp needs a number, and `{argument}` is none"),
            },
            other if !argument.is_empty() => bail!("/{other} takes nothing behind it"),
            "reset" => Command::Reset,
            "info" => Command::Info,
            "help" => Command::Help,
            "quit" | "exit" => return Ok(Self::Quit),
            other => bail!("there is no command /{other}; /help lists them"),
        };
        Ok(Self::Command(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_or_commands() {
        let command = |line: &str| match Line::parse(line) {
            Ok(Line::Command(command)) => command,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(
            command("/adapter legal"),
            Command::Adapter(Some("legal".into()))
        );
        assert_eq!(command("/adapter none"), Command::Adapter(None));
        assert_eq!(
            command("/save a b.state "),
            Command::Save("a b.state".into())
        );
        assert_eq!(command("/load x"), Command::Load("x".into()));
        assert_eq!(command("/temp 0,5"), Command::Temperature(0.5));
        assert_eq!(command("/info "), Command::Info);
        assert_eq!(command("/reset"), Command::Reset);
        assert_eq!(command("/help"), Command::Help);
        for (line, text) in [
            ("O Brasil é", "O Brasil é"),
            ("", ""),
            ("//home", "/home"),
            (" /x", " /x"),
        ] {
            assert_eq!(
                Line::parse(line).ok(),
                Some(Line::Text(text.into())),
                "{line}"
            );
        }
        assert_eq!(Line::parse("/quit").ok(), Some(Line::Quit));
    }

    #[test]
    fn wrong_commands_are_explained() {
        for (line, reason) in [
            ("/", "no command /;"),
            ("/nada", "no command /nada; /help"),
            ("/save", "/save needs the name of a file"),
            ("/temp quente", "`quente` is none"),
            ("/reset all", "/reset takes nothing"),
        ] {
            let error = Line::parse(line).expect_err(line).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
