//! Writes the table of common words by which languages are told apart (`configs/corpus/languages.toml`) from a folder of texts, one file
//! `pt.txt`, `es.txt`, … for each language:
//!
//! ```text
//! cargo run --release -p ptbr-corpus --example learn_languages -- FOLDER 400 > configs/corpus/languages.toml
//! ```
//!
//! The number is how many words are kept of each language. What is kept of a text is how often its commonest words occur, and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().context("name a folder")?);
    let keep: usize = args.next().context("say how many words")?.parse()?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    println!(
        "# How often the commonest words of each language occur, per 100,000 words, most frequent first: `word:count`."
    );
    println!(
        "# Written by `cargo run --example learn_languages`; docs/corpus-pipeline.md says from which texts."
    );
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let mut counts = BTreeMap::new();
        let mut total = 0u64;
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            // A capital inside a text is mostly a name; a language is not its names. Single letters are variables in mathematics and code.
            let vowel = ["a", "e", "o", "y", "à", "á", "é", "è", "ó"].contains(&word);
            if (vowel || word.chars().count() > 1)
                && word.chars().all(|c| c.is_alphabetic() && !c.is_uppercase())
            {
                *counts.entry(word).or_insert(0u64) += 1;
            }
            total += u64::from(!word.is_empty());
        }
        let mut words: Vec<(&str, u64)> = counts.into_iter().collect();
        words.sort_by_key(|&(word, count)| (std::cmp::Reverse(count), word));
        let language = file.file_stem().unwrap_or_default().to_string_lossy();
        println!("{language} = \"\"\"\\");
        for row in words[..keep.min(words.len())].chunks(12) {
            let row: Vec<String> = row
                .iter()
                .map(|(word, count)| format!("{word}:{}", (count * 100_000).div_ceil(total)))
                .collect();
            println!("{} \\", row.join(" "));
        }
        println!("\"\"\"");
    }
    Ok(())
}
