//! Corpora: built, killed and built on; filtered; refused with a reason.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use tempfile::tempdir;

use crate::program::{Run, command, run};
use crate::samples::{literature, pack, wiki_xml};

/// A folder of sources and `corpus.toml`: chapters of a book and a dump.
fn prepare(at: &Path) {
    fs::create_dir(at.join("dados")).expect("made");
    fs::write(at.join("dados/livro.txt"), literature(12)).expect("written");
    fs::write(at.join("dados/wiki.xml.bz2"), pack(wiki_xml().as_bytes())).expect("written");
    let config = "root = \"dados\"\n[tokenizer]\nvocab_size = 400\n[split]\nvalidation = 0.2\nseed = 1\n\
        [filters]\nskip = [\"too_few_words\", \"few_sentences\", \"short_lines\", \"repeated_lines\", \"repeated_ngrams\", \"top_ngram\"]\n\
        [[source]]\nname = \"livro\"\ndocuments = \"blank_lines\"\ntrain = [\"livro.txt\"]\n\
        [[source]]\nname = \"wiki\"\nkind = \"wiki\"\ntrain = [\"wiki.xml.bz2\"]\nweight = 2.0\n";
    fs::write(at.join("corpus.toml"), config).expect("written");
}

const BUILD: [&str; 3] = ["build-dataset", "--config", "corpus.toml"];

fn build(at: &Path, more: &[&str]) -> Run {
    run(at, &[&BUILD, more].concat())
}

/// What a build leaves for training.
const RESULTS: [&str; 6] = [
    "train.bin",
    "train.idx",
    "val.bin",
    "val-wiki.bin",
    "tokenizer.json",
    "removed.jsonl",
];

