//! Saving a checkpoint fails, is cut short, is killed or loses power at every single operation: afterwards the old or the new checkpoint is there, never neither. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use ptbr_model::{
    CheckpointConfig, CheckpointError, OutputLock, Verify, clean_leftovers, find_checkpoint,
    prune_checkpoints,
};
use support::Run;
use support::faulty::{FAULTS, Fault, FaultyStorage};

/// What must be usable after a save that went wrong.
fn check_usable(dir: &Path, old: Option<&Run>, new: &Run, saved: bool, context: &str) {
    match find_checkpoint(dir, Verify::Everything) {
        Ok(found) => {
            let is_new = new.has_weights_of(&found.checkpoint.model);
            let is_old = old.is_some_and(|old| old.has_weights_of(&found.checkpoint.model));
            assert!(is_new || is_old, "{context}: found neither");
            assert!(
                is_new || !saved,
                "{context}: saving succeeded, but the old checkpoint is used"
            );
            assert!(
                found.skipped.is_empty(),
                "{context}: a damaged checkpoint has a checkpoint's name: {:?}",
                found.skipped
            );
            let run = if is_new { new } else { old.unwrap() };
            assert_eq!(found.checkpoint.state, run.state, "{context}");
        }
        Err(CheckpointError::NoneUsable { skipped, .. }) => {
            assert!(old.is_none() && !saved, "{context}: everything is lost");
            assert!(skipped.is_empty(), "{context}: {skipped:?}");
        }
        // Killed before the output folder was made.
        Err(CheckpointError::Io { .. }) => {
            assert!(old.is_none() && !saved && !dir.exists(), "{context}")
        }
        Err(error) => panic!("{context}: {error}"),
    }
}

/// Runs one save for every operation and fault; returns the number of operations of a save.
fn every_fault(old: Option<&Run>, new: &Run) -> usize {
    let mut operations = 0;
    for fault in FAULTS {
        for at in 1.. {
            let context = format!("{fault:?} at operation {at}");
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("run");
            if let Some(old) = old {
                old.save(&FaultyStorage::sound(), &dir).unwrap();
            }
            let storage = FaultyStorage::new(fault, at);
            let result = new.save(&storage, &dir);
            storage.lose_unsynced();
            check_usable(&dir, old, new, result.is_ok(), &context);
            if !storage.struck() {
                result.unwrap();
                operations = at - 1;
                break;
            }
            if let Err(error) = result {
                assert!(
                    error.to_string().contains("simulated"),
                    "{context}: {error}"
                );
            }

            // The next start cleans up, loses nothing by it, and saves.
            let lock = OutputLock::acquire(&dir).unwrap();
            clean_leftovers(&lock).unwrap();
            check_usable(&dir, old, new, false, &format!("{context}, cleaned"));
            for path in support::files(&dir) {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                assert!(
                    !name.contains(".tmp-") && !name.contains(".old-"),
                    "{context}: {name} is left"
                );
            }
            let next = Run::at(3);
            next.save(&FaultyStorage::sound(), &dir).unwrap();
            check_usable(&dir, None, &next, true, &format!("{context}, saved again"));
        }
    }
    operations
}

#[test]
fn a_second_checkpoint() {
    let operations = every_fault(Some(&Run::at(1)), &Run::at(2));
    println!("a save has {operations} operations");
    assert!(
        operations > 30,
        "{operations} are too few: large writes must count as several"
    );
}

#[test]
fn the_first_checkpoint() {
    every_fault(None, &Run::at(1));
}

#[test]
fn the_same_step_with_other_weights() {
    let old = Run::at(1);
    let mut new = Run::at(2);
    new.state = old.state.clone();
    every_fault(Some(&old), &new);
}

#[test]
fn a_full_disk_says_so_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    Run::at(1)
        .save(&FaultyStorage::sound(), root.path())
        .unwrap();
    let before = support::files(root.path());
    let error = Run::at(2)
        .save(&FaultyStorage::new(Fault::Full, 6), root.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot write ") && error.contains("no space left on device"),
        "{error}"
    );
    assert_eq!(
        support::files(root.path()),
        before,
        "the half-written folder was removed"
    );
}

#[test]
fn pruning_killed_at_every_operation_damages_nothing() {
    for fault in FAULTS {
        for at in 1.. {
            let root = tempfile::tempdir().unwrap();
            for step in 1..=4 {
                Run::at(step)
                    .save(&FaultyStorage::sound(), root.path())
                    .unwrap();
            }
            let storage = FaultyStorage::new(fault, at);
            let result = prune_checkpoints(
                &storage,
                root.path(),
                &CheckpointConfig {
                    save_every: 1,
                    keep_last: 1,
                },
                None,
            );
            storage.lose_unsynced();
            for path in support::files(root.path()) {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if path.is_dir() && !name.contains(".tmp-") {
                    ptbr_model::open_checkpoint(&path).unwrap();
                }
            }
            check_usable(
                root.path(),
                None,
                &Run::at(4),
                true,
                &format!("{fault:?} at {at}"),
            );
            if !storage.struck() {
                assert_eq!(result.unwrap().len(), 3);
                break;
            }
        }
    }
}

#[test]
fn a_writer_that_was_killed_leaves_its_folder_to_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    Run::at(1)
        .save(&FaultyStorage::sound(), root.path())
        .unwrap();
    fs::create_dir(root.path().join("step-000002.tmp-999999")).unwrap();
    fs::write(
        root.path().join("step-000002.tmp-999999/model.safetensors"),
        "half",
    )
    .unwrap();
    fs::write(root.path().join("latest.tmp-999999"), "step-0").unwrap();
    fs::write(root.path().join("notes.tmp-mine"), "a user's file").unwrap();
    let lock = OutputLock::acquire(root.path()).unwrap();
    assert_eq!(clean_leftovers(&lock).unwrap().len(), 2);
    assert!(root.path().join("notes.tmp-mine").exists());
    assert!(root.path().join("step-000001").exists());
    let second = OutputLock::acquire(root.path()).unwrap_err().to_string();
    assert!(
        second.contains("another process is training into"),
        "{second}"
    );
    drop(lock);
    OutputLock::acquire(root.path()).unwrap();
}
