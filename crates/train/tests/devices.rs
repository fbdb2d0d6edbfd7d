//! The same run on the CPU and on a GPU adapter (a software one will do). Needs an adapter.

mod common;

use std::sync::atomic::AtomicBool;

use common::{Recorder, adapter, trainer, training};
use ptbr_model::{Optimizer, TrainingConfig};
use ptbr_train::TrainDevice;
use ptbr_train::ops::wkv::{cubecl_launches, wgsl_launches};

const STEPS: u64 = 20;

/// Muon in tensor operations, and states carried from window to window through the kernel's slots.
#[test]
fn so_do_three_with_muon_and_carried_states() {
    let folder = tempfile::tempdir().expect("a folder");
    let losses = |name: &str, device| {
        let training = TrainingConfig {
            optimizer: Optimizer::Muon,
            carry_state: true,
            ..training(3)
        };
        let mut recorder = Recorder::default();
        trainer(folder.path(), name, training, device)
            .run(&mut recorder, &AtomicBool::new(false))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let losses = recorder.steps.iter().map(|step| step.loss);
        losses.collect::<Vec<f64>>()
    };
    let cpu = losses("carried-cpu", TrainDevice::Cpu);
    let gpu = losses("carried-gpu", TrainDevice::Gpu);
    println!("cpu: {cpu:?}\ngpu: {gpu:?}");
    assert!(cpu.iter().zip(&gpu).all(|(c, g)| (c - g).abs() < 1e-3));
}

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
    let gpu = losses("gpu", TrainDevice::Gpu);
    // Forward and backward, two layers, two micro-batches a step; the other test of this program adds its own.
    let launches = if cfg!(any(feature = "vulkan", feature = "metal")) {
        assert_eq!(wgsl_launches(), 0, "this build compiles no WGSL");
        cubecl_launches()
    } else {
        wgsl_launches()
    };
    assert!(launches >= STEPS * 2 * 2 * 2, "{launches}");
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
