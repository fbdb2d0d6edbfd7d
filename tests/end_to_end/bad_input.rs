//! What is wrong with an input is said, where it is, and what to do; nothing panics, and what was whole is kept.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::program::{assert_snapshot, run};
use crate::samples::{self, TinyModel};

/// Writes a file into a folder that lives as long as the returned guard.
fn folder_with(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("the file is written");
    }
    folder
}

fn prepared() -> tempfile::TempDir {
    let folder = tempdir().expect("a temporary folder");
    samples::prepare(folder.path());
    folder
}

#[test]
fn missing_files() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    for args in [
        &["process-wiki", "--input", "none.xml.bz2", "--output", "out"][..],
        &["clean-corpus", "--input", "none", "--output", "out"],
        &[
            "train-tokenizer",
            "--input",
            "none.txt",
            "--output",
            "t.json",
        ],
        &[
            "tokenize",
            "--input",
            "none.txt",
            "--tokenizer",
            "none.json",
            "--output",
            "x.bin",
        ],
        &["generate", "--model", "none", "--prompt", "x"],
        &["evaluate", "--model", "none", "--data", "x.bin"],
        &["test-model", "--model", "none"],
        &["logits", "--model", "none", "--tokens", "1"],
        &["info", "none"],
    ] {
        let shown = run(at, args).fails_with(&["none", "No such file or directory"]);
        assert!(shown.out.is_empty(), "{}", shown.out);
    }
    assert!(
        fs::read_dir(at)
            .expect("a folder")
            .all(|entry| entry.expect("an entry").path().is_dir()),
        "no file appears"
    );
}

#[test]
fn empty_files() {
    let folder = folder_with(&[
        ("e.xml", b""),
        ("e.xml.bz2", b""),
        ("e.txt", b""),
        ("e.json", b""),
        ("e.bin", b""),
        ("e.safetensors", b""),
    ]);
    let at = folder.path();
    for args in [
        &["process-wiki", "--input", "e.xml", "--output", "out"][..],
        &["process-wiki", "--input", "e.xml.bz2", "--output", "out"],
        &["clean-corpus", "--input", "e.txt", "--output", "out"],
        &["train-tokenizer", "--input", "e.txt", "--output", "t.json"],
        &["info", "e.json"],
        &["info", "e.bin"],
    ] {
        run(at, args).fails_with(&["empty"]);
    }
    run(
        at,
        &["generate", "--model", "e.safetensors", "--prompt", "x"],
    )
    .fails_with(&["e.safetensors"]);
    assert!(!at.join("t.json").exists());
}

#[test]
fn wrong_magic() {
    let folder = prepared();
    let at = folder.path();
    fs::write(at.join("not.bin"), samples::literature(2)).expect("written");
    fs::write(at.join("not.xml"), b"isto n\xc3\xa3o \xc3\xa9 um dump").expect("written");
    fs::write(at.join("not.xml.bz2"), b"PK\x03\x04 isto nao e bz2").expect("written");
    run(at, &["info", "not.bin"]).fails_with(&["not.bin"]);
    run(
        at,
        &["process-wiki", "--input", "not.xml", "--output", "out"],
    )
    .fails_with(&["not a MediaWiki dump"]);
    run(
        at,
        &["process-wiki", "--input", "not.xml.bz2", "--output", "out"],
    )
    .fails_with(&["not.xml.bz2"]);
    TinyModel::new(at).save_checkpoint(&at.join("run"), 1);
    run(at, &["evaluate", "--model", "run", "--data", "not.bin"]).fails_with(&["not.bin"]);
}

/// A dump of 60 pages in streams of 2, as Wikipedia packs them, cut in the middle.
#[test]
fn truncated_bz2_keeps_what_was_whole() {
    let xml = samples::wiki_xml();
    let (head, rest) = xml.split_at(xml.find("  <page>").expect("a page"));
    let pages = rest
        .strip_suffix("</mediawiki>\n")
        .expect("the end of the dump");
    let long = format!("{head}{}</mediawiki>\n", pages.repeat(4));
    let packed = samples::multistream(&long, 2);
    let folder = folder_with(&[("d.xml.bz2", &packed[..packed.len() * 6 / 10])]);
    let shown = run(
        folder.path(),
        &["process-wiki", "--input", "d.xml.bz2", "--output", "out"],
    )
    .fails_with(&[
        "d.xml.bz2",
        "the bz2 data ends early, at byte",
        "documents are kept in",
    ]);
    let kept =
        fs::read_to_string(folder.path().join("out/d.jsonl")).expect("what was whole is there");
    let documents = kept.lines().count();
    assert!(
        (20..45).contains(&documents),
        "{documents} documents; {}",
        shown.err
    );
    assert!(
        kept.lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
    );
}

