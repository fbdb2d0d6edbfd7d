//! Wikitext to plain text.
//!
//! Two linear passes: `scan` walks the markup once with an explicit stack and writes text in which lines, lists, headings and holes are marked by
//! control bytes; `lines` turns that into paragraphs, mends or drops what the removed markup left broken, and cuts what is not prose.

mod dates;
mod entities;
mod footnotes;
mod holes;
mod inline;
mod line_starts;
mod lines;
mod links;
mod names;
mod render;
mod report;
mod scan;
mod tags;
mod template_table;
mod templates;
mod tidy;
mod words;

use std::sync::Arc;

pub use names::WikiNames;
pub use report::{DroppedTemplate, TemplateReport};
pub use template_table::TemplateTable;

use crate::dump::SiteInfo;
use lines::LineAssembler;
use scan::Scanner;

/// What the cleaner saw of a page besides its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanOutcome {
    /// The page is a redirect; no text was written.
    pub redirect: bool,
    /// The page is a disambiguation, by its template or its title.
    pub disambiguation: bool,
    /// Bytes looked at, copied or moved: the work done, independent of the clock.
    pub steps: u64,
}

/// Turns wikitext into text, on any input in time linear in its length and with memory of a few times its length. Holds its buffers from page to
/// page: make one per thread.
#[derive(Debug)]
pub struct WikiCleaner {
    names: Arc<WikiNames>,
    scanner: Scanner,
    lines: LineAssembler,
}

impl Default for WikiCleaner {
    fn default() -> Self {
        Self::new(&SiteInfo::default())
    }
}

impl WikiCleaner {
    /// A cleaner for the wiki that `site` describes; [`SiteInfo::default`] gives the built-in Portuguese names.
    pub fn new(site: &SiteInfo) -> Self {
        Self::with_names(Arc::new(WikiNames::new(site)))
    }

    /// A cleaner that shares the names of a wiki with others.
    pub fn with_names(names: Arc<WikiNames>) -> Self {
        Self {
            names,
            scanner: Scanner::default(),
            lines: LineAssembler::default(),
        }
    }

    /// From now on counts the templates that are dropped; [`WikiCleaner::take_report`] hands the counts over.
    pub fn count_dropped_templates(&mut self) {
        self.scanner.report.get_or_insert_default();
    }

    /// The templates dropped since the last call; nothing when they are not counted.
    pub fn take_report(&mut self) -> TemplateReport {
        self.scanner
            .report
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// The names this cleaner goes by.
    pub fn names(&self) -> &WikiNames {
        &self.names
    }

    /// Appends the text of the page `title` with this `wikitext` to `out`: one line per paragraph, heading or list item (`- `). Nothing is appended
    /// for a redirect.
    pub fn clean(&mut self, title: &str, wikitext: &str, out: &mut String) -> CleanOutcome {
        if is_redirect(wikitext) {
            return CleanOutcome {
                redirect: true,
                ..CleanOutcome::default()
            };
        }
        self.scanner.scan(&self.names, title, wikitext);
        let steps = self.lines.assemble(&self.scanner.out, out);
        let named_so = title.ends_with("(desambiguação)") || title.ends_with("(desambiguacao)");
        CleanOutcome {
            redirect: false,
            disambiguation: self.scanner.disambiguation || named_so,
            steps: self.scanner.steps + steps,
        }
    }
}

/// `#REDIRECIONAMENTO [[…]]` and its spellings.
fn is_redirect(wikitext: &str) -> bool {
    let Some(rest) = wikitext.trim_start().strip_prefix('#') else {
        return false;
    };
    let rest = rest.trim_start();
    [
        "redirecionamento",
        "redirect",
        "redireccionamento",
        "redirecionar",
        "redirecciona",
    ]
    .iter()
    .any(|word| {
        let Some(head) = rest.get(..word.len()) else {
            return false;
        };
        let after = rest[word.len()..]
            .trim_start_matches(|c: char| c.is_alphabetic())
            .trim_start();
        head.eq_ignore_ascii_case(word)
            && after.trim_start_matches(':').trim_start().starts_with("[[")
    })
}
