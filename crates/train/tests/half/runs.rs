//! Runs in f16: against f32, overflows, checkpoints.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ptbr_model::{
    CheckpointContents, GradScalerConfig, LossScaleState, MemoryTensors, Precision, TrainState,
    TrainingConfig, WeightFormat, open_checkpoint, save_checkpoint,
};
use ptbr_train::fine_tune::BaseModel;
use ptbr_train::ops::kernels::launches;
use ptbr_train::{ResumeOverrides, StepReport, TrainDevice, TrainError, TrainStats, Trainer};

use crate::common::{
    Recorder, StopAfter, all_targets, base_file, fine_tune_with, trainer, training, try_trainer,
    tuning_run,
};
use crate::turn;

const STEPS: u64 = 20;

fn half(max_steps: u64) -> TrainingConfig {
    TrainingConfig {
        precision: Precision::F16,
        ..training(max_steps)
    }
}

/// As little as shows what happens to a step.
fn small(max_steps: u64) -> TrainingConfig {
    TrainingConfig {
        batch_size: 2,
        gradient_accumulation_steps: 1,
        ..half(max_steps)
    }
}

/// Runs to the end.
fn run(mut trainer: Trainer) -> (TrainStats, Vec<StepReport>) {
    let mut recorder = Recorder::default();
    let stats = trainer
        .run(&mut recorder, &AtomicBool::new(false))
        .unwrap_or_else(|error| panic!("{error}"));
    (stats, recorder.steps)
}

fn losses(steps: &[StepReport]) -> Vec<f64> {
    steps.iter().map(|step| step.loss).collect()
}

/// The kernels that a run launches, and how often so far.
fn counts() -> [u64; 4] {
    ["f32_to_f16", "matmul_f16", "grad_stats", "grad_unscale"].map(launches)
}

#[test]
fn half_precision_is_close_to_f32_and_takes_the_kernels() {
    let _turn = turn();
    let folder = tempfile::tempdir().expect("a folder");
    let before = counts();
    let (_, full) = run(trainer(
        folder.path(),
        "f32",
        training(STEPS),
        TrainDevice::Gpu,
    ));
    let between = counts();
    assert_eq!(
        between[..2],
        before[..2],
        "f32 has no business with products in f16"
    );
    let (stats, half) = run(trainer(folder.path(), "f16", half(STEPS), TrainDevice::Gpu));
    let after = counts();
    let (full, scales) = (
        losses(&full),
        half.iter().map(|s| s.loss_scale).collect::<Vec<_>>(),
    );
    let half = losses(&half);
    println!("f32: {full:?}\nf16: {half:?}\n{scales:?}");
    assert_eq!((stats.steps, stats.nan_steps), (STEPS, 0));
    for (step, (f, h)) in full.iter().zip(&half).enumerate() {
        assert!(
            (f - h).abs() < 0.01 * f,
            "step {step}: {f} in f32, {h} in f16"
        );
    }
    assert_ne!(full, half, "the products were not in f16");
    assert!(half[0] - half[half.len() - 1] > 0.5, "{half:?}");
    let launched: Vec<u64> = between.iter().zip(after).map(|(b, a)| a - b).collect();
    // Seven products a layer, two layers, and the head; two micro-batches a step. A product rounds x, W and the gradient of y.
    let products = STEPS * 2 * (2 * 7 + 1);
    assert_eq!(launched[..2], [3 * products, 3 * products]);
    // Every parameter once a step, 64 elements or 300 · 64: no tensor of this model has more than one block.
    let parameters = STEPS * (2 * 18 + 6);
    assert_eq!(launched[2..], [parameters, parameters]);
}

/// The weights and the moments after a step.
fn tensors(run: &Path, step: u64) -> [Vec<u8>; 2] {
    let folder = run.join(format!("step-{step:06}"));
    ["model.safetensors", "optimizer.safetensors"]
        .map(|file| fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}")))
}

#[test]
fn an_overflow_skips_the_step_halves_the_scale_and_loses_nothing() {
    let _turn = turn();
    let folder = tempfile::tempdir().expect("a folder");
    // The scale grows by 16 with every step that is taken: gradients overflow, by a real infinity in f16, when moments are there already.
    let (steps, growth) = (10, 16.0);
    let config = TrainingConfig {
        grad_scaler: GradScalerConfig {
            growth,
            growth_interval: 1,
            ..GradScalerConfig::default()
        },
        save_every: 1,
        keep_last: 0,
        max_nan_steps: 0,
        ..small(steps)
    };
    let (stats, reports) = run(trainer(folder.path(), "run", config, TrainDevice::Gpu));
    assert_eq!((stats.steps, stats.nan_steps), (steps, 0));
    let run = folder.path().join("run");
    let (mut scale, mut taken, mut before) = (65_536.0, 0, None);
    for report in &reports {
        assert_eq!(report.loss_scale, Some(scale), "step {}", report.step);
        let now = tensors(&run, report.step);
        let state = open_checkpoint(&run.join(format!("step-{:06}", report.step)));
        let state = state.expect("a checkpoint").state;
        if report.skipped {
            assert!(!report.grad_norm.is_finite() && report.loss.is_finite());
            assert!(before.is_none_or(|before| before == now), "{}", report.step);
            scale *= 0.5;
        } else {
            assert!(before.is_none_or(|before| before != now), "{}", report.step);
            (scale, taken) = (f64::min(scale * growth, 4_294_967_296.0), taken + 1);
        }
        let saved = state.loss_scale.expect("a loss scale");
        assert_eq!((saved.scale, state.optimizer_steps), (scale, taken));
        before = Some(now);
    }
    let skipped: Vec<bool> = reports.iter().map(|report| report.skipped).collect();
    println!("skipped: {skipped:?}");
    assert!(
        !skipped[0] && skipped.contains(&true) && taken > 2,
        "{skipped:?}"
    );
    let csv = fs::read_to_string(run.join("metrics.csv")).expect("metrics.csv");
    let first = csv.lines().nth(1).expect("a row");
    assert!(first.ends_with(",65536"), "{first}");
}

