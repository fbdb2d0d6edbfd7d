//! What was typed. By hand: an argument parser would double the time that `cargo xtask` takes to build.

/// Shown by `cargo xtask help` and after a mistake.
pub const USAGE: &str = "\
Usage: cargo xtask <task>

  test [--full] [-p PACKAGE]…   machine check, format, build with lints, every test, licences
         --full                 the long form of every test, cargo-deny, wasm32 check and tests (minutes to hours)
         -p, --package NAME     this package only (its format, lints and tests; no licences)
  licences                      only the check of deny.toml: licences, sources and bans of all dependencies
  wasm32                        only the check of the crates that run in a browser: compiled for wasm32, tested in Node
  help                          this text

Environment: PTBR_DATA is the folder of Portuguese texts that some tests use when it is there (default ../shared/data).
Example: cargo xtask test -p ptbr-tokenizer";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Print [`USAGE`].
    Help,
    /// Run the checks.
    Test(TestOptions),
    /// Check `deny.toml` alone.
    Licences,
    /// Check the crates that run in a browser alone.
    Wasm32,
}

/// How much to check.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TestOptions {
    /// The long forms as well.
    pub full: bool,
    /// Packages to check; empty for all.
    pub packages: Vec<String>,
}

/// Reads the arguments after the program's name; the error is a sentence for the user.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Task, String> {
    let mut arguments = arguments;
    match arguments.next().as_deref() {
        None | Some("help" | "--help" | "-h") => Ok(Task::Help),
        Some("test") => parse_test(arguments),
        Some("licences") => Ok(Task::Licences),
        Some("wasm32") => Ok(Task::Wasm32),
        Some(other) => Err(format!("there is no task named `{other}`")),
    }
}

fn parse_test(mut arguments: impl Iterator<Item = String>) -> Result<Task, String> {
    let mut options = TestOptions::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--full" => options.full = true,
            "-p" | "--package" => match arguments.next() {
                Some(name) => options.packages.push(name),
                None => return Err(format!("`{argument}` needs the name of a package")),
            },
            "--help" | "-h" => return Ok(Task::Help),
            other => return Err(format!("`test` does not know `{other}`")),
        }
    }
    Ok(Task::Test(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_flags_in_any_order() {
        let expected = TestOptions {
            full: true,
            packages: vec!["a".into(), "b".into()],
        };
        assert_eq!(
            typed("test -p a --full --package b"),
            Ok(Task::Test(expected))
        );
        assert_eq!(typed("test"), Ok(Task::Test(TestOptions::default())));
        assert_eq!(typed("test --help"), Ok(Task::Help));
        assert_eq!(typed(""), Ok(Task::Help));
        assert_eq!(typed("wasm32"), Ok(Task::Wasm32));
    }

    #[test]
    fn names_what_it_does_not_know() {
        assert_eq!(typed("tset"), Err("there is no task named `tset`".into()));
        assert_eq!(
            typed("test --ful"),
            Err("`test` does not know `--ful`".into())
        );
        assert_eq!(
            typed("test -p"),
            Err("`-p` needs the name of a package".into())
        );
    }
}
