//! Whatever bytes a model, adapter, tokenizer or state file holds, opening it ends in a value or an error: no panic, no hang, and no memory beyond the file's size and a constant.
//! A test file of its own, because it counts every allocation. Needs nothing; `cargo xtask test --full` also runs it on wasm32, in Node.
//!
//! 20,000 damaged files, or 1,000,000 with `PTBR_FULL=1`. Case n is a function of n: `PTBR_SEED=n` runs it alone.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

#[path = "../../model/tests/support/allocations.rs"]
mod allocations;
mod common;
#[path = "../../model/tests/support/mutation.rs"]
mod mutation;

use allocations::peak_of;
use common::adapter_files::adapter_files;
use common::{
    Noise as Values, config, model_id, random_adapter, random_model, random_tensors, tokenizer,
};
use mutation::{Noise, mutate, mutate_safetensors_header, run_all, seeds};
use ptbr_model::{
    Adapter, ArchConfig, ModelFileInfo, QuantizationPlan, WeightFormat, model_file_bytes, sha256,
};
use ptbr_runtime::{Model, RwkvState, Session};
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

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
    let model = random_model(&config, 3);
    let adapter = model
        .add_adapter(random_adapter(&config, 2, &[], 1))
        .unwrap();
    // With an adapter's id in it, and without.
    let originals = [None, Some(&adapter)].map(|adapter| {
        let mut session = Session::new(model.clone());
        session.set_adapter(adapter).unwrap();
        session.prefill(&Values(1).tokens(9, 48)).unwrap();
        session.state().unwrap().to_bytes()
    });
    let memory = Memory::measured(|| RwkvState::from_bytes(&originals[0], &model));
    let mut session = Session::new(model.clone());
    let loaded = run_all("states", &seeds(150_000), |seed| {
        let mut noise = Noise::new(seed);
        let original = &originals[noise.below(2)];
        let forged = noise.chance(2);
        // With a digest that agrees, the content itself is what is checked.
        let body = &original[..original.len() - if forged { 32 } else { 0 }];
        let mut bytes = mutate(body.to_vec(), &mut noise);
        if forged {
            bytes.extend(sha256(&bytes));
        }
        let opened = memory.check(bytes.len(), || RwkvState::from_bytes(&bytes, &model));
        let Ok(state) = opened else { return false };
        // Whatever adapter it names by now.
        session.set_state(&state.with_adapter(None)).unwrap();
        session.decode(1).unwrap();
        true
    });
    assert!(loaded > 0 || std::env::var_os("PTBR_SEED").is_some());
}

#[test]
fn adapters() {
    let config = config(48, 32, 1, 64);
    let model = random_model(&config, 3);
    let adapter = Adapter {
        model_id: Some(model.model_id().to_owned()),
        ..random_adapter(&config, 4, &["att.key", "ffn.value", "head"], 1)
    };
    let originals =
        [WeightFormat::F32, WeightFormat::F16].map(|format| adapter_files(&adapter, format));
    let load = |config: &[u8], tensors: Vec<u8>| {
        model.add_adapter(Adapter::from_bytes("a", config, tensors)?)
    };
    let [config, tensors] = &originals[0];
    let memory = Memory::measured(|| load(config, tensors.clone()));
    let mut session = Session::new(model.clone());
    let loaded = run_all("adapters", &seeds(150_000), |seed| {
        let mut noise = Noise::new(seed);
        let half = noise.chance(2);
        let [config, tensors] = originals[usize::from(half)].clone();
        let (config, tensors) = match noise.below(3) {
            0 => (mutate(config, &mut noise), tensors),
            1 => (config, mutate(tensors, &mut noise)),
            _ => {
                let tensors = mutate_safetensors_header(&tensors, &mut noise);
                (config, tensors)
            }
        };
        // f16 becomes f32 in memory.
        let length = config.len() + tensors.len() * if half { 2 } else { 1 };
        let opened = memory.check(length, || load(&config, tensors));
        let Ok(adapter) = opened else { return false };
        // What was accepted can be used.
        session.set_adapter(Some(&adapter)).unwrap();
        session.prefill(&[0, 47, 5]).unwrap();
        true
    });
    assert!(loaded > 0 || std::env::var_os("PTBR_SEED").is_some());
}
