//! What a second thread gains: `cargo run --release -p ptbr-corpus --example two_jobs -- FILE` (a dump, .xml or .xml.bz2) cleans it five times with one
//! thread and five times with two, in turn, and prints the medians.

use std::path::Path;
use std::time::Instant;

use ptbr_corpus::{WikiOptions, process_wiki};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: two_jobs FILE (a dump, .xml or .xml.bz2)")?;
    let mut seconds = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        for threads in [1, 2] {
            let folder = tempfile::tempdir()?;
            let options = WikiOptions {
                threads,
                ..WikiOptions::default()
            };
            let started = Instant::now();
            process_wiki(Path::new(&path), folder.path(), &options, &mut |_| {})?;
            seconds[threads - 1].push(started.elapsed().as_secs_f64());
        }
    }
    let [one, two] = seconds.map(|mut s| {
        s.sort_by(f64::total_cmp);
        println!("{s:.2?} s");
        s[2]
    });
    println!(
        "one thread {one:.2} s, two {two:.2} s: {:.2} times",
        one / two
    );
    Ok(())
}
