//! Speed of each stage in one thread: `cargo run --release -p ptbr-corpus --example corpus_speed -- FILE` (a dump, .xml or .xml.bz2).

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use ptbr_corpus::{WikiCleaner, WikiOptions, WikiPage, WikiStreamParser, open_dump, process_wiki};

/// A stage being timed: wall time, and where the system tells it (Linux) the time this thread had the processor, which other work on the machine
/// does not lengthen.
struct Stage {
    started: Instant,
    processor: Option<f64>,
}

fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

impl Stage {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            processor: processor_seconds(),
        }
    }

    fn report(&self, name: &str, bytes: u64, note: &str) {
        let wall = self.started.elapsed().as_secs_f64();
        let megabytes = bytes as f64 / 1e6;
        let processor = self
            .processor
            .and_then(|before| Some(processor_seconds()? - before));
        let per_core = processor.map_or(String::new(), |s| {
            format!("{s:>7.2} s of processor {:>7.1} MB/s", megabytes / s)
        });
        println!(
            "{name:<18} {megabytes:>7.1} MB {wall:>7.2} s {:>7.1} MB/s {per_core}  {note}",
            megabytes / wall
        );
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: bench FILE (a dump, .xml or .xml.bz2)")?;
    let path = Path::new(&path);
    let open = || open_dump(path, 1, Arc::new(AtomicU64::new(0)));

    let stage = Stage::start();
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
    stage.report("read, decompress", xml_bytes, "bytes out");

    let stage = Stage::start();
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
    stage.report(
        "  + XML to pages",
        xml_bytes,
        &format!(
            "{pages} pages, {:.1} MB of wikitext in articles",
            wikitext as f64 / 1e6
        ),
    );

    let mut cleaner = WikiCleaner::new(parser.site());
    let (mut text, mut sample, mut text_bytes) = (String::new(), 0u64, 0u64);
    let stage = Stage::start();
    for (title, wikitext) in &articles {
        text.clear();
        cleaner.clean(title, wikitext, &mut text);
        sample += wikitext.len() as u64;
        text_bytes += text.len() as u64;
    }
    stage.report(
        "wikitext to text",
        sample,
        &format!("wikitext; {:.1} MB of text", text_bytes as f64 / 1e6),
    );

    let folder = tempfile::tempdir()?;
    let options = WikiOptions {
        threads: 1,
        ..WikiOptions::default()
    };
    let stage = Stage::start();
    let summary = match process_wiki(path, folder.path(), &options, &mut |_| {}) {
        Ok(summary) => summary,
        Err(ptbr_corpus::CorpusError::StoppedEarly { stop, summary, .. }) => {
            println!("{stop}");
            *summary
        }
        Err(e) => return Err(e.into()),
    };
    stage.report(
        "process_wiki",
        summary.xml_bytes,
        "XML, everything, one thread",
    );
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}
