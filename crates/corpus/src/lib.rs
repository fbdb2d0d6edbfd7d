//! ptbr-corpus: from raw text and wiki dumps to clean documents.
//!
//! - [`process_wiki`]: a MediaWiki dump to JSON lines. Inside: [`open_dump`] (decompression) → [`WikiStreamParser`] (XML to pages) →
//!   [`WikiCleaner`] (wikitext to text).
//! - [`clean_corpus`]: text files and JSON lines made into clean documents.
//! - [`domain_documents`]: the documents of a domain's training, validation or test split; [`export_split`] writes them into a file.
//! - [`residue`]: what is left of markup in a text.
//! - [`read_documents`]: JSON lines, plain text and folders of both as a stream of [`Document`]s.

mod clean;
mod document;
mod domain;
mod dump;
mod error;
mod output;
mod process;
mod residue;
mod wikitext;

pub use clean::{BlankLines, CleanOptions, CleanProgress, CleanSummary, JoinLines, clean_corpus};
pub use document::{Document, Documents, MAX_LINE_BYTES, read_documents};
pub use domain::{DomainDocuments, SplitSummary, domain_documents, export_split};
pub use dump::{Bz2Reader, SiteInfo, WikiPage, WikiStreamParser, open_dump};
pub use error::{CorpusError, Stop};
pub use process::{
    Shard, WikiDrops, WikiOptions, WikiProgress, WikiSummary, merge_shards, process_wiki,
    write_template_report,
};
pub use residue::{Residue, ResidueCounts, residue, residue_places};
pub use wikitext::{
    CleanOutcome, DroppedTemplate, TemplateReport, TemplateTable, WikiCleaner, WikiNames,
};
