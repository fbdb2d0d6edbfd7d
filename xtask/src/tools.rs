//! Programs that the checks need and cargo can build, in exactly the release that is asked for: in the target folder rather than among the user's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{self, Workspace};

/// The program `name` of the package `package`: the user's own where it is of this version, otherwise the one in the target folder, built if need be.
pub fn install(workspace: &Workspace, package: &str, version: &str, name: &str) -> Result<PathBuf> {
    let is_right = |program: &Path| {
        command::output(workspace.command(program).arg("--version"))
            .is_ok_and(|line| says_version(&line, version))
    };
    if is_right(Path::new(name)) {
        return Ok(name.into());
    }
    let folder = workspace.target_folder().join("xtask-tools");
    let program = folder.join("bin").join(name);
    if !is_right(&program) {
        let install = |locked: &[&str]| {
            let mut install = workspace.cargo();
            install
                .args(["install", package, "--version", version])
                .args(locked)
                .arg("--root")
                .arg(&folder)
                // Its build goes to a temporary folder that cargo removes.
                .env_remove("CARGO_TARGET_DIR");
            command::run(&mut install)
        };
        // A mirror of the registry may lack a release that the package's lock file names: then the nearest that it has.
        install(&["--locked"])
            .or_else(|_| install(&[]))
            .with_context(|| {
                format!("install it by hand: cargo install {package} --version {version}")
            })?;
    }
    Ok(program)
}

/// Whether `program --version` names this version: `cargo-deny 0.20.2`, `wasm-bindgen-test-runner 0.2.130 (hash)`.
fn says_version(line: &str, version: &str) -> bool {
    line.split_whitespace().nth(1) == Some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_whole() {
        assert!(says_version("cargo-deny 0.20.2\n", "0.20.2"));
        assert!(says_version("runner 0.2.130 (abc)", "0.2.130"));
        for other in ["cargo-deny 0.20.21", "cargo-deny 10.20.2", "cargo-deny", ""] {
            assert!(!says_version(other, "0.20.2"), "{other}");
        }
    }
}
