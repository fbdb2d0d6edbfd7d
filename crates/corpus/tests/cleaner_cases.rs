//! Golden pages: `tests/corpus/NAME.wiki` in, `tests/corpus/NAME.txt` out, one failure mode of wikitext cleaning each. Needs nothing.

use std::path::Path;

use ptbr_corpus::WikiCleaner;

fn clean(wikitext: &str) -> String {
    let mut text = String::new();
    WikiCleaner::default().clean("página", wikitext, &mut text);
    text
}

#[test]
fn golden_pages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .expect("tests/corpus is part of the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "wiki"))
        .collect();
    names.sort();
    assert!(names.len() >= 170, "{} golden pages", names.len());
    let mut failures = Vec::new();
    for path in &names {
        let input = std::fs::read_to_string(path).expect("a readable case");
        let expected =
            std::fs::read_to_string(path.with_extension("txt")).expect("every case has its text");
        let got = clean(&input);
        if got.trim_end() != expected.trim_end() {
            failures.push(format!(
                "{}\n  expected: {:?}\n  got:      {:?}",
                path.display(),
                expected.trim_end(),
                got
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} pages differ:\n{}",
        failures.len(),
        names.len(),
        failures.join("\n")
    );
}
