//! Licences, sources and bans of every dependency against `deny.toml`, from `cargo tree` alone.
//! cargo-deny checks the same file, and advisories too, but takes longer to build than all of this project's own crates:
//! `cargo xtask test --full` runs it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use spdx::{Expression, ParseMode};
use toml::{Table, Value};

use crate::command::{self, Workspace};
use crate::report::Done;

/// One dependency as `cargo tree` names it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    /// A folder, a git address or another registry; empty for crates.io.
    source: String,
    licence: String,
}

/// The part of `deny.toml` that is read here.
#[derive(Default)]
struct Policy {
    allow: BTreeSet<String>,
    exceptions: BTreeMap<String, BTreeSet<String>>,
    banned: BTreeSet<String>,
    single: BTreeSet<String>,
}

/// Checks all packages of all platforms, tests' and build scripts' included.
pub fn check(workspace: &Workspace) -> Result<Done> {
    let text =
        std::fs::read_to_string(workspace.root.join("deny.toml")).context("reading deny.toml")?;
    let policy = Policy::parse(&text).context("deny.toml")?;
    let tree = command::output(workspace.cargo().args([
        "tree",
        "--quiet",
        "--workspace",
        "--target=all",
        "--edges=normal,build,dev",
        "--prefix=none",
        "--format={p}|{l}",
    ]))?;
    let packages: BTreeSet<Package> = tree.lines().filter_map(Package::parse).collect();
    let problems = policy.problems(&packages, &workspace.root.to_string_lossy());
    if packages.is_empty() {
        bail!("`cargo tree` named no package");
    }
    if !problems.is_empty() {
        bail!(
            "{} of {} packages are against deny.toml\n{}",
            problems.len(),
            packages.len(),
            problems.join("\n")
        );
    }
    Ok(Done::Yes(format!(
        "{} packages agree with deny.toml",
        packages.len()
    )))
}

impl Package {
    /// Reads `name v1.2.3 (source)|licence (*)`; `None` for an empty line.
    fn parse(line: &str) -> Option<Self> {
        let (package, licence) = line.split_once('|')?;
        let mut words = package.splitn(3, ' ');
        let (name, version) = (words.next()?, words.next()?);
        let source = words.next().unwrap_or_default().replace("(proc-macro)", "");
        Some(Self {
            name: name.to_owned(),
            version: version.trim_start_matches('v').to_owned(),
            source: source
                .trim()
                .trim_start_matches('(')
                .trim_end_matches(')')
                .to_owned(),
            licence: licence.trim_end_matches("(*)").trim().to_owned(),
        })
    }
}

impl Policy {
    fn parse(text: &str) -> Result<Self> {
        let table: Table = text.parse()?;
        let section = |name: &str| {
            table
                .get(name)
                .and_then(Value::as_table)
                .with_context(|| format!("[{name}] is missing"))
        };
        let licences = section("licenses")?;
        let mut policy = Self {
            allow: strings(licences.get("allow"))?,
            ..Self::default()
        };
        for entry in entries(licences.get("exceptions")) {
            policy
                .exceptions
                .insert(crate_of(entry)?, strings(entry.get("allow"))?);
        }
        for entry in entries(section("bans")?.get("deny")) {
            let single = entry
                .get("deny-multiple-versions")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            let list = if single {
                &mut policy.single
            } else {
                &mut policy.banned
            };
            list.insert(crate_of(entry)?);
        }
        Ok(policy)
    }

    /// One line for each package that breaks a rule; `root` is the folder whose crates are the project's own.
    fn problems(&self, packages: &BTreeSet<Package>, root: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for package in packages {
            let Package {
                name,
                version,
                source,
                licence,
            } = package;
            versions.entry(name).or_default().push(version);
            if !source.is_empty() && !source.starts_with(root) {
                problems.push(format!(
                    "{name} {version} comes from {source}, not from crates.io"
                ));
            }
            if self.banned.contains(name) {
                problems.push(format!("{name} {version} is banned"));
            }
            if let Err(reason) = self.licence_allowed(name, licence) {
                problems.push(format!("{name} {version}: {reason}"));
            }
        }
        for name in &self.single {
            if let Some(found) = versions.get(name.as_str()).filter(|found| found.len() > 1) {
                problems.push(format!(
                    "{name} is there in several versions: {}",
                    found.join(", ")
                ));
            }
        }
        problems
    }

