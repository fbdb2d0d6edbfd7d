//! Where cleaned pages go: the output, the running counts, and who wants to hear of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::WikiProgress;
use super::journal::Growing;
use super::pages::{Counts, Yield};
use crate::dump::Restart;
use crate::error::CorpusError;
use crate::wikitext::TemplateReport;

/// The output and what is known of it.
pub(super) struct Sink<'a> {
    pub(super) output: Growing,
    pub(super) counts: Counts,
    pub(super) templates: TemplateReport,
    /// XML read by runs before this one, bytes.
    pub(super) xml_before: u64,
    pub(super) input_bytes: u64,
    pub(super) position: Arc<AtomicU64>,
    pub(super) progress: &'a mut dyn FnMut(&WikiProgress),
}

impl Sink<'_> {
    /// Takes what some pages gave; `after` is where reading would go on after them.
    pub(super) fn take(
        &mut self,
        done: Yield,
        after: Option<(u64, Restart)>,
    ) -> Result<(), CorpusError> {
        let after = after.map(|(xml, restart)| (self.xml_before + xml, restart));
        self.output
            .write(&done.lines, &done.counts, &done.templates, after)?;
        self.counts.add(&done.counts);
        self.templates.merge(done.templates);
        (self.progress)(&WikiProgress {
            input_bytes: self.input_bytes,
            input_position: self.position.load(Ordering::Relaxed),
            pages_seen: self.counts.seen,
            pages_kept: self.counts.kept,
        });
        Ok(())
    }
}
