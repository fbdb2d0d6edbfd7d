//! Speed of each stage in one thread: `cargo run --release -p ptbr-corpus --example bench -- FILE` (a dump, .xml or .xml.bz2).

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use ptbr_corpus::{WikiCleaner, WikiOptions, WikiPage, WikiStreamParser, open_dump, process_wiki};

fn report(stage: &str, bytes: u64, started: Instant, note: &str) {
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{stage:<22} {:>9.1} MB  {seconds:>7.2} s  {:>8.1} MB/s  {note}",
        bytes as f64 / 1e6,
        bytes as f64 / 1e6 / seconds
    );
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: bench FILE (a dump, .xml or .xml.bz2)")?;
    let path = Path::new(&path);
    let open = || open_dump(path, 1, Arc::new(AtomicU64::new(0)));

    let started = Instant::now();
    let mut reader = open()?;
    let mut buffer = vec![0; 1 << 18];
    let mut xml_bytes = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => xml_bytes += n as u64,
            Err(e) => {
                println!("{e}");
                break;
            }
        }
    }
    report("read, decompress", xml_bytes, started, "bytes out");

    let started = Instant::now();
    let mut parser = WikiStreamParser::new(open()?, 4 << 20);
    let mut page = WikiPage::default();
    let (mut pages, mut articles, mut wikitext) = (0u64, Vec::new(), 0u64);
    while let Ok(true) = parser.next_page(&mut page) {
        pages += 1;
        if page.ns == Some(0) && !page.redirect {
            wikitext += page.text.len() as u64;
            // A sample is enough to time the cleaner alone.
            if articles.len() < 20_000 {
                articles.push((page.title.clone(), page.text.clone()));
            }
        }
    }
    report(
        "  + XML to pages",
        xml_bytes,
        started,
        &format!(
            "{pages} pages, {:.1} MB of wikitext in articles",
            wikitext as f64 / 1e6
        ),
    );

    let mut cleaner = WikiCleaner::new(parser.site());
    let (mut text, mut sample, mut text_bytes) = (String::new(), 0u64, 0u64);
    let started = Instant::now();
    for (title, wikitext) in &articles {
        text.clear();
        cleaner.clean(title, wikitext, &mut text);
        sample += wikitext.len() as u64;
        text_bytes += text.len() as u64;
    }
    report(
        "wikitext to text",
        sample,
        started,
        &format!("wikitext; {:.1} MB of text", text_bytes as f64 / 1e6),
    );

    let folder = tempfile::tempdir()?;
    let options = WikiOptions {
        threads: 1,
        ..WikiOptions::default()
    };
    let started = Instant::now();
    let summary = match process_wiki(path, folder.path(), &options, &mut |_| {}) {
        Ok(summary) => summary,
        Err(ptbr_corpus::CorpusError::StoppedEarly { stop, summary, .. }) => {
            println!("{stop}");
            *summary
        }
        Err(e) => return Err(e.into()),
    };
    report(
        "process_wiki",
        summary.xml_bytes,
        started,
        "XML, everything, one thread",
    );
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}
