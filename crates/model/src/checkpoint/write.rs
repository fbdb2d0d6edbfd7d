//! Writing a checkpoint: temporary folder, sync, rename, sync, then `latest` the same way.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::manifest::{Manifest, ManifestFile};
use super::state::{StateFile, TrainState};
use super::{
    CONFIG_FILE, CheckpointError, LATEST_FILE, MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE,
    STATE_FILE, TOKENIZER_FILE, checkpoint_name,
};
use crate::arch::ArchConfig;
use crate::digest::hex;
use crate::model_id::ModelIdHasher;
use crate::safetensors_writer::{safetensors_len, write_safetensors};
use crate::storage::{
    DiskStorage, Storage, StorageFile, replace_dir, temporary_sibling, write_atomic,
};
use crate::tensor::{TensorSource, TensorSpec};

/// Readers of other projects look for this before they load weights.
const METADATA: [(&str, &str); 1] = [("format", "pt")];
/// Left free beyond the checkpoint itself, so that logs and `latest` can still be written.
const SPARE_BYTES: u64 = 16 << 20;

/// What one checkpoint holds.
pub struct CheckpointContents<'a> {
    /// The model's configuration.
    pub config: &'a ArchConfig,
    /// `tokenizer.json`; a model imported without one has none.
    pub tokenizer_json: Option<&'a str>,
    /// The weights: exactly [`ArchConfig::tensor_specs`], in that order.
    pub model: &'a dyn TensorSource,
    /// Adam's moments, `<name>.m` and `<name>.v` for every tensor of the model; a model that was not trained here has none.
    pub optimizer: Option<&'a dyn TensorSource>,
    /// Where the run stands.
    pub state: &'a TrainState,
}

/// Writes `output_dir/step-NNNNNN` and points `latest` at it; returns the folder.
///
/// A crash at any moment leaves the previous checkpoint or this one usable, never neither. On an error nothing is changed but for leftovers that
/// [`clean_leftovers`](super::clean_leftovers) removes.
pub fn save_checkpoint(
    output_dir: &Path,
    contents: &CheckpointContents<'_>,
) -> Result<PathBuf, CheckpointError> {
    save_checkpoint_with(&DiskStorage, output_dir, contents)
}

/// [`save_checkpoint`] on any storage.
pub fn save_checkpoint_with(
    storage: &dyn Storage,
    output_dir: &Path,
    contents: &CheckpointContents<'_>,
) -> Result<PathBuf, CheckpointError> {
    check_contents(contents)?;
    let files = Files {
        tensors: &[Some(contents.model), contents.optimizer],
        text_bytes: contents.tokenizer_json.map_or(0, str::len),
    };
    save_folder(
        storage,
        output_dir,
        contents.state.step,
        &files,
        &mut |folder| write_whole(folder, contents),
    )
}

/// What a checkpoint is going to take on disk.
pub(super) struct Files<'a> {
    pub tensors: &'a [Option<&'a dyn TensorSource>],
    pub text_bytes: usize,
}

/// Writes the checkpoint folder of `step` by `write`, gives it its name and points `latest` at it.
pub(super) fn save_folder(
    storage: &dyn Storage,
    output_dir: &Path,
    step: u64,
    files: &Files<'_>,
    write: &mut dyn FnMut(&mut FolderWriter<'_>) -> Result<(), CheckpointError>,
) -> Result<PathBuf, CheckpointError> {
    storage
        .create_dir_all(output_dir)
        .map_err(CheckpointError::io("create", output_dir))?;
    check_space(storage, output_dir, files)?;
    let target = output_dir.join(checkpoint_name(step));
    let temporary = temporary_sibling(&target);
    if temporary.exists() {
        storage
            .remove_dir_all(&temporary)
            .map_err(CheckpointError::io("remove", &temporary))?;
    }
    let mut folder = FolderWriter {
        storage,
        path: &temporary,
        files: Vec::new(),
    };
    if let Err(error) = folder
        .begin()
        .and_then(|()| write(&mut folder))
        .and_then(|()| folder.end())
    {
        // Best effort, to give the space back; the error above is the one to report.
        let _ = storage.remove_dir_all(&temporary);
        return Err(error);
    }
    replace_dir(storage, &temporary, &target)?;
    let latest = output_dir.join(LATEST_FILE);
    let name = format!("{}\n", checkpoint_name(step));
    write_atomic(storage, &latest, name.as_bytes())
        .map_err(CheckpointError::io("write", &latest))?;
    Ok(target)
}

/// A checkpoint folder being written: every file is synced and listed in the manifest, which comes last.
pub(super) struct FolderWriter<'a> {
    storage: &'a dyn Storage,
    path: &'a Path,
    files: Vec<ManifestFile>,
}