    fn licence_allowed(&self, name: &str, licence: &str) -> Result<(), String> {
        if licence.is_empty() {
            return Err("names no licence".into());
        }
        // Lax: old manifests write `MIT/Apache-2.0`.
        let expression = Expression::parse_mode(licence, ParseMode::LAX)
            .map_err(|error| format!("`{licence}` is no SPDX expression: {error}"))?;
        let exceptions = self.exceptions.get(name);
        let allowed = expression.evaluate(|required| {
            let text = required.to_string();
            self.allow.contains(&text) || exceptions.is_some_and(|list| list.contains(&text))
        });
        if allowed {
            Ok(())
        } else {
            Err(format!("licence `{licence}` is not on the list"))
        }
    }
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = &Table> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_table)
}

fn crate_of(entry: &Table) -> Result<String> {
    let name = entry
        .get("crate")
        .and_then(Value::as_str)
        .context("an entry has no `crate = \"…\"`")?;
    Ok(name.to_owned())
}

fn strings(value: Option<&Value>) -> Result<BTreeSet<String>> {
    let list = value
        .and_then(Value::as_array)
        .context("`allow` must be a list of licences")?;
    list.iter()
        .map(|entry| {
            entry
                .as_str()
                .map(str::to_owned)
                .context("a licence must be a string")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]
        exceptions = [{ crate = "odd", allow = ["MPL-2.0"] }]
        [bans]
        deny = [{ crate = "openssl-sys" }, { crate = "wgpu", deny-multiple-versions = true }]
    "#;

    fn problems(tree: &str) -> Vec<String> {
        let policy = Policy::parse(POLICY).expect("the policy above is valid");
        policy.problems(
            &tree.lines().filter_map(Package::parse).collect(),
            "/src/project",
        )
    }

    #[test]
    fn accepts_what_is_listed() {
        let tree = "ptbr-slm v0.1.0 (/src/project/native)|Apache-2.0\n\
                    serde_derive v1.0.1 (proc-macro)|MIT OR GPL-3.0-only (*)\n\
                    unicode-ident v1.0.0|(MIT OR Apache-2.0) AND Unicode-3.0\n\
                    old v0.1.0|MIT/Apache-2.0\n\
                    llvm v1.0.0|Apache-2.0 WITH LLVM-exception\n\
                    odd v1.0.0|MPL-2.0\n\n\
                    wgpu v30.0.1|MIT";
        assert_eq!(problems(tree), Vec::<String>::new());
    }

    #[test]
    fn names_what_is_not() {
        let tree = "a v1.0.0|GPL-3.0-only\nb v1.0.0|\nc v1.0.0|MIT AND MPL-2.0\nd v1.0.0|whatever it takes\n\
                    e v1.0.0 (https://example.org/e#1234)|MIT\nopenssl-sys v1.0.0|MIT\nwgpu v1.0.0|MIT\nwgpu v2.0.0|MIT";
        let found = problems(tree);
        assert_eq!(found.len(), 7, "{found:#?}");
        assert!(
            found
                .iter()
                .any(|line| line.contains("comes from https://example.org/e#1234"))
        );
        assert!(
            found
                .iter()
                .any(|line| line == "wgpu is there in several versions: 1.0.0, 2.0.0")
        );
    }

    #[test]
    fn the_projects_own_policy_is_read() {
        let policy = Policy::parse(include_str!("../../deny.toml")).expect("deny.toml is valid");
        assert!(policy.allow.contains("Apache-2.0"));
        assert!(policy.single.contains("wgpu"));
    }

    #[test]
    fn a_policy_without_a_list_is_refused() {
        assert!(Policy::parse("[licenses]\n[bans]\n").is_err());
        assert!(Policy::parse("[licenses]\nallow = [1]\n[bans]\n").is_err());
        assert!(Policy::parse("[bans]\n").is_err());
    }
}
