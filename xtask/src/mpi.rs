//! The tests with real ranks: the program built with the feature `mpi`, under `mpirun`.

use anyhow::{Result, bail};

use crate::args::TestOptions;
use crate::command::{self, Workspace};
use crate::report::Report;
use crate::{machine, test};

/// Open MPI, its headers, and what the bindings to them are made with.
const DEBIAN_PACKAGES: [&str; 3] = ["openmpi-bin", "libopenmpi-dev", "libclang-dev"];

/// The tests with real ranks alone. True when none failed.
pub fn run() -> Result<bool> {
    let workspace = Workspace::find()?;
    let mut report = Report::default();
    check(&workspace, &TestOptions::default(), &mut report);
    Ok(report.finish())
}

/// Adds the tests with real ranks to the report. Nothing but `ptbr-mpi` and the program itself is compiled for them.
pub fn check(workspace: &Workspace, options: &TestOptions, report: &mut Report) {
    if !cfg!(target_os = "linux") {
        report.check("ranks under MPI", || {
            Ok(crate::report::Done::NotHere(
                "the tests look for processes where Linux lists them".into(),
            ))
        });
        return;
    }
    report.tests("ranks under MPI", || {
        install(workspace)?;
        let options = TestOptions {
            full: options.full,
            packages: ["ptbr-slm", "ptbr-mpi"].map(str::to_owned).to_vec(),
        };
        let mut tests = test::compile(workspace, "test", &options);
        tests.args([
            "--features",
            "ptbr-slm/mpi",
            "--test",
            "end_to_end",
            "mpi::",
        ]);
        tests.args(["--", "--nocapture", "--test-threads", "1"]);
        command::run_tests(&mut tests)
    });
}

/// Installs what is missing where that may be done, otherwise fails with what to install.
fn install(workspace: &Workspace) -> Result<()> {
    let runs = |program: &str| command::succeeds(workspace.command(program).arg("--version"));
    let libclang = || {
        let list = command::output(workspace.command("ldconfig").arg("-p")).unwrap_or_default();
        list.contains("libclang") || std::env::var_os("LIBCLANG_PATH").is_some() || llvm_folder()
    };
    let complete = || runs("mpirun") && runs("mpicc") && libclang();
    if !complete() && machine::may_install(workspace) {
        machine::apt_get(workspace, &DEBIAN_PACKAGES)?;
    }
    if !complete() {
        bail!(
            "MPI or libclang is missing. Install them and run this again:\n  \
             Debian, Ubuntu  apt-get install {}\n  \
             Fedora          dnf install openmpi-devel clang-devel\n  \
             Arch            pacman -S openmpi clang",
            DEBIAN_PACKAGES.join(" ")
        );
    }
    Ok(())
}

/// Debian keeps libclang outside of the linker's folders, where the bindings' generator looks for it.
fn llvm_folder() -> bool {
    let Ok(versions) = std::fs::read_dir("/usr/lib") else {
        return false;
    };
    versions.flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with("llvm-")
            && entry.path().join("lib/libclang.so").exists()
    })
}
