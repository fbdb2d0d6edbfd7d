//! The filters on real text: the data folder where `PTBR_DATA` names one, and always what the repository has.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use ptbr_corpus::{
    Assessment, Document, FilterConfig, FilterScratch, Filters, Reason, StubLimiter, WikiOptions,
    process_wiki, read_documents,
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

/// The repository's book, cut at lines into pieces of more than [`LONG`] characters.
fn pieces_of_the_book() -> Vec<String> {
    let book =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tokenizer/tests/data/o_alienista.txt");
    let book = std::fs::read_to_string(book).unwrap();
    let mut pieces = vec![String::new()];
    for line in book.lines() {
        match pieces.last_mut() {
            Some(piece) if piece.chars().count() <= LONG => {
                piece.push_str(line);
                piece.push('\n');
            }
            _ => pieces.push(format!("{line}\n")),
        }
    }
    pieces.pop();
    pieces
}

#[test]
fn the_book_of_the_repository_is_portuguese() {
    let filters = filters();
    let mut scratch = FilterScratch::default();
    let pieces = pieces_of_the_book();
    let dropped = pieces
        .iter()
        .filter(|piece| is_language(&filters.assess(piece, &mut scratch)))
        .count();
    assert!(pieces.len() > 10, "{} pieces show nothing", pieces.len());
    assert!(
        dropped * 100 <= pieces.len(),
        "{dropped} of {}",
        pieces.len()
    );
}

#[test]
fn english_bulgarian_and_close_languages_are_dropped() {
    let filters = filters();
    let mut scratch = FilterScratch::default();
    for (text, reason) in [
        (
            "Anarchism is a political philosophy that is sceptical of all justifications for authority and seeks to abolish the institutions that it claims maintain \
             unnecessary coercion and hierarchy, including the state. It has been one of the movements of the left, and its history reaches back to the time before \
             there were states or empires. Humans lived in societies without formal hierarchies long before they were established, and with the rise of organised \
             bodies of power, doubt about authority also rose.",
            Reason::OtherLanguage,
        ),
        (
            "Република България е държава в Югоизточна Европа. Тя е разположена в източната част на Балканския полуостров. На изток граничи с Черно море, на юг с \
             Гърция и Турция, на запад със Северна Македония и Сърбия, а на север с Румъния. Столицата е град София.",
            Reason::Script,
        ),
        (
            "A vila está situada na beira do río e ten unha poboación de tres mil veciños, que viven sobre todo da pesca e do comercio. Os máis vellos contan que \
             antes había alí un castelo, pero hoxe non queda nada del, agás unha torre que se pode ver dende a praia. Tamén hai unha igrexa moi antiga.",
            Reason::OtherLanguage,
        ),
        (
            "La villa está situada en la orilla del río y tiene una población de tres mil vecinos, que viven sobre todo de la pesca y del comercio. Los más viejos \
             cuentan que antes había allí un castillo, pero hoy no queda nada de él, salvo una torre que se puede ver desde la playa.",
            Reason::OtherLanguage,
        ),
    ] {
        let found = filters.assess(text, &mut scratch);
        assert_eq!(found.reason, Some(reason), "{found:?}: {text}");
    }
}

#[test]
fn planted_stubs_leave_the_cap_and_real_texts_stay() {
    let mut texts = pieces_of_the_book();
    if let Some(data) = data_folder() {
        for path in [
            "general/ptwiki_text/valid-2020.txt",
            "news/ud_bosque/train.pt-br.txt",
        ] {
            let text = std::fs::read_to_string(data.join(path)).unwrap();
            texts.extend(text.lines().map(str::to_owned));
        }
    }
    let filters = filters();
    let cap = filters.config().stubs.cap as usize;
    let mut limiter = StubLimiter::new(filters.config().stubs.clone());
    let stub = |n: usize| {
        format!(
            "Santa Rita do Vale{n} é um município brasileiro do estado de Minas{}. Sua população estimada em {} era de {} habitantes. Possui uma área de {n},{n} km².",
            n % 9,
            1990 + n % 30,
            n * 37
        )
    };
    // Between real texts, at even distances.
    let step = texts.len().div_ceil(200).max(1);
    let (mut stubs, mut dropped, mut planted) = (0, 0, 0);
    for (at, text) in texts.iter().enumerate() {
        let words = text.split_whitespace().count() as u64;
        dropped += usize::from(!limiter.keeps(text, words));
        let due = if at + 1 == texts.len() {
            200
        } else {
            (at + 1) / step * 200_usize.div_ceil(texts.len() / step)
        };
        while planted < due.min(200) {
            stubs += usize::from(limiter.keeps(&stub(planted), 26));
            planted += 1;
        }
    }
    println!(
        "{stubs} of {planted} stubs and all but {dropped} of {} texts are kept",
        texts.len()
    );
    assert_eq!((planted, stubs), (200, cap));
    assert!(
        dropped * 1000 <= texts.len(),
        "{dropped} of {}",
        texts.len()
    );
}

proptest! {
    #[test]
    fn any_text_is_assessed(text in "(\\PC|[\\n .…!\u{300}\u{AD}\u{200B}A-Za-zÀ-ÿ0-9]){0,300}") {
        let filters = filters();
        let mut scratch = FilterScratch::default();
        let found = filters.assess(&text, &mut scratch);
        prop_assert_eq!(&found, &filters.assess(&text, &mut scratch));
        prop_assert!(found.reason.is_some() || found.words >= filters.config().quality.min_words);
        let mut limiter = StubLimiter::new(filters.config().stubs.clone());
        prop_assert!(limiter.keeps(&text, found.words));
    }
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
