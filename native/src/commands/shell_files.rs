//! `shell-files`: completions and man pages, from the definitions that the help is made of. Hidden: packagers call it, by `cargo xtask shell-files`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use ptbr_model::write_whole_file;

use crate::Outcome;
use crate::cli::Cli;
use crate::options::Common;

/// Write the program's completions for five shells and its man pages
#[derive(Debug, ClapArgs)]
#[command(
    hide = true,
    after_help = "Example:\n  ptbr-slm shell-files --output shell-files"
)]
pub struct Args {
    /// The folder that gets `completions` and `man`
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
///
/// # Errors
/// When the folder cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let ui = args.common.ui();
    let mut program = Cli::command();
    let mut written = Vec::new();
    let name = program.get_name().to_owned();
    for shell in Shell::value_variants() {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut program, &name, &mut script);
        let file = clap_complete::Generator::file_name(shell, &name);
        written.push(write(&args.output.join("completions"), &file, &script)?);
    }
    program.build();
    for page in pages(&program) {
        let mut text = Vec::new();
        let page = Man::new(page.clone());
        page.render(&mut text)?;
        let file = page.get_filename();
        written.push(write(&args.output.join("man"), &file, &text)?);
    }
    ui.line(format!(
        "{}: {} files",
        args.output.display(),
        written.len()
    ))?;
    ui.result(&serde_json::json!({ "output": args.output, "files": written }))?;
    Ok(Outcome::Done)
}

/// The program, its commands, and theirs; not what help does not show either.
fn pages(program: &Command) -> Vec<&Command> {
    let mut pages = vec![program];
    let mut next = 0;
    while let Some(command) = pages.get(next).copied() {
        let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
        pages.extend(shown);
        next += 1;
    }
    pages
}

fn write(folder: &Path, name: &str, text: &[u8]) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::create_dir_all(folder)
        .and_then(|()| write_whole_file(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
