//! `--config FILE.toml`: every flag of a command can come from a file, and what is typed wins.
//!
//! The file's keys are the long flags without their dashes (`batch-size` or `batch_size`). A table named for a command
//! belongs to that command alone, so one file can serve a whole run:
//!
//! ```toml
//! tokenizer = "tokenizer.json"     # for any command that is given this file
//! [train]
//! model-size = "micro"
//! max-steps = 2000
//! ```
//!
//! It works on the arguments, before clap sees them: a key that was not typed becomes a flag in front of the typed ones.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// Returns the arguments with those of the `--config` file put in after the command's name; unchanged without one.
///
/// # Errors
/// When the file cannot be read, is not TOML, or holds a key that the command does not know.
pub fn expand(program: &Command, args: Vec<OsString>) -> Result<Vec<OsString>> {
    let Some(command) = args
        .get(1)
        .and_then(|name| name.to_str())
        .and_then(|name| program.find_subcommand(name))
    else {
        return Ok(args);
    };
    // What was typed, errors and all: clap itself reports them later, on the full arguments.
    let Ok(typed) = command
        .clone()
        .ignore_errors(true)
        .no_binary_name(true)
        .try_get_matches_from(&args[2..])
    else {
        return Ok(args);
    };
    let Ok(Some(path)) = typed.try_get_one::<PathBuf>("config") else {
        return Ok(args);
    };
    let flags = flags_from_file(program, command, &typed, path)?;
    let mut expanded = args[..2].to_vec();
    expanded.extend(flags.iter().map(OsString::from));
    expanded.extend_from_slice(&args[2..]);
    Ok(expanded)
}

fn flags_from_file(
    program: &Command,
    command: &Command,
    typed: &ArgMatches,
    path: &Path,
) -> Result<Vec<String>> {
    let where_ = || format!("the configuration file {}", path.display());
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", where_()))?;
    let table: toml::Table =
        toml::from_str(&text).with_context(|| format!("{} is not valid TOML", where_()))?;
    let mut flags = Vec::new();
    let mut positional = Vec::new();
    let mut take = |keys: &toml::Table, section: &str| -> Result<()> {
        for (key, value) in keys {
            let arg =
                find(command, key).with_context(|| unknown_key(command, key, section, path))?;
            if is_typed(command, arg, typed) {
                continue;
            }
            let out = if arg.is_positional() {
                &mut positional
            } else {
                &mut flags
            };
            append(arg, value, out).with_context(|| format!("key `{key}` in {}", where_()))?;
        }
        Ok(())
    };
    for (key, value) in &table {
        if let toml::Value::Table(section) = value {
            if key == command.get_name() {
                take(section, key)?;
            } else if program.find_subcommand(key).is_none() {
                bail!(
                    "{} has a table [{key}], but there is no command of that name",
                    where_()
                );
            }
        }
    }
    let own_section = table
        .get(command.get_name())
        .and_then(toml::Value::as_table);
    let general: toml::Table = table
        .iter()
        .filter(|(key, value)| {
            // A key of the command's own table goes before the same key outside of it.
            !value.is_table() && !own_section.is_some_and(|own| has_key(own, key))
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    take(&general, "")?;
    flags.extend(positional);
    Ok(flags)
}

fn has_key(table: &toml::Table, key: &str) -> bool {
    table.keys().any(|other| canonical(other) == canonical(key))
}

fn canonical(key: &str) -> String {
    key.replace('_', "-")
}

fn name_of(arg: &Arg) -> String {
    arg.get_long()
        .map_or_else(|| canonical(arg.get_id().as_str()), str::to_owned)
}

fn configurable(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|arg| !matches!(name_of(arg).as_str(), "config" | "help" | "version"))
}

fn find<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    let key = canonical(key);
    configurable(command).find(|arg| name_of(arg) == key)
}

fn unknown_key(command: &Command, key: &str, section: &str, path: &Path) -> String {
    let place = if section.is_empty() {
        String::new()
    } else {
        format!(" in [{section}]")
    };
    let wanted = canonical(key);
    let nearest = configurable(command)
        .map(name_of)
        .max_by(|a, b| {
            let score = |name: &str| strsim::jaro_winkler(name, &wanted);
            score(a).total_cmp(&score(b)).then_with(|| b.cmp(a))
        })
        .unwrap_or_default();
    format!(
        "the configuration file {}{place} has the key `{key}`, which `{}` does not know; did you mean `{nearest}`?",
        path.display(),
        command.get_name()
    )
}

