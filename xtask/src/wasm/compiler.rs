//! What compiles for wasm32 on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{self, Workspace};
use crate::machine;

const TARGET: &str = "wasm32-unknown-unknown";
/// The standard library's sources, from Debian's rust-web-src.
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";

/// What compiles for wasm32 here.
pub enum Compiler {
    /// The toolchain of the first build, with rustup's target.
    Rustup,
    /// Debian's compiler, with the standard library built from its sources and this linker: where the target cannot be downloaded.
    Debian { linker: PathBuf },
}

impl Compiler {
    /// The toolchain of the first build where it has the target or can get it, otherwise Debian's, installed if need be.
    pub fn find(workspace: &Workspace) -> Result<Self> {
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

    /// `cargo <subcommand>` for wasm32 in a profile, with warnings of the workspace's own crates denied.
    pub fn cargo(&self, workspace: &Workspace, subcommand: &str, profile: &str) -> Command {
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
                    .env("CARGO_TARGET_DIR", self.target_folder(workspace))
                    .env("CARGO_BUILD_WARNINGS", "deny")
                    .args([subcommand, "-Zwarnings", "-Zbuild-std=std,panic_abort"]);
                command
            }
        };
        command.args(["--profile", profile, "--target", TARGET]);
        command
    }

    /// Where its builds go.
    fn target_folder(&self, workspace: &Workspace) -> PathBuf {
        match self {
            Self::Rustup => workspace.target_folder(),
            Self::Debian { .. } => workspace.target_folder().join("wasm-check"),
        }
    }

    /// The module that a crate was built into.
    pub fn module(&self, workspace: &Workspace, profile: &str, name: &str) -> PathBuf {
        let folder = self.target_folder(workspace).join(TARGET).join(profile);
        folder.join(name).with_extension("wasm")
    }
}
