//! A page in, a JSON line out, or the reason why not.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{WikiDrops, WikiOptions};
use crate::document::Document;
use crate::dump::{SiteInfo, WikiPage};
use crate::wikitext::{DroppedTemplate, TemplateTable, WikiCleaner, WikiNames};

/// The wiki that pages come from: what their documents say of it, and what the cleaner has to know.
#[derive(Debug)]
pub(super) struct Wiki {
    site: SiteInfo,
    /// `source` of the documents, as "ptwiki".
    pub(super) name: String,
    names: Arc<WikiNames>,
}

impl Wiki {
    /// The wiki that `site` describes; one without a name is called `fallback`.
    pub(super) fn new(site: SiteInfo, fallback: &str, templates: Arc<TemplateTable>) -> Self {
        let name = match site.dbname.is_empty() {
            true => fallback.to_string(),
            false => site.dbname.clone(),
        };
        let names = Arc::new(WikiNames::with_templates(&site, templates));
        Self { site, name, names }
    }
}

/// What became of pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) seen: u64,
    pub(super) kept: u64,
    pub(super) dropped: WikiDrops,
    pub(super) text_bytes: u64,
    pub(super) invalid: u64,
    pub(super) invalid_pages: u64,
    pub(super) invalid_first: Option<(String, u64)>,
}

impl Counts {
    /// Adds those of later pages.
    pub(super) fn add(&mut self, later: &Counts) {
        self.seen += later.seen;
        self.kept += later.kept;
        self.text_bytes += later.text_bytes;
        self.invalid += later.invalid;
        self.invalid_pages += later.invalid_pages;
        if self.invalid_first.is_none() {
            self.invalid_first.clone_from(&later.invalid_first);
        }
        self.dropped.add(&later.dropped);
    }
}

/// What some pages gave.
#[derive(Debug, Default)]
pub(super) struct Yield {
    /// JSON lines.
    pub(super) lines: Vec<u8>,
    pub(super) counts: Counts,
    pub(super) templates: Vec<DroppedTemplate>,
}

/// Turns pages into JSON lines; one per thread.
pub(super) struct PageWorker {
    cleaner: WikiCleaner,
    document: Document,
    min_chars: usize,
    namespaces: Vec<i32>,
    done: Yield,
}

impl PageWorker {
    pub(super) fn new(wiki: &Wiki, options: &WikiOptions) -> Self {
        let mut cleaner = WikiCleaner::with_names(Arc::clone(&wiki.names));
        if options.count_templates {
            cleaner.count_dropped_templates();
        }
        Self {
            cleaner,
            document: Document::default(),
            min_chars: options.min_chars,
            namespaces: options.namespaces.clone(),
            done: Yield::default(),
        }
    }

    /// What the pages since the last call gave.
    pub(super) fn take(&mut self) -> Yield {
        self.done.templates = self.cleaner.take_report().most_frequent(usize::MAX);
        std::mem::take(&mut self.done)
    }

    /// Cleans one page.
    pub(super) fn page(&mut self, page: &WikiPage, wiki: &Wiki) {
        let counts = &mut self.done.counts;
        counts.seen += 1;
        if page.invalid_utf8 > 0 {
            counts.invalid += page.invalid_utf8;
            counts.invalid_pages += 1;
            if counts.invalid_first.is_none() {
                counts.invalid_first =
                    Some((page.title.clone(), page.invalid_utf8_offset.unwrap_or(0)));
            }
        }
        let dropped = &mut counts.dropped;
        let article = match page.ns {
            Some(ns) => self.namespaces.contains(&ns),
            None => !wiki.names.is_other_namespace(&page.title),
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
        document.source.clone_from(&wiki.name);
        document.url.clear();
        wiki.site.page_url(&page.title, &mut document.url);
        counts.kept += 1;
        counts.text_bytes += document.text.len() as u64;
        // Writing into memory does not fail, and a document is plain strings.
        if serde_json::to_writer(&mut self.done.lines, document).is_ok() {
            self.done.lines.push(b'\n');
        }
    }
}
