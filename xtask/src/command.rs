//! Running other programs: where, with which output, and what their failure says.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::counts::Counts;

/// The workspace's root folder and the programs that work on it.
pub struct Workspace {
    /// The folder that holds the workspace's `Cargo.toml`.
    pub root: PathBuf,
}

impl Workspace {
    /// Finds the workspace through the variable that `cargo run` sets: the path known at compile time would be another
    /// checkout's when two of them share a target folder.
    pub fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .context("run this as `cargo xtask …`, not by its path")?;
        let root = Path::new(&manifest)
            .parent()
            .context("xtask lies in a folder of the workspace")?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The folder that cargo builds into; a relative one is below the root, where every command here runs.
    pub fn target_folder(&self) -> PathBuf {
        let named = std::env::var_os("CARGO_TARGET_DIR");
        self.root.join(named.unwrap_or_else(|| "target".into()))
    }

    /// A command that runs in the root and reads no terminal.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Cargo itself, the one that started this program.
    pub fn cargo(&self) -> Command {
        self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }
}

/// Runs a command to its end with its output shown; an exit status other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command.status().with_context(|| not_started(command))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line_of(command));
    }
    Ok(())
}

/// Runs a command without showing its output and returns what it wrote to stdout.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| not_started(command))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            line_of(command),
            output.status,
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// True when the command can be started and ends well; shows nothing.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs `cargo test …`, passes its output on as it comes, and adds up what the test binaries say of themselves.
/// A binary that dies without a word (abort, out of memory) shows only in the exit status: it counts as one failure.
pub fn run_tests(command: &mut Command) -> Result<Counts> {
    announce(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| not_started(command))?;
    let mut counts = Counts::default();
    let mut line = Vec::new();
    let mut chunk = [0u8; 8192];
    if let Some(mut pipe) = child.stdout.take() {
        let mut terminal = std::io::stdout().lock();
        loop {
            let read = match pipe.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading the output of the tests"),
            };
            terminal
                .write_all(&chunk[..read])
                .and_then(|()| terminal.flush())
                .context("writing to stdout")?;
            for &byte in &chunk[..read] {
                if byte == b'\n' {
                    counts.add_line(&String::from_utf8_lossy(&line));
                    line.clear();
                } else {
                    line.push(byte);
                }
            }
        }
    }
    counts.add_line(&String::from_utf8_lossy(&line));
    let status = child.wait().context("waiting for the tests")?;
    if !status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

fn announce(command: &Command) {
    eprintln!("$ {}", line_of(command));
}

fn not_started(command: &Command) -> String {
    format!(
        "`{}` could not be started: is it installed and on PATH?",
        command.get_program().to_string_lossy()
    )
}

fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_stem()
        .unwrap_or(command.get_program());
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
