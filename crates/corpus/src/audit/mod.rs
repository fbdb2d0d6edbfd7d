//! What is in a corpus: counted in one pass, shown as a report, JSON and a page.
//!
//! Memory: about 750 bytes a document for duplicates and lengths, and some 100 MB for the most frequent lines and phrases.

mod alphabet;
mod collect;
mod frequent;
mod page;
mod plot;
mod report;

pub use frequent::Frequent;
pub use page::{audit_page, write_audit_page};
pub use report::{
    AlphabetReport, AuditReport, Decile, DuplicateReport, LengthBin, LengthReport, ResidueExample,
    ResidueReport, Sample, UnusualCharacter,
};

use std::path::PathBuf;
use std::time::Instant;

use rayon::prelude::*;

use crate::build::BuildProgress;
use crate::dedup::Shingler;
use crate::document::{Document, read_documents};
use crate::error::CorpusError;
use crate::filters::{FilterConfig, FilterScratch, Filters};
use crate::residue::residue;
use collect::{Collector, Facts};

/// Text that is looked at together.
const BATCH_BYTES: usize = 8 << 20;

/// Looks at every document of `inputs`: text files, JSON lines, folders of both.
///
/// # Errors
/// When an input is missing, empty or cannot be read.
pub fn audit_corpus(
    inputs: &[PathBuf],
    rules: &FilterConfig,
    progress: &mut dyn FnMut(&BuildProgress<'_>),
) -> Result<AuditReport, CorpusError> {
    let start = Instant::now();
    let filters = Filters::new(rules.clone())?;
    let mut collector = Collector::new();
    let mut done = 0;
    for input in inputs {
        let mut documents = read_documents(input)?;
        loop {
            let batch = next_batch(&mut documents)?;
            if batch.is_empty() {
                break;
            }
            let facts: Vec<Facts> = batch
                .par_iter()
                .map_init(
                    || (FilterScratch::default(), Shingler::default()),
                    |(scratch, shingler), document| Facts {
                        assessment: filters.assess(&document.text, scratch),
                        residue: residue(&document.text),
                        signature: shingler.signature(&document.text),
                    },
                )
                .collect();
            for (document, facts) in batch.iter().zip(facts) {
                done += document.text.len() as u64;
                collector.add(document, facts)?;
            }
            progress(&BuildProgress {
                stage: "audit",
                done,
                total: 0,
            });
        }
    }
    Ok(collector.report(start.elapsed().as_secs_f64()))
}

fn next_batch(
    documents: &mut impl Iterator<Item = Result<Document, CorpusError>>,
) -> Result<Vec<Document>, CorpusError> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while bytes < BATCH_BYTES {
        let Some(document) = documents.next() else {
            break;
        };
        let document = document?;
        bytes += document.text.len();
        batch.push(document);
    }
    Ok(batch)
}
