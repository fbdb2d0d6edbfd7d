//! `MANIFEST.json`: which files a checkpoint consists of, with the length and SHA-256 of each.

use serde::{Deserialize, Serialize};

use crate::digest::is_sha256_hex;

const FORMAT: u32 = 1;
/// More than any manifest has; a longer file is not read at all.
pub(super) const MAX_MANIFEST_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub format: u32,
    pub files: Vec<ManifestFile>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestFile {
    pub name: String,
    pub length: u64,
    pub sha256: String,
}

impl Manifest {
    pub fn new(files: Vec<ManifestFile>) -> Self {
        Self {
            format: FORMAT,
            files,
        }
    }

    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        Ok(json)
    }

    /// Reads a manifest and insists on the very bytes that [`to_json`](Self::to_json) writes: the manifest has no digest of its own, and this way no changed byte goes unnoticed.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if manifest.format != FORMAT {
            return Err(format!(
                "format {} is not {FORMAT}: written by another version",
                manifest.format
            ));
        }
        if manifest
            .to_json()
            .map_err(|error| error.to_string())?
            .as_bytes()
            != json
        {
            return Err("its bytes are not those that were written".to_owned());
        }
        for file in &manifest.files {
            let plain = !file.name.is_empty()
                && file
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
                && !file.name.starts_with('.');
            if !plain {
                return Err(format!("{:?} is not a plain file name", file.name));
            }
            if !is_sha256_hex(&file.sha256) {
                return Err(format!("the digest of {} is not a SHA-256", file.name));
            }
        }
        if !manifest.files.is_sorted_by(|a, b| a.name < b.name) {
            return Err("its files are not in order".to_owned());
        }
        Ok(manifest)
    }

    pub fn file(&self, name: &str) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.name == name)
    }
}
