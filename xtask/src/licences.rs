//! Licences, sources and bans of every dependency: cargo-deny with the rules of `deny.toml`.

use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{self, Workspace};
use crate::report::Done;

/// About 280 seconds of processor time to install (measured on a busy machine), once for a target folder.
const VERSION: &str = "0.20.2";

/// Checks what a distributed program must get right; needs no network once cargo-deny is there.
pub fn check(workspace: &Workspace) -> Result<Done> {
    install(workspace)?;
    command::run(cargo_deny(workspace).args([
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))?;
    Ok(Done::Yes(
        "licences, bans and sources agree with deny.toml".into(),
    ))
}

/// Checks for known vulnerabilities and withdrawn versions. The database is a git repository: a machine that reaches
/// package registries only cannot have it.
pub fn advisories(workspace: &Workspace) -> Result<Done> {
    install(workspace)?;
    if let Err(error) = command::run(cargo_deny(workspace).args(["fetch", "db"])) {
        return Ok(Done::NotHere(format!(
            "the advisory database cannot be fetched: {error:#}"
        )));
    }
    command::run(cargo_deny(workspace).args(["--offline", "check", "advisories"]))?;
    Ok(Done::Yes("no advisory against a dependency".into()))
}

fn cargo_deny(workspace: &Workspace) -> Command {
    let own = tools(workspace).join("bin/cargo-deny");
    workspace.command(if own.exists() {
        own
    } else {
        "cargo-deny".into()
    })
}

/// In the target folder rather than among the user's own programs.
fn tools(workspace: &Workspace) -> std::path::PathBuf {
    workspace.target_folder().join("xtask-tools")
}

fn install(workspace: &Workspace) -> Result<()> {
    let present = command::output(cargo_deny(workspace).arg("--version"));
    if present.is_ok_and(|version| version.trim().ends_with(VERSION)) {
        return Ok(());
    }
    let mut install = workspace.cargo();
    install
        .args([
            "install",
            "cargo-deny",
            "--locked",
            "--version",
            VERSION,
            "--root",
        ])
        .arg(tools(workspace))
        // Its build goes to a temporary folder that cargo removes.
        .env_remove("CARGO_TARGET_DIR");
    command::run(&mut install).with_context(|| {
        format!("install it by hand: cargo install cargo-deny --locked --version {VERSION}")
    })
}
