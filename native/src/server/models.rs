//! The model that is served and its adapters, described in `models.json` as the page expects it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use ptbr_model::ModelSource;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::response::Body;
use crate::adapters::{adapters_in, name_of};

/// The two files of an adapter.
const ADAPTER_FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// A model file and the folder of its adapters.
pub struct ServedModel {
    path: PathBuf,
    /// The name in URLs.
    file: String,
    adapters: PathBuf,
    /// SHA-256 of the file as it was at that length and time: hashed again when it has been replaced.
    digest: Mutex<Option<(Stamp, String)>>,
}

type Stamp = (u64, SystemTime);

impl ServedModel {
    /// Checks that `path` is a whole model file that a browser can load.
    ///
    /// # Errors
    /// When it is a folder, damaged, or carries no tokenizer.
    pub fn open(path: &Path, adapters: PathBuf) -> Result<Self> {
        let shown = path.display();
        if path.is_dir() {
            bail!(
                "{shown} is a folder, and a browser loads one file; make it with `ptbr-slm quantize --model {shown} --format int8 --output model.safetensors`"
            );
        }
        let source = ModelSource::open(path)?;
        if source.tokenizer_json().is_none() {
            bail!(
                "{shown} carries no tokenizer, which the page needs to read a prompt; quantize its checkpoint again with one in it"
            );
        }
        let Some(file) = path.file_name().and_then(|name| name.to_str()) else {
            bail!("the name of {shown} cannot be part of an address");
        };
        Ok(Self {
            path: path.to_owned(),
            file: file.to_owned(),
            adapters,
            digest: Mutex::new(None),
        })
    }

    /// What lies at `/models/<name>`.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Body>> {
        let binary = "application/octet-stream";
        if name == "models.json" {
            return Ok(Some(Body::json(format!("{:#}\n", self.description()?))));
        }
        if name == self.file {
            return open(&self.path, binary).map(Some);
        }
        let Some((adapter, file)) = name
            .strip_prefix("adapters/")
            .and_then(|rest| rest.split_once('/'))
        else {
            return Ok(None);
        };
        // Compared with what is there rather than joined to the folder: no name leads out of it.
        let folder = adapters_in(&self.adapters)?
            .into_iter()
            .find(|folder| name_of(folder) == adapter);
        match folder {
            Some(folder) if file == ADAPTER_FILES[0] => {
                open(&folder.join(file), "application/json").map(Some)
            }
            Some(folder) if file == ADAPTER_FILES[1] => open(&folder.join(file), binary).map(Some),
            _ => Ok(None),
        }
    }

    /// The list with this one model, with addresses relative to its own, made anew for each request: an adapter that was trained meanwhile appears when the page is loaded again.
    fn description(&self) -> Result<Value> {
        let title = |name: &str| json!({ "pt": name, "en": name });
        let adapters: Vec<Value> = adapters_in(&self.adapters)?
            .iter()
            .map(|folder| {
                let name = name_of(folder);
                let [config, weights] =
                    ADAPTER_FILES.map(|file| format!("adapters/{}/{file}", escaped(&name)));
                json!({ "name": name, "title": title(&name), "url_config": config, "url_weights": weights })
            })
            .collect();
        let (bytes, sha256) = self.digest()?;
        let name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(json!([{
            "name": name,
            "title": title(&name),
            "file": escaped(&self.file),
            "bytes": bytes,
            "sha256": sha256,
            "adapters": adapters,
        }]))
    }

    /// Length and SHA-256 of the file.
    fn digest(&self) -> Result<(u64, String)> {
        let cannot = || format!("cannot read {}", self.path.display());
        let file = File::open(&self.path).with_context(cannot)?;
        let metadata = file.metadata().with_context(cannot)?;
        let stamp = (metadata.len(), metadata.modified().with_context(cannot)?);
        // A thread that panicked here left either nothing or a whole value.
        let mut digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, sha256)) = &*digest
            && *known == stamp
        {
            return Ok((stamp.0, sha256.clone()));
        }
        let sha256 = sha256_of(file).with_context(cannot)?;
        *digest = Some((stamp, sha256.clone()));
        Ok((stamp.0, sha256))
    }
}

fn open(path: &Path, media_type: &'static str) -> Result<Body> {
    File::open(path)
        .and_then(|file| Body::file(file, media_type))
        .with_context(|| format!("cannot read {}", path.display()))
}

fn sha256_of(mut file: File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(ptbr_model::hex(&hasher.finalize())),
            Ok(count) => hasher.update(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A name as one part of a URL's path.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_part_of_a_path() {
        assert_eq!(escaped("micro-int4.safetensors"), "micro-int4.safetensors");
        assert_eq!(escaped("a b/é?"), "a%20b%2F%C3%A9%3F");
    }
}
