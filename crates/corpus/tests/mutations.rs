//! Mutated pages and dumps: no panic, no markup left, time and memory bounded by the length. Needs nothing; the seeds are the golden pages.
//!
//! 20,000 cases, or 1,000,000 with `PTBR_FULL=1`. Case n is a function of n: `PTBR_SEED=n` runs it alone and prints what it cleaned.
#![allow(clippy::unwrap_used)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ptbr_corpus::{Bz2Reader, WikiCleaner, WikiPage, WikiStreamParser, residue};
use support::allocation::{Counting, peak_while};
use support::mutation::{Random, mutate_bytes, mutate_text};
use support::{full, golden_pages, markup_left};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A page of a few kilobytes takes microseconds; this is for a machine under load.
const PAGE_BUDGET: Duration = Duration::from_millis(250);
/// Buffers of one cleaner, and what they may grow to for each byte of a page.
const FIXED_BYTES: usize = 1 << 20;
const BYTES_PER_BYTE: usize = 64;

/// The time since `started`, or that of the best of five runs of `again` when it is over the budget: the machine may have stood still.
fn in_budget(started: Instant, again: impl Fn()) -> Result<Duration, Duration> {
    let mut took = started.elapsed();
    for _ in 0..5 {
        if took < PAGE_BUDGET {
            return Ok(took);
        }
        let started = Instant::now();
        again();
        took = took.min(started.elapsed());
    }
    Err(took)
}

#[test]
fn mutated_pages_are_cleaned() {
    let seeds = golden_pages();
    let only = std::env::var("PTBR_SEED").ok().map(|n| n.parse().unwrap());
    let cases = if full() { 1_000_000 } else { 20_000 };
    let range = only.map_or(0..cases, |n: u64| n..n + 1);
    let mut longest = Duration::ZERO;
    for n in range {
        let wikitext = mutate_text(&seeds, &mut Random::new(n));
        if only.is_some() {
            println!("{wikitext}");
        }
        let mut text = String::new();
        let started = Instant::now();
        let clean = || WikiCleaner::default().clean("página", &wikitext, &mut text);
        let (outcome, peak) = catch_unwind(AssertUnwindSafe(|| peak_while(clean)))
            .unwrap_or_else(|_| panic!("case {n}: a panic"));
        let took = in_budget(started, || {
            WikiCleaner::default().clean("página", &wikitext, &mut String::new());
        });
        let took = took.unwrap_or_else(|took| panic!("case {n}: {took:?}"));
        longest = longest.max(took);
        assert!(
            outcome.steps <= 200 * (wikitext.len() as u64 + 10),
            "case {n}: {} steps for {} bytes",
            outcome.steps,
            wikitext.len()
        );
        assert!(
            peak <= FIXED_BYTES + BYTES_PER_BYTE * wikitext.len(),
            "case {n}: {peak} bytes of memory for {} bytes",
            wikitext.len()
        );
        assert_eq!(markup_left(&text), None, "case {n}: {text:?}");
    }
    println!("{cases} pages, the longest took {longest:?}");
}

fn dump() -> String {
    let mut xml = String::from(
        "<mediawiki xml:lang=\"pt\"><siteinfo><sitename>W</sitename><dbname>ptwiki</dbname><namespaces><namespace key=\"6\">Ficheiro</namespace></namespaces></siteinfo>\n",
    );
    for (n, (title, wikitext)) in golden_pages().iter().take(12).enumerate() {
        let text = wikitext
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        xml.push_str(&format!(
            "<page><title>{title}</title><ns>0</ns><id>{n}</id><revision><id>1</id><text xml:space=\"preserve\">{text}</text></revision></page>\n"
        ));
    }
    xml.push_str("</mediawiki>\n");
    xml
}

#[test]
fn mutated_dumps_are_read() {
    let xml = dump().into_bytes();
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(1));
    std::io::Write::write_all(&mut encoder, &xml).unwrap();
    let packed = encoder.finish().unwrap();
    let cases = if full() { 50_000 } else { 1_000 };
    for n in 0..cases {
        let random = &mut Random::new(n);
        let compressed = n % 4 == 0;
        let bytes = mutate_bytes(if compressed { &packed } else { &xml }, random);
        let length = bytes.len();
        let read_all = || {
            let bytes = std::io::Cursor::new(&bytes);
            let read: Box<dyn std::io::Read> = match compressed {
                true => Box::new(Bz2Reader::new(bytes)),
                false => Box::new(bytes),
            };
            let mut parser = WikiStreamParser::new(read, 1 << 16);
            let mut page = WikiPage::default();
            let mut pages = 0usize;
            while parser.next_page(&mut page).unwrap_or(false) {
                pages += 1;
                assert!(page.text.len() <= 1 << 16, "case {n}");
                assert!(
                    pages <= xml.len().max(length),
                    "case {n}: pages without end"
                );
            }
        };
        let started = Instant::now();
        read_all();
        assert!(in_budget(started, read_all).is_ok(), "case {n}");
    }
}

/// Pages of openings without end: every page as large as one may be.
struct Openings {
    unit: &'static [u8],
    left: u64,
    in_page: usize,
    waiting: std::collections::VecDeque<u8>,
}

const PAGE_BYTES: usize = 4 << 20;

impl std::io::Read for Openings {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        while self.waiting.len() < buf.len() && self.left > 0 {
            if self.in_page == 0 {
                self.waiting.extend(
                    b"<page><title>T</title><ns>0</ns><id>1</id><revision><text>O texto antes. ",
                );
            }
            self.waiting.extend(self.unit);
            self.in_page += self.unit.len();
            self.left = self.left.saturating_sub(self.unit.len() as u64);
            if self.in_page >= PAGE_BYTES - 64 || self.left == 0 {
                self.waiting.extend(b"</text></revision></page>\n");
                self.in_page = 0;
            }
        }
        let n = buf.len().min(self.waiting.len());
        for (to, from) in buf.iter_mut().zip(self.waiting.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }
}

#[test]
fn openings_without_end_are_streamed_through() {
    let bytes = if full() { 1 << 30 } else { 12 << 20 };
    // `<ref` as it stands in a dump, and as an element of the XML itself.
    for unit in [
        "[[",
        "{{",
        "&lt;ref",
        "&lt;ref&gt;",
        "{|\n",
        "<ref>",
        "<ref ",
    ] {
        let source = Openings {
            unit: unit.as_bytes(),
            left: bytes,
            in_page: 0,
            waiting: b"<mediawiki>".iter().copied().collect(),
        };
        let (pages, peak) = peak_while(|| {
            let mut parser = WikiStreamParser::new(source, PAGE_BYTES);
            let mut cleaner = WikiCleaner::default();
            let mut page = WikiPage::default();
            let mut text = String::new();
            let mut pages = 0;
            while parser.next_page(&mut page).unwrap_or(false) {
                text.clear();
                cleaner.clean(&page.title, &page.text, &mut text);
                assert!(text.len() < 100, "{unit:?} left {} bytes", text.len());
                assert_eq!(residue(&text).total(), 0, "{unit:?}: {text}");
                pages += 1;
            }
            pages
        });
        // Elements inside elements end the dump; text does not.
        assert!(
            pages >= 2 || unit.starts_with('<'),
            "{unit:?}: {pages} pages"
        );
        assert!(peak < 20 * PAGE_BYTES, "{unit:?}: {peak} bytes of memory");
    }
}
