//! Planted near duplicates: those of a similarity of 0.85 and more are found, those under 0.4 stay. Documents are made of real words, from the repository's
//! book, and, where `PTBR_DATA` names a folder, of its real paragraphs.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use ptbr_corpus::{DedupOptions, Deduplicator, Shingler, jaccard, read_documents};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % n as u64) as usize
    }
}

/// What was planted and what was found, by the exact similarity of a copy and its original.
#[derive(Debug, Default)]
struct Found {
    /// At least 0.85: planted, removed.
    alike: (u32, u32),
    /// Under 0.4.
    unlike: (u32, u32),
    between: (u32, u32),
}

/// Plants, for each of `originals`, a copy in which between none and two in five words are others; counts which copies are removed.
fn plant(originals: &[Vec<&str>], words: &[&str]) -> Found {
    let mut random = Random(1);
    let mut shingler = Shingler::default();
    let mut dedup = Deduplicator::new(DedupOptions::default());
    let mut kept: Vec<String> = Vec::new();
    let mut found = Found::default();
    let mut copies = Vec::new();
    for (number, original) in originals.iter().enumerate() {
        let mut copy = original.clone();
        // From a hundredth to four tenths; half of the copies are only slightly changed.
        let changes = match number % 4 {
            0 | 1 => 1 + copy.len() * random.below(25) / 1000,
            2 => copy.len() * random.below(100) / 1000,
            _ => copy.len() * random.below(400) / 1000,
        };
        for _ in 0..changes {
            let at = random.below(copy.len());
            copy[at] = words[random.below(words.len())];
        }
        let (original, copy) = (original.join(" "), copy.join(" "));
        let similarity = jaccard(
            &shingler.shingle_set(&original),
            &shingler.shingle_set(&copy),
        );
        let signature = shingler.signature(&original);
        if dedup
            .check(&original, &signature, &mut kept)
            .unwrap()
            .is_none()
        {
            kept.push(original);
            copies.push((copy, similarity));
        }
    }
    for (copy, similarity) in copies {
        let signature = shingler.signature(&copy);
        let removed = dedup.check(&copy, &signature, &mut kept).unwrap();
        let counts = match similarity {
            s if s >= 0.85 => &mut found.alike,
            s if s < 0.4 => &mut found.unlike,
            _ => &mut found.between,
        };
        counts.0 += 1;
        match removed {
            Some(_) => counts.1 += 1,
            None => kept.push(copy),
        }
    }
    found
}

fn check(found: &Found, least: u32) {
    println!("planted and removed: {found:?}");
    assert!(
        found.alike.0 >= least && found.unlike.0 >= least,
        "{found:?} show nothing"
    );
    assert!(
        found.alike.1 * 100 >= found.alike.0 * 95,
        "recall: {found:?}"
    );
    assert!(
        found.unlike.1 * 100 < found.unlike.0,
        "removed wrongly: {found:?}"
    );
}

#[test]
fn planted_near_duplicates_of_random_texts_are_found() {
    let book =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tokenizer/tests/data/o_alienista.txt");
    let book = std::fs::read_to_string(book).unwrap();
    let words: Vec<&str> = book.split_whitespace().collect();
    let mut random = Random(2);
    let originals: Vec<Vec<&str>> = (0..1200)
        .map(|_| {
            (0..60 + random.below(300))
                .map(|_| words[random.below(words.len())])
                .collect()
        })
        .collect();
    check(&plant(&originals, &words), 100);
}

#[test]
fn planted_near_duplicates_of_real_articles_are_found() {
    let Some(data) = std::env::var_os("PTBR_DATA").map(PathBuf::from) else {
        println!("PTBR_DATA is not set: only texts of random words are looked at");
        return;
    };
    let mut texts = Vec::new();
    for path in [
        "news/mac_morpho",
        "financial/copom_atas",
        "general/ptwiki_text/valid-2020.txt",
    ] {
        for document in read_documents(&data.join(path)).unwrap() {
            texts.push(document.unwrap().text);
        }
    }
    let words: Vec<&str> = texts
        .iter()
        .flat_map(|text| text.split_whitespace())
        .collect();
    let originals: Vec<Vec<&str>> = texts
        .iter()
        .map(|text| text.split_whitespace().collect::<Vec<_>>())
        .filter(|words| (60..5000).contains(&words.len()))
        .collect();
    check(&plant(&originals, &words), 100);
}