fn results(output: &Path) -> Vec<Vec<u8>> {
    RESULTS
        .iter()
        .map(|name| fs::read(output.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
        .collect()
}

#[test]
fn a_corpus_is_built_and_can_be_trained_on() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    prepare(at);
    let shown = build(at, &["--output", "corpus"]).done();
    assert!(shown.out.contains("corpus/train.bin: "), "{}", shown.out);
    assert!(
        shown.out.lines().any(|line| line.starts_with("wiki  ")),
        "{}",
        shown.out
    );
    assert!(
        shown
            .err
            .contains("next: ptbr-slm train --data corpus/train.bin"),
        "{}",
        shown.err
    );
    let again = build(at, &["--output", "corpus", "--json"]).done().json();
    let stages = again["stages"].as_array().expect("a list");
    assert!(
        stages.iter().all(|stage| stage["cached"] == true),
        "{stages:?}"
    );
    let stages: Vec<&str> = stages
        .iter()
        .filter_map(|stage| stage["stage"].as_str())
        .collect();
    assert_eq!(
        stages[..5],
        [
            "filter livro",
            "read wiki",
            "filter wiki",
            "deduplicate",
            "tokenizer"
        ]
    );
    let written = fs::read_to_string(at.join("corpus/build.json")).expect("the summary");
    let written: serde_json::Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!(written["files"], again["files"]);

    // Tag only: nothing is dropped.
    let tagged = build(at, &["--output", "tudo", "--tag-only", "--json"])
        .done()
        .json();
    for source in ["livro", "wiki"] {
        let counts = &tagged["filters"][source];
        assert_eq!(counts["kept"], counts["documents"], "{source}");
    }
    // Another tokenizer.
    let args = [
        "--output",
        "outro",
        "--tokenizer",
        "corpus/tokenizer.json",
        "--cache",
        "corpus/cache",
        "--json",
    ];
    let other = build(at, &args).done().json();
    assert_eq!(other["tokenizer_sha256"], written["tokenizer_sha256"]);
    assert!(
        other["stages"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|stage| stage["stage"] != "tokenizer")
    );
}

#[test]
fn a_killed_build_goes_on_where_it_was() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    prepare(at);
    build(at, &["--output", "inteiro"]).done();
    let whole = results(&at.join("inteiro"));
    let mut found = 0;
    let mut kills = 0;
    // Killed later each time, until it is done before it is killed.
    for wait in (2..).map(|n| Duration::from_millis(n * n)) {
        let mut child = command(at, &[&BUILD[..], &["--output", "morto"]].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        sleep(wait);
        let ended = child.try_wait().expect("a child").is_some();
        // SIGKILL, which no program can catch.
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
        kills += u32::from(!ended);
        let stages = || {
            fs::read_dir(at.join("morto/cache"))
                .into_iter()
                .flatten()
                .flatten()
        };
        let done = stages().filter(|entry| {
            entry.path().join("stage.json").exists() && entry.path().extension().is_none()
        });
        let done = done.count();
        assert!(done >= found, "a finished stage was lost");
        found = done;
        if ended {
            break;
        }
    }
    assert!(kills >= 1, "it was never killed");
    let last = build(at, &["--output", "morto", "--json"]).done().json();
    assert!(
        last["stages"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|stage| stage["cached"] == true)
    );
    for (name, (one, other)) in RESULTS
        .iter()
        .zip(whole.iter().zip(results(&at.join("morto"))))
    {
        assert!(
            *one == other,
            "{name} differs from that of a build that was never killed"
        );
    }
    // Nothing half done is left.
    let left = fs::read_dir(at.join("morto/cache"))
        .expect("the cache")
        .flatten();
    let left: Vec<_> = left
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn wrong_configurations_are_explained() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    prepare(at);
    let with = |text: &str| {
        fs::write(at.join("corpus.toml"), text).expect("written");
        build(at, &["--output", "x"])
    };
    with("[[source]]\nname = \"a\"\ntrain = [\"livro.txt\"]\nwieght = 2.0\n")
        .fails_with(&["corpus.toml", "wieght"]);
    with("root = \"dados\"\n[[source]]\nname = \"a\"\ntrain = [\"livros.txt\"]\n")
        .fails_with(&["the source `a` names \"livros.txt\"", "holds no such text"]);
    with("root = \"dado\"\n[[source]]\nname = \"a\"\ntrain = [\"livro.txt\"]\n").fails_with(&[
        "there is no folder",
        "dado",
        "--data-root",
    ]);
    let rootless = "[[source]]\nname = \"a\"\ntrain = [\"livro.txt\"]\n";
    fs::write(at.join("corpus.toml"), rootless).expect("written");
    let output = command(at, &[&BUILD[..], &["--output", "x"]].concat())
        .env_remove("PTBR_DATA")
        .output()
        .expect("the program starts");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(err.contains("--data-root"), "{err}");
    build(
        at,
        &[
            "--output",
            "x",
            "--data-root",
            "dados",
            "--tokenizer",
            "nada.json",
        ],
    )
    .fails_with(&["nada.json"]);
}

#[test]
fn documents_are_filtered_and_told_why() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    let english =
        "The river rises in the mountains and runs to the north of the country. ".repeat(9);
    let chapter = literature(1);
    fs::write(
        at.join("t.txt"),
        format!("{english}\n\n{chapter}\n\n{chapter}"),
    )
    .expect("written");
    let args = ["filter-corpus", "--input", "t.txt", "--output", "limpo"];
    let shown = run(at, &args).done();
    assert!(
        shown
            .out
            .contains("limpo/documents.jsonl: 1 of 3 documents"),
        "{}",
        shown.out
    );
    assert!(
        shown.out.contains("1  other_language") && shown.out.contains("1  exact duplicates"),
        "{}",
        shown.out
    );
    let rejects = fs::read_to_string(at.join("limpo/rejects.jsonl")).expect("samples");
    assert!(rejects.contains("\"reason\":\"other_language\"") && rejects.contains("The river"));
    let found = run(at, &[&args[..], &["--tag-only", "--json"]].concat())
        .done()
        .json();
    assert_eq!(found["dedup"]["kept"], 3);

    // Flags and rules may come from files.
    fs::write(
        at.join("regras.toml"),
        "[language]\nkeep = [\"en\", \"pt\"]\n",
    )
    .expect("written");
    fs::write(
        at.join("flags.toml"),
        "filters = \"regras.toml\"\nkeep-duplicates = true\n",
    )
    .expect("written");
    let found = run(
        at,
        &[&args[..], &["--config", "flags.toml", "--json"]].concat(),
    )
    .done()
    .json();
    assert_eq!(
        found["filters"]["reasons"]["other_language"],
        serde_json::Value::Null
    );
    assert_eq!(found["dedup"], serde_json::Value::Null);
    fs::write(at.join("regras.toml"), "[quality]\nmin_word = 3\n").expect("written");
    run(at, &[&args[..], &["--config", "flags.toml"]].concat())
        .fails_with(&["regras.toml", "min_word"]);
    run(at, &["filter-corpus", "--input", "nada", "--output", "x"]).fails_with(&["nada"]);
    run(at, &[&args[..], &["--similarity", "0.1"]].concat()).fails_with(&["--similarity 0.1"]);
}
