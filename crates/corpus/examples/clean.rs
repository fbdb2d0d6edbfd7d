//! The cleaner at hand: `cargo run --release -p ptbr-corpus --example clean < page.wiki` prints the text of one page of wikitext.

use std::io::Read;

use ptbr_corpus::WikiCleaner;

fn main() -> std::io::Result<()> {
    let mut wikitext = String::new();
    std::io::stdin().read_to_string(&mut wikitext)?;
    let mut text = String::new();
    let outcome = WikiCleaner::default().clean("página", &wikitext, &mut text);
    println!("{text}");
    eprintln!("{outcome:?}");
    Ok(())
}
