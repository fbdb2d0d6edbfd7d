//! `quantize`, and every command on the files that it writes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use tempfile::{TempDir, tempdir};

use crate::program::{Run, command, run};
use crate::samples::{self, TinyModel};

const TEXT: &str = "O Brasil é o maior país da América do Sul e da região da América Latina, sendo o quinto maior do mundo em área territorial.\n";

/// A folder with the f32 model `m.safetensors` and the text `t.txt`.
fn folder() -> TempDir {
    let folder = tempdir().expect("a temporary folder");
    samples::prepare(folder.path());
    TinyModel::new(folder.path()).save_file(&folder.path().join("m.safetensors"));
    fs::write(folder.path().join("t.txt"), TEXT.repeat(3)).expect("written");
    folder
}

fn quantize(at: &Path, format: &str, output: &str, more: &[&str]) -> Run {
    let args = [
        "quantize",
        "--model",
        "m.safetensors",
        "--format",
        format,
        "--output",
        output,
    ];
    run(at, &[&args[..], more].concat())
}

#[test]
fn every_format_is_written_and_every_command_takes_it() {
    let folder = folder();
    let at = folder.path();
    let logits = |model: &str| -> Vec<f64> {
        let shown = run(
            at,
            &["logits", "--model", model, "--tokens", "5,17,42", "--json"],
        )
        .done();
        serde_json::from_value(shown.json()["logits"].clone()).expect("numbers")
    };
    let exact = logits("m.safetensors");
    let id = run(at, &["info", "m.safetensors", "--json"]).done().json()["model_id"].clone();
    let mut last_bytes = u64::MAX;
    // Bits of a matrix, and how far the logits of such a model (some units large) may move.
    for (format, bits, near) in [
        ("f32", 32.0, 0.0),
        ("f16", 16.0, 0.05),
        ("int8", 8.5, 0.5),
        ("fp8", 8.5, 1.5),
        ("int4", 5.0, 4.0),
    ] {
        let output = format!("{format}.safetensors");
        let made = quantize(at, format, &output, &["--data", "t.txt", "--json"])
            .done()
            .json();
        let length = fs::metadata(at.join(&output)).expect("the file").len();
        assert_eq!(made["bytes"], length);
        assert!(
            length <= last_bytes,
            "{format} is larger than the format before it"
        );
        last_bytes = length;
        // A tiny model has many vectors, which stay f32.
        let found = made["bits_per_weight"].as_f64().expect("a number");
        assert!((bits..bits + 0.8).contains(&found), "{format}: {found}");
        assert_eq!(made["kinds"].as_array().map(Vec::len), Some(10));

        let evaluated = run(
            at,
            &["evaluate", "--model", &output, "--data", "t.txt", "--json"],
        )
        .done();
        assert_eq!(evaluated.json(), made["after"], "{format}");
        let (before, after) = (&made["before"]["perplexity"], &made["after"]["perplexity"]);
        let increase = after.as_f64().expect("a number") / before.as_f64().expect("a number") - 1.0;
        let said = made["perplexity_increase"].as_f64().expect("a number");
        assert!((increase - said).abs() < 1e-9);

        let moved = exact
            .iter()
            .zip(logits(&output))
            .map(|(x, y)| (x - y).abs());
        let moved = moved.fold(0.0, f64::max);
        assert!(moved <= near, "{format}: the logits move by {moved}");
        assert!(format == "f32" || moved > 0.0, "{format} changed nothing");

        let info = run(at, &["info", &output, "--json"]).done().json();
        assert_eq!(info["format"], format);
        assert_eq!(info["model_id"], id, "the id of the original is carried on");
        assert_eq!(info["kinds"][0]["kind"], "emb");
        let prompt = ["--prompt", "O Brasil", "--max-tokens", "3"];
        run(
            at,
            &[&["generate", "--model", &output][..], &prompt[..]].concat(),
        )
        .done();
    }
}

#[test]
fn named_matrices_stay_wider() {
    let folder = folder();
    let at = folder.path();
    let made = quantize(
        at,
        "int4",
        "q.safetensors",
        &[
            "--keep-f16",
            "head,blocks.0.att.key",
            "--keep-int8",
            "ffn",
            "--keep-f32",
            "emb",
            "--json",
        ],
    )
    .done()
    .json();
    let exceptions = made["exceptions"].as_object().expect("an object");
    let formats: Vec<(&str, &str)> = exceptions
        .iter()
        .map(|(name, format)| (name.as_str(), format.as_str().unwrap_or_default()))
        .collect();
    assert_eq!(
        formats,
        [
            ("blocks.0.att.key.weight", "f16"),
            ("blocks.0.ffn.key.weight", "int8"),
            ("blocks.0.ffn.receptance.weight", "int8"),
            ("blocks.0.ffn.value.weight", "int8"),
            ("emb.weight", "f32"),
            ("head.weight", "f16"),
        ]
    );
    assert_eq!(made["before"], serde_json::Value::Null);
    let info = run(at, &["info", "q.safetensors"]).done().out;
    for line in [
        "format           int4",
        "head (f16)",
        "ffn.value (int8)",
        "vectors (f32)",
    ] {
        assert!(info.contains(line), "`{line}` is not in\n{info}");
    }
}