/// True when the argument, or one that excludes it, stands on the command line.
fn is_typed(command: &Command, arg: &Arg, typed: &ArgMatches) -> bool {
    let on_line = |id: &str| {
        typed
            .try_contains_id(id)
            .is_ok_and(|_| typed.value_source(id) == Some(ValueSource::CommandLine))
    };
    // Each of the two may be the one that names the other.
    let excludes = |a: &Arg, b: &Arg| {
        command
            .get_arg_conflicts_with(a)
            .iter()
            .any(|other| other.get_id() == b.get_id())
    };
    on_line(arg.get_id().as_str())
        || command.get_arguments().any(|other| {
            on_line(other.get_id().as_str()) && (excludes(arg, other) || excludes(other, arg))
        })
}

/// Appends what stands for `value` on a command line.
fn append(arg: &Arg, value: &toml::Value, out: &mut Vec<String>) -> Result<()> {
    let mut push = |text: String| match arg.get_long() {
        Some(long) => out.push(format!("--{long}={text}")),
        None => out.push(text),
    };
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    match value {
        toml::Value::Boolean(on) if is_switch => {
            if *on && let Some(long) = arg.get_long() {
                out.push(format!("--{long}"));
            }
        }
        _ if is_switch => bail!("this is a switch: it wants true or false"),
        toml::Value::Array(values) => {
            if !matches!(arg.get_action(), ArgAction::Append) {
                bail!("it takes one value, and the file gives a list");
            }
            for value in values {
                push(scalar(value)?);
            }
        }
        value => push(scalar(value)?),
    }
    Ok(())
}

fn scalar(value: &toml::Value) -> Result<String> {
    Ok(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(n) => n.to_string(),
        toml::Value::Float(x) => x.to_string(),
        toml::Value::Boolean(on) => on.to_string(),
        other => bail!("a {} cannot be the value of a flag", other.type_str()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::value_parser;

    fn program() -> Command {
        let config = || {
            Arg::new("config")
                .long("config")
                .value_parser(value_parser!(PathBuf))
        };
        Command::new("p")
            .subcommand(
                Command::new("train")
                    .arg(config())
                    .arg(Arg::new("batch-size").long("batch-size"))
                    .arg(
                        Arg::new("data")
                            .long("data")
                            .action(ArgAction::Append)
                            .num_args(1..),
                    )
                    .arg(Arg::new("json").long("json").action(ArgAction::SetTrue))
                    .arg(Arg::new("needed").long("needed").required(true)),
            )
            .subcommand(
                Command::new("info")
                    .arg(config())
                    .arg(Arg::new("path").conflicts_with("model-size"))
                    .arg(Arg::new("model-size").long("model-size")),
            )
    }

    fn expanded(toml: &str, typed: &[&str]) -> Result<Vec<String>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("run.toml");
        std::fs::write(&file, toml)?;
        let mut args: Vec<OsString> = ["p"].iter().chain(typed).map(OsString::from).collect();
        args.push("--config".into());
        args.push(file.into());
        let out = expand(&program(), args)?;
        Ok(out
            .iter()
            .map(|arg| arg.to_string_lossy().into_owned())
            .take_while(|arg| arg != "--config")
            .collect())
    }

    #[test]
    fn keys_become_flags_before_the_typed_ones() -> Result<()> {
        let toml = "batch_size = 4\ndata = [\"a\", \"b\"]\njson = true\nneeded = 1e-4";
        assert_eq!(
            expanded(toml, &["train"])?,
            [
                "p",
                "train",
                "--batch-size=4",
                "--data=a",
                "--data=b",
                "--json",
                "--needed=0.0001"
            ]
        );
        Ok(())
    }

    #[test]
    fn what_is_typed_wins() -> Result<()> {
        assert_eq!(
            expanded(
                "batch-size = 4\ndata = \"a\"",
                &["train", "--batch-size=8", "--data", "x", "y"]
            )?,
            ["p", "train", "--batch-size=8", "--data", "x", "y"]
        );
        // `info PATH` typed against a file that names a preset: the two exclude each other.
        assert_eq!(
            expanded("model-size = \"85m\"", &["info", "x.bin"])?,
            ["p", "info", "x.bin"]
        );
        assert_eq!(
            expanded("path = \"x.bin\"", &["info"])?,
            ["p", "info", "x.bin"]
        );
        Ok(())
    }

    #[test]
    fn tables_belong_to_their_command() -> Result<()> {
        let toml = "batch-size = 1\n[train]\nbatch-size = 4\n[info]\nmodel-size = \"nano\"";
        assert_eq!(
            expanded(toml, &["train"])?,
            ["p", "train", "--batch-size=4"]
        );
        Ok(())
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let message =
            |toml| expanded(toml, &["train"]).map_or_else(|e| format!("{e:#}"), |_| String::new());
        assert!(
            message("batchsize = 4").contains("did you mean `batch-size`?"),
            "{}",
            message("batchsize = 4")
        );
        assert!(message("[tran]\nx = 1").contains("table [tran]"));
        assert!(message("json = 3").contains("true or false"));
        assert!(message("needed = [1]").contains("one value"));
        assert!(message("needed = ").contains("not valid TOML"));
    }
}
