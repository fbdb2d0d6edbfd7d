//! From the reader to the sink: pages are read in one thread, cleaned in several, and written in the order of the dump.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::WikiOptions;
use super::pages::{PageWorker, Wiki, Yield};
use super::sink::Sink;
use crate::dump::{Place, Restart, WikiPage, WikiStreamParser};
use crate::error::{CorpusError, Stop};
use crate::wikitext::TemplateTable;

/// Wikitext collected before it is handed on, bytes.
const BATCH_BYTES: usize = 256 << 10;
/// Pages collected at most; many pages of other namespaces are tiny.
const BATCH_PAGES: usize = 256;

/// How reading ended.
pub(super) struct End {
    pub(super) stop: Option<Stop>,
    pub(super) is_dump: bool,
    /// XML of this part, bytes.
    pub(super) xml_bytes: u64,
    /// Name of the wiki.
    pub(super) source: String,
}

/// The pages of one part of a dump.
pub(super) struct PageSource<R: Read> {
    pub(super) parser: WikiStreamParser<R>,
    pub(super) place: Arc<Place>,
    pub(super) templates: Arc<TemplateTable>,
    /// Bytes of the place's XML that were left out before the parser's first.
    pub(super) skipped: u64,
    /// The wiki's name, should the dump not tell it.
    pub(super) fallback: String,
    pub(super) wiki: Option<Arc<Wiki>>,
}

/// Pages read together, and where reading would go on after them.
struct Pages {
    pages: Vec<WikiPage>,
    after: Option<(u64, Restart)>,
}

impl<R: Read> PageSource<R> {
    /// The wiki; `<siteinfo>` stands before the first page.
    fn wiki(&mut self) -> Arc<Wiki> {
        let (parser, templates) = (&self.parser, &self.templates);
        let wiki = self.wiki.get_or_insert_with(|| {
            let site = parser.site().clone();
            Arc::new(Wiki::new(site, &self.fallback, Arc::clone(templates)))
        });
        Arc::clone(wiki)
    }

    /// The next pages, none at the end of this part; with a reason when nothing can be read after them.
    fn next_pages(&mut self, spare: &mut Vec<WikiPage>) -> (Option<Pages>, Option<Stop>) {
        let mut pages = Vec::new();
        let mut bytes = 0;
        let mut stop = None;
        while bytes < BATCH_BYTES && pages.len() < BATCH_PAGES {
            let mut page = spare.pop().unwrap_or_default();
            match self.parser.next_page(&mut page) {
                Ok(true) if self.place.owns(self.skipped + page.offset) => {
                    bytes += page.text.len();
                    pages.push(page);
                }
                // The next part's first page, or the end.
                Ok(_) => break,
                Err(reason) => {
                    stop = Some(reason);
                    break;
                }
            }
        }
        let after = match self.parser.has_exact_offsets() {
            true => {
                let here = self.parser.position();
                let restart = self.place.restart(self.skipped + here);
                restart.map(|restart| (here, restart))
            }
            false => None,
        };
        ((!pages.is_empty()).then_some(Pages { pages, after }), stop)
    }

    fn end(mut self, stop: Option<Stop>) -> End {
        End {
            stop,
            is_dump: self.parser.is_dump(),
            xml_bytes: self.parser.position(),
            source: self.wiki().name.clone(),
        }
    }
}

/// Everything in the calling thread.
pub(super) fn run_here<R: Read>(
    mut source: PageSource<R>,
    options: &WikiOptions,
    sink: &mut Sink<'_>,
) -> Result<End, CorpusError> {
    let mut worker: Option<PageWorker> = None;
    let mut spare = Vec::new();
    loop {
        let (pages, stop) = source.next_pages(&mut spare);
        let last = pages.is_none() || stop.is_some();
        if let Some(Pages { pages, after }) = pages {
            let wiki = source.wiki();
            let worker = worker.get_or_insert_with(|| PageWorker::new(&wiki, options));
            for page in &pages {
                worker.page(page, &wiki);
            }
            sink.take(worker.take(), after)?;
            spare = pages;
        }
        if last {
            return Ok(source.end(stop));
        }
    }
}

/// Pages on their way to a worker, with the place where their answer is awaited.
struct Job {
    pages: Vec<WikiPage>,
    wiki: Arc<Wiki>,
    answer: SyncSender<Yield>,
}

/// An answer awaited, and where reading would go on after its pages.
type Awaited = (Receiver<Yield>, Option<(u64, Restart)>);

/// Reading in one thread, cleaning in `threads`, writing in this one.
pub(super) fn run_threads<R: Read + Send>(
    source: PageSource<R>,
    options: &WikiOptions,
    threads: usize,
    sink: &mut Sink<'_>,
    input: &Path,
) -> Result<End, CorpusError> {
    // Both queues are bounded: when one slow page holds the writer up, the reader waits instead of piling finished pages up.
    let (jobs, queue) = sync_channel::<Job>(threads * 2);
    let (order, answers) = sync_channel::<Awaited>(threads * 4);
    // Pages come back to be filled again: else every page is allocated in one thread and freed in another.
    let (used, back) = sync_channel::<Vec<WikiPage>>(threads * 4);
    let queue = Mutex::new(queue);
    let queue = &queue;
    let lost = |detail: &str| CorpusError::Worker {
        path: input.to_path_buf(),
        detail: detail.to_string(),
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read_pages(source, &jobs, &order, &back));
        for _ in 0..threads {
            let used = used.clone();
            scope.spawn(move || clean_pages(queue, options, &used));
        }
        let mut result = Ok(());
        // Leaving this loop drops `answers`; the reader then stops, which closes the job queue, which ends the workers.
        for (answer, after) in answers {
            result = match answer.recv() {
                Ok(done) => sink.take(done, after),
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

fn read_pages<R: Read>(
    mut source: PageSource<R>,
    jobs: &SyncSender<Job>,
    order: &SyncSender<Awaited>,
    back: &Receiver<Vec<WikiPage>>,
) -> End {
    let mut spare = Vec::new();
    loop {
        for pages in back.try_iter() {
            spare.extend(
                pages
                    .into_iter()
                    .filter(|page| page.text.capacity() <= BATCH_BYTES),
            );
        }
        spare.truncate(4 * BATCH_PAGES);
        let (pages, stop) = source.next_pages(&mut spare);
        let last = pages.is_none() || stop.is_some();
        if let Some(Pages { pages, after }) = pages {
            let (answer, receiver) = sync_channel(1);
            let job = Job {
                pages,
                wiki: source.wiki(),
                answer,
            };
            if order.send((receiver, after)).is_err() || jobs.send(job).is_err() {
                return source.end(stop);
            }
        }
        if last {
            return source.end(stop);
        }
    }
}

fn clean_pages(
    queue: &Mutex<Receiver<Job>>,
    options: &WikiOptions,
    used: &SyncSender<Vec<WikiPage>>,
) {
    let mut worker: Option<PageWorker> = None;
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        let worker = worker.get_or_insert_with(|| PageWorker::new(&job.wiki, options));
        for page in &job.pages {
            worker.page(page, &job.wiki);
        }
        job.answer.send(worker.take()).ok();
        used.try_send(job.pages).ok();
    }
}
