//! Work that is done once: a folder a stage, called by the hash of all that the stage depends on.
//!
//! A stage writes into a folder with a temporary name, which gets its own when everything in it is complete and synced. A build that is killed leaves the
//! temporary folder, which the next one removes; what was finished is found again by its name.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ptbr_model::hex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::CorpusError;
use crate::output::AtomicFile;

/// The file in a stage's folder that says what is in it, written last.
const RECORD: &str = "stage.json";

/// A file of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StageFile {
    pub bytes: u64,
    pub sha256: String,
}

/// A stage that is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Done<T> {
    /// By the names of its files.
    pub files: BTreeMap<String, StageFile>,
    /// What it found out.
    pub result: T,
    #[serde(skip)]
    pub folder: PathBuf,
    /// It was done before.
    #[serde(skip)]
    pub cached: bool,
    #[serde(skip)]
    pub seconds: f64,
}

impl<T> Done<T> {
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }
}

/// A hash over values and files, each with its length, so that two lists of them never look alike.
#[derive(Debug, Clone, Default)]
pub(crate) struct Key(Sha256);

impl Key {
    /// The key of a stage, for this release of the program; `version` changes when, between releases, the stage writes something else for the same input.
    pub(crate) fn of(stage: &str, version: u32) -> Self {
        let mut key = Self::default();
        key.bytes(stage.as_bytes());
        key.bytes(env!("CARGO_PKG_VERSION").as_bytes());
        key.bytes(&version.to_le_bytes());
        key
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Adds a value by its JSON.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> Result<(), CorpusError> {
        let json = serde_json::to_vec(value).map_err(|e| {
            CorpusError::io("describe a stage of", Path::new("the build"))(e.into())
        })?;
        self.bytes(&json);
        Ok(())
    }

    /// Adds a file by its name and content.
    pub(crate) fn file(&mut self, name: &str, path: &Path) -> Result<(), CorpusError> {
        self.bytes(name.as_bytes());
        self.bytes(hash_file(path)?.sha256.as_bytes());
        Ok(())
    }

    pub(crate) fn hex(&self) -> String {
        hex(&self.0.clone().finalize())
    }
}

/// Length and SHA-256 of a file.
pub(crate) fn hash_file(path: &Path) -> Result<StageFile, CorpusError> {
    let mut file = fs::File::open(path).map_err(CorpusError::io("open", path))?;
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let n = file
            .read(&mut buffer)
            .map_err(CorpusError::io("read", path))?;
        if n == 0 {
            break;
        }
        sha256.update(&buffer[..n]);
        bytes += n as u64;
    }
    Ok(StageFile {
        bytes,
        sha256: hex(&sha256.finalize()),
    })
}

/// What work finds in its folder when it was interrupted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Nothing: it starts again.
    Anew,
    /// What it left: it knows how to go on with it.
    WhereItWas,
}

/// The result of stage `name` with this key: found in `cache`, or made by `work` in the folder that it is given.
pub(crate) fn run<T: Serialize + DeserializeOwned>(
    cache: &Path,
    name: &str,
    key: &Key,
    begin: Begin,
    work: impl FnOnce(&Path) -> Result<T, CorpusError>,
) -> Result<Done<T>, CorpusError> {
    let start = Instant::now();
    let key = key.hex();
    let folder = cache.join(format!("{name}-{}", &key[..16]));
    if let Some(done) = find(&folder) {
        return Ok(done);
    }
    let temporary = cache.join(format!("{name}-{}.tmp", &key[..16]));
    for (left, goes_on) in [(&folder, false), (&temporary, begin == Begin::WhereItWas)] {
        if left.exists() && !goes_on {
            fs::remove_dir_all(left).map_err(CorpusError::io("remove", left))?;
        }
    }
    fs::create_dir_all(&temporary).map_err(CorpusError::io("make the folder", &temporary))?;
    let result = work(&temporary)?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&temporary).map_err(CorpusError::io("list", &temporary))? {
        let entry = entry.map_err(CorpusError::io("list", &temporary))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, hash_file(&entry.path())?);
    }
    let mut done = Done {
        files,
        result,
        folder: folder.clone(),
        cached: false,
        seconds: 0.0,
    };
    write_json(&temporary.join(RECORD), &done)?;
    fs::rename(&temporary, &folder).map_err(CorpusError::io("rename the stage to", &folder))?;
    done.seconds = start.elapsed().as_secs_f64();
    Ok(done)
}

/// The stage in `folder` when it is whole: its record can be read and its files have their lengths.
fn find<T: DeserializeOwned>(folder: &Path) -> Option<Done<T>> {
    let record = fs::read(folder.join(RECORD)).ok()?;
    let mut done: Done<T> = serde_json::from_slice(&record).ok()?;
    let whole = done.files.iter().all(|(name, file)| {
        fs::metadata(folder.join(name)).is_ok_and(|metadata| metadata.len() == file.bytes)
    });
    done.folder = folder.to_owned();
    done.cached = true;
    whole.then_some(done)
}

/// Writes a value as a JSON file, which appears whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), CorpusError> {
    let json =
        serde_json::to_vec_pretty(value).map_err(|e| CorpusError::io("write", path)(e.into()))?;
    let mut file = AtomicFile::create(path)?;
    file.write(&json)?;
    file.write(b"\n")?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(cache: &Path, key: &Key, fail: bool) -> Result<Done<u32>, CorpusError> {
        run(cache, "etapa", key, Begin::Anew, |folder| {
            fs::write(folder.join("a.txt"), "conteúdo").unwrap();
            if fail {
                return Err(CorpusError::TooManyDocuments);
            }
            Ok(7)
        })
    }

    #[test]
    fn work_is_done_once_and_again_when_it_was_not_finished() {
        let cache = tempfile::tempdir().unwrap();
        let cache = cache.path();
        let key = Key::of("etapa", 1);
        assert!(stage(cache, &key, true).is_err());
        let first = stage(cache, &key, false).unwrap();
        assert_eq!((first.result, first.cached), (7, false));
        assert_eq!(first.files["a.txt"].bytes, 9);
        // Had it been done again, it would fail.
        let second = stage(cache, &key, true).unwrap();
        assert_eq!(
            (second.result, second.cached, &second.files),
            (7, true, &first.files)
        );
        assert!(
            stage(cache, &Key::of("etapa", 2), true).is_err(),
            "another key, another stage"
        );
        // A file that was cut is noticed.
        fs::write(second.path("a.txt"), "cont").unwrap();
        let third = stage(cache, &key, false).unwrap();
        assert!(!third.cached);
        assert_eq!(fs::read_to_string(third.path("a.txt")).unwrap(), "conteúdo");
    }

    #[test]
    fn interrupted_work_goes_on_only_where_it_can() {
        let cache = tempfile::tempdir().unwrap();
        let key = Key::of("etapa", 1);
        let mut found = Vec::new();
        for begin in [
            Begin::Anew,
            Begin::WhereItWas,
            Begin::WhereItWas,
            Begin::Anew,
        ] {
            let ended: Result<Done<()>, _> = run(cache.path(), "etapa", &key, begin, |folder| {
                found.push(fs::read_dir(folder).unwrap().count());
                fs::write(folder.join(found.len().to_string()), "").unwrap();
                Err(CorpusError::TooManyDocuments)
            });
            assert!(ended.is_err());
        }
        assert_eq!(found, [0, 1, 2, 0]);
    }

    #[test]
    fn keys_tell_lists_apart() {
        let key = |parts: &[&str]| {
            let mut key = Key::of("x", 1);
            parts.iter().for_each(|part| key.bytes(part.as_bytes()));
            key.hex()
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
    }
}
