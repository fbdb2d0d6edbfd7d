//! A dump in, JSON lines out: parse, clean, write, with the cleaning spread over threads and the order kept. A run that was interrupted is gone on
//! with; a dump can be worked on in parts, by many machines.

mod journal;
mod pages;
mod pipeline;
mod report;
mod shards;
mod sink;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dump::{Begin, WikiStreamParser, open_part, read_head};
use crate::error::CorpusError;
use crate::wikitext::{DroppedTemplate, TemplateReport, TemplateTable};
use journal::{Growing, Recipe, hex};
use pages::{Counts, Wiki};
use pipeline::{End, PageSource, run_here, run_threads};
pub use report::write_template_report;
pub use shards::{Shard, merge_shards};
use sink::Sink;

/// Dropped templates that a summary lists.
const REPORTED_TEMPLATES: usize = 500;

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
    /// Namespaces whose pages are documents; articles are in 0.
    pub namespaces: Vec<i32>,
    /// A table of templates instead of the built-in one.
    pub templates: Option<PathBuf>,
    /// Count the templates that leave nothing in the text: [`WikiSummary::templates`].
    pub count_templates: bool,
    /// Work on one part of the dump only.
    pub shard: Option<Shard>,
}

impl Default for WikiOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            max_page_bytes: 4 << 20,
            min_chars: 100,
            namespaces: vec![0],
            templates: None,
            count_templates: false,
            shard: None,
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
    /// Not an article: a namespace that is not one of [`WikiOptions::namespaces`].
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

impl WikiDrops {
    fn add(&mut self, other: &WikiDrops) {
        self.other_namespace += other.other_namespace;
        self.redirect += other.redirect;
        self.disambiguation += other.disambiguation;
        self.oversized += other.oversized;
        self.too_short += other.too_short;
    }
}

/// What [`process_wiki`] did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Of the pages read, those that an interrupted run before this one had read.
    pub pages_taken_over: u64,
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
    /// XML bytes per second, in units of 10^6, without what an interrupted run had read.
    pub mb_per_second: f64,
    /// Templates that left nothing in the text, all together; 0 when they were not counted.
    pub templates_dropped: u64,
    /// The 500 most frequent of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<DroppedTemplate>,
}

/// Cleans a MediaWiki dump (`.xml` or `.xml.bz2`, also multistream) into `output_dir/<dump name>.jsonl`, one [`Document`](crate::Document) a line in
/// the order of the dump. Articles only, unless [`WikiOptions::namespaces`] says otherwise: other namespaces, redirects and disambiguation pages are left out and counted.
///
/// The output grows under another name and gets its own at the end. A run that was killed goes on where it was when it is started again with the
/// same options: only what was on its way through the threads, 256 KiB of wikitext each, is done twice. Memory does not grow with the input.
///
/// With [`WikiOptions::shard`] only that part of the dump is done, into `output_dir/<dump name>.shards/`; [`merge_shards`] makes the parts a whole.
/// A part that is complete is not done again.
///
/// # Errors
/// [`CorpusError::StoppedEarly`] when the dump is cut short or damaged: the pages before that place are written all the same and the error holds
/// the summary. Otherwise a missing, empty or foreign input, an output that cannot be written or that another process is writing, a table of
/// templates that is none; then no output appears.
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
    let templates = match &options.templates {
        None => TemplateTable::built_in(),
        Some(path) => Arc::new(TemplateTable::read(path)?),
    };
    let meta = std::fs::metadata(input).map_err(CorpusError::io("open", input))?;
    let recipe = match meta.is_file() {
        true => Some(recipe(input, meta.len(), options)?),
        // A pipe is read once: what was read of it cannot be gone back to.
        false => None,
    };
    let stem = output_stem(input);
    let output = match &options.shard {
        None => output_dir.join(format!("{stem}.jsonl")),
        Some(shard) => shards::output(output_dir, &stem, *shard),
    };
    if let (Some(shard), Some(recipe)) = (options.shard, &recipe) {
        shards::check_count(&output, shard)?;
        if let Some(summary) = shards::completed(&output, recipe) {
            return Ok(summary);
        }
    }
    let range = match (options.shard, &recipe) {
        (Some(shard), Some(_)) if read_head(input)?.has_exact_offsets => shard.bytes_of(meta.len()),
        (Some(_), _) => {
            return Err(CorpusError::Unsupported {
                path: input.to_path_buf(),
                reason: "only a file in UTF-8 can be worked on in parts".into(),
            });
        }
        (None, _) => 0..u64::MAX,
    };
    let position = Arc::new(AtomicU64::new(0));
    // A dump that cannot be read leaves no file behind.
    let begin = match range.start {
        0 => Begin::Start,
        start => Begin::Byte(start),
    };
    open_part(input, 1, Arc::default(), begin, range.end)?;
    let (growing, done) = Growing::open(&output, recipe.as_ref())?;
    let begin = done.restart.map_or(begin, Begin::Restart);
    let (mut reader, place) = open_part(input, threads, Arc::clone(&position), begin, range.end)?;
    let skipped = done.restart.map_or(0, |restart| restart.skip);
    std::io::copy(&mut reader.by_ref().take(skipped), &mut std::io::sink())
        .map_err(CorpusError::io("read", input))?;
    let (parser, wiki) = match begin {
        Begin::Start => (WikiStreamParser::new(reader, options.max_page_bytes), None),
        Begin::Byte(_) | Begin::Restart(_) => {
            let site = read_head(input)?.site;
            let wiki = Wiki::new(site.clone(), &stem, Arc::clone(&templates));
            let parser = WikiStreamParser::resumed(reader, options.max_page_bytes, site);
            (parser, Some(Arc::new(wiki)))
        }
    };
    let source = PageSource {
        parser,
        place,
        templates,
        skipped,
        fallback: stem,
        wiki,
    };
    let mut report = TemplateReport::default();
    report.merge(done.templates);
    let taken_over = done.counts.seen;
    let mut sink = Sink {
        output: growing,
        counts: done.counts,
        templates: report,
        xml_before: done.xml,
        input_bytes: meta.len(),
        position,
        progress,
    };
    let end = if threads == 1 {
        run_here(source, options, &mut sink)?
    } else {
        run_threads(source, options, threads, &mut sink, input)?
    };
    if !end.is_dump {
        sink.output.discard();
        let reason = match &end.stop {
            Some(stop) => stop.to_string(),
            None => "it has no <mediawiki> and no <page> element".to_string(),
        };
        return Err(CorpusError::NotADump {
            path: input.to_path_buf(),
            reason,
        });
    }
    let summary = summarize(&sink, &end, output, taken_over, started);
    sink.output.commit()?;
    match end.stop {
        None => {
            if let (Some(_), Some(recipe)) = (options.shard, &recipe) {
                shards::mark_complete(recipe, &summary)?;
            }
            Ok(summary)
        }
        Some(stop) => Err(CorpusError::StoppedEarly {
            path: input.to_path_buf(),
            stop,
            summary: Box::new(summary),
        }),
    }
}

