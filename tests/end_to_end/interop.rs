//! `import` and `export`: models of other tools in, models for other tools out.

use std::fs;
use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::onnx::{Graph, Tensor};
use crate::program::{Run, run};
use crate::samples::{self, TinyModel};

/// A folder with the f32 model `m.safetensors` of one layer, 32 channels and 512 tokens.
fn folder() -> TempDir {
    let folder = tempdir().expect("a temporary folder");
    samples::prepare(folder.path());
    TinyModel::new(folder.path()).save_file(&folder.path().join("m.safetensors"));
    folder
}

fn export(at: &Path, format: &str, output: &str, more: &[&str]) -> Run {
    let args = [
        "export",
        "--model",
        "m.safetensors",
        "--format",
        format,
        "--output",
        output,
    ];
    run(at, &[&args, more].concat())
}

fn import(at: &Path, format: &str, input: &str, output: &str, more: &[&str]) -> Run {
    let args = [
        "import", "--format", format, "--input", input, "--output", output,
    ];
    run(at, &[&args, more].concat())
}

fn logits(at: &Path, model: &str, tokens: &str) -> Vec<f32> {
    let args = [
        "logits", "--model", model, "--device", "cpu", "--tokens", tokens, "--json",
    ];
    let shown = run(at, &args).done();
    serde_json::from_value(shown.json()["logits"].clone()).expect("numbers")
}

