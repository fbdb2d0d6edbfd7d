//! What is left of a run, and what is drawn of it: metrics by source, `run.json`, `plot`.

use std::fs;
use std::path::Path;

use crate::program::run;
use crate::training::{prepared, train};

/// A run of eight steps with two sources of validation text.
fn trained(at: &Path, output: &str, seed: &str) {
    for name in ["val-prosa.bin", "val-lei_2.bin", "val.bin"] {
        fs::create_dir_all(at.join("corpus")).expect("a folder");
        for end in ["bin", "idx"] {
            let to = at.join("corpus").join(name).with_extension(end);
            fs::copy(at.join("texto").with_extension(end), to).expect("copied");
        }
    }
    let more = [
        "--max-steps",
        "8",
        "--batch-size",
        "2",
        "--seq-len",
        "16",
        "--val-dir",
        "corpus",
        "--eval-every",
        "4",
        "--eval-tokens",
        "256",
        "--save-every",
        "4",
        "--log-every",
        "4",
        "--seed",
        seed,
    ];
    let shown = run(at, &train(output, &more)).done();
    assert!(
        shown.out.contains("    prosa: loss ") && shown.out.contains("    lei_2: loss "),
        "{}",
        shown.out
    );
}

#[test]
fn curves_of_several_runs_in_one_drawing() {
    let folder = prepared();
    let at = folder.path();
    trained(at, "um<b>", "1");
    trained(at, "dois", "2");
    let shown = run(
        at,
        &[
            "plot", "um<b>", "dois", "--output", "loss.svg", "--smooth", "0.5",
        ],
    )
    .done();
    for part in [
        "a  um<b>",
        "b  dois",
        "training loss (nats a token) over steps",
        "loss.svg",
    ] {
        assert!(
            shown.out.contains(part),
            "{part} is missing:\n{}",
            shown.out
        );
    }
    let svg = fs::read_to_string(at.join("loss.svg")).expect("a drawing");
    assert!(svg.contains(">um&lt;b&gt;</text>") && !svg.contains("<b>"));
    assert_eq!(
        svg.matches("<path class=\"curve\" d=\"M").count(),
        2 + 2,
        "two curves, two in the legend"
    );

    let drawn = run(
        at,
        &[
            "plot",
            "dois",
            "--metric",
            "validation",
            "--x",
            "tokens",
            "--json",
        ],
    )
    .done()
    .json();
    let curves = drawn["curves"].as_array().expect("curves");
    let names: Vec<_> = curves
        .iter()
        .map(|curve| curve["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["dois", "dois lei_2", "dois prosa"]);
    // All three files hold the same text.
    for curve in curves {
        assert_eq!(curve["points"], 2);
        assert_eq!(curve["last"], curves[0]["last"]);
        assert_eq!(curve["last"][0], 8.0 * 2.0 * 16.0);
    }
    for metric in ["learning-rate", "grad-norm", "tokens-per-second"] {
        run(
            at,
            &[
                "plot",
                "dois/metrics.csv",
                "--metric",
                metric,
                "--x",
                "hours",
            ],
        )
        .done();
    }
    run(at, &["plot", "nenhum"]).fails_with(&["nenhum", "output folder of a training run"]);
    run(at, &["plot", "tokenizer.json"]).fails_with(&["tokenizer.json is no metrics.csv"]);
    run(at, &["plot", "dois", "--smooth", "1"]).fails_with(&["--smooth is 1"]);
    fs::write(at.join("vazio.csv"), "step,kind,loss\n").expect("written");
    run(at, &["plot", "vazio.csv"]).fails_with(&["vazio.csv has no training loss"]);
}

#[test]
fn the_folder_says_how_its_run_came_about() {
    let folder = prepared();
    let at = folder.path();
    trained(at, "run", "1");
    run(
        at,
        &[
            "resume",
            "--output",
            "run",
            "--max-steps",
            "10",
            "--device",
            "cpu",
            "--sample-tokens",
            "0",
        ],
    )
    .done();
    let text = fs::read_to_string(at.join("run/run.json")).expect("run.json");
    let record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let starts = record["starts"].as_array().expect("starts");
    assert_eq!(starts.len(), 2);
    assert_eq!(
        (starts[0]["step"].as_u64(), starts[1]["step"].as_u64()),
        (Some(0), Some(8))
    );
    for (start, word) in starts.iter().zip(["train", "resume"]) {
        assert_eq!(start["command"][1], word);
        assert_eq!(start["device"], "cpu");
        assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
        let time = start["time"].as_str().expect("a time");
        assert!(
            time.len() == 20 && time.starts_with("20") && time.ends_with('Z'),
            "{time}"
        );
    }
    assert_eq!(record["training"]["max_steps"], 10);
    assert_eq!(record["model"]["d_model"], 32);
    let whats: Vec<_> = record["data"]
        .as_array()
        .expect("files")
        .iter()
        .map(|f| f["what"].as_str().expect("text"))
        .collect();
    assert_eq!(
        whats,
        [
            "train",
            "validation",
            "validation:lei_2",
            "validation:prosa"
        ]
    );
    assert_eq!(record["tokenizer"]["path"], "tokenizer.json");
    // The hashes are those that `info` finds in the files.
    let tokens = run(at, &["info", "texto.bin", "--json"]).done().json();
    assert_eq!(record["data"][0]["sha256"], tokens["payload_sha256"]);
    assert_eq!(record["tokenizer"]["sha256"], tokens["tokenizer_sha256"]);
    let info = run(at, &["info", "run", "--json"]).done();
    assert_eq!(info.json()["run"], record);
    assert!(
        info.err.contains("resumed") && info.err.contains("at step 8, on cpu"),
        "{}",
        info.err
    );

    // The resumed run knew its sources again.
    let rows = fs::read_to_string(at.join("run/metrics.csv")).expect("metrics");
    assert_eq!(rows.matches("10,validation:prosa,").count(), 1);

    // A record that was damaged stops nobody but who asks for it.
    fs::write(at.join("run/run.json"), "{").expect("written");
    run(at, &["info", "run"]).fails_with(&["run.json is damaged"]);
    run(
        at,
        &[
            "resume",
            "--output",
            "run",
            "--max-steps",
            "12",
            "--device",
            "cpu",
            "--sample-tokens",
            "0",
        ],
    )
    .done();
    run(at, &["info", "run"]).done();
}

#[test]
fn a_folder_without_validation_text_is_refused() {
    let folder = prepared();
    let at = folder.path();
    fs::create_dir(at.join("vazia")).expect("a folder");
    let more = [
        "--max-steps",
        "2",
        "--batch-size",
        "2",
        "--seq-len",
        "16",
        "--val-dir",
    ];
    let with = |dir| [&more[..], &[dir]].concat();
    run(at, &train("run", &with("vazia"))).fails_with(&["vazia holds neither val.bin nor"]);
    run(at, &train("run", &with("nenhuma"))).fails_with(&["cannot list nenhuma"]);
    fs::write(at.join("vazia/val-x y.bin"), "").expect("written");
    run(at, &train("run", &with("vazia"))).fails_with(&["val-x y.bin"]);
    assert!(!at.join("run/latest").exists());
}
