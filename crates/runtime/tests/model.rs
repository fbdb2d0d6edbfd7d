//! Loading: every form of model gives the same logits, and what cannot be used is refused with a reason. Needs a writable temporary folder.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::{bits, config, model_id, random_tensors, tokenizer};
use ptbr_model::{
    ArchConfig, CheckpointContents, MemoryTensors, ModelFileInfo, ModelSource, TrainState,
    save_checkpoint, write_model_file,
};
use ptbr_runtime::engine::cpu::Isa;
use ptbr_runtime::{Model, RuntimeError, Session};
use ptbr_tokenizer::Tokenizer;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn arch() -> ArchConfig {
    ArchConfig::Rwkv4(config(300, 64, 2, 160))
}

fn tensors(seed: u64) -> MemoryTensors {
    let ArchConfig::Rwkv4(config) = arch() else {
        panic!("the configuration above")
    };
    random_tensors(&config, seed)
}

fn save(output: &Path, step: u64) -> PathBuf {
    let json = tokenizer().to_json();
    let state = TrainState {
        step,
        ..Default::default()
    };
    let contents = CheckpointContents {
        config: &arch(),
        tokenizer_json: Some(&json),
        model: &tensors(step),
        optimizer: None,
        state: &state,
    };
    save_checkpoint(output, &contents).unwrap()
}

fn logits(model: &Arc<Model>) -> Vec<u32> {
    bits(
        Session::new(Arc::clone(model))
            .prefill(&[3, 1, 4, 1, 5, 9, 2, 6])
            .unwrap(),
    )
}

#[test]
fn every_form_of_a_model_is_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let checkpoint = save(&run, 7);
    let file = folder.path().join("model.safetensors");
    let tensors = tensors(7);
    let info = ModelFileInfo::f32(arch(), Some(tokenizer().to_json()), model_id(&tensors));
    write_model_file(&file, &info, &tensors).unwrap();

    let in_memory = Model::from_tensors(arch(), &tensors, Some(tokenizer())).unwrap();
    let expected = logits(&in_memory);
    for path in [&run, &checkpoint, &file] {
        let model = Model::load(path).unwrap();
        assert_eq!(logits(&model), expected, "{}", path.display());
        assert_eq!(model.model_id(), in_memory.model_id());
        assert_eq!(model.config(), &arch());
        assert_eq!(model.tokenizer().unwrap().to_json(), tokenizer().to_json());
        assert!(model.skipped().is_empty());
    }
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(
        logits(&Model::from_bytes("embedded", bytes.clone()).unwrap()),
        expected
    );
    // The file has no name, and nobody else holds it when it is used.
    let mut nameless = tempfile::tempfile_in(folder.path()).unwrap();
    nameless.write_all(&bytes).unwrap();
    let model = Model::from_file("nameless", &nameless).unwrap();
    drop(nameless);
    assert_eq!(logits(&model), expected);
}

#[test]
fn every_instruction_set_of_the_machine_can_be_asked_for() {
    let tensors = tensors(7);
    let with = |isa: Isa| {
        let mut model = Model::from_tensors(arch(), &tensors, None).unwrap();
        Arc::get_mut(&mut model).unwrap().set_instruction_set(isa);
        assert_eq!(model.instruction_set(), isa);
        logits(&model)
    };
    let portable = with(Isa::portable());
    for isa in Isa::all() {
        for (x, y) in with(isa).into_iter().zip(&portable) {
            let (x, y) = (f32::from_bits(x), f32::from_bits(*y));
            assert!((x - y).abs() < 1e-4, "{}: {x} and {y}", isa.name());
        }
    }
}

#[test]
fn unaligned_weights_are_read_too() {
    let tensors = tensors(7);
    let info = ModelFileInfo::f32(arch(), None, model_id(&tensors));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    write_model_file(&file, &info, &tensors).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    // A header one byte longer: other writers do not pad theirs.
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut moved = ((length + 1) as u64).to_le_bytes().to_vec();
    moved.extend(&bytes[8..8 + length]);
    moved.push(b' ');
    moved.extend(&bytes[8 + length..]);
    let model = Model::from_bytes("moved", moved).unwrap();
    assert!(model.tokenizer().is_none());
    assert_eq!(logits(&model), logits(&Model::load(&file).unwrap()));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let older = save(folder.path(), 1);
    let newer = save(folder.path(), 2);
    let weights = newer.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&weights, bytes).unwrap();

    let model = Model::load(folder.path()).unwrap();
    assert_eq!(model.skipped().len(), 1);
    assert!(
        model.skipped()[0].path.ends_with("step-000002"),
        "{:?}",
        model.skipped()[0].path
    );
    assert_eq!(logits(&model), logits(&Model::load(&older).unwrap()));
    assert!(matches!(Model::load(&newer), Err(RuntimeError::Model(_))));
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nada");
    assert!(
        Model::load(&missing)
            .unwrap_err()
            .to_string()
            .contains("nada")
    );
    let empty = folder.path().join("empty.safetensors");
    std::fs::write(&empty, b"").unwrap();
    assert!(
        Model::load(&empty)
            .unwrap_err()
            .to_string()
            .contains("empty.safetensors")
    );
    assert!(
        Model::load(folder.path()).is_err(),
        "a folder without checkpoints"
    );
    assert!(
        Model::from_bytes("page", vec![0xFF; 100])
            .unwrap_err()
            .to_string()
            .contains("page")
    );

    let mut with_nan = tensors(1);
    with_nan.get_mut("blocks.1.ffn.key.weight").unwrap()[33] = f32::NAN;
    let error = Model::from_tensors(arch(), &with_nan, None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("blocks.1.ffn.key.weight"), "{error}");
    let error = Model::from_tensors(arch(), &MemoryTensors::new(), None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("emb.weight"), "{error}");
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_is_refused() {
    let small = config(tokenizer().vocab_size() - 1, 32, 1, 32);
    let error = Model::from_tensors(
        ArchConfig::Rwkv4(small.clone()),
        &random_tensors(&small, 1),
        Some(tokenizer()),
    )
    .unwrap_err();
    let RuntimeError::TokenizerMismatch {
        tokenizer: found,
        model,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((found, model), (small.vocab_size + 1, small.vocab_size));
}

#[test]
fn another_tokenizer_can_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = save(folder.path(), 1);
    let other = tokenizer();
    let model = Model::load_with_tokenizer(&checkpoint, other.clone()).unwrap();
    assert_eq!(model.tokenizer().unwrap().sha256(), other.sha256());
}

#[test]
fn a_model_copied_into_memory_has_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let tensors = tensors(5);
    let info = ModelFileInfo::f32(arch(), None, model_id(&tensors));
    write_model_file(&path, &info, &tensors).unwrap();
    let logits = |model: Arc<Model>| {
        let mut session = Session::new(model);
        bits(session.prefill(&[5, 17, 200]).unwrap())
    };
    let mapped = logits(Model::load(&path).unwrap());
    let source = ModelSource::open(&path).unwrap().into_memory().unwrap();
    let copied = Model::from_source(source, None).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(logits(copied), mapped);
}
