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
//! [adapters.merge]                 # for `adapters merge`
//! adapter = "legal"
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
    let path = called(program, &args);
    let Some(&(_, command)) = path.last() else {
        return Ok(args);
    };
    let (names, values) = args.split_at(1 + path.len());
    // What was typed, errors and all: clap itself reports them later, on the full arguments.
    let Ok(typed) = command
        .clone()
        .ignore_errors(true)
        .no_binary_name(true)
        .try_get_matches_from(values)
    else {
        return Ok(args);
    };
    let Ok(Some(file)) = typed.try_get_one::<PathBuf>("config") else {
        return Ok(args);
    };
    let flags = flags_from_file(program, &path, &typed, file)?;
    let mut expanded = names.to_vec();
    expanded.extend(flags.iter().map(OsString::from));
    expanded.extend_from_slice(values);
    Ok(expanded)
}

/// The command that is called, after those that it belongs to, each with its name.
fn called<'a>(program: &'a Command, args: &[OsString]) -> Vec<(&'a str, &'a Command)> {
    let mut path: Vec<(&str, &Command)> = Vec::new();
    for name in args.iter().skip(1) {
        let above = path.last().map_or(program, |(_, command)| command);
        match name.to_str().and_then(|name| above.find_subcommand(name)) {
            Some(command) => path.push((command.get_name(), command)),
            None => break,
        }
    }
    path
}

fn flags_from_file(
    program: &Command,
    path: &[(&str, &Command)],
    typed: &ArgMatches,
    file: &Path,
) -> Result<Vec<String>> {
    let where_ = || format!("the configuration file {}", file.display());
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", where_()))?;
    let table: toml::Table =
        toml::from_str(&text).with_context(|| format!("{} is not valid TOML", where_()))?;
    // The whole file, then the table of each command on the way, the last one being the called command's own.
    let mut tables = vec![(String::new(), &table)];
    let mut above = program;
    for (name, command) in path {
        let Some((section, keys)) = tables.last() else {
            break;
        };
        check_tables(above, section, keys, &where_())?;
        let Some(own) = keys.get(*name).and_then(toml::Value::as_table) else {
            break;
        };
        let section = [section.as_str(), name].join(".");
        tables.push((section.trim_start_matches('.').to_owned(), own));
        above = command;
    }
    let Some((_, command)) = path.last() else {
        return Ok(Vec::new());
    };
    let mut flags = Vec::new();
    let mut positional = Vec::new();
    let mut nearer: Vec<&toml::Table> = Vec::new();
    for (section, keys) in tables.into_iter().rev() {
        for (key, value) in keys {
            // A key of a nearer table goes before the same key further out.
            if value.is_table() || nearer.iter().any(|table| has_key(table, key)) {
                continue;
            }
            let arg =
                find(command, key).with_context(|| unknown_key(command, key, &section, file))?;
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
        nearer.push(keys);
    }
    flags.extend(positional);
    Ok(flags)
}

/// Tables are named for commands.
fn check_tables(above: &Command, section: &str, keys: &toml::Table, file: &str) -> Result<()> {
    for (key, value) in keys {
        if value.is_table() && above.find_subcommand(key).is_none() {
            let name = [section, key].join(".");
            bail!(
                "{file} has a table [{}], but there is no command of that name",
                name.trim_start_matches('.')
            );
        }
    }
    Ok(())
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
            .subcommand(
                Command::new("adapters").subcommand(
                    Command::new("merge")
                        .arg(config())
                        .arg(Arg::new("model").long("model"))
                        .arg(Arg::new("adapter").long("adapter")),
                ),
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
    fn commands_of_a_command_have_tables_inside_its_own() -> Result<()> {
        let toml = "model = \"a\"\n[adapters]\nmodel = \"b\"\n[adapters.merge]\nadapter = \"x\"";
        assert_eq!(
            expanded(toml, &["adapters", "merge"])?,
            ["p", "adapters", "merge", "--adapter=x", "--model=b"]
        );
        assert_eq!(
            expanded(toml, &["adapters", "merge", "--model", "c"])?,
            ["p", "adapters", "merge", "--adapter=x", "--model", "c"]
        );
        let message = expanded("[adapters.marge]\nx = 1", &["adapters", "merge"])
            .map_or_else(|e| format!("{e:#}"), |_| String::new());
        assert!(message.contains("table [adapters.marge]"), "{message}");
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
