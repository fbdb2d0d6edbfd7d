//! ptbr-corpus: from raw text and wiki dumps to clean documents.
//!
//! - [`process_wiki`]: a MediaWiki dump to JSON lines. Inside: [`open_dump`] (decompression) → [`WikiStreamParser`] (XML to pages) →
//!   [`WikiCleaner`] (wikitext to text).
//! - [`clean_corpus`]: text files and JSON lines made into clean documents.
//! - [`domain_documents`]: the documents of a domain's training, validation or test split; [`export_split`] writes them into a file.
//! - [`build_dataset`]: sources to token files, in stages that are done once; [`filter_corpus`]: its filters and deduplication on their own.
//! - [`Filters`]: each document kept, or dropped with a [`Reason`]; [`Deduplicator`]: each document new, or a duplicate of an earlier one.
//! - [`audit_corpus`]: what is in a corpus; [`audit_page`] shows it.
//! - [`residue`]: what is left of markup in a text.
//! - [`read_documents`]: JSON lines, plain text and folders of both as a stream of [`Document`]s.

mod audit;
mod build;
mod clean;
mod dedup;
mod document;
mod domain;
mod dump;
mod error;
mod filters;
mod output;
mod process;
mod residue;
mod sources;
mod thousands;
mod wikitext;

pub use audit::{
    AlphabetReport, AuditReport, Decile, DuplicateReport, Frequent, LengthBin, LengthReport,
    ResidueExample, ResidueReport, Sample, UnusualCharacter, audit_corpus, audit_page,
    write_audit_page,
};
pub use build::{
    BuildConfig, BuildOptions, BuildProgress, BuildSummary, DedupCounts, FilterCounts,
    FilterOptions, FilterSummary, SplitOptions, StageSummary, TokenFile, TokenizerChoice,
    build_dataset, filter_corpus,
};
pub use clean::{BlankLines, CleanOptions, CleanProgress, CleanSummary, JoinLines, clean_corpus};
pub use dedup::{
    BANDS, DedupOptions, Deduplicator, Duplicate, DuplicateKind, ExactDuplicates, NearDuplicate,
    NearDuplicates, ROWS, SHINGLE_WORDS, SIGNATURE, Shingler, Signature, TextStore, jaccard,
};
pub use document::{Document, Documents, MAX_LINE_BYTES, read_documents};
pub use domain::{DomainDocuments, SplitSummary, domain_documents, export_split};
pub use dump::{Bz2Reader, SiteInfo, WikiPage, WikiStreamParser, open_dump};
pub use error::{CorpusError, Stop};
pub use filters::{
    Assessment, FilterConfig, FilterScratch, Filters, LanguageRules, QualityRules, Reason,
    RepetitionRules, StubLimiter, StubRules, Variant,
};
pub use process::{
    Shard, WikiDrops, WikiOptions, WikiProgress, WikiSummary, merge_shards, process_wiki,
    write_template_report,
};
pub use residue::{Residue, ResidueCounts, residue, residue_places};
pub use sources::{DocumentUnit, Record, SourceConfig, SourceKind};
pub use thousands::thousands;
pub use wikitext::{
    CleanOutcome, DroppedTemplate, TemplateReport, TemplateTable, WikiCleaner, WikiNames,
};
