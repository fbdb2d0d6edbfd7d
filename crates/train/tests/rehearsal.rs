//! Steps that are not to have been taken: looking for a learning rate. Needs nothing.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use common::{trainer, training};
use ptbr_train::{LrCurveEnd, LrFinder, ResumeOverrides, TrainDevice, TrainError, Trainer};

/// A fast ramp for the small model of these tests.
const RAMP: LrFinder = LrFinder {
    start: 1e-4,
    end: 1.0,
    steps: 40,
    smoothing: 0.7,
};

/// Every file of a checkpoint but the time that it took.
fn files(checkpoint: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(checkpoint)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(path).expect("a file"))
        })
        .filter(|(name, _)| name.ends_with(".safetensors"))
        .collect()
}

fn saved(trainer: &mut Trainer) -> BTreeMap<String, Vec<u8>> {
    files(&trainer.save().expect("a checkpoint"))
}

#[test]
fn a_trainer_is_left_as_it_was_before_and_amid_a_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fresh = trainer(folder.path(), "fresh", training(6), TrainDevice::Cpu);
    let before = saved(&mut fresh);
    let state = fresh.state().clone();
    RAMP.run(&mut fresh, &mut |_| true).expect("a curve");
    assert_eq!(fresh.state(), &state);
    assert!(saved(&mut fresh) == before, "weights and moments of step 0");

    // With moments behind it, and steps to come: the run ends with the bytes of one that was left alone.
    let run = |name: &str, ramp: bool| {
        let mut first = trainer(folder.path(), name, training(3), TrainDevice::Cpu);
        first.run(&mut (), &AtomicBool::new(false)).expect("a run");
        drop(first);
        let overrides = ResumeOverrides {
            max_steps: Some(6),
            device: TrainDevice::Cpu,
            ..ResumeOverrides::default()
        };
        let mut trainer = Trainer::resume(&folder.path().join(name), overrides).expect("a run");
        if ramp {
            RAMP.run(&mut trainer, &mut |_| true).expect("a curve");
        }
        trainer
            .run(&mut (), &AtomicBool::new(false))
            .expect("a run");
        files(&folder.path().join(name).join("step-000006"))
    };
    assert!(run("alone", false) == run("looked", true));
}

#[test]
fn a_ramp_finds_a_valley_and_is_the_same_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trainer = trainer(folder.path(), "run", training(6), TrainDevice::Cpu);
    let mut seen = 0;
    let found = RAMP
        .run(&mut trainer, &mut |_| {
            seen += 1;
            true
        })
        .expect("a curve");
    let again = RAMP.run(&mut trainer, &mut |_| true).expect("a curve");
    assert_eq!(found, again);
    assert_eq!(seen, found.points.len());
    let rates: Vec<f64> = found.points.iter().map(|p| p.learning_rate).collect();
    assert_eq!(rates[0], 1e-4);
    let factor = 1e4_f64.powf(1.0 / 39.0);
    assert!(
        rates
            .windows(2)
            .all(|w| (w[1] / w[0] / factor - 1.0).abs() < 1e-9)
    );
    let rate = found
        .suggestion
        .unwrap_or_else(|| panic!("{}", found.reason));
    // Half of the rate of the lowest smoothed loss, to two digits.
    let lowest = found
        .points
        .iter()
        .min_by(|a, b| a.smoothed.total_cmp(&b.smoothed))
        .expect("points");
    assert!(
        (rate / (0.5 * lowest.learning_rate) - 1.0).abs() < 0.06,
        "{rate}"
    );
    assert!((5e-4..0.2).contains(&rate), "{rate}");
    assert!(lowest.smoothed < found.points[0].smoothed - 0.5);

    let stopped = RAMP
        .run(&mut trainer, &mut |point| point.learning_rate < 3e-4)
        .expect("a curve");
    assert_eq!(stopped.ended, LrCurveEnd::Stopped);
    assert!(stopped.points.len() < 8 && stopped.suggestion.is_none());
}

#[test]
fn impossible_ramps_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trainer = trainer(folder.path(), "run", training(6), TrainDevice::Cpu);
    let nan = f64::NAN;
    for (finder, field) in [
        (LrFinder { start: 0.0, ..RAMP }, "start_lr"),
        (LrFinder { start: nan, ..RAMP }, "start_lr"),
        (LrFinder { end: 1e-5, ..RAMP }, "end_lr"),
        (LrFinder { steps: 9, ..RAMP }, "steps"),
        (
            LrFinder {
                smoothing: 1.0,
                ..RAMP
            },
            "smoothing",
        ),
    ] {
        let error = finder
            .run(&mut trainer, &mut |_| true)
            .expect_err("refused");
        assert!(
            matches!(error, TrainError::Config(_)) && error.to_string().contains(field),
            "{error}"
        );
    }
}
