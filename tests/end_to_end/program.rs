//! Runs the program and compares what it wrote with what was agreed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One run of the program.
#[derive(Debug)]
pub struct Run {
    /// Exit status.
    pub code: i32,
    /// All of stdout.
    pub out: String,
    /// All of stderr.
    pub err: String,
}

impl Run {
    /// Asserts that the run ended well.
    pub fn done(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Asserts that the run ended with exit status 2 and that stderr holds all of `parts`.
    pub fn fails_with(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, 2, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        for part in parts {
            assert!(
                self.err.contains(part),
                "stderr lacks `{part}`:\n{}",
                self.err
            );
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    /// Stdout as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("not JSON ({e}):\n{}", self.out))
    }

    /// Exit status, stdout and stderr as one text.
    pub fn transcript(&self) -> String {
        format!(
            "exit status {}\n--- stdout\n{}--- stderr\n{}",
            self.code, self.out, self.err
        )
    }
}

/// The program, ready to be started in `folder`: no terminal, no colours, no settings of the person who runs the tests.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ptbr-slm"));
    command
        .args(args)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .stdin(Stdio::null());
    command
}

/// Runs the program in `folder` with arguments relative to it, so that messages hold no path of this machine.
pub fn run(folder: &Path, args: &[&str]) -> Run {
    let output = command(folder, args).output().expect("the program starts");
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        err: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// Compares `text` with the file of that name in `tests/end_to_end/snapshots`; `PTBR_UPDATE_SNAPSHOTS=1` rewrites it.
pub fn assert_snapshot(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/end_to_end/snapshots")
        .join(format!("{name}.txt"));
    if std::env::var_os("PTBR_UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder of snapshots");
        std::fs::write(&path, text).expect("the snapshot is written");
        return;
    }
    let agreed = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; PTBR_UPDATE_SNAPSHOTS=1 writes it", path.display()));
    assert!(
        agreed == text,
        "{name} changed; if that is meant, PTBR_UPDATE_SNAPSHOTS=1 accepts it.\n--- agreed\n{agreed}\n--- now\n{text}"
    );
}
