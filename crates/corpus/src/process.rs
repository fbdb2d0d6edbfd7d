//! A dump in, JSON lines out: parse, clean, write, with the cleaning spread over threads and the order kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::dump::{SiteInfo, WikiPage, WikiStreamParser, open_dump};
use crate::error::{CorpusError, Stop};
use crate::output::AtomicFile;
use crate::wikitext::{WikiCleaner, WikiNames};

/// How [`process_wiki`] works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WikiOptions {
    /// Threads; 0 takes one per core. With 1 everything runs in the calling thread. The output does not depend on it.
    pub threads: usize,
    /// Pages with more wikitext than this are dropped, bytes. MediaWiki's own limit is 2 MiB.
    pub max_page_bytes: usize,
    /// Documents with fewer characters of text than this are dropped.
    pub min_chars: usize,
}

impl Default for WikiOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            max_page_bytes: 4 << 20,
            min_chars: 100,
        }
    }
}

/// Where [`process_wiki`] stands; given to the progress callback about once per quarter megabyte of wikitext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WikiProgress {
    /// Length of the input file, bytes.
    pub input_bytes: u64,
    /// How far into it the work has come, bytes.
    pub input_position: u64,
    /// Pages read so far.
    pub pages_seen: u64,
    /// Documents written so far.
    pub pages_kept: u64,
}

/// Pages that were not kept, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WikiDrops {
    /// Not an article: another namespace than 0.
    pub other_namespace: u64,
    /// A redirect, by its element or by its text.
    pub redirect: u64,
    /// A disambiguation page, by its template or title.
    pub disambiguation: u64,
    /// Wikitext over [`WikiOptions::max_page_bytes`].
    pub oversized: u64,
    /// Less text than [`WikiOptions::min_chars`] after cleaning.
    pub too_short: u64,
}

/// What [`process_wiki`] did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WikiSummary {
    /// The JSON lines file written.
    pub output: PathBuf,
    /// Name of the wiki, as "ptwiki"; `source` of the documents.
    pub source: String,
    /// Whole pages read.
    pub pages_seen: u64,
    /// Documents written.
    pub pages_kept: u64,
    /// Pages not written, by reason.
    pub dropped: WikiDrops,
    /// Length of the input file, bytes.
    pub input_bytes: u64,
    /// Bytes of XML read (after decompression).
    pub xml_bytes: u64,
    /// Bytes of text in the documents.
    pub text_bytes: u64,
    /// Bytes of the output file.
    pub output_bytes: u64,
    /// Byte sequences that were not UTF-8; each became U+FFFD, which the cleaner leaves out.
    pub invalid_utf8: u64,
    /// Pages with such bytes.
    pub invalid_utf8_pages: u64,
    /// Title of the first such page and offset of the bytes in the XML.
    pub invalid_utf8_first: Option<(String, u64)>,
    /// Wall time, seconds.
    pub seconds: f64,
    /// XML bytes per second, in units of 10^6.
    pub mb_per_second: f64,
}

