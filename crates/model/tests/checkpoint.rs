//! Checkpoint folders on a good disk: what is written is read back, whatever is damaged is found and named, and the next one is used. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use ptbr_model::{
    CheckpointConfig, CheckpointContents, CheckpointError, DiskStorage, Storage, StorageFile,
    TensorSource, Verify, find_checkpoint, model_id, open_checkpoint, open_checkpoint_with,
    prune_checkpoints, save_checkpoint,
};
use support::{Run, files, rewrite_manifest};

#[test]
fn what_is_saved_is_read_back() {
    let root = tempfile::tempdir().unwrap();
    let run = Run::at(500);
    let path = save_checkpoint(root.path(), &run.contents()).unwrap();
    assert_eq!(path, root.path().join("step-000500"));
    assert_eq!(
        fs::read_to_string(root.path().join("latest")).unwrap(),
        "step-000500\n"
    );
    let names: Vec<String> = files(&path)
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "MANIFEST.json",
            "config.json",
            "model.safetensors",
            "optimizer.safetensors",
            "state.json",
            "tokenizer.json"
        ]
    );

    let checkpoint = open_checkpoint(&path).unwrap();
    assert_eq!(checkpoint.config, run.config);
    assert_eq!(checkpoint.state, run.state);
    assert_eq!(
        checkpoint.tokenizer_json.as_deref(),
        Some(run.tokenizer.as_str())
    );
    assert!(run.has_weights_of(&checkpoint.model));
    assert_eq!(checkpoint.model_id, model_id(&run.model).unwrap());
    let optimizer = checkpoint.optimizer.unwrap();
    for spec in run.optimizer.specs() {
        assert_eq!(
            optimizer.tensor(&spec.name).unwrap(),
            run.optimizer.get(&spec.name).unwrap()
        );
    }
    assert!(
        open_checkpoint_with(&path, Verify::WithoutOptimizer)
            .unwrap()
            .optimizer
            .is_none()
    );
}

#[test]
fn model_bytes_depend_on_the_weights_alone() {
    let root = tempfile::tempdir().unwrap();
    let mut run = Run::at(1);
    let first = save_checkpoint(root.path(), &run.contents()).unwrap();
    let bytes = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    let before = bytes(&first);
    run.state.step = 2;
    run.state.elapsed_seconds = 1234.5;
    run.tokenizer.push(' ');
    let second = save_checkpoint(root.path(), &run.contents()).unwrap();
    assert_eq!(bytes(&second), before);
}

#[test]
fn tokenizer_and_optimizer_may_be_absent() {
    let root = tempfile::tempdir().unwrap();
    let run = Run::at(0);
    let contents = CheckpointContents {
        tokenizer_json: None,
        optimizer: None,
        ..run.contents()
    };
    let checkpoint = open_checkpoint(&save_checkpoint(root.path(), &contents).unwrap()).unwrap();
    assert!(checkpoint.tokenizer_json.is_none() && checkpoint.optimizer.is_none());
}

/// Changes one byte of a file in place, calls `check`, and changes it back.
fn with_flip(path: &Path, at: u64, flip: u8, check: impl FnOnce()) {
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    let mut set = |value: Option<u8>| {
        file.seek(SeekFrom::Start(at)).unwrap();
        match value {
            Some(value) => file.write_all(&[value]).unwrap(),
            None => file.read_exact(&mut byte).unwrap(),
        }
        byte[0]
    };
    let original = set(None);
    set(Some(original ^ flip));
    check();
    set(Some(original));
}

#[test]
fn any_flipped_byte_is_found_and_the_file_named() {
    let root = tempfile::tempdir().unwrap();
    let path = save_checkpoint(root.path(), &Run::at(1).contents()).unwrap();
    let mut flips = 0;
    for file in files(&path) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let length = fs::metadata(&file).unwrap().len();
        // Every byte of small files and of headers; of the rest one in 211.
        for at in (0..length).filter(|at| *at < 2_500 || at % 211 == 0 || at + 1 == length) {
            let flip = [0x01, 0x20, 0xff][at as usize % 3];
            with_flip(&file, at, flip, || {
                let error = open_checkpoint(&path).unwrap_err();
                let message = error.to_string();
                // A flip in the manifest may be found at the file that it describes.
                assert!(
                    message.contains(name) || name == "MANIFEST.json",
                    "byte {at} of {name}: {message}"
                );
            });
            flips += 1;
        }
    }
    println!("{flips} flips found");
    open_checkpoint(&path).unwrap();
}

