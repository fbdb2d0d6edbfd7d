//! Domains: kinds of text, each with its data and with how a model is tuned to it.
//!
//! A domain is a TOML file; the seven that the program knows are `configs/domains/*.toml`, and another one is another file ([`DomainRegistry::load`]). Here is what such a file says;
//! reading the texts is the business of `ptbr-corpus`, tuning that of `ptbr-train`.

mod config;
mod data;
mod error;
mod registry;

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::adapter::AdapterName;
use crate::error::ConfigError;

pub use config::{DomainFineTuneConfig, FineTuneMethod};
pub use data::{DataSource, DomainData, Split};
pub use error::DomainError;
pub use registry::DomainRegistry;

/// More than any domain's file has; a longer one is not read at all.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A kind of text: its name, which is also that of its adapter; its data; and how a model is tuned to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Domain {
    name: AdapterName,
    #[serde(flatten)]
    file: DomainFile,
}

/// What a domain's file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DomainFile {
    description: String,
    #[serde(default)]
    fine_tune: DomainFineTuneConfig,
    data: DomainData,
}

impl Domain {
    /// A domain called `name` from the text of its file. Every value is checked; unknown keys are errors.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, DomainError> {
        let name: AdapterName = name.parse()?;
        let of = |source| DomainError::File {
            file: format!("the domain {name}"),
            source,
        };
        let file: DomainFile =
            toml::from_str(text).map_err(|error| of(ConfigError::parse("its TOML", error)))?;
        file.fine_tune.validate().map_err(of)?;
        file.data.validate().map_err(of)?;
        Ok(Self { name, file })
    }

    /// The domain of a file, called as the file is: `finanças.toml` is no name, `financas.toml` is.
    pub fn from_file(path: &Path) -> Result<Self, DomainError> {
        let io = |source| DomainError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let file = |source| DomainError::File {
            file: path.display().to_string(),
            source,
        };
        let length = fs::metadata(path).map_err(io)?.len();
        if length > MAX_FILE_BYTES {
            let reason = format!("{length} bytes are too many for a domain's file");
            return Err(file(ConfigError::parse("its TOML", reason)));
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::from_toml(&stem, &text).map_err(|error| match error {
            DomainError::File { source, .. } => file(source),
            other => other,
        })
    }

    /// Its name; its adapter is called the same.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// A sentence on what it is.
    pub fn description(&self) -> &str {
        &self.file.description
    }

    /// How a model is tuned to it.
    pub fn fine_tune(&self) -> &DomainFineTuneConfig {
        &self.file.fine_tune
    }

    /// Its texts.
    pub fn data(&self) -> &DomainData {
        &self.file.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        match Domain::from_toml("x", text) {
            Ok(domain) => panic!("{domain:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_small_file_is_enough() {
        let text = "description = \"Receitas\"\n[data]\ntrain = [\"receitas/treino\"]\ntest = [\"receitas/teste.txt\"]";
        let domain = Domain::from_toml("receitas", text).unwrap();
        assert_eq!(
            (domain.name(), domain.description()),
            ("receitas", "Receitas")
        );
        assert_eq!(domain.fine_tune(), &DomainFineTuneConfig::default());
        assert!(domain.data().sources(Split::Validation).is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        let with = |tune: &str| {
            message(&format!(
                "description = \"\"\n[fine_tune]\n{tune}\n[data]\ntrain = [\"a\"]"
            ))
        };
        for (tune, expected) in [
            ("rnak = 4", "unknown field `rnak`"),
            ("rank = 0", "`rank` is 0: must be from 1 to 4096"),
            ("rank = \"x\"", "rank = \"x\""),
            ("targets = []", "`targets` is empty"),
            ("method = \"dora\"", "unknown variant `dora`"),
        ] {
            let message = with(tune);
            assert!(message.contains("the domain x"), "{message}");
            assert!(message.contains(expected), "{tune}: {message}");
        }
        assert!(message("description = \"\"").contains("missing field `data`"));
        assert!(
            Domain::from_toml("Direito!", "")
                .unwrap_err()
                .to_string()
                .contains("is not an adapter name")
        );
    }
}
