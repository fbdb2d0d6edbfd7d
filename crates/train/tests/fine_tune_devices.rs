//! Fine-tuning on the CPU and on a GPU adapter (a software one will do). Needs an adapter.

mod common;

use std::sync::atomic::AtomicBool;

use common::{Recorder, adapter, all_targets, base_file, fine_tune, state_tuning};
use ptbr_model::WeightFormat;
use ptbr_train::fine_tune::BaseModel;
use ptbr_train::{TrainDevice, ops::wkv::wgsl_launches};

#[test]
fn five_steps_agree_between_cpu_and_gpu() {
    adapter();
    let folder = tempfile::tempdir().expect("a folder");
    let path = base_file(folder.path(), WeightFormat::Int8);
    for (method, tuning) in [("lora", all_targets()), ("state", state_tuning())] {
        let losses = |device| {
            let base = BaseModel::open(&path, device).expect("a base");
            let mut recorder = Recorder::default();
            let name = format!("{method}-{device:?}");
            let stats = fine_tune(folder.path(), &name, &base, &tuning, 5)
                .run(&mut recorder, &AtomicBool::new(false))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((stats.steps, stats.nan_steps), (5, 0));
            let steps = recorder.steps.iter().map(|step| step.loss);
            (steps.collect::<Vec<f64>>(), stats.best_eval_loss)
        };
        let (cpu, gpu) = (losses(TrainDevice::Cpu), losses(TrainDevice::Gpu));
        println!("{method}\ncpu: {cpu:?}\ngpu: {gpu:?}");
        for (step, (c, g)) in cpu.0.iter().zip(&gpu.0).enumerate() {
            assert!(
                (c - g).abs() < 1e-3,
                "{method}, step {step}: {c} on the CPU, {g} on the GPU"
            );
        }
        let evaluated = cpu.1.zip(gpu.1).expect("evaluations");
        assert!((evaluated.0 - evaluated.1).abs() < 1e-3, "{evaluated:?}");
        assert!(
            wgsl_launches() > 0,
            "the GPU run did not take the hand-written kernels"
        );
    }
}