#[test]
fn any_truncation_or_extension_is_found_and_the_file_named() {
    let root = tempfile::tempdir().unwrap();
    let path = save_checkpoint(root.path(), &Run::at(1).contents()).unwrap();
    for file in files(&path) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let whole = fs::read(&file).unwrap();
        let lengths = [0, 1, 7, 8, 100, whole.len() / 2, whole.len() - 1];
        for length in lengths.into_iter().filter(|length| *length < whole.len()) {
            fs::write(&file, &whole[..length]).unwrap();
            let message = open_checkpoint(&path).unwrap_err().to_string();
            assert!(
                message.contains(name),
                "{length} bytes of {name}: {message}"
            );
        }
        fs::write(&file, [whole.as_slice(), b" "].concat()).unwrap();
        let message = open_checkpoint(&path).unwrap_err().to_string();
        assert!(message.contains(name), "{name} with a byte more: {message}");
        fs::remove_file(&file).unwrap();
        let message = open_checkpoint(&path).unwrap_err().to_string();
        assert!(message.contains(name), "without {name}: {message}");
        fs::write(&file, &whole).unwrap();
    }
    fs::write(path.join("extra.bin"), "x").unwrap();
    let message = open_checkpoint(&path).unwrap_err().to_string();
    assert!(
        message.contains("extra.bin is damaged: the file does not belong to the checkpoint"),
        "{message}"
    );
}

#[test]
fn a_consistent_checkpoint_of_bad_content_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut run = Run::at(1);
    run.model.get_mut("blocks.0.ffn.key.weight").unwrap()[17] = f32::NAN;
    let path = save_checkpoint(root.path(), &run.contents()).unwrap();
    let message = open_checkpoint(&path).unwrap_err().to_string();
    assert!(
        message.contains(
            "model.safetensors: the tensor `blocks.0.ffn.key.weight` holds NaN at element 17"
        ),
        "{message}"
    );

    let mut run = Run::at(2);
    run.optimizer.get_mut("head.weight.v").unwrap()[0] = f32::INFINITY;
    let path = save_checkpoint(root.path(), &run.contents()).unwrap();
    assert!(
        open_checkpoint(&path)
            .unwrap_err()
            .to_string()
            .contains("`head.weight.v` holds inf at element 0")
    );
    open_checkpoint_with(&path, Verify::WithoutOptimizer).unwrap();

    let path = save_checkpoint(root.path(), &Run::at(3).contents()).unwrap();
    let reject = |file: &str, content: &str, expected: &str| {
        let whole = fs::read(path.join(file)).unwrap();
        fs::write(path.join(file), content).unwrap();
        rewrite_manifest(&path);
        let message = open_checkpoint(&path).unwrap_err().to_string();
        assert!(
            message.contains(file) && message.contains(expected),
            "{file}: {message}"
        );
        fs::write(path.join(file), whole).unwrap();
        rewrite_manifest(&path);
        open_checkpoint(&path).unwrap();
    };
    let config = fs::read_to_string(path.join("config.json")).unwrap();
    reject(
        "config.json",
        &config.replace("\"vocab_size\": 32", "\"vocab_size\": 65537"),
        "must be at most 65536",
    );
    reject("config.json", "", "cannot be read");
    reject("state.json", "{}", "missing field");
    reject("model.safetensors", "", "not a whole safetensors file");
    let other = config.replace("\"d_ffn\": 32", "\"d_ffn\": 64");
    let whole = fs::read(path.join("config.json")).unwrap();
    fs::write(path.join("config.json"), other).unwrap();
    rewrite_manifest(&path);
    let message = open_checkpoint(&path).unwrap_err().to_string();
    assert!(
        message.contains(
            "`blocks.0.ffn.key.weight` has the shape [32, 32], the configuration asks for [64, 32]"
        ),
        "{message}"
    );
    fs::write(path.join("config.json"), whole).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_skipped_and_named() {
    let root = tempfile::tempdir().unwrap();
    for step in [1, 2, 3] {
        Run::at(step).save(&DiskStorage, root.path()).unwrap();
    }
    let damage = |step: &str, file: &str| {
        let path = root.path().join(step).join(file);
        let length = fs::metadata(&path).unwrap().len();
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(length - 1)
            .unwrap();
    };
    damage("step-000003", "optimizer.safetensors");
    let found = find_checkpoint(root.path(), Verify::Everything).unwrap();
    assert_eq!(found.checkpoint.state.step, 2);
    assert_eq!(found.skipped.len(), 1);
    let reason = found.skipped[0].reason.to_string();
    assert!(
        reason.contains("step-000003/optimizer.safetensors is damaged: it has"),
        "{reason}"
    );
    drop(found);

    fs::remove_file(root.path().join("step-000002/state.json")).unwrap();
    let found = find_checkpoint(root.path(), Verify::Everything).unwrap();
    assert_eq!((found.checkpoint.state.step, found.skipped.len()), (1, 2));
    drop(found);

    damage("step-000001", "MANIFEST.json");
    let message = find_checkpoint(root.path(), Verify::Everything)
        .unwrap_err()
        .to_string();
    for part in [
        "holds no usable checkpoint",
        "step-000001",
        "step-000002/state.json is damaged: the file is missing",
        "step-000003",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn latest_decides_and_is_not_believed_blindly() {
    let root = tempfile::tempdir().unwrap();
    for step in [1, 2, 1_000_000] {
        Run::at(step).save(&DiskStorage, root.path()).unwrap();
    }
    let step = || {
        find_checkpoint(root.path(), Verify::Everything)
            .map(|found| (found.checkpoint.state.step, found.skipped.len()))
            .unwrap()
    };
    assert_eq!(step(), (1_000_000, 0));
    let latest = |content: &[u8]| fs::write(root.path().join("latest"), content).unwrap();
    latest(b"step-000001\n");
    assert_eq!(step(), (1, 0));
    for content in [
        &b""[..],
        b"../../etc\n",
        b"step-000009\n",
        &[0xff; 10],
        &[b'x'; 1000],
    ] {
        latest(content);
        assert_eq!(
            step(),
            (1_000_000, 1),
            "the newest, and a word about `latest`"
        );
    }
    fs::remove_file(root.path().join("latest")).unwrap();
    assert_eq!(step(), (1_000_000, 0));
    let empty = tempfile::tempdir().unwrap();
    let message = find_checkpoint(empty.path(), Verify::Everything)
        .unwrap_err()
        .to_string();
    assert!(
        message.ends_with("holds no usable checkpoint: nothing was saved there yet"),
        "{message}"
    );
    assert!(
        open_checkpoint(empty.path())
            .unwrap_err()
            .to_string()
            .contains("holds no MANIFEST.json")
    );
}

#[test]
fn pruning_keeps_the_newest_the_best_and_latest() {
    let root = tempfile::tempdir().unwrap();
    for step in 1..=6 {
        Run::at(step).save(&DiskStorage, root.path()).unwrap();
    }
    fs::write(root.path().join("latest"), "step-000003\n").unwrap();
    let config = |keep_last| CheckpointConfig {
        save_every: 1,
        keep_last,
    };
    assert!(
        prune_checkpoints(&DiskStorage, root.path(), &config(0), None)
            .unwrap()
            .is_empty()
    );
    let removed = prune_checkpoints(&DiskStorage, root.path(), &config(2), Some(1)).unwrap();
    assert_eq!(
        removed,
        [2, 4].map(|step| root.path().join(format!("step-{step:06}")))
    );
    let kept: Vec<bool> = (1..=6)
        .map(|step| open_checkpoint(&root.path().join(format!("step-{step:06}"))).is_ok())
        .collect();
    assert_eq!(kept, [true, false, true, false, true, true]);
    assert!(config(1).is_due(5, 5) && config(1).is_due(3, 5));
    assert!(
        !CheckpointConfig {
            save_every: 0,
            keep_last: 1
        }
        .is_due(3, 5)
    );
    assert!(
        CheckpointConfig {
            save_every: 0,
            keep_last: 1
        }
        .is_due(5, 5)
    );
}

#[test]
fn contents_that_do_not_belong_together_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let run = Run::at(1);
    let message = |contents: &CheckpointContents<'_>| {
        save_checkpoint(root.path(), contents)
            .unwrap_err()
            .to_string()
    };
    let error = message(&CheckpointContents {
        model: &run.optimizer,
        ..run.contents()
    });
    assert!(
        error.contains("the model's tensors are not the configuration's: `emb.weight.m`"),
        "{error}"
    );
    let error = message(&CheckpointContents {
        optimizer: Some(&run.model),
        ..run.contents()
    });
    assert!(
        error.contains("the optimizer's tensors are not those of what is trained"),
        "{error}"
    );
    let mut state = run.state.clone();
    state.ema_loss = Some(f64::NAN);
    let error = message(&CheckpointContents {
        state: &state,
        ..run.contents()
    });
    assert!(error.contains("a number that is not finite"), "{error}");
    assert!(
        files(root.path())
            .iter()
            .all(|path| path.extension().is_none()),
        "nothing is left behind"
    );
    let unwritable = root.path().join("file");
    fs::write(&unwritable, "").unwrap();
    let error = save_checkpoint(&unwritable.join("run"), &run.contents())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot create "), "{error}");
}

