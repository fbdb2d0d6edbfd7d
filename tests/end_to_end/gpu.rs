//! `test-gpu`. Needs a GPU adapter; a software one will do (`apt-get install mesa-vulkan-drivers libvulkan1`).

use std::fs;

use tempfile::tempdir;

use crate::program::{command, run};
use crate::samples::TinyModel;
use crate::training::{TINY, prepared};

const ARGS: &[&str] = &[
    "test-gpu",
    "--model-size",
    "tiny.toml",
    "--batch-size",
    "2",
    "--seq-len",
    "16",
    "--json",
];

#[test]
fn an_adapter_is_listed_checked_and_takes_a_step() {
    let folder = tempdir().expect("a temporary folder");
    fs::write(folder.path().join("tiny.toml"), TINY).expect("written");
    let shown = run(folder.path(), ARGS).done();
    let found = shown.json();
    let adapters = found["adapters"].as_array().expect("a list");
    assert!(!adapters.is_empty());
    for adapter in adapters {
        println!("{}: WKV {}", adapter["name"], adapter["wkv"]);
        assert_eq!(adapter["wkv"]["ok"], true);
    }
    let loss = found["step"]["loss"].as_f64().expect("a step was taken");
    assert!((loss - (512f64.ln() + 0.125)).abs() < 0.3, "{loss}");
    assert_eq!(found["sizes"].as_array().map(Vec::len), Some(7));
    assert!(shown.err.contains("WKV right"), "{}", shown.err);
}

/// The engine for GPUs, by the command line: the text that the CPU writes, from a checkpoint and from a file of each number format.
#[test]
fn a_model_writes_on_the_gpu_what_it_writes_on_the_cpu() {
    let folder = prepared();
    let at = folder.path();
    TinyModel::new(at).save_checkpoint(&at.join("run"), 1);
    let text = |model: &str, device: &str| {
        let shown = run(
            at,
            &[
                "generate",
                "--model",
                model,
                "--prompt",
                "O Brasil é",
                "--max-tokens",
                "24",
                "--seed",
                "3",
                "--device",
                device,
            ],
        )
        .done();
        assert_eq!(
            shown.err.contains("running on"),
            device == "gpu",
            "{}",
            shown.err
        );
        shown.out
    };
    assert_eq!(text("run", "gpu"), text("run", "cpu"));
    for format in ["f16", "fp8"] {
        let file = format!("{format}.safetensors");
        run(
            at,
            &[
                "quantize", "--model", "run", "--format", format, "--output", &file,
            ],
        )
        .done();
        // The two whose products are those of the rounded weights on both.
        assert_eq!(text(&file, "gpu"), text(&file, "cpu"), "{format}");
    }
    run(
        at,
        &[
            "quantize",
            "--model",
            "run",
            "--format",
            "int4",
            "--output",
            "int4.safetensors",
        ],
    )
    .done();
    assert!(text("int4.safetensors", "gpu").starts_with("O Brasil é"));
}

/// With no driver to be found there is no adapter: the answer is no, and what to install.
#[cfg(target_os = "linux")]
#[test]
fn no_adapter_is_answered_with_no() {
    let folder = tempdir().expect("a temporary folder");
    fs::write(folder.path().join("tiny.toml"), TINY).expect("written");
    let without_drivers = |args: &[&str]| {
        let output = command(folder.path(), args)
            .env("VK_DRIVER_FILES", "none")
            .env("VK_ICD_FILENAMES", "none")
            .output()
            .expect("the program starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, out, err) = without_drivers(ARGS);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        out.contains("\"adapters\": []") && err.contains("mesa-vulkan-drivers"),
        "{out}{err}"
    );
}
