//! Golden pages: `tests/corpus/NAME.wiki` in, `tests/corpus/NAME.txt` out, one failure mode of wikitext cleaning each. Needs nothing.

mod support;

use ptbr_corpus::{WikiCleaner, residue};
use support::{golden_folder, golden_pages};

#[test]
fn golden_pages_come_out_as_written() {
    let pages = golden_pages();
    assert!(pages.len() >= 170, "{} golden pages", pages.len());
    let mut failures = Vec::new();
    for (name, wikitext) in &pages {
        let path = golden_folder().join(name).with_extension("txt");
        let expected = std::fs::read_to_string(path).expect("every page has its text");
        let mut got = String::new();
        WikiCleaner::default().clean(name, wikitext, &mut got);
        if got.trim_end() != expected.trim_end() {
            failures.push(format!(
                "{name}\n  expected: {:?}\n  got:      {got:?}",
                expected.trim_end()
            ));
        }
        // Pages about markup show some: what was escaped is text.
        let about_markup = name.starts_with("entities_") || name.starts_with("less_than");
        let left = residue(&got);
        if left.total() > 0 && !about_markup {
            failures.push(format!("{name}: {left:?} in {got:?}"));
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures on {} pages:\n{}",
        failures.len(),
        pages.len(),
        failures.join("\n")
    );
}
