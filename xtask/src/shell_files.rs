//! `cargo xtask shell-files`: the program writes its own completions and man pages.

use anyhow::Result;

use crate::command::{self, Workspace};

/// Builds the program and lets it write into `target/shell-files`.
pub fn run() -> Result<bool> {
    let workspace = Workspace::find()?;
    let output = workspace.root.join("target/shell-files");
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--release", "--", "shell-files", "--output"]);
    command::run(cargo.arg(&output))?;
    Ok(true)
}