#[test]
fn a_resumed_run_keeps_its_scale_and_a_weight_that_f16_cannot_hold_ends_it_at_the_floor() {
    let _turn = turn();
    let folder = tempfile::tempdir().expect("a folder");
    let config = TrainingConfig {
        grad_scaler: GradScalerConfig {
            initial_scale: 64.0,
            growth_interval: 3,
            ..GradScalerConfig::default()
        },
        max_nan_steps: 2,
        ..small(30)
    };
    let stop = AtomicBool::new(false);
    trainer(folder.path(), "run", config, TrainDevice::Gpu)
        .run(&mut StopAfter(4, &stop), &stop)
        .expect("a run");
    let run_folder = folder.path().join("run");
    let checkpoint = open_checkpoint(&run_folder.join("step-000004")).expect("a checkpoint");
    let grown = LossScaleState {
        scale: 128.0,
        good_steps: 1,
    };
    assert_eq!(checkpoint.state.loss_scale, Some(grown));

    let resume = |device| {
        let overrides = ResumeOverrides {
            device,
            ..Default::default()
        };
        Trainer::resume(&run_folder, overrides).expect("a run to go on with")
    };
    let on_cpu = resume(TrainDevice::Cpu);
    assert_eq!(on_cpu.precision(), Precision::F32);
    assert_eq!(on_cpu.state().loss_scale, Some(grown), "kept for a GPU");
    drop(on_cpu);

    // A finite weight that is infinite in f16: whatever the scale, the products are.
    let mut weights = MemoryTensors::new();
    for spec in checkpoint.config.tensor_specs() {
        let tensor = checkpoint.model.tensor(&spec.name).expect("a tensor");
        let mut values = tensor.to_vec();
        if spec.name == "blocks.1.ffn.value.weight" {
            values[7] = 70_000.0;
        }
        weights.push(spec, values);
    }
    let contents = CheckpointContents {
        config: &checkpoint.config,
        tokenizer_json: checkpoint.tokenizer_json.as_deref(),
        model: &weights,
        optimizer: None,
        state: &TrainState {
            step: 5,
            ..checkpoint.state.clone()
        },
    };
    save_checkpoint(&run_folder, &contents).expect("a checkpoint");
    let mut trainer = resume(TrainDevice::Gpu);
    assert_eq!(trainer.precision(), Precision::F16);
    let mut recorder = Recorder::default();
    match trainer.run(&mut recorder, &AtomicBool::new(false)) {
        Err(TrainError::Diverged { count, .. }) => assert_eq!(count, 3),
        other => panic!("{:?}", other.map(|stats| stats.steps)),
    }
    // 128 to 1 in seven steps, which count as nothing, and three at the floor.
    let scales: Vec<f64> = recorder.steps.iter().filter_map(|s| s.loss_scale).collect();
    let expected = [128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 1.0, 1.0];
    assert_eq!(scales, expected);
    assert!(recorder.steps.iter().all(|step| step.skipped));
}

#[test]
fn low_rank_changes_are_tuned_in_f16_as_in_f32() {
    let _turn = turn();
    let folder = tempfile::tempdir().expect("a folder");
    let path = base_file(folder.path(), WeightFormat::Int8);
    let base = BaseModel::open(&path, TrainDevice::Gpu).expect("a base");
    let losses = |precision| {
        let tuning = all_targets();
        let training = TrainingConfig {
            precision,
            ..tuning_run(&tuning, 3)
        };
        let name = format!("{precision}");
        losses(
            &run(fine_tune_with(
                folder.path(),
                &name,
                &base,
                &tuning,
                training,
            ))
            .1,
        )
    };
    let full = losses(Precision::F32);
    let before = launches("matmul_f16");
    let half = losses(Precision::F16);
    // Three products for each target (its own, and the two of rank 3, which is odd) of two layers with seven, and of the head, in the
    // two micro-batches of three steps. No gradient of a frozen matrix is formed, and nothing below the first layer wants one of x.
    println!(
        "f32: {full:?}\nf16: {half:?}, {} products",
        launches("matmul_f16") - before
    );
    assert!(launches("matmul_f16") - before > 3 * 2 * 15 * 3);
    for (step, (f, h)) in full.iter().zip(&half).enumerate() {
        assert!(
            (f - h).abs() < 0.01 * f,
            "step {step}: {f} in f32, {h} in f16"
        );
    }
    assert_ne!(full, half);
}

#[test]
fn half_precision_on_the_cpu_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = try_trainer(folder.path(), "run", half(2), TrainDevice::Cpu);
    let error = refused.err().expect("a refusal").to_string();
    assert!(error.contains("leave it out"), "{error}");
    assert!(!folder.path().join("run").exists());
}