fn summarize(
    sink: &Sink<'_>,
    end: &End,
    output: PathBuf,
    pages_taken_over: u64,
    started: Instant,
) -> WikiSummary {
    let Counts {
        seen,
        kept,
        dropped,
        text_bytes,
        invalid,
        invalid_pages,
        ref invalid_first,
    } = sink.counts;
    let seconds = started.elapsed().as_secs_f64();
    WikiSummary {
        output,
        source: end.source.clone(),
        pages_seen: seen,
        pages_kept: kept,
        dropped,
        pages_taken_over,
        input_bytes: sink.input_bytes,
        xml_bytes: sink.xml_before + end.xml_bytes,
        text_bytes,
        output_bytes: sink.output.bytes(),
        invalid_utf8: invalid,
        invalid_utf8_pages: invalid_pages,
        invalid_utf8_first: invalid_first.clone(),
        seconds,
        mb_per_second: mb_per_second(end.xml_bytes, seconds),
        templates_dropped: sink.templates.total(),
        templates: sink.templates.most_frequent(REPORTED_TEMPLATES),
    }
}

/// What the output is made of.
fn recipe(input: &Path, input_bytes: u64, options: &WikiOptions) -> Result<Recipe, CorpusError> {
    let mut head = Vec::new();
    std::fs::File::open(input)
        .and_then(|file| file.take(64 << 10).read_to_end(&mut head))
        .map_err(CorpusError::io("read", input))?;
    let templates = match &options.templates {
        None => None,
        Some(path) => {
            let table = std::fs::read(path).map_err(CorpusError::io("read", path))?;
            Some(hex(Sha256::digest(table)))
        }
    };
    Ok(Recipe {
        program: env!("CARGO_PKG_VERSION").to_string(),
        input_name: output_stem(input),
        input_bytes,
        input_head: hex(Sha256::digest(head)),
        min_chars: options.min_chars,
        namespaces: options.namespaces.clone(),
        max_page_bytes: options.max_page_bytes,
        count_templates: options.count_templates,
        templates,
        shard: options.shard.map(|shard| (shard.index(), shard.count())),
    })
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

/// In thousandths: a number of few digits is the same after it was written as text and read.
fn mb_per_second(bytes: u64, seconds: f64) -> f64 {
    (bytes as f64 / 1e3 / seconds.max(1e-9)).round() / 1e3
}
