//! What can go wrong, said so that a person can act on it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::process::WikiSummary;

/// Why a dump was left before its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Stop {
    /// The bz2 file ends inside a stream: a download that was cut short.
    #[error("the bz2 data ends early, at byte {offset} of the file")]
    Bz2Truncated {
        /// Length of the compressed file, bytes.
        offset: u64,
    },
    /// A bz2 block or stream fails its checksum or cannot be decoded.
    #[error("the bz2 data is damaged near byte {offset} of the file: {detail}")]
    Bz2Damaged {
        /// Offset in the compressed file up to which the decoder had read, bytes.
        offset: u64,
        /// What the decoder said.
        detail: String,
    },
    /// The XML ends inside an element.
    #[error("the XML ends early, at byte {offset} of the XML")]
    XmlTruncated {
        /// Length of the XML, bytes.
        offset: u64,
    },
    /// The XML cannot be read on.
    #[error("the XML cannot be read past byte {offset}: {detail}")]
    XmlDamaged {
        /// Offset in the XML, bytes.
        offset: u64,
        /// What the reader said.
        detail: String,
    },
    /// The file cannot be read on.
    #[error("reading failed after {offset} bytes: {detail}")]
    Io {
        /// Bytes read before the failure.
        offset: u64,
        /// What the system said.
        detail: String,
    },
}

/// Everything that the functions of this crate can answer instead of a result.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file or folder could not be opened, read, written or renamed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried: "open", "read", "write".
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The input exists and holds nothing.
    #[error("`{}` is empty: give a file that has text in it", .0.display())]
    Empty(PathBuf),
    /// The input is of a kind that this function does not read.
    #[error("cannot use `{}`: {reason}", path.display())]
    Unsupported {
        /// The path given.
        path: PathBuf,
        /// Why not, and what to give instead.
        reason: String,
    },
    /// A dump whose beginning is not MediaWiki XML.
    #[error("`{}` is not a MediaWiki dump: {reason}; give a `pages-articles` file, .xml or .xml.bz2", path.display())]
    NotADump {
        /// The path given.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// A dump that could not be read to its end. What was whole is written.
    #[error(
        "`{}`: {stop}; {} whole pages before it were read and {} documents are kept in `{}`; fetch the file again to get the rest",
        path.display(), summary.pages_seen, summary.pages_kept, summary.output.display()
    )]
    StoppedEarly {
        /// The dump.
        path: PathBuf,
        /// Where and why.
        stop: Stop,
        /// What was done until then: the output named there is complete and renamed.
        summary: Box<WikiSummary>,
    },
    /// A line of a JSON lines file is not a document.
    #[error("`{}` line {line}: not a JSON document with a `text` field: {detail}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What the parser said.
        detail: String,
    },
    /// A text file is not UTF-8.
    #[error("`{}` is not valid UTF-8 at byte {offset}: convert it (for example `iconv -f LATIN1 -t UTF-8`)", path.display())]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first byte that does not fit.
        offset: u64,
    },
    /// A line is longer than any document should be.
    #[error("`{}` line {line} is longer than {limit} bytes: split the document", path.display())]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// The limit, bytes.
        limit: usize,
    },
    /// Another process is writing the same output.
    #[error("another process is writing `{}`: wait for it, or give another folder", path.display())]
    Busy {
        /// The file that is being written.
        path: PathBuf,
    },
    /// Parts of a dump do not make a whole.
    #[error("cannot join the shards in `{}`: {reason}", folder.display())]
    Shards {
        /// Where they are.
        folder: PathBuf,
        /// What is missing or does not fit, and what to do.
        reason: String,
    },
    /// A table of templates cannot be used.
    #[error("`{}` is not a table of templates: {reason}; compare it with configs/corpus/templates.toml", path.display())]
    Templates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A configuration that cannot be used.
    #[error("the configuration `{}` is wrong: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A language that the filters cannot tell from others.
    #[error("the filters do not know the language `{code}`; they know {known}")]
    UnknownLanguage {
        /// What was asked for.
        code: String,
        /// What there is.
        known: String,
    },
    /// More documents than deduplication can number.
    #[error("there are more than 4,294,967,294 documents: deduplicate them in parts")]
    TooManyDocuments,
    /// Where the sources of a corpus are is not known.
    #[error(
        "the configuration names no `root`: name the folder below which the sources are, there or with --data-root"
    )]
    NoRoot,
    /// The output folder cannot be used.
    #[error(transparent)]
    Output(Box<ptbr_model::CheckpointError>),
    /// The filters dropped every document.
    #[error("no document is left for `{}`: the counts of reasons and rejects.jsonl say why", .0.display())]
    NothingLeft(PathBuf),
    /// A tokenizer could not be read, learned or written.
    #[error(transparent)]
    Tokenizer(#[from] ptbr_tokenizer::TokenizerError),
    /// A token file could not be written.
    #[error(transparent)]
    Dataset(#[from] ptbr_dataset::DatasetError),
    /// A worker thread ended without an answer.
    #[error("a worker thread stopped while cleaning `{}`: {detail}", path.display())]
    Worker {
        /// The dump or file.
        path: PathBuf,
        /// What is known of it.
        detail: String,
    },
}

impl CorpusError {
    /// `map_err` helper: names the action and the path of an I/O error.
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> CorpusError + use<> {
        let path = path.to_path_buf();
        move |source| CorpusError::Io {
            action,
            path,
            source,
        }
    }
}
