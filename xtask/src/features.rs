//! Does `cargo run --release` use the same build of every dependency as the tests? A test's dependency that asks a shared
//! package for one feature more gives that package a second build, and with it everything above: for `either`, below
//! rayon, that is all of burn, 25 minutes on two cores.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use crate::command::{self, Workspace};
use crate::report::Done;

/// The features that a package is built with, once for each build of it (build scripts may have their own).
type Builds<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Compares the packages of the program with the same packages as the tests of the whole workspace see them.
pub fn check(workspace: &Workspace) -> Result<Done> {
    let tree = |arguments: &[&str]| {
        let mut command = workspace.cargo();
        command.args(["tree", "--quiet", "--prefix=none", "--format={p}|{f}"]);
        command::output(command.args(arguments))
    };
    let program = tree(&["--edges=normal,build"])?;
    let tests = tree(&["--workspace", "--edges=normal,build,dev"])?;
    let (program, tests) = (builds(&program), builds(&tests));
    let differences = differences(&program, &tests);
    if program.is_empty() {
        bail!("`cargo tree` named no package");
    }
    if !differences.is_empty() {
        bail!(
            "{} packages would be built twice; let ptbr-train ask for the tests' features too (see the root Cargo.toml)\n{}",
            differences.len(),
            differences.join("\n")
        );
    }
    Ok(Done::Yes(format!(
        "the tests and the program share {} packages",
        program.len()
    )))
}

fn builds(tree: &str) -> Builds<'_> {
    let mut builds = Builds::new();
    for line in tree.lines() {
        if let Some((package, features)) = line.trim_end_matches(" (*)").split_once('|') {
            builds.entry(package).or_default().insert(features);
        }
    }
    builds
}

fn differences(program: &Builds<'_>, tests: &Builds<'_>) -> Vec<String> {
    let list = |features: &BTreeSet<&str>| features.iter().copied().collect::<Vec<_>>().join(" | ");
    program
        .iter()
        .filter_map(|(package, features)| {
            let with_tests = tests.get(package)?;
            let differ = features != with_tests;
            differ.then(|| {
                format!(
                    "{package}: [{}], with the tests [{}]",
                    list(features),
                    list(with_tests)
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_packages_with_other_features() {
        let program = builds("a v1.0.0|std\nb v1.0.0|std\nb v1.0.0|\nc v1.0.0|x (*)\n\n");
        let tests =
            builds("a v1.0.0|default,std\nb v1.0.0|\nb v1.0.0|std\nc v1.0.0|x\nd v1.0.0|std\n");
        assert_eq!(
            differences(&program, &tests),
            ["a v1.0.0: [std], with the tests [default,std]"]
        );
        assert!(differences(&program, &program).is_empty());
    }
}