impl FolderWriter<'_> {
    fn begin(&mut self) -> Result<(), CheckpointError> {
        self.storage
            .create_dir_all(self.path)
            .map_err(CheckpointError::io("create", self.path))
    }

    /// Writes the file `name`.
    pub fn file(
        &mut self,
        name: &'static str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CheckpointError> {
        let path = self.path.join(name);
        let entry = write_hashed(self.storage, &path, name, write)
            .map_err(CheckpointError::io("write", &path))?;
        self.files.push(entry);
        Ok(())
    }

    /// Writes tensors, in f32, as the file `name`; `hasher` sees them pass.
    pub fn tensors(
        &mut self,
        name: &'static str,
        source: &dyn TensorSource,
        mut hasher: Option<&mut ModelIdHasher>,
    ) -> Result<(), CheckpointError> {
        self.file(name, &mut |out| {
            write_safetensors(source, &METADATA, out, hasher.as_deref_mut()).map(drop)
        })
    }

    /// Writes `state.json`, after making sure that reading it gives the same state again: a NaN, for one, has no place in JSON.
    pub fn state(&mut self, model_id: String, train: &TrainState) -> Result<(), CheckpointError> {
        let state = state_json(model_id, train)?;
        self.file(STATE_FILE, &mut |out| out.write_all(state.as_bytes()))
    }

    fn end(&mut self) -> Result<(), CheckpointError> {
        self.files.sort_by(|a, b| a.name.cmp(&b.name));
        let manifest = Manifest::new(std::mem::take(&mut self.files))
            .to_json()
            .map_err(|error| CheckpointError::Contents {
                reason: error.to_string(),
            })?;
        self.file(MANIFEST_FILE, &mut |out| out.write_all(manifest.as_bytes()))?;
        self.storage
            .sync_dir(self.path)
            .map_err(CheckpointError::io("sync", self.path))
    }
}

fn write_whole(
    folder: &mut FolderWriter<'_>,
    contents: &CheckpointContents<'_>,
) -> Result<(), CheckpointError> {
    let mut hasher = ModelIdHasher::new();
    folder.tensors(MODEL_FILE, contents.model, Some(&mut hasher))?;
    if let Some(optimizer) = contents.optimizer {
        folder.tensors(OPTIMIZER_FILE, optimizer, None)?;
    }
    folder.file(CONFIG_FILE, &mut |out| {
        out.write_all(contents.config.to_json().as_bytes())
    })?;
    if let Some(tokenizer) = contents.tokenizer_json {
        folder.file(TOKENIZER_FILE, &mut |out| {
            out.write_all(tokenizer.as_bytes())
        })?;
    }
    folder.state(hasher.finish(), contents.state)
}

fn state_json(model_id: String, train: &TrainState) -> Result<String, CheckpointError> {
    let contents = |reason: String| CheckpointError::Contents { reason };
    let file = StateFile {
        model_id,
        train: train.clone(),
    };
    let json = file
        .to_json()
        .map_err(|error| contents(error.to_string()))?;
    match StateFile::from_json(json.as_bytes()) {
        Ok(back) if back == file => Ok(json),
        Ok(_) => Err(contents(
            "the training state holds a number that is not finite".to_owned(),
        )),
        Err(error) => Err(contents(format!(
            "the training state cannot be read back: {error}"
        ))),
    }
}

fn write_hashed(
    storage: &dyn Storage,
    path: &Path,
    name: &str,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<ManifestFile> {
    let mut out = Hashed {
        file: storage.create_file(path)?,
        sha256: Sha256::new(),
        length: 0,
    };
    write(&mut out)?;
    out.file.flush()?;
    out.file.sync()?;
    Ok(ManifestFile {
        name: name.to_owned(),
        length: out.length,
        sha256: hex(&out.sha256.finalize()),
    })
}

struct Hashed {
    file: Box<dyn StorageFile>,
    sha256: Sha256,
    length: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn check_contents(contents: &CheckpointContents<'_>) -> Result<(), CheckpointError> {
    let reason = |reason: String| Err(CheckpointError::Contents { reason });
    if let Err(error) = contents.config.validate() {
        return reason(error.to_string());
    }
    let specs = contents.config.tensor_specs();
    if let Some(difference) = first_difference(&contents.model.specs(), &specs) {
        return reason(format!(
            "the model's tensors are not the configuration's: {difference}"
        ));
    }
    match contents.optimizer {
        Some(optimizer) => {
            let expected = contents.state.config.optimizer_specs(&specs);
            check_optimizer(optimizer, expected)
        }
        None => Ok(()),
    }
}

/// Whether the tensors of an optimizer are those that are `expected`.
pub(super) fn check_optimizer(
    optimizer: &dyn TensorSource,
    mut expected: Vec<TensorSpec>,
) -> Result<(), CheckpointError> {
    let mut given = optimizer.specs();
    // The trainer may keep all first moments before all second ones; either order is a function of the content.
    given.sort_by(|a, b| a.name.cmp(&b.name));
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    match first_difference(&given, &expected) {
        Some(difference) => Err(CheckpointError::Contents {
            reason: format!(
                "the optimizer's tensors are not those of what is trained: {difference}"
            ),
        }),
        None => Ok(()),
    }
}

fn first_difference(given: &[TensorSpec], expected: &[TensorSpec]) -> Option<String> {
    let show = |spec: &TensorSpec| format!("`{}` {:?}", spec.name, spec.shape);
    for (given, expected) in given.iter().zip(expected) {
        if given != expected {
            return Some(format!("{} where {} belongs", show(given), show(expected)));
        }
    }
    (given.len() != expected.len())
        .then(|| format!("{} tensors where {} belong", given.len(), expected.len()))
}

fn check_space(
    storage: &dyn Storage,
    output_dir: &Path,
    files: &Files<'_>,
) -> Result<(), CheckpointError> {
    let Some(available) = storage
        .available_space(output_dir)
        .map_err(CheckpointError::io("ask for the free space of", output_dir))?
    else {
        return Ok(());
    };
    let tensors = files
        .tensors
        .iter()
        .flatten()
        .try_fold(0u64, |sum, source| {
            sum.checked_add(safetensors_len(*source)?)
        });
    let text = files.text_bytes as u64;
    let needed = tensors
        .and_then(|bytes| bytes.checked_add(text)?.checked_add(SPARE_BYTES))
        .unwrap_or(u64::MAX);
    if needed > available {
        return Err(CheckpointError::NoSpace {
            path: output_dir.to_owned(),
            needed,
            available,
        });
    }
    Ok(())
}
