//! The flags that choose domains and say where their texts are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use ptbr_model::{Domain, DomainRegistry};

/// The environment variable that names the data folder.
const DATA_VARIABLE: &str = "PTBR_DATA";

/// The data folder that the environment names.
pub fn data_root_from_environment() -> Option<PathBuf> {
    std::env::var_os(DATA_VARIABLE).map(PathBuf::from)
}

/// Which domains, and where they are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Domains")]
pub struct DomainOptions {
    /// A domain, or several with commas between them
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub domain: Vec<String>,
    /// A folder of domains of your own, a file <name>.toml each, beside those that the program knows
    #[arg(long, value_name = "DIR")]
    pub domain_configs: Option<PathBuf>,
    /// The folder below which the domains' texts are [default: the one that PTBR_DATA names]
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
}

impl DomainOptions {
    /// Every domain that there is.
    ///
    /// # Errors
    /// When a domain's file is wrong.
    pub fn registry(&self) -> Result<DomainRegistry> {
        registry(self.domain_configs.as_deref())
    }

    /// Those that were named, in that order and each once; without names all.
    ///
    /// # Errors
    /// When there is no domain of a name.
    pub fn chosen<'a>(&self, registry: &'a DomainRegistry) -> Result<Vec<&'a Domain>> {
        if self.domain.is_empty() {
            return Ok(registry.iter().collect());
        }
        let mut chosen: Vec<&Domain> = Vec::new();
        for name in &self.domain {
            let domain = registry.get(name)?;
            if !chosen.iter().any(|known| known.name() == domain.name()) {
                chosen.push(domain);
            }
        }
        Ok(chosen)
    }

    /// The data folder.
    ///
    /// # Errors
    /// When none is named, or there is none.
    pub fn data_root(&self) -> Result<PathBuf> {
        let named = self.data_root.clone().or_else(data_root_from_environment);
        match named {
            Some(folder) if folder.is_dir() => Ok(folder),
            Some(folder) => bail!(
                "there is no folder {}; --data-root, or {DATA_VARIABLE}, names the one below which the domains' texts are",
                folder.display()
            ),
            None => bail!(
                "where the domains' texts are is not known; name the folder with --data-root, or in the environment variable {DATA_VARIABLE}"
            ),
        }
    }
}

/// The domains that the program knows, and those of a folder.
///
/// # Errors
/// When a domain's file is wrong.
pub fn registry(configs: Option<&Path>) -> Result<DomainRegistry> {
    Ok(match configs {
        Some(folder) => DomainRegistry::load(folder)?,
        None => DomainRegistry::built_in()?,
    })
}
