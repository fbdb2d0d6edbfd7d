//! What the tests of this crate share.
#![allow(dead_code)]

pub mod allocation;
pub mod mutation;

use std::path::{Path, PathBuf};

use ptbr_corpus::{Residue, residue_places};

/// Whether the long forms of tests run.
pub fn full() -> bool {
    std::env::var_os("PTBR_FULL").is_some_and(|value| value == "1")
}

/// Where the golden pages are.
pub fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus")
}

/// `(name, wikitext)` of the golden pages, by name.
pub fn golden_pages() -> Vec<(String, String)> {
    let mut pages: Vec<_> = std::fs::read_dir(golden_folder())
        .expect("tests/corpus is part of the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "wiki"))
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let text = std::fs::read_to_string(&path).expect("a readable page");
            (name.into_owned(), text)
        })
        .collect();
    pages.sort();
    pages
}

/// What must never be left in a text, whatever was cleaned. Tags and references that came as escaped text are text; so are two words of a page
/// that ran into each other there.
pub fn markup_left(text: &str) -> Option<(Residue, String)> {
    if let Some(at) = text.find(|c: char| c.is_control() && c != '\n') {
        return Some((Residue::Switch, format!("a control character at {at}")));
    }
    let meant = |kind| {
        matches!(
            kind,
            Residue::Tag | Residue::Entity | Residue::GluedWords | Residue::Picture
        )
    };
    residue_places(text)
        .find(|(kind, _)| !meant(*kind))
        .map(|(kind, at)| (kind, text[at..].chars().take(40).collect()))
}
