//! Where documents come from: dumps, statutes, text files and JSON lines, each as a stream of [`Record`]s.

mod config;
mod files;
mod open;
mod records;
mod statutes;

pub use config::{DocumentUnit, SourceConfig, SourceKind};
pub use records::Record;

pub(crate) use files::{files_of, list_dumps};
pub(crate) use open::{TextStream, open_text, plain_name};
pub(crate) use records::records_of;
