//! The main job, as the README promises it: about two minutes of two cores.

use tempfile::tempdir;

use crate::program::run;

#[test]
fn the_demo_learns_portuguese() {
    let folder = tempdir().expect("a temporary folder");
    let shown = run(
        folder.path(),
        &["demo", "--output", "demo", "--device", "cpu", "--json"],
    )
    .done();
    let result = shown.json();
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{result:#}"));
    let bits = number(&result["validation"]["bits_per_byte"]);
    let (known, copied) = (
        number(&result["known_words"]),
        number(&result["longest_copy"]),
    );
    println!(
        "{bits:.4} bits per byte, {:.0} % known words, longest copy {copied} words",
        100.0 * known
    );
    assert!(bits < 2.6, "{bits} bits per byte on the held-out part");
    let rounded = number(&result["quantized"]["bits_per_byte"]);
    assert!(
        (rounded - bits).abs() < 0.01 * bits,
        "{rounded} bits per byte in int8, {bits} before"
    );
    assert!(
        known >= 0.70,
        "only {known} of the long words occur in the training text"
    );
    assert!(copied < 20.0, "a span of {copied} words is copied");
    let steps: Vec<&str> = result["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| step["step"].as_str())
        .collect();
    assert_eq!(
        steps,
        [
            "process-wiki",
            "clean-corpus",
            "train-tokenizer",
            "tokenize",
            "train",
            "evaluate",
            "quantize",
            "generate",
            "check"
        ]
    );
    let last = format!("[{0}/{0}] check", steps.len());
    assert!(
        shown.err.contains(&last),
        "the steps are counted: {}",
        shown.err
    );
    assert!(
        shown.err.contains("next: ptbr-slm generate"),
        "it says what to run next"
    );
    let text = result["text"]["text"].as_str().expect("a text");
    assert!(text.split_whitespace().count() > 40, "{text}");
}
