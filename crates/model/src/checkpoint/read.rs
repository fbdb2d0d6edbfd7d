//! Reading a checkpoint: manifest, lengths, digests, then every file's meaning.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestFile};
use super::state::{StateFile, TrainState};
use super::{
    CONFIG_FILE, CheckpointError, MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE,
    TOKENIZER_FILE, TRAINED_FILE,
};
use crate::arch::ArchConfig;
use crate::digest::hex;
use crate::tensor_file::TensorFile;

/// How much of a checkpoint is read and verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Every byte of every file: for resuming.
    Everything,
    /// All but the optimizer's content, whose presence and length are still checked: for running the model.
    WithoutOptimizer,
}

/// A verified checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// The model's configuration.
    pub config: ArchConfig,
    /// `tokenizer.json`, where there is one.
    pub tokenizer_json: Option<String>,
    /// Id of the weights.
    pub model_id: String,
    /// The weights: every name, shape and dtype checked, all finite.
    pub model: TensorFile,
    /// Adam's moments (`<name>.m`, `<name>.v`), checked the same way; absent in a checkpoint without them and under [`Verify::WithoutOptimizer`].
    pub optimizer: Option<TensorFile>,
    /// Where the run stood.
    pub state: TrainState,
}

/// Opens a checkpoint folder and verifies every byte. Any damage is an error that names the file.
pub fn open_checkpoint(path: &Path) -> Result<Checkpoint, CheckpointError> {
    open_checkpoint_with(path, Verify::Everything)
}

/// [`open_checkpoint`] with a choice of what to read.
pub fn open_checkpoint_with(path: &Path, verify: Verify) -> Result<Checkpoint, CheckpointError> {
    let manifest = read_manifest(path)?;
    check_files(path, &manifest)?;
    if manifest.file(TRAINED_FILE).is_some() {
        return Err(CheckpointError::FineTuning {
            path: path.to_owned(),
        });
    }
    let required = |name: &str| required(path, &manifest, name);
    let text = |entry: &ManifestFile| read_verified(&path.join(&entry.name), entry);

    let config_path = path.join(CONFIG_FILE);
    let config = ArchConfig::from_json(&text(required(CONFIG_FILE)?)?).map_err(|source| {
        CheckpointError::Config {
            path: config_path,
            source,
        }
    })?;
    let state = read_state(path, &manifest)?;
    let tokenizer_json = match manifest.file(TOKENIZER_FILE) {
        Some(entry) => {
            let bytes = text(entry)?;
            Some(String::from_utf8(bytes).map_err(|error| {
                CheckpointError::damaged(&path.join(TOKENIZER_FILE), error.to_string())
            })?)
        }
        None => None,
    };

    let specs = config.tensor_specs();
    let model = map_verified(path, required(MODEL_FILE)?)?;
    model.check_layout(&specs)?;
    model.check_finite()?;
    let optimizer = match manifest.file(OPTIMIZER_FILE) {
        Some(entry) if verify == Verify::Everything => {
            let optimizer = map_verified(path, entry)?;
            optimizer.check_layout(&state.train.config.optimizer_specs(&specs))?;
            optimizer.check_finite()?;
            Some(optimizer)
        }
        _ => None,
    };
    Ok(Checkpoint {
        path: path.to_owned(),
        config,
        tokenizer_json,
        model_id: state.model_id,
        model,
        optimizer,
        state: state.train,
    })
}

/// The manifest's entry of a file that every checkpoint of this kind has.
pub(super) fn required<'a>(
    folder: &Path,
    manifest: &'a Manifest,
    name: &str,
) -> Result<&'a ManifestFile, CheckpointError> {
    manifest.file(name).ok_or_else(|| {
        CheckpointError::damaged(&folder.join(MANIFEST_FILE), format!("{name} is not listed"))
    })
}

pub(super) fn read_state(folder: &Path, manifest: &Manifest) -> Result<StateFile, CheckpointError> {
    let path = folder.join(STATE_FILE);
    let bytes = read_verified(&path, required(folder, manifest, STATE_FILE)?)?;
    StateFile::from_json(&bytes).map_err(|error| CheckpointError::damaged(&path, error.to_string()))
}

pub(super) fn read_manifest(folder: &Path) -> Result<Manifest, CheckpointError> {
    let path = folder.join(MANIFEST_FILE);
    let length = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => {
            return Err(CheckpointError::NotACheckpoint {
                path: folder.to_owned(),
            });
        }
        Err(error) => return Err(CheckpointError::io("read", &path)(error)),
    };
    if length > MAX_MANIFEST_BYTES {
        return Err(CheckpointError::damaged(
            &path,
            format!("{length} bytes are too many for a manifest"),
        ));
    }
    let bytes = fs::read(&path).map_err(CheckpointError::io("read", &path))?;
    Manifest::from_json(&bytes).map_err(|reason| CheckpointError::damaged(&path, reason))
}

/// The folder holds exactly the files of the manifest, each of its length.
pub(super) fn check_files(folder: &Path, manifest: &Manifest) -> Result<(), CheckpointError> {
    for entry in &manifest.files {
        let path = folder.join(&entry.name);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CheckpointError::damaged(&path, "the file is missing"));
            }
            Err(error) => return Err(CheckpointError::io("read", &path)(error)),
        };
        if !metadata.is_file() {
            return Err(CheckpointError::damaged(&path, "it is not a file"));
        }
        if metadata.len() != entry.length {
            return Err(CheckpointError::damaged(
                &path,
                format!(
                    "it has {} bytes, {} were written",
                    metadata.len(),
                    entry.length
                ),
            ));
        }
    }
    let known: BTreeSet<&str> = manifest
        .files
        .iter()
        .map(|entry| entry.name.as_str())
        .chain([MANIFEST_FILE])
        .collect();
    for entry in fs::read_dir(folder).map_err(CheckpointError::io("list", folder))? {
        let name = entry
            .map_err(CheckpointError::io("list", folder))?
            .file_name();
        if !name.to_str().is_some_and(|name| known.contains(name)) {
            return Err(CheckpointError::damaged(
                &folder.join(name),
                "the file does not belong to the checkpoint",
            ));
        }
    }
    Ok(())
}

fn read_verified(path: &Path, entry: &ManifestFile) -> Result<Vec<u8>, CheckpointError> {
    let bytes = fs::read(path).map_err(CheckpointError::io("read", path))?;
    check_digest(path, &bytes, entry)?;
    Ok(bytes)
}

pub(super) fn map_verified(
    folder: &Path,
    entry: &ManifestFile,
) -> Result<TensorFile, CheckpointError> {
    let path = folder.join(&entry.name);
    // The digest comes first by way of the parsed file: a damaged header is reported as such, anything else by the digest, both before any value is used.
    let file = TensorFile::open(&path)?;
    check_digest(&path, file.bytes(), entry)?;
    Ok(file)
}

fn check_digest(path: &Path, bytes: &[u8], entry: &ManifestFile) -> Result<(), CheckpointError> {
    let digest = hex(&Sha256::digest(bytes));
    if digest != entry.sha256 {
        let reason = format!(
            "its SHA-256 is {}…, {}… was written",
            crate::digest::short_hex(&digest),
            crate::digest::short_hex(&entry.sha256)
        );
        return Err(CheckpointError::damaged(path, reason));
    }
    Ok(())
}
