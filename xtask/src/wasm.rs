//! The crates that run in a browser: they compile for wasm32 with warnings denied, with and without the GPU engine, and the tests that
//! need neither files nor threads run there, in Node.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{self, Workspace};
use crate::counts::Counts;
use crate::machine;
use crate::report::Done;
use crate::tools;

const TARGET: &str = "wasm32-unknown-unknown";
/// The standard library's sources, from Debian's rust-web-src.
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";
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
    let runner = test_runner(workspace)?;
    let packages = CRATES.map(|name| ["--package", name]).concat();
    for features in [&[][..], &["--features", "ptbr-runtime/gpu"]] {
        let mut check = compiler.cargo(workspace, "check");
        command::run(check.args(&packages).args(features))?;
    }
    let mut tests = compiler.cargo(workspace, "test");
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

/// What compiles for wasm32 here.
enum Compiler {
    /// The toolchain of the first build, with rustup's target.
    Rustup,
    /// Debian's compiler, with the standard library built from its sources and this linker: where the target cannot be downloaded.
    Debian { linker: PathBuf },
}

impl Compiler {
    fn find(workspace: &Workspace) -> Result<Self> {
        let print = |what: &[&str]| {
            command::output(workspace.command("rustc").arg("--print").args(what))
                .map(|path| PathBuf::from(path.trim()))
        };
        if print(&["target-libdir", "--target", TARGET])?.is_dir()
            || command::succeeds(workspace.command("rustup").args(["target", "add", TARGET]))
        {
            return Ok(Self::Rustup);
        }
        if !Path::new(DEBIAN_LIBRARY).is_dir() {
            if !machine::may_install(workspace) {
                bail!("the target {TARGET} is missing: run `rustup target add {TARGET}`");
            }
            machine::apt_get(workspace, &["rustc-web", "cargo-web", "rust-web-src"])?;
        }
        // Debian's compiler comes without one.
        let host = print(&["target-libdir"])?;
        let linker = host.with_file_name("bin").join("rust-lld");
        if !linker.is_file() {
            bail!("{} is missing, which links {TARGET}", linker.display());
        }
        Ok(Self::Debian { linker })
    }

    /// `cargo <subcommand>` for wasm32, with warnings of the workspace's own crates denied.
    fn cargo(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut command = match self {
            Self::Rustup => {
                let mut command = workspace.cargo();
                command
                    .env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")
                    .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__")
                    .arg(subcommand);
                command
            }
            Self::Debian { linker } => {
                let mut command = workspace.command("/usr/bin/cargo");
                // Not the proxies of rustup, which would choose the toolchain of the first build again; its own target folder, because
                // another compiler's fingerprints in the main one would rebuild everything on each change.
                command
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env(
                        "CARGO_TARGET_DIR",
                        workspace.target_folder().join("wasm-check"),
                    )
                    .env("CARGO_BUILD_WARNINGS", "deny")
                    .args([subcommand, "-Zwarnings", "-Zbuild-std=std,panic_abort"]);
                command
            }
        };
        command.args(["--release", "--target", TARGET]);
        command
    }
}

/// `wasm-bindgen-test-runner` of the very release that Cargo.lock names (another one refuses to run), installed if need be.
fn test_runner(workspace: &Workspace) -> Result<PathBuf> {
    if !command::succeeds(workspace.command("node").arg("--version")) {
        if !machine::may_install(workspace) {
            bail!(
                "`node` is missing, which runs the tests on {TARGET}: install Node.js 20 or newer"
            );
        }
        machine::apt_get(workspace, &["nodejs"])?;
    }
    let lock =
        std::fs::read_to_string(workspace.root.join("Cargo.lock")).context("reading Cargo.lock")?;
    let version = locked_version(&lock, "wasm-bindgen")
        .context("Cargo.lock names no version of wasm-bindgen")?;
    tools::install(
        workspace,
        "wasm-bindgen-cli",
        version,
        "wasm-bindgen-test-runner",
    )
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
