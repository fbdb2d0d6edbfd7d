//! The C header, generated from the Rust declarations that it describes.

use anyhow::{Context, Result};

use crate::command::{self, Workspace};
use crate::report::Done;
use crate::tools;

const CBINDGEN: &str = "0.29.4";
const HEADER: &str = "crates/capi/include/ptbr_slm.h";

/// `cargo xtask header`: writes it.
pub fn write() -> Result<bool> {
    let workspace = Workspace::find()?;
    run(&workspace, &[])?;
    Ok(true)
}

/// Whether the header in the repository is the one that would be written.
pub fn check(workspace: &Workspace) -> Result<Done> {
    run(workspace, &["--verify"]).context("run `cargo xtask header`")?;
    Ok(Done::Yes(HEADER.into()))
}

fn run(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let program = tools::install(workspace, "cbindgen", CBINDGEN, "cbindgen")?;
    let mut command = workspace.command(program);
    command.args([
        "--config",
        "crates/capi/cbindgen.toml",
        "--crate",
        "ptbr-capi",
    ]);
    command.args(["--output", HEADER]).args(arguments);
    command::run(command.arg("crates/capi"))
}