fn model_id(at: &Path, model: &str) -> String {
    let shown = run(at, &["info", model, "--json"]).done();
    shown.json()["model_id"].as_str().expect("an id").to_owned()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn a_model_comes_back_as_it_went() {
    let folder = folder();
    let at = folder.path();
    let id = model_id(at, "m.safetensors");
    let shown = export(at, "hf", "hf", &["--license", "cc0-1.0", "--json"]).done();
    assert_eq!(shown.json()["model_id"], id.as_str());
    assert_eq!(shown.json()["files"].as_array().map(Vec::len), Some(5));
    let card = fs::read_to_string(at.join("hf/README.md")).expect("a card");
    assert!(
        card.contains("license: cc0-1.0") && card.contains("# hf\n"),
        "{card}"
    );

    let shown = import(at, "hf", "hf", "from-hf", &["--json"]).done();
    assert_eq!(shown.json()["model_id"], id.as_str());
    assert_eq!(shown.json()["tokenizer"], true);
    let shown = run(at, &["info", "from-hf"]).done();
    assert!(
        shown.out.contains("unknown: the weights were imported"),
        "{}",
        shown.out
    );
    // With the folder's tokenizer every command takes it as it takes a trained model.
    let args = [
        "generate",
        "--model",
        "from-hf",
        "--prompt",
        "O",
        "--max-tokens",
        "3",
    ];
    assert!(run(at, &args).done().out.starts_with('O'));

    export(at, "rwkv", "m.st", &["--dtype", "f32"]).done();
    import(
        at,
        "rwkv",
        "m.st",
        "from-rwkv",
        &["--tokenizer", "tokenizer.json"],
    )
    .done();
    assert_eq!(model_id(at, "from-rwkv"), id);
    assert_eq!(
        logits(at, "from-rwkv", "5,17,42"),
        logits(at, "m.safetensors", "5,17,42")
    );

    // f16 rounds: another model, and nearly the same numbers.
    let shown = export(at, "rwkv", "half", &[]).done();
    assert!(shown.err.is_empty(), "{}", shown.err);
    let shown = import(at, "rwkv", "half/model.safetensors", "from-half", &[]).done();
    assert!(
        shown
            .out
            .contains("(F16), vocabulary 512, without a tokenizer"),
        "{}",
        shown.out
    );
    assert!(shown.err.contains("next: ptbr-slm logits"), "{}", shown.err);
    assert_ne!(model_id(at, "from-half"), id);
    let difference = largest_difference(
        &logits(at, "from-half", "5,17,42"),
        &logits(at, "m.safetensors", "5,17,42"),
    );
    assert!(difference > 0.0 && difference < 0.02, "{difference}");
}

#[test]
fn what_pytorch_wrote_becomes_a_model() {
    let folder = tempdir().expect("a temporary folder");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/model/tests/fixtures/");
    let mut ids = Vec::new();
    for file in [
        "tiny-float32.pth",
        "tiny-module-1.13.pth",
        "tiny-float32.safetensors",
    ] {
        fs::copy(fixture.join(file), folder.path().join(file)).expect("copied");
        let shown = import(
            folder.path(),
            "rwkv",
            file,
            &format!("of-{file}"),
            &["--json"],
        )
        .done();
        ids.push(shown.json()["model_id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn the_onnx_graph_computes_our_logits() {
    let folder = folder();
    let at = folder.path();
    let texts = [[5u16, 17, 42, 300], [9, 2, 511, 0]];
    let ours = texts.map(|tokens| {
        let tokens: Vec<String> = tokens.iter().map(u16::to_string).collect();
        logits(at, "m.safetensors", &tokens.join(","))
    });
    for (dtype, bound) in [("f32", 1e-4), ("f16", 0.02)] {
        let output = format!("{dtype}.onnx");
        export(at, "onnx", &output, &["--dtype", dtype]).done();
        let graph = Graph::read(&fs::read(at.join(&output)).expect("written"));
        let state = ["att_x", "ffn_x", "aa", "bb", "pp"];
        assert_eq!(graph.inputs[0], "token");
        assert_eq!(graph.inputs[1..], state);
        assert_eq!(graph.outputs[0], "logits");
        let mut inputs: Vec<(&str, Tensor)> = state
            .iter()
            .map(|name| {
                let value = if *name == "pp" { -1e38 } else { 0.0 };
                (*name, Tensor::new(&[1, 2, 32], vec![value; 64]))
            })
            .collect();
        let mut found = Vec::new();
        for step in 0..4 {
            // Both texts in one batch.
            let tokens = texts.map(|tokens| f32::from(tokens[step]));
            let all = [
                &[("token", Tensor::new(&[2], tokens.to_vec()))],
                inputs.as_slice(),
            ]
            .concat();
            let mut outputs = graph.run(&all);
            found = outputs.remove("logits").expect("logits").data;
            for (name, value) in &mut inputs {
                *value = outputs.remove(&format!("next_{name}")).expect("a state");
            }
        }
        for (ours, theirs) in ours.iter().zip(found.chunks(512)) {
            let difference = largest_difference(ours, theirs);
            assert!(difference < bound, "{dtype}: {difference}");
        }
    }
}

#[test]
fn what_cannot_be_imported_is_explained() {
    let folder = folder();
    let at = folder.path();
    export(at, "hf", "hf", &[]).done();
    import(at, "rwkv", "hf", "x", &[]).fails_with(&["hf is a folder", "--format hf"]);
    import(at, "rwkv", "nowhere.pth", "x", &[]).fails_with(&["nowhere.pth"]);
    import(at, "rwkv", "texto.txt", "x", &[])
        .fails_with(&["texto.txt is not a whole safetensors file"]);
    import(at, "hf", "x", "y", &[]).fails_with(&["x/config.json"]);
    assert!(
        !at.join("x").exists(),
        "nothing is made of what cannot be read"
    );
    import(at, "hf", "hf", "x", &[]).done();
    import(at, "hf", "hf", "x", &[]).fails_with(&["x is not empty", "give a new folder"]);

    // A tokenizer of another kind, and one that is too large.
    fs::write(at.join("hf/tokenizer.json"), "{}").expect("written");
    import(at, "hf", "hf", "y", &[])
        .fails_with(&["the tokenizer in hf cannot be used", "--no-tokenizer"]);
    import(at, "hf", "hf", "y", &["--no-tokenizer"]).done();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../crates/model/tests/fixtures/tiny-float32.pth");
    fs::copy(fixture, at.join("tiny.pth")).expect("copied");
    import(
        at,
        "rwkv",
        "tiny.pth",
        "z",
        &["--tokenizer", "tokenizer.json"],
    )
    .fails_with(&["512 tokens and the model 32"]);
}

#[test]
fn what_cannot_be_exported_is_explained() {
    let folder = folder();
    let at = folder.path();
    let quantized = [
        "quantize",
        "--model",
        "m.safetensors",
        "--format",
        "int8",
        "--output",
        "q.safetensors",
    ];
    run(at, &quantized).done();
    run(
        at,
        &[
            "export",
            "--model",
            "q.safetensors",
            "--format",
            "hf",
            "--output",
            "x",
        ],
    )
    .fails_with(&["is quantized (int8)", "give the f32 model"]);
    export(at, "rwkv", "m.safetensors", &[]).fails_with(&["would replace the model that is read"]);
    export(at, "rwkv-cpp", "x.onnx", &[]).fails_with(&["ends in .bin"]);
    export(at, "hf", "nowhere/x", &[]).fails_with(&["nowhere is not a folder"]);
    assert!(!at.join("x").exists());
    export(at, "rwkv", "f32.st", &["--dtype", "f32"]).done();
    let shown = export(at, "rwkv", "again.st", &["--dtype", "f32"]).done();
    assert!(
        shown.err.contains("web-rwkv reads f16 only"),
        "{}",
        shown.err
    );
}
