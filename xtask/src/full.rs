//! What only `--full` checks: advisories against dependencies, and the crates that must also compile for wasm32.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{self, Workspace};
use crate::report::{Done, Report};
use crate::{licences, machine};

const WASM: &str = "wasm32-unknown-unknown";
/// The standard library's sources, from Debian's rust-web-src.
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";
/// The crates that run in a browser.
const WASM_CRATES: [&str; 4] = [
    "ptbr-tokenizer",
    "ptbr-model",
    "ptbr-kernels",
    "ptbr-runtime",
];

/// Adds the long checks to the report.
pub fn check(workspace: &Workspace, report: &mut Report) {
    report.check("advisories", || licences::advisories(workspace));
    report.check("wasm32", || {
        let mut command = wasm_cargo(workspace)?;
        for name in WASM_CRATES {
            command.args(["--package", name]);
        }
        command::run(&mut command)?;
        Ok(Done::Yes(format!("{} compile", WASM_CRATES.join(", "))))
    });
}

/// `cargo check` for wasm32: with rustup's own target, or, where that cannot be downloaded, with Debian's compiler and the
/// standard library built from its sources.
fn wasm_cargo(workspace: &Workspace) -> Result<Command> {
    let target_folder = ["--target", WASM];
    let libraries = command::output(
        workspace
            .command("rustc")
            .args(["--print", "target-libdir"])
            .args(target_folder),
    )?;
    if Path::new(libraries.trim()).is_dir()
        || command::succeeds(workspace.command("rustup").args(["target", "add", WASM]))
    {
        let mut command = workspace.cargo();
        command.arg("check").args(target_folder);
        return Ok(command);
    }
    if !Path::new(DEBIAN_LIBRARY).is_dir() {
        if !machine::may_install(workspace) {
            bail!("the target {WASM} is missing: run `rustup target add {WASM}`");
        }
        machine::apt_get(workspace, &["rustc-web", "cargo-web", "rust-web-src"])?;
    }
    let mut command = workspace.command("/usr/bin/cargo");
    // Not the proxies of rustup, which would choose the toolchain of the first build again; its own target folder, because another
    // compiler's fingerprints in the main one would rebuild everything on each change.
    command
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env(
            "CARGO_TARGET_DIR",
            workspace.target_folder().join("wasm-check"),
        )
        .args(["check", "-Zbuild-std=std,panic_abort"])
        .args(target_folder);
    Ok(command)
}
