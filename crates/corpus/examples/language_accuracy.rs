//! How well the filters tell Portuguese from its neighbours: a table of what they take pieces of texts for, one file `pt.txt`, `es.txt`, … for each language:
//!
//! ```text
//! cargo run --release -p ptbr-corpus --example language_accuracy -- FOLDER 500
//! ```
//!
//! The number is the length of a piece in characters; a piece ends at a line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use ptbr_corpus::{FilterConfig, FilterScratch, Filters, Reason};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().context("name a folder")?);
    let length: usize = args.next().context("say how many characters")?.parse()?;
    let filters = Filters::new(FilterConfig::default())?;
    let mut scratch = FilterScratch::default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let (mut pieces, mut kept) = (0, 0);
        let mut taken_for = BTreeMap::new();
        let mut piece = String::new();
        for line in text.lines() {
            piece.push_str(line);
            piece.push('\n');
            if piece.chars().count() < length {
                continue;
            }
            let found = filters.assess(&piece, &mut scratch);
            pieces += 1;
            kept += usize::from(!matches!(
                found.reason,
                Some(Reason::Script | Reason::OtherLanguage | Reason::UnknownLanguage)
            ));
            *taken_for.entry(found.language).or_insert(0) += 1;
            piece.clear();
        }
        let language = file.file_stem().unwrap_or_default().to_string_lossy();
        println!("{language}: {kept} of {pieces} pieces kept; taken for {taken_for:?}");
    }
    Ok(())
}
