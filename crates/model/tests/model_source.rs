//! Everything that may be called "the model", and everything that may not. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use ptbr_model::{
    DiskStorage, ModelFileInfo, ModelSource, TensorSource, model_id, write_model_file,
    write_safetensors,
};
use support::Run;

fn info(run: &Run) -> ModelFileInfo {
    ModelFileInfo::f32(
        run.config.clone(),
        Some(run.tokenizer.clone()),
        model_id(&run.model).unwrap(),
    )
}

#[test]
fn checkpoint_output_folder_and_model_file_are_the_same_model() {
    let root = tempfile::tempdir().unwrap();
    let run = Run::at(2);
    Run::at(1).save(&DiskStorage, root.path()).unwrap();
    let checkpoint = run.save(&DiskStorage, root.path()).unwrap();
    let file = root.path().join("model.safetensors");
    write_model_file(&file, &info(&run), &run.model).unwrap();
    for path in [checkpoint.as_path(), root.path(), file.as_path()] {
        let source = ModelSource::open(path).unwrap();
        assert_eq!(source.config(), &run.config);
        assert_eq!(source.tokenizer_json(), Some(run.tokenizer.as_str()));
        assert_eq!(source.model_id(), model_id(&run.model).unwrap());
        assert!(run.has_weights_of(source.tensors()));
        assert_eq!(
            source.tensor("ln_out.bias").unwrap(),
            run.model.get("ln_out.bias").unwrap()
        );
        assert!(source.skipped().is_empty());
    }
    assert_eq!(ModelSource::open(root.path()).unwrap().path(), checkpoint);
    assert!(
        ModelSource::open(&file)
            .unwrap()
            .tensor("nothing")
            .unwrap_err()
            .to_string()
            .contains("`nothing` is missing")
    );

    fs::write(checkpoint.join("state.json"), "{}").unwrap();
    let source = ModelSource::open(root.path()).unwrap();
    assert_eq!(source.skipped().len(), 1);
    assert_eq!(source.model_id(), model_id(&Run::at(1).model).unwrap());
    assert!(
        ModelSource::open(&checkpoint)
            .unwrap_err()
            .to_string()
            .contains("state.json is damaged")
    );
}

#[test]
fn the_optimizer_is_not_needed_to_run_a_model() {
    let root = tempfile::tempdir().unwrap();
    let checkpoint = Run::at(1).save(&DiskStorage, root.path()).unwrap();
    let path = checkpoint.join("optimizer.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    ModelSource::open(&checkpoint).unwrap();
    assert!(ptbr_model::open_checkpoint(&checkpoint).is_err());
}

#[test]
fn a_model_file_is_replaced_whole() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("model.safetensors");
    for step in [1, 2] {
        let run = Run::at(step);
        write_model_file(&path, &info(&run), &run.model).unwrap();
        assert!(run.has_weights_of(ModelSource::open(&path).unwrap().tensors()));
    }
    let error = write_model_file(&path.join("below"), &info(&Run::at(1)), &Run::at(1).model)
        .unwrap_err()
        .to_string();
    assert!(error.contains("below"), "{error}");
    assert_eq!(support::files(root.path()), [path]);
}

#[test]
fn what_is_no_model_says_what_it_is() {
    let root = tempfile::tempdir().unwrap();
    let run = Run::at(1);
    let error = |name: &str, bytes: &[u8]| {
        let path = root.path().join(name);
        fs::write(&path, bytes).unwrap();
        let message = ModelSource::open(&path).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
        message
    };
    assert!(error("empty.safetensors", b"").contains("is not a whole safetensors file"));
    assert!(
        error("text.txt", b"O Brasil \xc3\xa9 um pa\xc3\xads")
            .contains("is not a whole safetensors file")
    );
    let missing = ModelSource::open(&root.path().join("missing"))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("missing: No such file"), "{missing}");

    let bytes = |info: &ModelFileInfo, model: &dyn TensorSource| {
        let document = serde_json::to_string(info).unwrap();
        let mut bytes = Vec::new();
        write_safetensors(model, &[("ptbr-slm", &document)], &mut bytes, None).unwrap();
        bytes
    };
    let mut plain = Vec::new();
    write_safetensors(&run.model, &[], &mut plain, None).unwrap();
    assert!(error("foreign.safetensors", &plain).contains("has no \"ptbr-slm\" document"));
    let mut cut = bytes(&info(&run), &run.model);
    cut.pop();
    assert!(error("cut.safetensors", &cut).contains("is not a whole safetensors file"));
    let other_id = ModelFileInfo {
        model_id: "0".repeat(64),
        ..info(&run)
    };
    assert!(
        error("id.safetensors", &bytes(&other_id, &run.model))
            .contains("the weights do not match the model id 000000000000")
    );
    let no_id = ModelFileInfo {
        model_id: "x".to_owned(),
        ..info(&run)
    };
    assert!(
        error("noid.safetensors", &bytes(&no_id, &run.model))
            .contains("its model id is not a SHA-256")
    );
    let document = serde_json::to_string(&info(&run)).unwrap();
    let with_document = |document: &str| {
        let mut bytes = Vec::new();
        write_safetensors(&run.model, &[("ptbr-slm", document)], &mut bytes, None).unwrap();
        bytes
    };
    assert!(
        error(
            "int3.safetensors",
            &with_document(&document.replace("\"f32\"", "\"int3\""))
        )
        .contains("unknown variant `int3`, expected one of `f32`, `f16`, `int8`, `fp8`, `int4`")
    );
    assert!(
        error(
            "newer.safetensors",
            &with_document(&document.replacen('{', "{\"group\":64,", 1))
        )
        .contains("unknown field `group`")
    );
    assert!(
        error(
            "layers.safetensors",
            &with_document(&document.replace("\"n_layers\":1", "\"n_layers\":1000"))
        )
        .contains("its configuration asks for 18006 tensors, and the file holds 24")
    );
    assert!(
        error("moments.safetensors", &bytes(&info(&run), &run.optimizer))
            .contains("the tensor `emb.weight` is missing")
    );
    let mut nan = Run::at(1);
    nan.model.get_mut("emb.weight").unwrap()[5] = f32::NAN;
    assert!(
        error("nan.safetensors", &bytes(&info(&nan), &nan.model))
            .contains("`emb.weight` holds NaN at element 5")
    );
}

#[test]
fn models_in_memory_need_no_alignment() {
    let root = tempfile::tempdir().unwrap();
    let run = Run::at(1);
    let path = root.path().join("m.safetensors");
    write_model_file(&path, &info(&run), &run.model).unwrap();
    let source = ModelSource::from_bytes("m.safetensors", fs::read(&path).unwrap()).unwrap();
    assert!(run.has_weights_of(source.tensors()));
}
