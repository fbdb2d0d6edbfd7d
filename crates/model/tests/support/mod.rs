//! What the tests of this package share: a tiny model, its checkpoint, and a storage that fails on command.
#![allow(dead_code, reason = "every test file uses its own part")]

pub mod exchange;
pub mod faulty;
pub mod mutation;

use std::fs;
use std::path::{Path, PathBuf};

use ptbr_model::{
    ArchConfig, CheckpointContents, CheckpointError, MemoryTensors, RwkvConfig, Storage,
    TensorSource, TensorSpec, TrainState, hex, save_checkpoint_with, sha256,
};

/// 9,600 parameters: small enough to save hundreds of times.
pub fn config() -> ArchConfig {
    ArchConfig::Rwkv4(RwkvConfig {
        d_ffn: 32,
        ..RwkvConfig::new(32, 32, 1, 16)
    })
}

/// Values that depend on the name, the index and `salt`.
pub fn tensors(specs: &[TensorSpec], salt: u32) -> MemoryTensors {
    let mut tensors = MemoryTensors::new();
    for (number, spec) in specs.iter().enumerate() {
        let count = spec.num_elements().unwrap();
        let value = |i: usize| {
            ((number * 31 + i * 7) as u32 ^ salt).wrapping_mul(2_654_435_761) as f32 / 4e9 - 0.5
        };
        tensors.push(spec.clone(), (0..count).map(value).collect());
    }
    tensors
}

/// A model with its moments and state.
pub struct Run {
    pub config: ArchConfig,
    pub tokenizer: String,
    pub model: MemoryTensors,
    pub optimizer: MemoryTensors,
    pub state: TrainState,
}

impl Run {
    /// The run at `step`; another step has other weights.
    pub fn at(step: u64) -> Self {
        let config = config();
        let specs = config.tensor_specs();
        let moments: Vec<TensorSpec> = specs
            .iter()
            .flat_map(|spec| {
                ["m", "v"].map(|moment| {
                    TensorSpec::new(format!("{}.{moment}", spec.name), spec.shape.clone())
                })
            })
            .collect();
        let state = TrainState {
            step,
            seed: 7,
            best_loss: Some(1.0 / 3.0),
            config_sha256: config.sha256(),
            ..TrainState::default()
        };
        let salt = step as u32;
        Self {
            tokenizer: "{\"version\":\"1.0\"}".to_owned(),
            model: tensors(&specs, salt),
            optimizer: tensors(&moments, !salt),
            state,
            config,
        }
    }

    pub fn contents(&self) -> CheckpointContents<'_> {
        CheckpointContents {
            config: &self.config,
            tokenizer_json: Some(&self.tokenizer),
            model: &self.model,
            optimizer: Some(&self.optimizer),
            state: &self.state,
        }
    }

    pub fn save(&self, storage: &dyn Storage, dir: &Path) -> Result<PathBuf, CheckpointError> {
        save_checkpoint_with(storage, dir, &self.contents())
    }

    /// Whether `file` holds this run's weights, bit for bit.
    pub fn has_weights_of(&self, file: &ptbr_model::TensorFile) -> bool {
        self.model
            .specs()
            .iter()
            .all(|spec| file.tensor(&spec.name).unwrap() == self.model.get(&spec.name).unwrap())
    }
}

/// Makes the manifest agree with whatever the files now hold, as a careful attacker would.
pub fn rewrite_manifest(folder: &Path) {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap() != "MANIFEST.json")
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    let files: Vec<serde_json::Value> = files
        .iter()
        .map(|(name, bytes)| serde_json::json!({ "name": name, "length": bytes.len(), "sha256": hex(&sha256(bytes)) }))
        .collect();
    let manifest = serde_json::json!({ "format": 1, "files": files });
    fs::write(
        folder.join("MANIFEST.json"),
        serde_json::to_string_pretty(&manifest).unwrap() + "\n",
    )
    .unwrap();
}

/// The files of a folder, sorted by name.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}
