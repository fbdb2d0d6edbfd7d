//! Whatever bytes a model, adapter, tokenizer or state file holds, opening it ends in a value or an error: no panic, no hang, and no memory beyond the file's size and a constant.
//! A test file of its own, because it counts every allocation. Needs nothing but a temporary folder.
//!
//! 20,000 damaged files, or 1,000,000 with `PTBR_FULL=1`. Case n is a function of n: `PTBR_SEED=n` runs it alone.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

#[path = "../../model/tests/support/allocations.rs"]
mod allocations;
mod common;
#[path = "../../model/tests/support/mutation.rs"]
mod mutation;

use allocations::peak_of;
use common::{Noise as Values, config, model_id, random_tensors, tokenizer};
use mutation::{Noise, mutate, mutate_safetensors_header, run_all, seeds};
use ptbr_model::{
    Adapter, AdapterConfig, ArchConfig, LoraModule, ModelFileInfo, QuantizationPlan, WeightFormat,
    model_file_bytes, read_adapter, sha256, write_adapter,
};
use ptbr_runtime::{Model, Session};
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
/// What opening may hold beyond a file's size.
struct Memory {
    constant: i64,
}

impl Memory {
    /// Twice what opening the undamaged file takes, and 64 KiB for messages.
    fn measured<T, E: std::fmt::Debug>(open: impl FnOnce() -> Result<T, E>) -> Self {
        let (result, peak) = peak_of(open);
        result.unwrap();
        Self {
            constant: 2 * peak + (64 << 10),
        }
    }

    fn check<T>(&self, length: usize, open: impl FnOnce() -> T) -> T {
        let (result, peak) = peak_of(open);
        let limit = length as i64 + self.constant;
        assert!(
            peak <= limit,
            "{peak} bytes were held for a file of {length}; {limit} would be fine"
        );
        result
    }
}

/// A model file of every format, and one that mixes them.
fn model_files() -> Vec<Vec<u8>> {
    let config = config(48, 32, 1, 64);
    let tensors = random_tensors(&config, 3);
    let config = ArchConfig::Rwkv4(config);
    let mut plans: Vec<QuantizationPlan> = WeightFormat::ALL
        .into_iter()
        .map(QuantizationPlan::uniform)
        .collect();
    let mut mixed = QuantizationPlan::uniform(WeightFormat::Int4);
    mixed.keep(&config, "head", WeightFormat::F16).unwrap();
    mixed.keep(&config, "ffn", WeightFormat::Int8).unwrap();
    plans.push(mixed);
    let file = |plan: &QuantizationPlan| {
        let id = model_id(&tensors);
        let info = ModelFileInfo::quantized(plan, config.clone(), None, id);
        model_file_bytes(&info, &tensors).unwrap()
    };
    plans.iter().map(file).collect()
}

#[test]
fn model_files_of_every_format() {
    let files = model_files();
    let memory = Memory::measured(|| Model::from_bytes("m", files[0].clone()));
    let loaded = run_all("model files", &seeds(500_000), |seed| {
        let mut noise = Noise::new(seed);
        let original = &files[noise.below(files.len())];
        let bytes = match noise.chance(2) {
            true => mutate_safetensors_header(original, &mut noise),
            false => mutate(original.clone(), &mut noise),
        };
        let opened = memory.check(bytes.len(), || Model::from_bytes("m", bytes.clone()));
        let Ok(model) = opened else { return false };
        // What was accepted can be used: numbers may be nonsense, but every access is inside.
        let mut session = Session::new(model);
        session.prefill(&[0, 47, 5]).unwrap();
        true
    });
    assert!(loaded > 0 || std::env::var_os("PTBR_SEED").is_some());
}

#[test]
fn tokenizers() {
    let json = tokenizer().to_json();
    let memory = Memory::measured(|| BpeTokenizer::from_json(json.as_bytes()));
    let loaded = run_all("tokenizers", &seeds(200_000), |seed| {
        let bytes = mutate(json.clone().into_bytes(), &mut Noise::new(seed));
        let opened = memory.check(bytes.len(), || BpeTokenizer::from_json(&bytes));
        opened.is_ok_and(|tokenizer| {
            let ids = tokenizer.encode("O sertanejo é, antes de tudo, um forte.");
            assert!(
                ids.iter()
                    .all(|id| usize::from(*id) < tokenizer.vocab_size())
            );
            tokenizer.decode(&ids);
            true
        })
    });
    assert!(loaded > 0 || std::env::var_os("PTBR_SEED").is_some());
}

#[test]
fn states() {
    let config = config(48, 32, 2, 64);
    let model = Model::from_tensors(
        ArchConfig::Rwkv4(config.clone()),
        &random_tensors(&config, 3),
        None,
    )
    .unwrap();
    let mut session = Session::new(model);
    session.prefill(&Values(1).tokens(9, 48)).unwrap();
    let state = session.state().to_bytes();
    let memory = Memory::measured(|| session.restore(&state));
    let loaded = run_all("states", &seeds(150_000), |seed| {
        let mut noise = Noise::new(seed);
        let forged = noise.chance(2);
        // With a digest that agrees, the content itself is what is checked.
        let body = &state[..state.len() - if forged { 32 } else { 0 }];
        let mut bytes = mutate(body.to_vec(), &mut noise);
        if forged {
            bytes.extend(sha256(&bytes));
        }
        let restored = memory
            .check(bytes.len(), || session.restore(&bytes))
            .is_ok();
        session.decode(1).unwrap();
        restored
    });
    assert!(loaded > 0 || std::env::var_os("PTBR_SEED").is_some());
}

#[test]
fn adapters() {
    let root = tempfile::tempdir().unwrap();
    let module = |target: &str, in_features: usize, out_features: usize| LoraModule {
        target: target.to_owned(),
        in_features,
        out_features,
        a: vec![0.5; 4 * in_features],
        b: vec![-0.25; 4 * out_features],
    };
    let adapter = Adapter {
        config: AdapterConfig {
            rank: 4,
            alpha: 8.0,
            rank_stabilized: false,
            base_model: None,
        },
        model_id: Some("0".repeat(64)),
        modules: vec![
            module("blocks.0.att.key", 32, 32),
            module("blocks.0.ffn.value", 64, 32),
        ],
    };
    write_adapter(root.path(), &adapter).unwrap();
    let paths =
        ["adapter_config.json", "adapter_model.safetensors"].map(|name| root.path().join(name));
    let originals = paths.each_ref().map(|path| std::fs::read(path).unwrap());
    let memory = Memory::measured(|| read_adapter(root.path()));
    let loaded = run_all("adapters", &seeds(150_000), |seed| {
        let mut noise = Noise::new(seed);
        let (config, tensors) = match noise.below(3) {
            0 => (
                mutate(originals[0].clone(), &mut noise),
                originals[1].clone(),
            ),
            1 => (
                originals[0].clone(),
                mutate(originals[1].clone(), &mut noise),
            ),
            _ => (
                originals[0].clone(),
                mutate_safetensors_header(&originals[1], &mut noise),
            ),
        };
        std::fs::write(&paths[0], &config).unwrap();
        std::fs::write(&paths[1], &tensors).unwrap();
        let opened = memory.check(config.len() + tensors.len(), || read_adapter(root.path()));
        opened.is_ok_and(|adapter| {
            for module in &adapter.modules {
                assert_eq!(module.a.len(), module.in_features * adapter.config.rank);
                assert_eq!(module.b.len(), module.out_features * adapter.config.rank);
            }
            true
        })
    });
    assert!(loaded > 0 || std::env::var_os("PTBR_SEED").is_some());
}
