//! The filters on real text: the data folder where `PTBR_DATA` names one, and always what the repository has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ptbr_corpus::{
    Assessment, Document, FilterConfig, FilterScratch, Filters, Reason, WikiOptions, process_wiki,
    read_documents,
};

/// Documents of fewer characters say too little about their language to be promised anything.
const LONG: usize = 500;

fn data_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("PTBR_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("PTBR_DATA is not set: only the texts of the repository are read");
    }
    folder
}

fn filters() -> Filters {
    Filters::new(FilterConfig::default()).unwrap()
}

fn is_language(found: &Assessment) -> bool {
    matches!(
        found.reason,
        Some(Reason::Script | Reason::OtherLanguage | Reason::UnknownLanguage)
    )
}

/// Long documents of `path`, and those of them that the language filter drops.
fn dropped_by_language(path: &Path) -> (usize, Vec<(Document, Assessment)>) {
    let filters = filters();
    let mut scratch = FilterScratch::default();
    let (mut all, mut dropped) = (0, Vec::new());
    for document in read_documents(path).unwrap() {
        let document = document.unwrap();
        let licence = document.source.to_lowercase().contains("licen");
        if licence || document.text.chars().take(LONG + 1).count() <= LONG {
            continue;
        }
        all += 1;
        let found = filters.assess(&document.text, &mut scratch);
        if is_language(&found) {
            dropped.push((document, found));
        }
    }
    (all, dropped)
}

#[test]
fn the_books_of_the_repository_are_portuguese() {
    let book =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tokenizer/tests/data/o_alienista.txt");
    let (all, dropped) = dropped_by_language(&book);
    assert!(all >= 1);
    assert!(dropped.is_empty(), "{dropped:?}");
}

#[test]
fn portuguese_of_the_data_folder_is_kept() {
    let Some(data) = data_folder() else { return };
    let (mut all, mut dropped) = (0, 0);
    for folder in [
        "general",
        "literature",
        "legal",
        "financial",
        "tech",
        "medical",
        "academic",
        "news",
    ] {
        let (here, lost) = dropped_by_language(&data.join(folder));
        println!("{folder}: {} of {here} dropped", lost.len());
        for (document, found) in &lost {
            let start: String = document.text.chars().take(90).collect();
            println!(
                "  {} {:?} {:?}: {start:?}",
                document.id, found.reason, found.language
            );
        }
        all += here;
        dropped += lost.len();
    }
    println!(
        "{dropped} of {all} dropped, {:.2} % kept",
        100.0 - 100.0 * dropped as f64 / all as f64
    );
    assert!(all > 3000, "{all} documents are too few to show anything");
    assert!(dropped * 100 <= all, "{dropped} of {all}");
}

#[test]
fn dumps_in_other_languages_are_dropped() {
    let Some(data) = data_folder() else { return };
    let output = tempfile::tempdir().unwrap();
    let gensim = data.join("wikidump/gensim");
    let mut dumps: Vec<PathBuf> = std::fs::read_dir(gensim)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bz2"))
        .collect();
    dumps.sort();
    assert!(dumps.len() >= 2, "{dumps:?}");
    let filters = filters();
    let mut scratch = FilterScratch::default();
    for dump in dumps {
        let options = WikiOptions::default();
        let summary = match process_wiki(&dump, output.path(), &options, &mut |_| {}) {
            Ok(summary) => summary,
            Err(ptbr_corpus::CorpusError::StoppedEarly { summary, .. }) => *summary,
            Err(error) => panic!("{error}"),
        };
        if summary.pages_kept == 0 {
            continue;
        }
        let mut reasons = BTreeMap::new();
        for document in read_documents(&summary.output).unwrap() {
            let document = document.unwrap();
            let found = filters.assess(&document.text, &mut scratch);
            assert!(is_language(&found), "{}: {found:?}", document.title);
            *reasons.entry(found.reason).or_insert(0) += 1;
        }
        println!("{}: {reasons:?}", dump.display());
    }
}
