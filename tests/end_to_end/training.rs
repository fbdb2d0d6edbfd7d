//! Training through the command line: what it prints, what it refuses, and that it learns.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

#[cfg(not(feature = "mpi"))]
use crate::program::command;
use crate::program::run;
use crate::samples;

/// A size that trains a step in milliseconds.
pub const TINY: &str =
    "architecture = \"rwkv4\"\nvocab_size = 512\nd_model = 32\nn_layers = 2\nmax_seq_len = 32\n";

/// `train` on the text of [`samples::prepare`], on the CPU, with `more` flags.
pub fn train<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "train",
        "--data",
        "texto.bin",
        "--tokenizer",
        "tokenizer.json",
        "--output",
        output,
        "--model-size",
        "tiny.toml",
        "--device",
        "cpu",
        "--gradient-accumulation-steps",
        "1",
        "--sample-tokens",
        "4",
    ];
    args.extend(more);
    args
}

/// A folder with text, tokens, tokenizer and `tiny.toml`.
pub fn prepared() -> tempfile::TempDir {
    let folder = tempdir().expect("a temporary folder");
    samples::prepare(folder.path());
    fs::write(folder.path().join("tiny.toml"), TINY).expect("written");
    folder
}

const SHORT: &[&str] = &["--max-steps", "6", "--batch-size", "2", "--seq-len", "16"];

fn refused(folder: &Path, more: &[&str], parts: &[&str]) {
    let mut flags = SHORT.to_vec();
    // A flag that is given again would be an error of its own: the bad value takes the place of the good one.
    if let Some(at) = flags.iter().position(|flag| Some(flag) == more.first()) {
        flags.drain(at..at + 2);
    }
    flags.extend(more);
    run(folder, &train("refused", &flags)).fails_with(parts);
    assert!(!folder.join("refused/latest").exists());
}

/// A launcher that starts several processes of a program that cannot join them would have them write one folder.
#[test]
#[cfg(not(feature = "mpi"))]
fn several_processes_without_mpi_are_refused() {
    let folder = prepared();
    let started = |variables: [(&str, &str); 3]| {
        let output = command(folder.path(), &train("several", SHORT))
            .envs(variables)
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(2));
        assert!(!folder.path().join("several").exists());
        String::from_utf8(output.stderr).expect("stderr is UTF-8")
    };
    let slurm = [
        ("SLURM_PROCID", "2"),
        ("SLURM_STEP_NUM_TASKS", "4"),
        ("SLURM_LOCALID", "0"),
    ];
    let said = started(slurm);
    assert!(
        said.contains("srun started 4 processes") && said.contains("--features mpi"),
        "{said}"
    );
    let torchrun = [("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")];
    assert!(started(torchrun).contains("torchrun started 2 processes"));
}

#[test]
fn it_learns_and_its_model_writes() {
    let folder = prepared();
    let at = folder.path();
    let more = [
        "--max-steps",
        "60",
        "--batch-size",
        "8",
        "--seq-len",
        "32",
        "--learning-rate",
        "5e-3",
        "--val",
        "texto.bin",
        "--eval-every",
        "30",
        "--save-every",
        "30",
        "--log-every",
        "20",
    ];
    let shown = run(at, &train("run", &more)).done();
    for line in [
        "parameters",
        "memory",
        "step     20/60",
        "validation: loss",
        "saved ",
    ] {
        assert!(
            shown.out.contains(line),
            "`{line}` is missing:\n{}",
            shown.out
        );
    }
    let rows = fs::read_to_string(at.join("run/metrics.jsonl")).expect("metrics");
    let losses: Vec<f64> = rows
        .lines()
        .filter_map(|row| {
            serde_json::from_str::<serde_json::Value>(row).expect("a JSON line")["loss"].as_f64()
        })
        .collect();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(
        (first - (512f64.ln() + 0.125)).abs() < 0.3,
        "an untrained model is near ln 512: {first}"
    );
    assert!(last < first - 0.5, "the loss fell from {first} to {last}");
    assert!(
        fs::metadata(at.join("run/metrics.csv"))
            .expect("metrics")
            .len()
            > 100
    );

    run(
        at,
        &[
            "generate",
            "--model",
            "run",
            "--prompt",
            "O Brasil",
            "--max-tokens",
            "8",
        ],
    )
    .done();
    let judged = run(
        at,
        &[
            "evaluate",
            "--model",
            "run",
            "--data",
            "texto.bin",
            "--json",
        ],
    )
    .done()
    .json();
    assert!(judged["loss"].as_f64().expect("a number") < first - 0.5);
    let info = run(at, &["info", "run", "--json"]).done().json();
    assert_eq!(info["state"]["step"], 60);

    run(at, &train("run", SHORT)).fails_with(&[
        "already holds a training run",
        "ptbr-slm resume --output run",
    ]);
}

#[test]
fn json_alone_on_stdout() {
    let folder = prepared();
    let mut flags = SHORT.to_vec();
    flags.push("--json");
    let shown = run(folder.path(), &train("run", &flags)).done();
    let result = shown.json();
    assert_eq!(result["steps"], 6);
    assert!(
        shown.err.contains("saved "),
        "people read stderr: {}",
        shown.err
    );
}

#[test]
fn bad_values_are_refused_before_anything_is_written() {
    let folder = prepared();
    let at = folder.path();
    refused(
        at,
        &["--batch-size", "0"],
        &["`batch_size` is 0", "at least 1"],
    );
    refused(at, &["--seq-len", "0"], &["`seq_len` is 0"]);
    refused(at, &["--max-steps", "0"], &["`max_steps` is 0"]);
    refused(
        at,
        &["--learning-rate", "-3e-4"],
        &["`learning_rate` is -0.0003", "greater than 0"],
    );
    refused(at, &["--learning-rate", "NaN"], &["`learning_rate` is NaN"]);
    refused(at, &["--dropout", "1"], &["`dropout` is 1"]);
    refused(
        at,
        &["--seq-len", "100000"],
        &["texto.bin", "a sequence of 100000", "shorter --seq-len"],
    );
    let mut unknown = train("refused", SHORT);
    let at_size = unknown
        .iter()
        .position(|arg| *arg == "tiny.toml")
        .expect("a size");
    unknown[at_size] = "85mb";
    run(at, &unknown).fails_with(&["85mb", "did you mean \"85m\"", "nano, micro"]);
}

#[test]
fn other_peoples_files_are_refused() {
    let folder = prepared();
    let at = folder.path();
    fs::write(at.join("outro.txt"), samples::literature(40)).expect("written");
    run(
        at,
        &[
            "train-tokenizer",
            "--input",
            "outro.txt",
            "--output",
            "other.json",
            "--vocab-size",
            "512",
        ],
    )
    .done();
    let mut args = train("refused", SHORT);
    args[4] = "other.json";
    run(at, &args).fails_with(&["texto.bin", "tokenizer"]);
    fs::write(at.join("plain"), "x").expect("written");
    run(at, &train("plain/run", SHORT)).fails_with(&["plain/run"]);
    run(at, &["resume", "--output", "none"]).fails_with(&["none"]);
    fs::create_dir(at.join("nothing")).expect("a folder");
    run(at, &["resume", "--output", "nothing"]).fails_with(&["nothing", "no usable checkpoint"]);
}