/// Cleans a MediaWiki dump (`.xml` or `.xml.bz2`, also multistream) into `output_dir/<dump name>.jsonl`, one [`Document`] a line in the order of
/// the dump. Articles only: other namespaces, redirects and disambiguation pages are left out and counted.
///
/// The output is written under a temporary name and renamed at the end. Memory does not grow with the input.
///
/// # Errors
/// [`CorpusError::StoppedEarly`] when the dump is cut short or damaged: the pages before that place are written all the same and the error holds
/// the summary. Otherwise a missing, empty or foreign input, or an output that cannot be written; then no output appears.
pub fn process_wiki(
    input: &Path,
    output_dir: &Path,
    options: &WikiOptions,
    progress: &mut dyn FnMut(&WikiProgress),
) -> Result<WikiSummary, CorpusError> {
    let started = Instant::now();
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n.min(1024),
    };
    let position = Arc::new(AtomicU64::new(0));
    let reader = open_dump(input, threads, Arc::clone(&position))?;
    let input_bytes = std::fs::metadata(input)
        .map_err(CorpusError::io("open", input))?
        .len();
    let parser = WikiStreamParser::new(reader, options.max_page_bytes);
    let output = output_dir.join(format!("{}.jsonl", output_stem(input)));
    let mut sink = Sink {
        file: AtomicFile::create(&output)?,
        summary: WikiSummary {
            output: output.clone(),
            input_bytes,
            ..Default::default()
        },
        position,
        progress,
    };
    let source = PageSource {
        parser,
        names: None,
        source: Arc::new(Source::default()),
        fallback: output_stem(input),
    };
    let end = if threads == 1 {
        run_here(source, options, &mut sink)?
    } else {
        run_threads(source, options, threads, &mut sink, input)?
    };
    let Sink {
        file, mut summary, ..
    } = sink;
    if !end.is_dump {
        let reason = match &end.stop {
            Some(stop) => stop.to_string(),
            None => "it has no <mediawiki> and no <page> element".to_string(),
        };
        return Err(CorpusError::NotADump {
            path: input.to_path_buf(),
            reason,
        });
    }
    summary.source = end.source;
    summary.xml_bytes = end.xml_bytes;
    summary.output_bytes = file.bytes();
    file.commit()?;
    summary.seconds = started.elapsed().as_secs_f64();
    summary.mb_per_second = summary.xml_bytes as f64 / 1e6 / summary.seconds.max(1e-9);
    match end.stop {
        None => Ok(summary),
        Some(stop) => Err(CorpusError::StoppedEarly {
            path: input.to_path_buf(),
            stop,
            summary: Box::new(summary),
        }),
    }
}

/// The dump's file name without its endings.
fn output_stem(input: &Path) -> String {
    let name = input
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let stem = name.strip_suffix(".bz2").unwrap_or(&name);
    let stem = stem.strip_suffix(".xml").unwrap_or(stem);
    if stem.is_empty() {
        "wiki".to_string()
    } else {
        stem.to_string()
    }
}

/// What a document says of its wiki.
#[derive(Debug, Default)]
struct Source {
    site: SiteInfo,
    name: String,
}

/// How reading ended.
struct End {
    stop: Option<Stop>,
    is_dump: bool,
    xml_bytes: u64,
    source: String,
}

/// Pages with the knowledge of their wiki.
struct PageSource<R: std::io::Read> {
    parser: WikiStreamParser<R>,
    names: Option<Arc<WikiNames>>,
    source: Arc<Source>,
    fallback: String,
}

impl<R: std::io::Read> PageSource<R> {
    /// The names of the wiki; `<siteinfo>` stands before the first page.
    fn names(&mut self) -> Arc<WikiNames> {
        if let Some(names) = &self.names {
            return Arc::clone(names);
        }
        let site = self.parser.site().clone();
        let names = Arc::new(WikiNames::new(&site));
        let name = if site.dbname.is_empty() {
            self.fallback.clone()
        } else {
            site.dbname.clone()
        };
        self.source = Arc::new(Source { site, name });
        self.names = Some(Arc::clone(&names));
        names
    }

    fn end(mut self, stop: Option<Stop>) -> End {
        self.names();
        End {
            stop,
            is_dump: self.parser.is_dump(),
            xml_bytes: self.parser.position(),
            source: self.source.name.clone(),
        }
    }
}

/// Turns pages into JSON lines and counts; one per thread.
struct PageWorker {
    cleaner: WikiCleaner,
    document: Document,
    min_chars: usize,
    /// JSON lines not yet written.
    lines: Vec<u8>,
    tally: Tally,
}

/// Counts since they were last handed over.
#[derive(Debug, Default)]
struct Tally {
    seen: u64,
    kept: u64,
    dropped: WikiDrops,
    text_bytes: u64,
    invalid: u64,
    invalid_pages: u64,
    invalid_first: Option<(String, u64)>,
}

