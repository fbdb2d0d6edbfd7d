//! Runs of the trainer on the CPU: the first loss, resuming, skipped steps, gradients. Needs nothing.

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use common::{Recorder, StopAfter, data, model_config, noise, trainer, training, windows};
use ptbr_model::{
    CheckpointContents, MemoryTensors, Optimizer, RwkvConfig, TrainState, TrainingConfig,
    open_checkpoint, preset, save_checkpoint,
};
use ptbr_train::collective::ProcessGroup;
use ptbr_train::model::{ForwardOptions, init::initial_values, parameters::build};
use ptbr_train::optim::GradientSum;
use ptbr_train::{ResumeOverrides, TrainDevice, TrainError, Trainer, TrainerSetup};

/// Builds a model whose tensor values come from the initialisation, changed by `change`.
fn model(config: &RwkvConfig, change: &dyn Fn(&str, &mut [f32])) -> ptbr_train::Rwkv {
    let device = Device::flex().autodiff();
    build::<std::convert::Infallible>(config, &device, &mut |spec| {
        let mut values = initial_values(config, spec, 5);
        change(&spec.name, &mut values);
        Ok(values)
    })
    .unwrap_or_else(|never| match never {})
}

#[test]
fn first_loss_is_that_of_the_published_initialisation() {
    for size in ["nano", "micro"] {
        let config = preset(size).expect("a preset");
        let windows = windows(&config, 8, 128);
        let loss = model(&config, &|_, _| {})
            .forward(&config, &windows, ForwardOptions::EVALUATION)
            .read()
            .loss;
        let expected = (config.vocab_size as f64).ln() + 0.125;
        println!("{size}: {loss:.4}, expected {expected:.4}");
        assert!(
            (loss - expected).abs() < 0.02,
            "{size}: {loss}, not {expected}"
        );
    }
}

/// For every tensor of a small model: the slope along its own gradient, by differences, is the norm of that gradient. A wrong sign, a
/// wrong factor or a missing path anywhere shows in the tensors before it.
#[test]
fn gradient_of_every_tensor_matches_finite_differences() {
    let config = RwkvConfig::new(40, 32, 3, 16);
    let windows = windows(&config, 2, 9);
    let base = model(&config, &noise);
    let mut gradients = GradientSum::default();
    gradients.add(
        &base,
        base.forward(&config, &windows, ForwardOptions::EVALUATION)
            .objective
            .backward(),
    );
    for spec in config.tensor_specs() {
        let gradient = gradients
            .values(&spec.name)
            .expect("every parameter has a gradient");
        let norm = gradient
            .iter()
            .map(|g| f64::from(*g) * f64::from(*g))
            .sum::<f64>()
            .sqrt();
        let loss = |distance: f64| {
            let moved = model(&config, &|name, values| {
                noise(name, values);
                if name == spec.name {
                    values
                        .iter_mut()
                        .zip(&gradient)
                        .for_each(|(v, g)| *v += (distance * f64::from(*g) / norm) as f32);
                }
            });
            moved
                .forward(&config, &windows, ForwardOptions::EVALUATION)
                .read()
                .loss
        };
        // Far enough that the loss changes by much more than its rounding; fourth order, so that this is not too far.
        let h = (0.02 / norm).min(0.02_f64);
        let slope = (8.0 * (loss(h) - loss(-h)) - (loss(2.0 * h) - loss(-2.0 * h))) / (12.0 * h);
        assert!(
            (slope - norm).abs() < 5e-3 * norm + 1e-4,
            "{}: slope {slope}, norm {norm}",
            spec.name
        );
    }
}

/// Some gradients come as parts of one buffer (those of time_decay and time_first do on the CPU), and still each adds up by itself.
#[test]
fn gradients_of_two_micro_batches_add_up() {
    let config = RwkvConfig::new(40, 32, 2, 16);
    let model = model(&config, &|_, values| {
        values
            .iter_mut()
            .enumerate()
            .for_each(|(i, v)| *v += 0.01 * (i % 7) as f32);
    });
    let of = |batches: &[usize]| {
        let mut sum = GradientSum::default();
        for batch in batches {
            let windows = windows(&config, *batch, 9);
            let output = model.forward(&config, &windows, ForwardOptions::EVALUATION);
            sum.add(&model, output.objective.backward());
        }
        sum
    };
    let (one, other, both) = (of(&[2]), of(&[3]), of(&[2, 3]));
    for spec in config.tensor_specs() {
        let [one, other, both] =
            [&one, &other, &both].map(|sum| sum.values(&spec.name).expect("a gradient"));
        assert!(one.iter().chain(&other).any(|g| *g != 0.0), "{}", spec.name);
        for ((a, b), sum) in one.iter().zip(&other).zip(&both) {
            assert!(
                (a + b - sum).abs() <= 1e-6 * (a.abs() + b.abs()),
                "{}: {a} + {b} is not {sum}",
                spec.name
            );
        }
    }
}

#[test]
fn a_stopped_and_resumed_run_ends_with_the_same_bytes() {
    stop_and_resume(training(9));
}

#[test]
fn so_does_one_with_muon_and_one_with_carried_states() {
    stop_and_resume(TrainingConfig {
        optimizer: Optimizer::Muon,
        ..training(9)
    });
    stop_and_resume(TrainingConfig {
        carry_state: true,
        ..training(9)
    });
}

