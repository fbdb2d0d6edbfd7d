//! Adam's moments in bytes: training with them, resuming, CPU against GPU. Needs a GPU adapter for the last; a software one will do.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use common::{Recorder, StopAfter, trainer, training};
use ptbr_model::{MomentFormat, TrainingConfig, open_checkpoint};
use ptbr_train::ops::kernels::launches;
use ptbr_train::{ResumeOverrides, TrainDevice, TrainStats, Trainer};

fn packed(max_steps: u64) -> TrainingConfig {
    TrainingConfig {
        moments: MomentFormat::EightBit,
        ..training(max_steps)
    }
}

fn run(folder: &Path, name: &str, config: TrainingConfig, device: TrainDevice) -> TrainStats {
    trainer(folder, name, config, device)
        .run(&mut (), &AtomicBool::new(false))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The checkpoint holds f32, and packs to the bytes that it was unpacked from.
#[test]
fn a_run_that_is_stopped_and_resumed_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), "whole", packed(9), TrainDevice::Cpu);
    let stop = AtomicBool::new(false);
    trainer(folder.path(), "parts", packed(9), TrainDevice::Cpu)
        .run(&mut StopAfter(4, &stop), &stop)
        .expect("a run");
    let overrides = ResumeOverrides {
        device: TrainDevice::Cpu,
        ..Default::default()
    };
    Trainer::resume(&folder.path().join("parts"), overrides)
        .expect("a run to go on with")
        .run(&mut (), &AtomicBool::new(false))
        .expect("a run");
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let read = |run: &str| {
            fs::read(folder.path().join(run).join("step-000009").join(file)).expect(file)
        };
        assert!(read("whole") == read("parts"), "{file} differs");
    }
}

/// The same bytes with one thread and with three: blocks do not know of each other.
#[test]
fn the_number_of_threads_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = |name: &str, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().expect("threads");
        pool.install(|| run(folder.path(), name, packed(4), TrainDevice::Cpu));
        fs::read(
            folder
                .path()
                .join(name)
                .join("step-000004/model.safetensors"),
        )
        .expect("weights")
    };
    assert!(weights("one", 1) == weights("three", 3));
}

/// Three hundred steps, far enough for the moments to have forgotten their beginning several times.
#[test]
fn a_model_learns_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = |moments| TrainingConfig {
        moments,
        gradient_accumulation_steps: 1,
        eval_every: 300,
        eval_tokens: 4096,
        ..training(300)
    };
    let loss = |name: &str, moments| {
        let stats = run(folder.path(), name, config(moments), TrainDevice::Cpu);
        stats.last_evaluation.expect("an evaluation").loss
    };
    let (full, bytes) = (
        loss("f32", MomentFormat::F32),
        loss("8bit", MomentFormat::EightBit),
    );
    println!("validation loss after 300 steps: f32 {full:.5}, 8bit {bytes:.5}");
    assert!(full < 1.0, "{full}");
    assert!((bytes / full - 1.0).abs() < 0.01, "{full} {bytes}");
    // They are not the same run: the bytes were used.
    assert!(bytes != full);
}

#[test]
fn on_a_gpu_the_kernel_does_what_the_cpu_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let losses = |name: &str, device| {
        let mut recorder = Recorder::default();
        trainer(folder.path(), name, packed(8), device)
            .run(&mut recorder, &AtomicBool::new(false))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        recorder
            .steps
            .iter()
            .map(|step| step.loss)
            .collect::<Vec<f64>>()
    };
    let (cpu, gpu) = (
        losses("cpu", TrainDevice::Cpu),
        losses("gpu", TrainDevice::Gpu),
    );
    println!("cpu: {cpu:?}\ngpu: {gpu:?}");
    for (c, g) in cpu.iter().zip(&gpu) {
        assert!((c - g).abs() < 2e-3, "{cpu:?} {gpu:?}");
    }
    // Eight updates of embedding, head and the seven matrices of each of two layers: 4,096 elements and more.
    assert_eq!(launches("adamw_8bit"), 8 * (2 + 2 * 7));
    // Resuming packs what the checkpoint holds, here on the GPU.
    let moments = |run: &str| {
        let checkpoint = open_checkpoint(&folder.path().join(run).join("step-000008"));
        let optimizer = checkpoint
            .expect("a checkpoint")
            .optimizer
            .expect("moments");
        optimizer
            .tensor("head.weight.v")
            .expect("a tensor")
            .to_vec()
    };
    let (cpu, gpu) = (moments("cpu"), moments("gpu"));
    let sum = |v: &[f32]| v.iter().map(|x| f64::from(*x)).sum::<f64>();
    assert!((sum(&cpu) / sum(&gpu) - 1.0).abs() < 0.02);
    let overrides = ResumeOverrides {
        max_steps: Some(9),
        device: TrainDevice::Gpu,
        ..ResumeOverrides::default()
    };
    let resumed = Trainer::resume(&folder.path().join("gpu"), overrides)
        .unwrap_or_else(|error| panic!("{error}"))
        .run(&mut (), &AtomicBool::new(false))
        .expect("a step");
    assert_eq!((resumed.steps, resumed.nan_steps), (9, 0));
}