#[test]
fn xml_that_ends_early_keeps_what_was_whole() {
    let xml = samples::wiki_xml();
    let cut = xml.find("<title>Café").expect("a page") + 200;
    let folder = folder_with(&[("d.xml", &xml.as_bytes()[..cut])]);
    let shown = run(
        folder.path(),
        &["process-wiki", "--input", "d.xml", "--output", "out"],
    );
    assert_eq!(shown.code, 2);
    assert_snapshot("xml-ends-early", &shown.err);
    let kept =
        fs::read_to_string(folder.path().join("out/d.jsonl")).expect("what was whole is there");
    assert!(kept.contains("Capoeira") && !kept.contains("\"title\":\"Café\""));
}

#[test]
fn invalid_utf8() {
    let folder = folder_with(&[("latin1.txt", b"Uma frase boa.\n\nN\xe3o \xe9 UTF-8.\n")]);
    let at = folder.path();
    let shown = run(
        at,
        &[
            "train-tokenizer",
            "--input",
            "latin1.txt",
            "--output",
            "t.json",
        ],
    );
    assert_eq!(shown.code, 2);
    assert_snapshot("invalid-utf8", &shown.err);
    assert!(!at.join("t.json").exists());
}

#[test]
fn vocabulary_over_65536() {
    let folder = folder_with(&[("a.txt", samples::literature(1).as_bytes())]);
    let shown = run(
        folder.path(),
        &[
            "train-tokenizer",
            "--input",
            "a.txt",
            "--output",
            "t.json",
            "--vocab-size",
            "65537",
        ],
    );
    assert_eq!(shown.code, 2);
    assert_snapshot("vocabulary-too-large", &shown.err);
    run(
        folder.path(),
        &[
            "train-tokenizer",
            "--input",
            "a.txt",
            "--output",
            "t.json",
            "--vocab-size",
            "10",
        ],
    )
    .fails_with(&["10", "261"]);
}

#[test]
fn tokenizer_of_another_model() {
    let folder = prepared();
    let at = folder.path();
    TinyModel::new(at).save_checkpoint(&at.join("run"), 1);
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
    run(
        at,
        &[
            "tokenize",
            "--input",
            "texto.txt",
            "--tokenizer",
            "other.json",
            "--output",
            "other.bin",
        ],
    )
    .done();
    run(
        at,
        &[
            "generate",
            "--model",
            "run",
            "--tokenizer",
            "other.json",
            "--prompt",
            "x",
        ],
    )
    .fails_with(&["another tokenizer", "other.json", "leave out --tokenizer"]);
    run(at, &["evaluate", "--model", "run", "--data", "other.bin"])
        .fails_with(&["other.bin", "tokenizer"]);
    run(
        at,
        &[
            "generate",
            "--model",
            "run",
            "--tokenizer",
            "tokenizer.json",
            "--prompt",
            "x",
            "--max-tokens",
            "1",
        ],
    )
    .done();
}

/// Root may write anywhere, so the place that cannot be written lies below a plain file.
#[test]
fn unwritable_output() {
    let folder = prepared();
    let at = folder.path();
    fs::write(at.join("plain"), "x").expect("written");
    fs::write(at.join("d.xml"), samples::wiki_xml()).expect("written");
    for args in [
        &["process-wiki", "--input", "d.xml", "--output", "plain/out"][..],
        &[
            "clean-corpus",
            "--input",
            "texto.txt",
            "--output",
            "plain/out",
        ],
        &[
            "train-tokenizer",
            "--input",
            "texto.txt",
            "--output",
            "plain/t.json",
            "--vocab-size",
            "300",
        ],
        &[
            "tokenize",
            "--input",
            "texto.txt",
            "--tokenizer",
            "tokenizer.json",
            "--output",
            "plain/x.bin",
        ],
    ] {
        run(at, args).fails_with(&["plain"]);
    }
}

