//! The same run on the CPU and on a GPU adapter (a software one will do). Needs an adapter.

mod common;

use std::sync::atomic::AtomicBool;

use common::{Recorder, adapter, trainer, training};
use ptbr_train::{TrainDevice, ops::wkv::wgsl_launches};

const STEPS: u64 = 20;

#[test]
fn twenty_steps_agree_between_cpu_and_gpu() {
    adapter();
    let folder = tempfile::tempdir().expect("a folder");
    let losses = |name: &str, device| {
        let mut recorder = Recorder::default();
        let stats = trainer(folder.path(), name, training(STEPS), device)
            .run(&mut recorder, &AtomicBool::new(false))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(stats.steps, STEPS);
        assert_eq!(stats.nan_steps, 0);
        recorder
            .steps
            .iter()
            .map(|step| step.loss)
            .collect::<Vec<f64>>()
    };
    let cpu = losses("cpu", TrainDevice::Cpu);
    assert_eq!(
        wgsl_launches(),
        0,
        "the CPU run has no business with the GPU kernels"
    );
    let gpu = losses("gpu", TrainDevice::Gpu);
    // Forward and backward, two layers, two micro-batches a step.
    assert_eq!(wgsl_launches(), STEPS * 2 * 2 * 2);
    println!("cpu: {cpu:?}\ngpu: {gpu:?}");
    for (step, (c, g)) in cpu.iter().zip(&gpu).enumerate() {
        assert!(
            (c - g).abs() < 1e-3,
            "step {step}: {c} on the CPU, {g} on the GPU"
        );
    }
    assert!(cpu[0] - cpu[cpu.len() - 1] > 0.5, "{cpu:?}");
    assert!(gpu[0] - gpu[gpu.len() - 1] > 0.5, "{gpu:?}");
}