impl PageWorker {
    fn new(names: Arc<WikiNames>, options: &WikiOptions) -> Self {
        Self {
            cleaner: WikiCleaner::with_names(names),
            document: Document::default(),
            min_chars: options.min_chars,
            lines: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn page(&mut self, page: &WikiPage, source: &Source) {
        let tally = &mut self.tally;
        tally.seen += 1;
        if page.invalid_utf8 > 0 {
            tally.invalid += page.invalid_utf8;
            tally.invalid_pages += 1;
            if tally.invalid_first.is_none() {
                tally.invalid_first =
                    Some((page.title.clone(), page.invalid_utf8_offset.unwrap_or(0)));
            }
        }
        let dropped = &mut tally.dropped;
        let article = match page.ns {
            Some(ns) => ns == 0,
            None => !self.cleaner.names().is_other_namespace(&page.title),
        };
        if !article {
            dropped.other_namespace += 1;
            return;
        }
        if page.redirect {
            dropped.redirect += 1;
            return;
        }
        if page.oversized {
            dropped.oversized += 1;
            return;
        }
        let document = &mut self.document;
        document.text.clear();
        let outcome = self
            .cleaner
            .clean(&page.title, &page.text, &mut document.text);
        if outcome.redirect {
            dropped.redirect += 1;
            return;
        }
        if outcome.disambiguation {
            dropped.disambiguation += 1;
            return;
        }
        let long_enough = document.text.len() >= self.min_chars
            && document.text.chars().take(self.min_chars).count() >= self.min_chars;
        if !long_enough || document.text.is_empty() {
            dropped.too_short += 1;
            return;
        }
        document.id.clone_from(&page.id);
        document.title.clone_from(&page.title);
        document.source.clone_from(&source.name);
        document.url.clear();
        source.site.page_url(&page.title, &mut document.url);
        tally.kept += 1;
        tally.text_bytes += document.text.len() as u64;
        // Writing into memory does not fail, and a document is plain strings.
        if serde_json::to_writer(&mut self.lines, document).is_ok() {
            self.lines.push(b'\n');
        }
    }
}

/// The output, the running summary, and who wants to hear of it.
struct Sink<'a> {
    file: AtomicFile,
    summary: WikiSummary,
    position: Arc<AtomicU64>,
    progress: &'a mut dyn FnMut(&WikiProgress),
}

impl Sink<'_> {
    fn take(&mut self, lines: &[u8], tally: Tally) -> Result<(), CorpusError> {
        self.file.write(lines)?;
        let s = &mut self.summary;
        s.pages_seen += tally.seen;
        s.pages_kept += tally.kept;
        s.text_bytes += tally.text_bytes;
        s.invalid_utf8 += tally.invalid;
        s.invalid_utf8_pages += tally.invalid_pages;
        if s.invalid_utf8_first.is_none() {
            s.invalid_utf8_first = tally.invalid_first;
        }
        let (d, t) = (&mut s.dropped, &tally.dropped);
        d.other_namespace += t.other_namespace;
        d.redirect += t.redirect;
        d.disambiguation += t.disambiguation;
        d.oversized += t.oversized;
        d.too_short += t.too_short;
        (self.progress)(&WikiProgress {
            input_bytes: s.input_bytes,
            input_position: self.position.load(Ordering::Relaxed),
            pages_seen: s.pages_seen,
            pages_kept: s.pages_kept,
        });
        Ok(())
    }
}

/// Wikitext collected before it is handed on, bytes.
const BATCH_BYTES: usize = 256 << 10;
/// Pages collected at most; many pages of other namespaces are tiny.
const BATCH_PAGES: usize = 256;