#[test]
fn nan_in_weights() {
    let folder = prepared();
    let at = folder.path();
    let mut model = TinyModel::new(at);
    model.spoil("blocks.0.att.key.weight", f32::NAN);
    model.save_file(&at.join("nan.safetensors"));
    for args in [
        &["generate", "--model", "nan.safetensors", "--prompt", "x"][..],
        &[
            "evaluate",
            "--model",
            "nan.safetensors",
            "--data",
            "texto.bin",
        ],
        &["info", "nan.safetensors"],
    ] {
        run(at, args).fails_with(&["nan.safetensors", "blocks.0.att.key.weight", "NaN"]);
    }
}

#[test]
fn a_damaged_checkpoint_is_named_and_skipped() {
    let folder = prepared();
    let at = folder.path();
    let model = TinyModel::new(at);
    model.save_checkpoint(&at.join("run"), 1);
    model.save_checkpoint(&at.join("run"), 2);
    let checkpoints: Vec<_> = fs::read_dir(at.join("run"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(checkpoints.len(), 2, "{checkpoints:?}");
    let newest = checkpoints.iter().max().expect("two");
    let name = newest
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();

    flip_a_byte(&newest.join("model.safetensors"));
    let shown = run(
        at,
        &[
            "generate",
            "--model",
            "run",
            "--prompt",
            "O Brasil",
            "--max-tokens",
            "3",
        ],
    )
    .done();
    assert!(
        shown.err.contains("warning: skipped") && shown.err.contains(&name),
        "{}",
        shown.err
    );
    assert!(shown.out.starts_with("O Brasil"));
    // Named itself, there is nothing to fall back to.
    run(at, &["info", &format!("run/{name}")]).fails_with(&["model.safetensors", "damaged"]);

    let oldest = checkpoints.iter().min().expect("two");
    let file = oldest.join("model.safetensors");
    let bytes = fs::read(&file).expect("the weights");
    fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    run(at, &["generate", "--model", "run", "--prompt", "x"]).fails_with(&[
        "no usable checkpoint",
        &name,
        "model.safetensors",
    ]);
}

fn flip_a_byte(file: &Path) {
    let mut bytes = fs::read(file).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).expect("written");
}

#[test]
fn sampling_values_out_of_range() {
    let folder = prepared();
    let at = folder.path();
    TinyModel::new(at).save_checkpoint(&at.join("run"), 1);
    for (flag, value) in [
        ("--temperature", "-1"),
        ("--top-p", "0"),
        ("--top-p", "NaN"),
        ("--repetition-penalty", "0"),
    ] {
        run(
            at,
            &["generate", "--model", "run", "--prompt", "x", flag, value],
        )
        .fails_with(&["must be"]);
    }
    run(at, &["logits", "--model", "run", "--tokens", "1,512"]).fails_with(&["512"]);
    run(
        at,
        &[
            "generate", "--model", "run", "--prompt", "x", "--device", "tpu",
        ],
    )
    .fails_with(&["tpu", "[possible values: auto, cpu, gpu]"]);
}

#[test]
fn configuration_files() {
    let folder = prepared();
    let at = folder.path();
    fs::write(
        at.join("good.toml"),
        "input = [\"texto.txt\"]\ntokenizer = \"tokenizer.json\"\noutput = \"a.bin\"\n",
    )
    .expect("written");
    run(at, &["tokenize", "--config", "good.toml"]).done();
    run(
        at,
        &["tokenize", "--config", "good.toml", "--output", "b.bin"],
    )
    .done();
    assert_eq!(
        fs::read(at.join("a.bin")).expect("a.bin"),
        fs::read(at.join("b.bin")).expect("b.bin")
    );
    fs::write(at.join("bad.toml"), "inptu = \"texto.txt\"\n").expect("written");
    let shown = run(at, &["tokenize", "--config", "bad.toml"]);
    assert_snapshot("config-unknown-key", &shown.transcript());
    run(at, &["tokenize", "--config", "none.toml"]).fails_with(&["none.toml", "No such file"]);
}