/// A disk with a megabyte left.
struct SmallDisk;

impl Storage for SmallDisk {
    fn create_dir_all(&self, path: &Path) -> std::io::Result<()> {
        DiskStorage.create_dir_all(path)
    }
    fn create_file(&self, path: &Path) -> std::io::Result<Box<dyn StorageFile>> {
        DiskStorage.create_file(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        DiskStorage.rename(from, to)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        DiskStorage.sync_dir(path)
    }
    fn remove_file(&self, path: &Path) -> std::io::Result<()> {
        DiskStorage.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> std::io::Result<()> {
        DiskStorage.remove_dir_all(path)
    }
    fn available_space(&self, _path: &Path) -> std::io::Result<Option<u64>> {
        Ok(Some(1_000_000))
    }
}

#[test]
fn a_disk_without_room_is_refused_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    let error = Run::at(1).save(&SmallDisk, root.path()).unwrap_err();
    assert!(matches!(
        error,
        CheckpointError::NoSpace {
            available: 1_000_000,
            ..
        }
    ));
    let message = error.to_string();
    assert!(
        message.contains("has 1.0 MB free, the checkpoint needs 16.9 MB: free some space"),
        "{message}"
    );
    assert!(files(root.path()).is_empty());
    assert!(DiskStorage.available_space(root.path()).unwrap().unwrap() > 0);
}