fn stop_and_resume(config: TrainingConfig) {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = trainer(folder.path(), "whole", config.clone(), TrainDevice::Cpu)
        .run(&mut (), &AtomicBool::new(false))
        .expect("a run");
    assert!(!whole.stopped_by_user);

    let stop = AtomicBool::new(false);
    let stats = trainer(folder.path(), "parts", config, TrainDevice::Cpu)
        .run(&mut StopAfter(4, &stop), &stop)
        .expect("a run");
    assert!(stats.stopped_by_user && stats.steps == 4);
    let resume = || {
        Trainer::resume(
            &folder.path().join("parts"),
            ResumeOverrides {
                device: TrainDevice::Cpu,
                ..Default::default()
            },
        )
    };
    resume()
        .expect("a run to go on with")
        .run(&mut (), &AtomicBool::new(false))
        .expect("a run");

    for file in ["model.safetensors", "optimizer.safetensors"] {
        let read = |run: &str| {
            fs::read(folder.path().join(run).join("step-000009").join(file)).expect(file)
        };
        assert!(read("whole") == read("parts"), "{file} differs");
    }
    let error = resume().err().expect("nothing is left to do");
    assert!(
        matches!(
            error,
            TrainError::Finished {
                step: 9,
                max_steps: 9
            }
        ),
        "{error}"
    );
    let csv = fs::read_to_string(folder.path().join("parts/metrics.csv")).expect("metrics.csv");
    assert_eq!(csv.lines().count(), 1 + 9, "{csv}");
}

#[test]
fn steps_that_are_no_numbers_are_skipped_counted_and_at_last_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = TrainingConfig {
        max_nan_steps: 2,
        ..training(50)
    };
    let stop = AtomicBool::new(false);
    trainer(folder.path(), "run", config, TrainDevice::Cpu)
        .run(&mut StopAfter(1, &stop), &stop)
        .expect("a run");
    // Finite weights, but their products overflow.
    let run = folder.path().join("run");
    let checkpoint = open_checkpoint(&run.join("step-000001")).expect("a checkpoint");
    let mut weights = MemoryTensors::new();
    for spec in checkpoint.config.tensor_specs() {
        let mut values = checkpoint
            .model
            .tensor(&spec.name)
            .expect("a tensor")
            .to_vec();
        if spec.name == "head.weight" {
            values.iter_mut().for_each(|v| *v = v.signum() * 3e38);
        }
        weights.push(spec, values);
    }
    let contents = CheckpointContents {
        config: &checkpoint.config,
        tokenizer_json: checkpoint.tokenizer_json.as_deref(),
        model: &weights,
        optimizer: None,
        state: &TrainState {
            step: 2,
            ..checkpoint.state.clone()
        },
    };
    save_checkpoint(&run, &contents).expect("a checkpoint");

    let mut recorder = Recorder::default();
    let mut trainer = Trainer::resume(
        &run,
        ResumeOverrides {
            device: TrainDevice::Cpu,
            ..Default::default()
        },
    )
    .expect("a run");
    match trainer.run(&mut recorder, &AtomicBool::new(false)) {
        Err(TrainError::Diverged { count, step }) => {
            assert_eq!((count, step), (3, 5));
            assert!(recorder.steps.len() == 3 && recorder.steps.iter().all(|step| step.skipped));
        }
        other => panic!(
            "expected a diverged run, got {:?}",
            other.map(|stats| stats.ema_loss)
        ),
    }
}

#[test]
fn evaluation_falls_and_early_stopping_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    // A rate of nearly nothing after the warm-up cannot improve by much, and the patience runs out.
    let config = TrainingConfig {
        eval_every: 5,
        early_stopping_patience: 1,
        learning_rate: 1e-2,
        min_lr_ratio: 0.0,
        ..training(200)
    };
    let stats = trainer(folder.path(), "run", config, TrainDevice::Cpu)
        .run(&mut (), &AtomicBool::new(false))
        .expect("a run");
    let best = stats.best_eval_loss.expect("evaluations");
    assert!(best < 2.0, "{best}");
    let last = stats.last_evaluation.expect("an evaluation");
    assert!(
        (last.perplexity - last.loss.exp()).abs() < 1e-9
            && last.bits_per_byte > 0.0
            && last.accuracy > 0.3,
        "{last:?}"
    );
}

#[test]
fn bad_setups_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tokenizer, tokens) = data(folder.path());
    let setup = |training: TrainingConfig, config: RwkvConfig| {
        Trainer::new(TrainerSetup {
            model_config: config,
            training,
            tokenizer_json: tokenizer.to_json(),
            data: Arc::clone(&tokens),
            val: None,
            output_dir: folder.path().join("refused"),
            device: TrainDevice::Cpu,
            group: ProcessGroup::solo(),
        })
        .err()
        .expect("a refusal")
        .to_string()
    };
    let good = model_config(&tokenizer);
    let cases = [
        (
            setup(
                TrainingConfig {
                    batch_size: 0,
                    ..training(5)
                },
                good.clone(),
            ),
            "`batch_size` is 0",
        ),
        (
            setup(
                TrainingConfig {
                    learning_rate: -3e-4,
                    ..training(5)
                },
                good.clone(),
            ),
            "`learning_rate` is -0.0003",
        ),
        (
            setup(
                training(5),
                RwkvConfig {
                    vocab_size: 70_000,
                    ..good.clone()
                },
            ),
            "vocab_size",
        ),
        (
            setup(
                training(5),
                RwkvConfig {
                    vocab_size: 10,
                    ..good
                },
            ),
            "vocabulary",
        ),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "{message}");
    }
    assert!(!folder.path().join("refused").exists());
}