#[test]
fn a_bound_on_the_perplexity_is_kept_or_refused() {
    let folder = folder();
    let at = folder.path();
    let data = ["--data", "t.txt", "--max-tokens", "60"];
    let plain = quantize(
        at,
        "int4",
        "q.safetensors",
        &[&data[..], &["--json"]].concat(),
    )
    .done()
    .json();
    let plain = plain["perplexity_increase"]
        .as_f64()
        .expect("a number")
        .abs();
    fs::remove_file(at.join("q.safetensors")).expect("removed");
    // Tighter than int4 alone holds, wider than f16 needs.
    let bound = format!("{:.6}%", 100.0 * plain / 4.0);
    let flags = [&data[..], &["--max-perplexity-increase", &bound, "--json"]].concat();
    let shown = quantize(at, "int4", "q.safetensors", &flags).done();
    let made = shown.json();
    assert!(
        made["perplexity_increase"].as_f64().expect("a number") <= plain / 4.0 + 1e-9,
        "{made}"
    );
    assert!(
        shown.err.contains("all in int4: perplexity "),
        "{}",
        shown.err
    );
    quantize(
        at,
        "int4",
        "q.safetensors",
        &["--max-perplexity-increase", "1%"],
    )
    .fails_with(&["--data"]);
}

fn names(at: &Path) -> Vec<String> {
    let entries = fs::read_dir(at).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry.expect("an entry")))
        .collect();
    names.sort();
    names
}

/// The file that a trial of number formats runs has no name, so that not even a kill leaves it behind.
#[test]
fn a_search_that_is_killed_leaves_nothing_behind() {
    let folder = folder();
    let at = folder.path();
    // Enough that a trial takes a while.
    fs::write(at.join("long.txt"), TEXT.repeat(3000)).expect("written");
    let before = names(at);
    let args = [
        "quantize",
        "--model",
        "m.safetensors",
        "--format",
        "int4",
        "--output",
        "q.safetensors",
        "--data",
        "long.txt",
        "--max-perplexity-increase",
        "0%",
    ];
    let mut child = command(at, &args)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let said = BufReader::new(child.stderr.take().expect("piped")).lines();
    let first = said
        .map(|line| line.expect("UTF-8"))
        .find(|line| line.starts_with("all in int4"));
    assert!(first.is_some(), "the first trial says what it found");
    // In the middle of the second.
    sleep(Duration::from_millis(50));
    assert_eq!(names(at), before, "while it runs");
    child.kill().expect("killed");
    let status = child.wait().expect("ended");
    assert!(!status.success(), "it was over before it was killed");
    assert_eq!(names(at), before, "after it was killed");
}

#[test]
fn what_a_killed_run_left_of_its_output_is_removed() {
    let folder = folder();
    let at = folder.path();
    let mut expected = names(at);
    // As a run with this number leaves it when it is killed in the middle of writing, and the file of someone else.
    fs::write(at.join("q.safetensors.tmp-4194305"), "half").expect("written");
    fs::write(at.join("r.safetensors.tmp-4194305"), "half").expect("written");
    quantize(at, "int8", "q.safetensors", &[]).done();
    expected.extend(["q.safetensors".into(), "r.safetensors.tmp-4194305".into()]);
    expected.sort();
    assert_eq!(names(at), expected);
}

#[test]
fn what_cannot_be_quantized_says_why() {
    let folder = folder();
    let at = folder.path();
    quantize(at, "int8", "q.safetensors", &[]).done();
    run(
        at,
        &[
            "quantize",
            "--model",
            "q.safetensors",
            "--format",
            "int4",
            "--output",
            "r.safetensors",
        ],
    )
    .fails_with(&[
        "q.safetensors is quantized already (int8)",
        "give the f32 model it was made from",
    ]);
    quantize(at, "int3", "r.safetensors", &[])
        .fails_with(&["`int3` is no number format of weights"]);
    quantize(at, "int4", "r.safetensors", &["--keep-f16", "heads"]).fails_with(&[
        "`heads` names no matrix of the model",
        "att.key",
        "head",
    ]);
    quantize(
        at,
        "int4",
        "r.safetensors",
        &["--data", "t.txt", "--max-perplexity-increase", "little"],
    )
    .fails_with(&["`little` is no percentage"]);
    let mut large = TinyModel::new(at);
    large.spoil("blocks.0.att.value.weight", 1e6);
    large.save_file(&at.join("m.safetensors"));
    quantize(at, "f16", "r.safetensors", &[]).fails_with(&[
        "the matrix `blocks.0.att.value.weight` cannot be written as f16: element 512 is 1000000, and f16 ends at 65504",
    ]);
    assert!(!at.join("r.safetensors").exists());
}
