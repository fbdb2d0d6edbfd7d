//! The domains that there are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Domain, DomainError};
use crate::nearest::nearest;

/// The domains that the program knows by itself, in the order of `configs/domains`: file name and text.
const BUILT_IN: [(&str, &str); 7] = [
    (
        "academic",
        include_str!("../../../../configs/domains/academic.toml"),
    ),
    (
        "financial",
        include_str!("../../../../configs/domains/financial.toml"),
    ),
    (
        "general",
        include_str!("../../../../configs/domains/general.toml"),
    ),
    (
        "legal",
        include_str!("../../../../configs/domains/legal.toml"),
    ),
    (
        "medical",
        include_str!("../../../../configs/domains/medical.toml"),
    ),
    (
        "news",
        include_str!("../../../../configs/domains/news.toml"),
    ),
    (
        "tech",
        include_str!("../../../../configs/domains/tech.toml"),
    ),
];

/// Domains by their names.
#[derive(Debug, Clone)]
pub struct DomainRegistry {
    domains: BTreeMap<String, Domain>,
}

impl DomainRegistry {
    /// The seven domains that the program carries in itself. An error would be one of the program's own files.
    pub fn built_in() -> Result<Self, DomainError> {
        let mut domains = BTreeMap::new();
        for (name, text) in BUILT_IN {
            domains.insert(name.to_owned(), Domain::from_toml(name, text)?);
        }
        Ok(Self { domains })
    }

    /// The built-in domains and those of the folder `dir`, a file `<name>.toml` each; a file that is called as a built-in domain takes its place.
    ///
    /// Errors: a folder that cannot be read or holds no `.toml` file, and the first file that is wrong.
    pub fn load(dir: &Path) -> Result<Self, DomainError> {
        let io = |source| DomainError::Io {
            action: "look into",
            path: dir.to_owned(),
            source,
        };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|end| end == "toml") {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Err(DomainError::NoDomains(dir.to_owned()));
        }
        // So that of several wrong files the same one is named every time.
        files.sort();
        let mut registry = Self::built_in()?;
        for file in files {
            let domain = Domain::from_file(&file)?;
            registry.domains.insert(domain.name().to_owned(), domain);
        }
        Ok(registry)
    }

    /// The domain of this name. An unknown one is an error that lists all and suggests the nearest.
    pub fn get(&self, name: &str) -> Result<&Domain, DomainError> {
        self.domains.get(name).ok_or_else(|| DomainError::Unknown {
            name: name.chars().take(80).collect(),
            nearest: nearest(name, self.names()).unwrap_or_default().to_owned(),
            available: self.names().collect::<Vec<_>>().join(", "),
        })
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.domains.keys().map(String::as_str)
    }

    /// All domains, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Domain> {
        self.domains.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Split;
    use crate::presets::preset;
    use crate::{ArchConfig, FineTuneMethod};

    #[test]
    fn the_seven_are_whole_and_small() {
        let registry = DomainRegistry::built_in().unwrap();
        let names: Vec<&str> = registry.names().collect();
        assert_eq!(
            names,
            [
                "academic",
                "financial",
                "general",
                "legal",
                "medical",
                "news",
                "tech"
            ]
        );
        let micro = preset("micro").unwrap();
        let parameters = micro.num_parameters();
        let arch = ArchConfig::Rwkv4(micro);
        for domain in registry.iter() {
            for split in Split::ALL {
                assert!(!domain.data().sources(split).is_empty(), "{split}");
            }
            assert_eq!(domain.fine_tune().method, FineTuneMethod::Lora);
            // Under 1 % of micro, as promised of the rank 8 that they have; larger models have larger matrices.
            let trained = domain.fine_tune().adapter_parameters(&arch).unwrap();
            assert!(
                trained * 100 < parameters,
                "{}: {trained} of {parameters}",
                domain.name()
            );
        }
    }

    #[test]
    fn a_new_domain_is_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |folder: &Path| DomainRegistry::load(folder).unwrap_err().to_string();
        assert!(refused(folder.path()).contains("holds no domain"));
        assert!(refused(&folder.path().join("x")).contains("cannot look into"));
        let text = "description = \"Receitas\"\n[fine_tune]\nrank = 3\n[data]\ntrain = [\"r\"]";
        fs::write(folder.path().join("receitas.toml"), text).unwrap();
        fs::write(folder.path().join("legal.toml"), text).unwrap();
        fs::write(folder.path().join("LEIAME.md"), "?").unwrap();
        let registry = DomainRegistry::load(folder.path()).unwrap();
        assert_eq!(registry.names().count(), 8);
        for name in ["receitas", "legal"] {
            assert_eq!(registry.get(name).unwrap().fine_tune().rank, 3);
        }
        assert_eq!(registry.get("tech").unwrap().fine_tune().rank, 8);
        let message = registry.get("reseitas").unwrap_err().to_string();
        assert!(message.contains("did you mean \"receitas\""), "{message}");
        assert!(message.contains("news, receitas, tech"), "{message}");

        fs::write(folder.path().join("tech.toml"), "rank = 1").unwrap();
        let message = refused(folder.path());
        assert!(message.contains("tech.toml"), "{message}");
        fs::write(folder.path().join("tech.toml"), text).unwrap();
        fs::write(folder.path().join("Ação.toml"), text).unwrap();
        assert!(refused(folder.path()).contains("is not an adapter name"));
    }
}
