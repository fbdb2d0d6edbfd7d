//! Speed of the filters on one core, and what they drop of real text:
//!
//! ```text
//! cargo run --release -p ptbr-corpus --example filter_speed -- PATH…
//! ```
//!
//! Text is read first; then the filters go over all of it five times. Times are the thread's processor time, so other programs do not count.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use ptbr_corpus::{FilterConfig, FilterScratch, Filters, Shingler, StubLimiter, read_documents};

fn main() -> Result<()> {
    let mut documents = Vec::new();
    for path in std::env::args().skip(1) {
        for document in read_documents(Path::new(&path))? {
            documents.push(document?);
        }
    }
    let bytes: usize = documents.iter().map(|document| document.text.len()).sum();
    println!(
        "{} documents, {:.1} MB",
        documents.len(),
        bytes as f64 / 1e6
    );
    let filters = Filters::new(FilterConfig::default())?;
    let mut scratch = FilterScratch::default();
    for round in 0..5 {
        let mut reasons = BTreeMap::new();
        let mut stubs = StubLimiter::new(filters.config().stubs.clone());
        let start = thread_seconds();
        for document in &documents {
            let found = filters.assess(&document.text, &mut scratch);
            let reason = match found.reason {
                None if !stubs.keeps(&document.text, found.words) => "stub",
                None => "kept",
                Some(reason) => reason.code(),
            };
            let counts = reasons.entry(reason).or_insert((0u64, 0u64));
            counts.0 += 1;
            counts.1 += document.text.len() as u64;
        }
        let filtering = thread_seconds() - start;
        let start = thread_seconds();
        let mut shingler = Shingler::default();
        let mut sum = 0u32;
        for document in &documents {
            sum ^= shingler.signature(&document.text)[0];
        }
        let signing = thread_seconds() - start;
        println!(
            "filters {:.1} MB/s, MinHash signatures {:.1} MB/s ({sum:08x})",
            bytes as f64 / 1e6 / filtering,
            bytes as f64 / 1e6 / signing
        );
        if round == 4 {
            for (reason, (count, bytes)) in reasons {
                println!("{count:8} {:9.2} MB  {reason}", bytes as f64 / 1e6);
            }
        }
    }
    Ok(())
}

/// Processor time of this thread, seconds.
#[cfg(target_os = "linux")]
fn thread_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds: f64 = stat
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    nanoseconds / 1e9
}

/// Elsewhere the clock on the wall has to do.
#[cfg(not(target_os = "linux"))]
fn thread_seconds() -> f64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}
