//! `benchmark`: every figure is there and they agree with each other. How large they are is for a quiet machine.

use crate::program::run;
use crate::samples::{self, TinyModel};

#[test]
fn every_format_of_random_weights_is_measured() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let args = [
        "benchmark",
        "--model-size",
        "nano",
        "--threads",
        "1",
        "--json",
    ];
    let shown = run(folder.path(), &args).done();
    assert!(shown.err.contains("decode tok/s"), "{}", shown.err);
    let result = shown.json();
    assert_eq!(result["threads"], 1);
    let bandwidth = result["bandwidth_bytes_per_second"].as_f64().expect("set");
    assert!(bandwidth > 0.0);
    let runs = result["runs"].as_array().expect("a list");
    let formats: Vec<_> = runs.iter().map(|run| &run["format"]).collect();
    assert_eq!(formats, ["f32", "f16", "int8", "fp8", "int4"]);
    for run in runs {
        let number = |key: &str| run[key].as_f64().expect("a number");
        for kind in ["decode", "prefill"] {
            let speed = |key: &str| run[kind][key].as_f64().expect("a number");
            assert!(speed("lowest") > 0.0, "{run}");
            assert!(speed("lowest") <= speed("median"), "{run}");
            assert!(speed("median") <= speed("highest"), "{run}");
        }
        let rate =
            number("weight_bytes_per_token") * run["decode"]["median"].as_f64().expect("set");
        assert!((number("gb_per_second") * 1e9 / rate - 1.0).abs() < 1e-6);
        assert!((number("bandwidth_share") * bandwidth / rate - 1.0).abs() < 1e-6);
        assert!(number("file_bytes") > number("weight_bytes_per_token"));
        assert!(number("start_up_seconds") > 0.0);
    }
    // 4, 2, 8.5/8 and 5/8 bytes a weight; the embedding's rows are not read by products.
    let bytes = |index: usize| runs[index]["weight_bytes_per_token"].as_f64().expect("set");
    for (index, bits) in [(1, 16.0), (2, 8.5), (3, 8.5), (4, 5.0)] {
        assert!((bytes(index) / bytes(0) - bits / 32.0).abs() < 1e-3);
    }
}

#[test]
fn a_quantized_model_is_measured_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    samples::prepare(at);
    TinyModel::new(at).save_file(&at.join("m.safetensors"));
    let args = [
        "quantize",
        "--model",
        "m.safetensors",
        "--format",
        "int8",
        "--output",
        "q.safetensors",
    ];
    run(at, &args).done();
    let args = ["benchmark", "--model", "q.safetensors", "--threads", "1"];
    let shown = run(at, &[&args[..], &["--json"]].concat()).done();
    let result = shown.json();
    assert_eq!(result["runs"][0]["format"], "int8");
    assert_eq!(result["runs"].as_array().map(Vec::len), Some(1));
    run(at, &[&args[..], &["--format", "int4"]].concat()).fails_with(&[
        "q.safetensors",
        "int8",
        "int4",
        "f32 model",
    ]);
    run(at, &["benchmark"]).fails_with(&["--model"]);
}

#[cfg(feature = "train")]
#[test]
fn training_is_measured_in_tokens_a_second() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    let size = crate::training::TINY;
    std::fs::write(at.join("tiny.toml"), size).expect("written");
    let args = [
        "benchmark",
        "--train",
        "--model-size",
        "tiny.toml",
        "--device",
        "cpu",
        "--batch-size",
        "2",
        "--seq-len",
        "16",
        "--gradient-accumulation-steps",
        "3",
        "--steps",
        "4",
        "--threads",
        "1",
    ];
    let shown = run(at, &args).done();
    assert!(shown.out.contains("tokens a second"), "{}", shown.out);
    let result = run(at, &[&args[..], &["--json"]].concat()).done().json();
    assert_eq!(result["threads"], 1);
    let training = &result["training"];
    assert_eq!(
        (&training["steps"], &training["device"]),
        (&4.into(), &"cpu".into())
    );
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let speed = &training["tokens_per_second"];
    let [lowest, median, highest] = ["lowest", "median", "highest"].map(|key| number(&speed[key]));
    assert!(
        0.0 < lowest && lowest <= median && median <= highest,
        "{speed}"
    );
    let tokens = number(&training["seconds_per_step"]) * median;
    assert!((tokens - 96.0).abs() < 1e-6, "{tokens}");
    for (bad, said) in [
        (&["benchmark", "--train"][..], "--model-size"),
        (
            &["benchmark", "--batch-size", "2", "--model-size", "nano"],
            "--train",
        ),
        (
            &[
                "benchmark",
                "--train",
                "--model-size",
                "nano",
                "--seq-len",
                "0",
            ],
            "`seq_len` is 0",
        ),
    ] {
        run(at, bad).fails_with(&[said]);
    }
}
