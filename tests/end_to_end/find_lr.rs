//! `find-lr`: a suggestion, a drawing, and nothing else written.

use std::fs;
use std::path::Path;

use crate::program::run;
use crate::training::prepared;

fn find_lr<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "find-lr",
        "--data",
        "texto.bin",
        "--tokenizer",
        "tokenizer.json",
        "--model-size",
        "tiny.toml",
        "--device",
        "cpu",
        "--batch-size",
        "4",
        "--seq-len",
        "16",
        "--gradient-accumulation-steps",
        "1",
    ];
    args.extend(more);
    args
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn it_suggests_draws_and_leaves_nothing_behind() {
    let folder = prepared();
    let at = folder.path();
    let before = names(at);
    let shown = run(at, &find_lr(&["--start-lr", "1e-4"])).done();
    assert!(
        shown.out.contains("suggestion: --learning-rate "),
        "{}",
        shown.out
    );
    assert!(
        shown.out.contains("loss (nats a token) over learning rate"),
        "{}",
        shown.out
    );
    assert!(
        shown.out.is_ascii(),
        "plain signs in a pipe:\n{}",
        shown.out
    );
    assert!(
        shown.out.lines().all(|line| line.len() <= 120),
        "{}",
        shown.out
    );
    assert!(shown.err.contains("next: ptbr-slm train"), "{}", shown.err);
    assert_eq!(names(at), before);

    let found = run(
        at,
        &find_lr(&["--start-lr", "1e-4", "--svg", "curve.svg", "--json"]),
    )
    .done()
    .json();
    let rate = found["suggestion"].as_f64().expect("a rate");
    assert!((1e-4..1.0).contains(&rate), "{rate}");
    assert!(
        shown.out.contains(&format!("--learning-rate {rate:e}")),
        "the same twice"
    );
    let points = found["points"].as_array().expect("points");
    assert!(points.len() > 20 && points.len() <= 100);
    assert_eq!(found["finder"]["steps"], 100);
    let svg = fs::read_to_string(at.join("curve.svg")).expect("a drawing");
    assert!(svg.starts_with("<svg ") && svg.contains(&format!("suggestion {rate:e}")));
}

#[test]
fn a_curve_without_a_valley_is_a_no_and_a_bad_ramp_an_error() {
    let folder = prepared();
    let at = folder.path();
    let args = find_lr(&[
        "--start-lr",
        "1e-5",
        "--end-lr",
        "1e-4",
        "--ramp-steps",
        "30",
    ]);
    let shown = run(at, &args);
    assert_eq!(shown.code, 1, "{}", shown.transcript());
    assert!(
        shown.out.contains("no suggestion: the loss still falls"),
        "{}",
        shown.out
    );
    for (bad, said) in [
        (
            ["--start-lr", "-1"],
            "`start_lr` is -1: must be greater than 0",
        ),
        (["--end-lr", "1e-9"], "`end_lr`"),
        (["--ramp-steps", "2"], "`steps` is 2"),
        (["--smooth", "1"], "`smoothing` is 1"),
    ] {
        run(at, &find_lr(&bad)).fails_with(&[said]);
    }
}
