//! The tests that need a browser: shaders, package and page in Chromium, driven from Node by `web/tests`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::args::TestOptions;
use crate::command::{self, Workspace};
use crate::report::Report;
use crate::{machine, test, web};

/// What Chromium is called on various systems.
const CHROMIUM: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
/// The tests of the kernels that run on a GPU.
const KERNEL_TESTS: [&str; 4] = ["layers_gpu", "products_gpu", "sample_gpu", "wkv_gpu"];
/// Writes models, adapters and what the CPU engine makes of them.
const FIXTURES: &str = "browser_fixtures";

/// The tests in a browser alone. True when none failed.
pub fn run() -> Result<bool> {
    let workspace = Workspace::find()?;
    let mut report = Report::default();
    check(&workspace, &mut report);
    Ok(report.finish())
}

/// Adds the tests in a browser to the report.
pub fn check(workspace: &Workspace, report: &mut Report) {
    report.tests("shaders in a browser", || {
        let mut bridge = node(workspace)?;
        let tests = kernel_tests(workspace);
        bridge.arg("gpu_bridge.mjs").arg(tests.get_program());
        bridge.args(tests.get_args());
        // The lint wrapper of `cargo test` and where its texts are.
        for (name, value) in tests.get_envs() {
            if let Some(value) = value {
                bridge.env(name, value);
            }
        }
        command::run_tests(&mut bridge)
    });
    report.tests("package and page", || {
        let site = web::build(workspace)?;
        let fixtures = fixtures(workspace)?;
        let mut tests = node(workspace)?;
        tests
            .arg("run.mjs")
            .env("PTBR_SITE", site)
            .env("PTBR_FIXTURES", fixtures)
            .env(
                "PTBR_SCREENSHOTS",
                workspace.root.join("target/screenshots"),
            );
        command::run_tests(&mut tests)
    });
}

/// The command with which all tests are built, for those of the kernels: nothing is compiled again.
fn kernel_tests(workspace: &Workspace) -> Command {
    let mut tests = test::compile(workspace, "test", &TestOptions::default());
    let manifest = workspace.root.join("Cargo.toml");
    tests.arg("--manifest-path").arg(manifest);
    tests.args(KERNEL_TESTS.map(|name| ["--test", name]).concat());
    tests
}

/// Models, adapters and what the CPU engine makes of them, written by an example that the build of all tests has built too.
fn fixtures(workspace: &Workspace) -> Result<PathBuf> {
    let mut build = test::compile(workspace, "build", &TestOptions::default());
    command::run(&mut build)?;
    let folder = workspace.target_folder().join("browser-fixtures");
    let example = workspace.target_folder().join("release/examples");
    let example = example.join(format!("{FIXTURES}{}", std::env::consts::EXE_SUFFIX));
    command::run(workspace.command(example).arg(&folder))?;
    Ok(folder)
}

/// Node in `web/tests`, with Chromium there.
fn node(workspace: &Workspace) -> Result<Command> {
    machine::node_packages(workspace)?;
    let mut node = workspace.command("node");
    node.current_dir(workspace.root.join("web/tests"))
        .env("PTBR_CHROMIUM", chromium(workspace)?);
    Ok(node)
}

/// Chromium or Chrome, installed if need be.
fn chromium(workspace: &Workspace) -> Result<String> {
    if let Ok(named) = std::env::var("PTBR_CHROMIUM") {
        return Ok(named);
    }
    let is_there = |name: &str| command::succeeds(workspace.command(name).arg("--version"));
    let name = match CHROMIUM.into_iter().find(|name| is_there(name)) {
        Some(name) => name,
        None => {
            machine::program(workspace, CHROMIUM[0], "chromium")?;
            CHROMIUM[0]
        }
    };
    // The driver wants a path.
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} runs and is in no folder of PATH"))?;
    Ok(found.to_string_lossy().into_owned())
}
