//! The crates that run in a browser: they compile for wasm32 with warnings denied, with and without the GPU engine, and the tests that
//! need neither files nor threads run there, in Node.

mod compiler;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::command::{self, Workspace};
use crate::counts::Counts;
use crate::machine;
use crate::report::Done;
use crate::tools;

pub use compiler::Compiler;

/// The crates that run in a browser.
const CRATES: [&str; 4] = [
    "ptbr-tokenizer",
    "ptbr-model",
    "ptbr-kernels",
    "ptbr-runtime",
];
/// Test files of ptbr-runtime that run there.
const TESTS: [&str; 3] = ["formats", "mutations", "platforms"];
/// Seconds that a test may take; all mutations together take less than one of these minutes.
const TEST_TIMEOUT: &str = "600";

/// Compiles, then runs the tests.
pub fn check(workspace: &Workspace) -> Result<Done> {
    let compiler = Compiler::find(workspace)?;
    machine::program(workspace, "node", "nodejs")?;
    let runner = bindgen(workspace, "wasm-bindgen-test-runner")?;
    let packages = CRATES.map(|name| ["--package", name]).concat();
    for features in [&[][..], &["--features", "ptbr-runtime/gpu"]] {
        let mut check = compiler.cargo(workspace, "check", "release");
        command::run(check.args(&packages).args(features))?;
    }
    let mut tests = compiler.cargo(workspace, "test", "release");
    tests
        .args(["--no-fail-fast", "--package", "ptbr-runtime"])
        .args(TESTS.map(|name| ["--test", name]).concat())
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner)
        .env("PTBR_FULL", "1")
        .env("WASM_BINDGEN_TEST_TIMEOUT", TEST_TIMEOUT);
    let counts: Counts = command::run_tests(&mut tests)?;
    if let Some(objection) = counts.objection() {
        bail!(objection);
    }
    if counts.binaries != TESTS.len() as u64 {
        bail!(
            "{} test files reported, not {}",
            counts.binaries,
            TESTS.len()
        );
    }
    Ok(Done::Yes(format!(
        "{} compile; {} tests passed in Node",
        CRATES.join(", "),
        counts.passed
    )))
}

/// A program of wasm-bindgen-cli, of the very release that Cargo.lock names (another one refuses to run), installed if need be.
pub fn bindgen(workspace: &Workspace, program: &str) -> Result<PathBuf> {
    let lock =
        std::fs::read_to_string(workspace.root.join("Cargo.lock")).context("reading Cargo.lock")?;
    let version = locked_version(&lock, "wasm-bindgen")
        .context("Cargo.lock names no version of wasm-bindgen")?;
    tools::install(workspace, "wasm-bindgen-cli", version, program)
}

/// The version of a package in a lock file.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_version_from_the_lock_file() {
        let lock = "[[package]]\nname = \"a-b\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"a\"\nversion = \"0.2.130\"\n";
        assert_eq!(locked_version(lock, "a"), Some("0.2.130"));
        assert_eq!(locked_version(lock, "b"), None);
    }
}
