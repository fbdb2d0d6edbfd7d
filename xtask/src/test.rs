//! `cargo xtask test`: every check, in the order in which a failure is cheapest to learn of.

use std::process::Command;

use anyhow::{Context, Result};

use crate::args::TestOptions;
use crate::command::{self, Workspace};
use crate::report::{Done, Report};
use crate::{browser, features, full, licences, machine, mpi};

/// Runs the checks. `Ok(false)` when one of them does not hold, `Err` when they cannot be run here.
pub fn run(options: &TestOptions) -> Result<bool> {
    let workspace = Workspace::find()?;
    let mut report = Report::default();

    let mut missing = None;
    report.check("machine", || {
        machine::check(&workspace).inspect_err(|error| missing = Some(format!("{error:#}")))
    });
    if let Some(missing) = missing {
        anyhow::bail!(missing);
    }

    report.check("format", || {
        let mut command = workspace.cargo();
        command.arg("fmt");
        if options.packages.is_empty() {
            command.arg("--all");
        }
        for package in &options.packages {
            command.args(["--package", package]);
        }
        command::run(command.arg("--check")).context("run `cargo fmt`")?;
        Ok(Done::Yes(String::new()))
    });

    if options.packages.is_empty() {
        report.check("features", || features::check(&workspace));
        report.check("licences", || licences::check(&workspace));
    }

    let built = report.check("build and lint", || {
        command::run(&mut compile(&workspace, "build", options))?;
        Ok(Done::Yes("no warning".into()))
    });
    if built {
        report.tests("tests", || {
            command::run_tests(compile(&workspace, "test", options).arg("--no-fail-fast"))
        });
    } else {
        report.tests_not_reached("tests", "not run: the build failed");
    }
    if built && options.packages.is_empty() {
        mpi::check(&workspace, options, &mut report);
        browser::check(&workspace, &mut report);
    }

    if options.full && options.packages.is_empty() {
        full::check(&workspace, &mut report);
    }
    Ok(report.finish())
}

/// One check alone: `cargo xtask licences` is what a new dependency asks for, `cargo xtask wasm32` what a change to the crates of the browser does.
pub fn only(name: &'static str, check: impl FnOnce(&Workspace) -> Result<Done>) -> Result<bool> {
    let workspace = Workspace::find()?;
    let mut report = Report::default();
    report.check(name, || check(&workspace));
    Ok(report.finish())
}

/// `cargo build` or `cargo test` with clippy as the compiler of the workspace's own crates: one pass compiles and lints,
/// and every dependency is the one that `cargo run --release` uses.
///
/// Warnings are denied through clippy-driver's own variable. RUSTFLAGS would rebuild all dependencies, and a warning that
/// is merely shown is replayed by cargo from its cache with exit status 0, so it has to be an error when it arises.
pub fn compile(workspace: &Workspace, subcommand: &str, options: &TestOptions) -> Command {
    let mut command = workspace.cargo();
    command
        .args([subcommand, "--release"])
        .env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")
        .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    if subcommand == "build" {
        command.arg("--all-targets");
    }
    if options.packages.is_empty() {
        command.arg("--workspace");
        if cfg!(windows) {
            // Windows does not let a running program's file be replaced.
            command.args(["--exclude", "xtask"]);
        }
    }
    for package in &options.packages {
        command.args(["--package", package]);
    }
    let data = workspace.root.join("../shared/data");
    if std::env::var_os("PTBR_DATA").is_none() && data.is_dir() {
        command.env("PTBR_DATA", data);
    }
    if options.full {
        command.env("PTBR_FULL", "1");
    }
    command
}
