//! From a dump to text, tokens and a model that answers, without training.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use tempfile::tempdir;

use crate::program::{command, run};
use crate::samples::{self, TinyModel};

#[test]
fn from_a_dump_to_tokens() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    fs::write(
        at.join("d.xml.bz2"),
        samples::pack(samples::wiki_xml().as_bytes()),
    )
    .expect("written");
    let wiki = run(
        at,
        &[
            "process-wiki",
            "--input",
            "d.xml.bz2",
            "--output",
            "texts",
            "--json",
        ],
    )
    .done()
    .json();
    assert_eq!(
        (wiki["pages_seen"].as_u64(), wiki["pages_kept"].as_u64()),
        (Some(16), Some(12))
    );
    assert_eq!(wiki["dropped"]["redirect"], 1);
    assert_eq!(wiki["dropped"]["disambiguation"], 1);
    assert_eq!(wiki["dropped"]["other_namespace"], 2);

    let text = fs::read_to_string(at.join("texts/d.jsonl")).expect("the articles");
    for kept in ["maior país da América do Sul", "Velho Chico", "berimbau"] {
        assert!(text.contains(kept), "`{kept}` is lost");
    }
    for markup in [
        "{{",
        "}}",
        "[[",
        "]]",
        "Ficheiro:",
        "Categoria:",
        "<ref",
        "wikitable",
        "__N",
        "'''",
        "acessodata",
    ] {
        assert!(!text.contains(markup), "`{markup}` is left in the text");
    }

    run(
        at,
        &["clean-corpus", "--input", "texts", "--output", "clean"],
    )
    .done();
    let learned = run(
        at,
        &[
            "train-tokenizer",
            "--input",
            "clean",
            "--output",
            "t.json",
            "--vocab-size",
            "400",
            "--json",
        ],
    )
    .done()
    .json();
    assert_eq!(learned["vocab_size"], 400);
    let tokens = run(
        at,
        &[
            "tokenize",
            "--input",
            "clean",
            "--tokenizer",
            "t.json",
            "--output",
            "t.bin",
            "--json",
        ],
    )
    .done()
    .json();
    assert_eq!(tokens["documents"], 12);
    let info = run(at, &["info", "t.bin", "--json"]).done().json();
    assert_eq!(info["kind"], "token_file");
    assert_eq!(info["tokens"], tokens["tokens"]);
    assert_eq!(info["documents"], 12);
    assert_eq!(info["tokenizer_sha256"], learned["sha256"]);
    let info = run(at, &["info", "t.json", "--json"]).done().json();
    assert_eq!(
        (&info["kind"], &info["vocab_size"]),
        (&"tokenizer".into(), &400.into())
    );
}

/// The same text gives the same files, whatever it is called with and however often.
#[test]
fn results_are_reproducible() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    samples::prepare(at);
    let first = (
        fs::read(at.join("tokenizer.json")).expect("a"),
        fs::read(at.join("texto.bin")).expect("b"),
    );
    samples::prepare(at);
    assert_eq!(first.0, fs::read(at.join("tokenizer.json")).expect("a"));
    assert_eq!(first.1, fs::read(at.join("texto.bin")).expect("b"));
}

#[test]
fn a_model_answers() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    samples::prepare(at);
    TinyModel::new(at).save_checkpoint(&at.join("run"), 3);
    TinyModel::new(at).save_file(&at.join("m.safetensors"));

    let generate = |model: &str, seed: &str| {
        run(
            at,
            &[
                "generate",
                "--model",
                model,
                "--prompt",
                "O Brasil é",
                "--max-tokens",
                "20",
                "--seed",
                seed,
            ],
        )
        .done()
        .out
    };
    let text = generate("run", "7");
    assert!(text.starts_with("O Brasil é"));
    assert_eq!(
        text,
        generate("run", "7"),
        "the same seed writes the same text"
    );
    assert_eq!(
        text,
        generate("m.safetensors", "7"),
        "a checkpoint and a model file of the same weights"
    );
    assert_ne!(text, generate("run", "8"));

    let json = run(
        at,
        &[
            "generate",
            "--model",
            "run",
            "--prompt",
            "O Brasil é",
            "--max-tokens",
            "20",
            "--seed",
            "7",
            "--json",
        ],
    )
    .done();
    assert_eq!(
        format!(
            "O Brasil é{}\n",
            json.json()["text"].as_str().expect("a text")
        ),
        text
    );
    assert!(
        json.err.starts_with("O Brasil é"),
        "with --json people read stderr"
    );

    let all = run(
        at,
        &["logits", "--model", "run", "--tokens", "5,17,42", "--json"],
    )
    .done()
    .json();
    let logits = all["logits"].as_array().expect("numbers");
    assert_eq!(logits.len(), 512);
    let best = (0..512).max_by(|&a, &b| {
        logits[a]
            .as_f64()
            .partial_cmp(&logits[b].as_f64())
            .expect("numbers")
    });
    let shown = run(at, &["logits", "--model", "run", "--tokens", "5,17,42"]).done();
    assert_eq!(
        shown.out.split_whitespace().next(),
        best.map(|id| id.to_string()).as_deref()
    );

    let from_tokens = run(
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
    let from_text = run(
        at,
        &[
            "evaluate",
            "--model",
            "run",
            "--data",
            "texto.txt",
            "--json",
        ],
    )
    .done()
    .json();
    assert_eq!(
        from_tokens, from_text,
        "tokens and the text that they were made from"
    );
    for key in ["loss", "perplexity", "bits_per_byte", "accuracy", "tokens"] {
        assert!(from_tokens[key].is_number(), "{key} is missing");
    }
    let loss = from_tokens["loss"].as_f64().expect("a number");
    assert!(
        (5.0..9.0).contains(&loss),
        "an untrained model of 512 tokens is near ln 512 = 6.2: {loss}"
    );

    let tested = run(
        at,
        &[
            "test-model",
            "--model",
            "run",
            "--max-tokens",
            "5",
            "--json",
        ],
    )
    .done()
    .json();
    assert_eq!(tested["samples"].as_array().map(Vec::len), Some(6));

    let info = run(at, &["info", "run", "--json"]).done().json();
    assert_eq!(
        (&info["kind"], &info["state"]["step"]),
        (&"checkpoint".into(), &3.into())
    );
    let file = run(at, &["info", "m.safetensors", "--json"]).done().json();
    assert_eq!(file["model_id"], info["model_id"]);
}

#[test]
fn info_tells_the_true_size_of_a_preset() {
    let here = std::path::Path::new(".");
    let info = run(here, &["info", "--model-size", "85m", "--json"])
        .done()
        .json();
    assert_eq!(info["parameters"], 141_268_992);
    run(here, &["info", "--model-size", "85M"]).fails_with(&["85M", "did you mean \"85m\""]);
    run(here, &["info"]).fails_with(&["--model-size"]);
}

/// Whoever reads the output may close it early, as `head` does: no message, exit status 0.
#[test]
fn a_closed_pipe_is_no_error() {
    let folder = tempdir().expect("a temporary folder");
    samples::prepare(folder.path());
    TinyModel::new(folder.path()).save_checkpoint(&folder.path().join("run"), 1);
    let args = [
        "generate",
        "--model",
        "run",
        "--prompt",
        "x",
        "--max-tokens",
        "20000",
        // The most likely token every time: a model of random weights goes round in a circle and never ends the text.
        "--temperature",
        "0",
    ];
    let mut child = command(folder.path(), &args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut first = [0; 4];
    child
        .stdout
        .take()
        .expect("a pipe")
        .read_exact(&mut first)
        .expect("some text");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(
        ended.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}
