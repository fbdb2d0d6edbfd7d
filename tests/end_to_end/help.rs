//! Help texts, as a stranger reads them.

use std::path::Path;

use crate::program::{assert_snapshot, run};

/// Where a model may run, as help lists it.
const CPU: &str = "          - cpu:  The CPU\n";
const GPU: &str = "          - gpu:  Any GPU adapter, software adapters included\n";

const COMMANDS: &[&str] = &[
    #[cfg(feature = "train")]
    "demo",
    "process-wiki",
    "clean-corpus",
    "filter-corpus",
    "audit-corpus",
    "build-dataset",
    "train-tokenizer",
    "tokenize",
    #[cfg(feature = "train")]
    "find-lr",
    #[cfg(feature = "train")]
    "train",
    #[cfg(feature = "train")]
    "resume",
    #[cfg(feature = "train")]
    "finetune",
    #[cfg(feature = "train")]
    "plot",
    "domains",
    "evaluate",
    "quantize",
    "generate",
    "chat",
    "test-model",
    "adapters",
    "logits",
    "import",
    "export",
    "benchmark",
    "serve",
    "info",
    #[cfg(feature = "train")]
    "test-gpu",
];

#[test]
fn every_command_explains_itself() {
    for command in COMMANDS {
        let shown = run(Path::new("."), &[command, "--help"]).done();
        assert!(shown.err.is_empty(), "{}", shown.err);
        let example = shown.out.rsplit("Example").next().unwrap_or_default();
        assert!(
            example.contains(&format!("ptbr-slm {command} ")),
            "{command}: the help ends with `{example}`"
        );
        assert_snapshot(&format!("help-{command}"), &with_gpu(command, shown.out));
    }
}

/// The help as a program built with the feature `gpu` prints it, which is what the snapshots show. Without it a model cannot be run on a GPU (it can be trained on one all the same), so
/// there is one choice less, and nothing else differs.
fn with_gpu(command: &str, help: String) -> String {
    if cfg!(feature = "gpu")
        || [
            "demo", "find-lr", "train", "resume", "finetune", "plot", "test-gpu",
        ]
        .contains(&command)
    {
        return help;
    }
    assert!(
        !help.contains(GPU),
        "{command} offers a GPU that this program was built without:\n{help}"
    );
    help.replace(CPU, &format!("{CPU}{GPU}"))
}

/// Commands that have commands.
const GROUPS: [(&str, &[&str]); 2] = [
    (
        "adapters",
        &["list", "inspect", "evaluate", "merge", "export"],
    ),
    ("domains", &["list", "export"]),
];

#[test]
fn every_command_of_a_group_explains_itself() {
    for (group, commands) in GROUPS {
        for command in commands {
            let shown = run(Path::new("."), &[group, command, "--help"]).done();
            let example = shown.out.rsplit("Example").next().unwrap_or_default();
            assert!(
                example.contains(&format!("ptbr-slm {group} {command} ")),
                "{group} {command}: the help ends with `{example}`"
            );
            assert_snapshot(
                &format!("help-{group}-{command}"),
                &with_gpu(command, shown.out),
            );
        }
    }
}

/// The list of commands depends on what the program was built with, so only the whole build has a snapshot of it.
#[cfg(feature = "train")]
#[test]
fn the_program_explains_itself() {
    let shown = run(Path::new("."), &["--help"]).done();
    for command in COMMANDS {
        assert!(
            shown.out.contains(&format!("\n  {command} ")),
            "{command} is not listed"
        );
    }
    assert_snapshot("help", &shown.out);
}

#[test]
fn completions_and_man_pages_say_what_the_help_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shown = run(folder.path(), &["shell-files", "--output", "out", "--json"]).done();
    let files = shown.json()["files"].as_array().map(Vec::len);
    let read = |name: &str| {
        let path = folder.path().join("out").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let scripts = [
        "ptbr-slm.bash",
        "_ptbr-slm",
        "ptbr-slm.fish",
        "_ptbr-slm.ps1",
        "ptbr-slm.elv",
    ]
    .map(|script| read(&format!("completions/{script}")));
    let whole = read("man/ptbr-slm.1");
    let mut pages = 1;
    for command in COMMANDS {
        let page = read(&format!("man/ptbr-slm-{command}.1"));
        assert!(page.contains("\\-\\-help"), "{command}");
        assert!(whole.contains(&format!("ptbr\\-slm\\-{}(1)", command.replace('-', "\\-"))));
        for script in &scripts {
            assert!(script.contains(command), "{command}");
        }
        pages += 1;
    }
    for (group, commands) in GROUPS {
        for command in commands {
            read(&format!("man/ptbr-slm-{group}-{command}.1"));
            pages += 1;
        }
    }
    assert_eq!(files, Some(scripts.len() + pages));
    for script in &scripts {
        assert!(script.contains("max-seq-len"), "a flag of import");
    }
}

#[test]
fn wrong_arguments_are_explained() {
    let here = Path::new(".");
    for (name, args) in [
        ("no-such-command", &["tokenise"][..]),
        ("no-such-flag", &["tokenize", "--inptu", "x"]),
        ("missing-flag", &["tokenize", "--input", "x"]),
        (
            "not-a-number",
            &[
                "generate",
                "--model",
                "m",
                "--prompt",
                "x",
                "--max-tokens",
                "many",
            ],
        ),
    ] {
        let shown = run(here, args);
        assert_eq!(shown.code, 2);
        assert_snapshot(name, &shown.transcript());
    }
    assert!(
        run(here, &["--version"])
            .done()
            .out
            .starts_with("ptbr-slm ")
    );
}
