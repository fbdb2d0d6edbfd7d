//! What was typed. By hand: an argument parser would double the time that `cargo xtask` takes to build.

/// Shown by `cargo xtask help` and after a mistake.
pub const USAGE: &str = "\
Usage: cargo xtask <task>

  test [--full] [-p PACKAGE]…   machine check, format, build with lints, every test, licences
         --full                 the long form of every test, cargo-deny, wasm32 check and tests (minutes to hours)
         -p, --package NAME     this package only (its format, lints and tests; no licences)
  licences                      only the check of deny.toml: licences, sources and bans of all dependencies
  wasm32                        only the check of the crates that run in a browser: compiled for wasm32, tested in Node
  web [--no-serve] [--port N]   builds the page into target/web and serves it on 127.0.0.1 (port 8080) until Ctrl-C
      [--model FILE]            with this model instead of those of web/models
  browser                       only the tests in a browser: the shaders, the package and the page in Chromium
  mpi                           only the tests with several processes under mpirun
  header                        the C header, generated from crates/capi by cbindgen
  shell-files                   completions for five shells and man pages, into target/shell-files
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
    /// Build the page and serve it.
    Web(WebOptions),
    /// Run the tests in a browser alone.
    Browser,
    /// Run the tests with several processes alone.
    Mpi,
    /// Write the C header.
    Header,
    /// Write completions and man pages.
    ShellFiles,
}

/// What becomes of the page once it is built.
#[derive(Debug, PartialEq, Eq)]
pub struct WebOptions {
    /// Serve it.
    pub serve: bool,
    /// Where on 127.0.0.1.
    pub port: u16,
    /// A model file to serve instead of the page's own.
    pub model: Option<String>,
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
        Some("web") => parse_web(arguments),
        Some("mpi") => Ok(Task::Mpi),
        Some("browser") => Ok(Task::Browser),
        Some("header") => Ok(Task::Header),
        Some("shell-files") => Ok(Task::ShellFiles),
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

fn parse_web(mut arguments: impl Iterator<Item = String>) -> Result<Task, String> {
    let mut options = WebOptions {
        serve: true,
        port: 8080,
        model: None,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--no-serve" => options.serve = false,
            "--port" => match arguments.next().map(|port| port.parse()) {
                Some(Ok(port)) => options.port = port,
                _ => return Err("`--port` needs a number up to 65535".into()),
            },
            "--model" => match arguments.next() {
                Some(file) => options.model = Some(file),
                None => return Err("`--model` needs a file".into()),
            },
            "--help" | "-h" => return Ok(Task::Help),
            other => return Err(format!("`web` does not know `{other}`")),
        }
    }
    Ok(Task::Web(options))
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
        assert_eq!(typed("mpi"), Ok(Task::Mpi));
        let expected = WebOptions {
            serve: false,
            port: 0,
            model: Some("m".into()),
        };
        let line = "web --port 0 --model m --no-serve";
        assert_eq!(typed(line), Ok(Task::Web(expected)));
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
        for line in ["web --port", "web --port 65536", "web --model", "web x"] {
            assert!(typed(line).is_err(), "{line}");
        }
    }
}
