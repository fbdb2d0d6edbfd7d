//! `ptbr-slm`: trains and runs small RWKV language models of Brazilian Portuguese.
//!
//! This file dispatches; a command is a module of its own in [`commands`]: parse, call a crate, print.
//! Exit status: 0 done, 1 the answer is no, 2 an error.

mod adapters;
#[cfg(feature = "train")]
mod chart;
mod cli;
mod commands;
mod config_file;
mod counted;
#[cfg(feature = "train")]
mod demo;
mod documents;
mod domains;
#[cfg(feature = "train")]
mod gpu_check;
mod loading;
mod memory;
mod model_size;
mod options;
mod server;
mod state_file;
#[cfg(feature = "train")]
mod training;
mod ui;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::Cli;

/// How a command ended when nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked to: exit status 0.
    Done,
    /// It looked, and the answer is no: exit status 1.
    No,
}

fn main() -> ExitCode {
    quiet_vulkan();
    let ended =
        config_file::expand(&Cli::command(), std::env::args_os().collect()).and_then(|args| {
            match Cli::try_parse_from(args) {
                Ok(cli) => cli.command.run(),
                // Help, the version and wrong flags: clap prints them and knows their exit status (0 and 2).
                Err(message) => message.exit(),
            }
        });
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        // Whoever read our output has read enough (`ptbr-slm … | head`).
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = io::stderr().write_all(readable(&error).as_bytes());
            #[cfg(feature = "train")]
            training::end_if_shared(2);
            ExitCode::from(2)
        }
    }
}

/// Keeps a layer of Mesa that sorts adapters, which we do ourselves, from looking for a display: without one it writes two lines of error to stderr whenever Vulkan is opened, though nothing is wrong.
#[cfg(feature = "gpu")]
fn quiet_vulkan() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the first thing that the program does: no other thread reads the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

#[cfg(not(feature = "gpu"))]
fn quiet_vulkan() {}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// The chain of causes, outermost first, each said once: many messages already contain the one they were made from.
fn readable(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    let mut out = format!("error: {said}\n");
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        if !said.contains(&text) {
            out.push_str(&format!("  because: {text}\n"));
            said.push_str(&text);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_ends_with_an_example() {
        let program = Cli::command();
        for command in program.get_subcommands() {
            let help = command.clone().render_long_help().to_string();
            let examples = help.split_once("Example").map_or("", |(_, rest)| rest);
            assert!(
                examples.contains(&format!("ptbr-slm {}", command.get_name())),
                "the help of {} does not end with an example",
                command.get_name()
            );
        }
    }

    #[test]
    fn causes_are_said_once() {
        let inner = io::Error::other("the disk is full");
        let error = anyhow::Error::new(inner)
            .context("cannot write x.bin: the disk is full")
            .context("cannot save");
        assert_eq!(
            readable(&error),
            "error: cannot save\n  because: cannot write x.bin: the disk is full\n"
        );
        let pipe: anyhow::Result<()> =
            Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("writing");
        assert!(pipe.is_err_and(|e| is_broken_pipe(&e)));
    }
}