fn run_here<R: std::io::Read>(
    mut source: PageSource<R>,
    options: &WikiOptions,
    sink: &mut Sink<'_>,
) -> Result<End, CorpusError> {
    let mut page = WikiPage::default();
    let mut worker: Option<PageWorker> = None;
    let mut since = 0;
    let stop = loop {
        match source.parser.next_page(&mut page) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(stop) => break Some(stop),
        }
        let names = source.names();
        let worker = worker.get_or_insert_with(|| PageWorker::new(names, options));
        since += page.text.len();
        worker.page(&page, &source.source);
        if since >= BATCH_BYTES {
            since = 0;
            sink.take(&worker.lines, std::mem::take(&mut worker.tally))?;
            worker.lines.clear();
        }
    };
    if let Some(mut worker) = worker {
        sink.take(&worker.lines, std::mem::take(&mut worker.tally))?;
    }
    Ok(source.end(stop))
}

/// Pages on their way to a worker, with the place where their answer is awaited.
struct Batch {
    pages: Vec<WikiPage>,
    names: Arc<WikiNames>,
    source: Arc<Source>,
    answer: SyncSender<(Vec<u8>, Tally)>,
}

fn run_threads<R: std::io::Read + Send>(
    source: PageSource<R>,
    options: &WikiOptions,
    threads: usize,
    sink: &mut Sink<'_>,
    input: &Path,
) -> Result<End, CorpusError> {
    // Both queues are bounded: when one slow page holds the writer up, the reader waits instead of piling finished pages up.
    let (jobs, queue) = sync_channel::<Batch>(threads);
    let (order, answers) = sync_channel::<Receiver<(Vec<u8>, Tally)>>(threads * 4);
    let queue = Mutex::new(queue);
    let queue = &queue;
    let lost = |detail: &str| CorpusError::Worker {
        path: input.to_path_buf(),
        detail: detail.to_string(),
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read_batches(source, &jobs, &order));
        for _ in 0..threads {
            scope.spawn(move || clean_batches(queue, options));
        }
        let mut result = Ok(());
        // Leaving this loop drops `answers`; the reader then stops, which closes the job queue, which ends the workers.
        for answer in answers {
            result = match answer.recv() {
                Ok((lines, tally)) => sink.take(&lines, tally),
                Err(_) => Err(lost("a page could not be cleaned")),
            };
            if result.is_err() {
                break;
            }
        }
        result?;
        reader
            .join()
            .map_err(|_| lost("the reader ended without an answer"))
    })
}

fn read_batches<R: std::io::Read>(
    mut source: PageSource<R>,
    jobs: &SyncSender<Batch>,
    order: &SyncSender<Receiver<(Vec<u8>, Tally)>>,
) -> End {
    let mut pages = Vec::new();
    let mut bytes = 0;
    let mut page = WikiPage::default();
    loop {
        let (more, stop) = match source.parser.next_page(&mut page) {
            Ok(more) => (more, None),
            Err(stop) => (false, Some(stop)),
        };
        if more {
            bytes += page.text.len();
            pages.push(std::mem::take(&mut page));
        }
        if bytes >= BATCH_BYTES || pages.len() >= BATCH_PAGES || (!more && !pages.is_empty()) {
            bytes = 0;
            let names = source.names();
            let (answer, receiver) = sync_channel(1);
            let batch = Batch {
                pages: std::mem::take(&mut pages),
                names,
                source: Arc::clone(&source.source),
                answer,
            };
            if order.send(receiver).is_err() || jobs.send(batch).is_err() {
                return source.end(stop);
            }
        }
        if !more {
            return source.end(stop);
        }
    }
}

fn clean_batches(queue: &Mutex<Receiver<Batch>>, options: &WikiOptions) {
    let mut worker: Option<PageWorker> = None;
    loop {
        let batch = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(batch) = batch else { return };
        let worker =
            worker.get_or_insert_with(|| PageWorker::new(Arc::clone(&batch.names), options));
        for page in &batch.pages {
            worker.page(page, &batch.source);
        }
        let answer = (
            std::mem::take(&mut worker.lines),
            std::mem::take(&mut worker.tally),
        );
        batch.answer.send(answer).ok();
    }
}
