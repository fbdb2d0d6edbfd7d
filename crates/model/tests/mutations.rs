//! Whatever bytes a file holds, opening it gives a value or an error: no panic, no unbounded allocation. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use ptbr_model::{
    Adapter, AdapterConfig, ArchConfig, LoraModule, ModelFileInfo, ModelSource, TensorFile,
    TrainingConfig, model_id, open_checkpoint, read_adapter,
};
use support::{Run, rewrite_manifest};

/// One change of a file's bytes. Positions are taken modulo the length.
#[derive(Debug, Clone)]
enum Mutation {
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize, usize),
    Truncate(usize),
    /// A digit becomes another digit: lengths, shapes and offsets that still parse.
    Digit(usize, u8),
    Repeat(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        (any::<usize>(), 1..40usize).prop_map(|(at, count)| Mutation::Remove(at, count)),
        any::<usize>().prop_map(Mutation::Truncate),
        (any::<usize>(), b'0'..=b'9').prop_map(|(at, digit)| Mutation::Digit(at, digit)),
        (any::<usize>(), 1..40usize).prop_map(|(at, count)| Mutation::Repeat(at, count)),
    ]
}

fn mutate(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        // Headers are where meaning is: half of all changes fall into the first 600 bytes.
        let length = bytes.len().max(1);
        let place = |at: usize| {
            if at.is_multiple_of(2) {
                (at / 2) % length.min(600)
            } else {
                (at / 2) % length
            }
        };
        match *mutation {
            Mutation::Set(at, byte) => bytes.get_mut(place(at)).into_iter().for_each(|b| *b = byte),
            Mutation::Insert(at, byte) => bytes.insert(place(at).min(bytes.len()), byte),
            Mutation::Remove(at, count) => {
                let start = place(at).min(bytes.len());
                bytes.drain(start..(start + count).min(bytes.len()));
            }
            Mutation::Truncate(at) => bytes.truncate(place(at)),
            Mutation::Digit(at, digit) => {
                let start = place(at).min(bytes.len());
                bytes[start..]
                    .iter_mut()
                    .find(|b| b.is_ascii_digit())
                    .into_iter()
                    .for_each(|b| *b = digit);
            }
            Mutation::Repeat(at, count) => {
                let start = place(at).min(bytes.len());
                let part = bytes[start..(start + count).min(bytes.len())].to_vec();
                bytes.splice(start..start, part);
            }
        }
    }
    bytes
}

fn model_file() -> Vec<u8> {
    let run = Run::at(1);
    let info = ModelFileInfo::f32(
        run.config.clone(),
        Some(run.tokenizer.clone()),
        model_id(&run.model).unwrap(),
    );
    let mut bytes = Vec::new();
    let document = serde_json::to_string(&info).unwrap();
    ptbr_model::write_safetensors(&run.model, &[("ptbr-slm", &document)], &mut bytes, None)
        .unwrap();
    bytes
}

/// The checkpoint's file with this number, and its folder.
fn checkpoint_file(root: &tempfile::TempDir, number: usize) -> (PathBuf, PathBuf) {
    let folder = Run::at(1)
        .save(&support::faulty::FaultyStorage::sound(), root.path())
        .unwrap();
    let files = support::files(&folder);
    (files[number % files.len()].clone(), folder)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_model_file(mutations in prop::collection::vec(mutation(), 1..4)) {
        let original = model_file();
        let bytes = mutate(original.clone(), &mutations);
        let changed = bytes != original;
        if let Ok(file) = TensorFile::from_bytes("mutated", bytes.clone()) {
            for name in file.names() {
                let _ = (file.tensor(name), file.raw(name), file.shape(name));
            }
            let _ = file.check_finite();
        }
        let opened = ModelSource::from_bytes("mutated", bytes);
        prop_assert!(changed || opened.is_ok());
    }

    #[test]
    fn configurations(mutations in prop::collection::vec(mutation(), 1..6)) {
        let json = mutate(support::config().to_json().into_bytes(), &mutations);
        if let Ok(config) = ArchConfig::from_json(&json) {
            prop_assert!(config.validate().is_ok());
            prop_assert!(config.num_parameters() > 0);
        }
        let toml = "recipe = \"rwkv4\"\nlearning_rate = 6e-4\nwarmup_steps = 10\nseed = 1\nseq_len = 64\n";
        if let Ok(text) = String::from_utf8(mutate(toml.into(), &mutations))
            && let Ok(config) = TrainingConfig::from_toml(&text)
            && config.validate().is_ok()
        {
            let rate = config.learning_rate_at(config.max_steps / 2);
            prop_assert!(rate.is_finite() && rate >= 0.0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_checkpoint(number in 0usize..6, mutations in prop::collection::vec(mutation(), 1..4)) {
        let root = tempfile::tempdir().unwrap();
        let (path, folder) = checkpoint_file(&root, number);
        let original = fs::read(&path).unwrap();
        let bytes = mutate(original.clone(), &mutations);
        fs::write(&path, &bytes).unwrap();
        prop_assert_eq!(open_checkpoint(&folder).is_ok(), bytes == original);
        // With digests that agree, the content itself is what is checked.
        rewrite_manifest(&folder);
        let _ = open_checkpoint(&folder);
    }

    #[test]
    fn an_adapter(of_config: bool, mutations in prop::collection::vec(mutation(), 1..4)) {
        let root = tempfile::tempdir().unwrap();
        let module = LoraModule { target: "head".to_owned(), in_features: 4, out_features: 8, a: vec![0.0; 8], b: vec![0.0; 16] };
        let config = AdapterConfig { rank: 2, alpha: 4.0, rank_stabilized: false, base_model: None };
        write_adapter_to(root.path(), Adapter { config, model_id: Some("0".repeat(64)), modules: vec![module] });
        let path = root.path().join(if of_config { "adapter_config.json" } else { "adapter_model.safetensors" });
        let bytes = mutate(fs::read(&path).unwrap(), &mutations);
        fs::write(&path, bytes).unwrap();
        if let Ok(adapter) = read_adapter(root.path()) {
            prop_assert!(adapter.config.scale().is_finite() || adapter.config.alpha > f64::from(f32::MAX));
            prop_assert!(adapter.modules.iter().all(|module| module.a.len() == module.in_features * adapter.config.rank));
        }
    }
}

fn write_adapter_to(folder: &std::path::Path, adapter: Adapter) {
    ptbr_model::write_adapter(folder, &adapter).unwrap();
}
