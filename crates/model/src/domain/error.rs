//! What can be wrong with a domain.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::adapter::AdapterError;
use crate::error::ConfigError;

/// A domain that there is not, or whose file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DomainError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that says nothing usable.
    #[error("{file}: {source}")]
    File {
        /// The file, or the domain.
        file: String,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// A domain is called what no adapter can be called.
    #[error(transparent)]
    Name(#[from] AdapterError),
    /// No domain has this name.
    #[error(
        "no domain is called \"{name}\"; did you mean \"{nearest}\"? Domains: {available}; another one is another file <name>.toml in a folder of your own"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The domain whose name is the fewest edits away.
        nearest: String,
        /// All domains, separated by commas.
        available: String,
    },
    /// A folder of domains that holds none.
    #[error("{} holds no domain: put a file <name>.toml there", .0.display())]
    NoDomains(PathBuf),
}
