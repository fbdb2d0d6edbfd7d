//! Licences, sources and bans of every dependency: cargo-deny with the rules of `deny.toml`.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{self, Workspace};
use crate::report::Done;
use crate::tools;

/// About 280 seconds of processor time to install (measured on a busy machine), once for a target folder.
const VERSION: &str = "0.20.2";

/// Checks what a distributed program must get right; needs no network once cargo-deny is there.
pub fn check(workspace: &Workspace) -> Result<Done> {
    let cargo_deny = cargo_deny(workspace)?;
    command::run(workspace.command(cargo_deny).args([
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
    let cargo_deny = cargo_deny(workspace)?;
    if let Err(error) = command::run(workspace.command(&cargo_deny).args(["fetch", "db"])) {
        return Ok(Done::NotHere(format!(
            "the advisory database cannot be fetched: {error:#}"
        )));
    }
    command::run(
        workspace
            .command(&cargo_deny)
            .args(["--offline", "check", "advisories"]),
    )?;
    Ok(Done::Yes("no advisory against a dependency".into()))
}

fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    tools::install(workspace, "cargo-deny", VERSION, "cargo-deny")
}
