//! Runs of the trainer on the CPU: the first loss, resuming, skipped steps, gradients. Needs nothing.

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use common::{Recorder, data, model_config, trainer, training};
use ptbr_model::{RwkvConfig, TrainingConfig};
use ptbr_train::model::{ForwardOptions, Windows, init::initial_values, parameters::build};
use ptbr_train::{
    ResumeOverrides, StepReport, TrainDevice, TrainError, TrainObserver, Trainer, TrainerSetup,
};

/// Builds a model whose tensor values come from the initialisation, changed by `change`.
fn model(config: &RwkvConfig, change: &dyn Fn(&str, &mut Vec<f32>)) -> ptbr_train::Rwkv {
    let device = Device::flex().autodiff();
    build::<std::convert::Infallible>(config, &device, &mut |spec| {
        let mut values = initial_values(config, spec, 5);
        change(&spec.name, &mut values);
        Ok(values)
    })
    .unwrap_or_else(|never| match never {})
}

fn windows(config: &RwkvConfig, batch: usize, seq_len: usize) -> Windows {
    let token = |i: usize| ((i * i * 31 + i * 17) % config.vocab_size) as u16;
    let (inputs, targets) = (
        (0..batch * seq_len).map(token).collect(),
        (1..=batch * seq_len).map(token).collect(),
    );
    Windows {
        inputs: Arc::new(inputs),
        targets: Arc::new(targets),
        seq_len,
    }
}

#[test]
fn first_loss_is_that_of_the_published_initialisation() {
    for (vocab, d_model, n_layers) in [(2048, 128, 4), (8192, 256, 2), (300, 64, 1)] {
        let config = RwkvConfig::new(vocab, d_model, n_layers, 128);
        let loss = model(&config, &|_, _| {})
            .forward(
                &config,
                &windows(&config, 8, 128),
                ForwardOptions::EVALUATION,
            )
            .read()
            .loss;
        let expected = (vocab as f64).ln() + 0.125;
        assert!(
            (loss - expected).abs() < 0.02,
            "{vocab}×{d_model}×{n_layers}: {loss}, not {expected}"
        );
    }
}

/// The whole model's gradient in random directions against central differences: catches a wrong sign or a missing path anywhere.
#[test]
fn gradient_of_the_whole_model_matches_finite_differences() {
    let config = RwkvConfig::new(40, 32, 3, 16);
    // Nothing may be zero, or half of the paths would carry no gradient.
    let noise = |name: &str, values: &mut Vec<f32>, direction: f32| {
        let salt = name
            .bytes()
            .fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        for (i, v) in values.iter_mut().enumerate() {
            let unit = |k: u64| {
                (((salt ^ k)
                    .wrapping_add(i as u64)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    >> 33)
                    % 2001) as f32
                    / 1000.0
                    - 1.0
            };
            *v += 0.15 * unit(1) + direction * unit(2);
        }
    };
    let windows = windows(&config, 2, 9);
    let loss = |direction: f32| {
        let model = model(&config, &|name, values| noise(name, values, direction));
        model.forward(&config, &windows, ForwardOptions::EVALUATION)
    };
    let step = 1e-2f32;
    let numeric = (loss(step).read().loss - loss(-step).read().loss) / (2.0 * f64::from(step));

    let at = model(&config, &|name, values| noise(name, values, 0.0));
    let grads = at
        .forward(&config, &windows, ForwardOptions::EVALUATION)
        .objective
        .backward();
    let mut sum = ptbr_train::optim::GradientSum::default();
    sum.add(&at, grads);
    let mut analytic = 0.0;
    for spec in config.tensor_specs() {
        let mut direction = vec![0.0; spec.num_elements().expect("a small model")];
        noise(&spec.name, &mut direction, 1.0);
        let mut base = vec![0.0; direction.len()];
        noise(&spec.name, &mut base, 0.0);
        let gradient = sum
            .values(&spec.name)
            .expect("every parameter has a gradient");
        analytic += gradient
            .iter()
            .zip(direction.iter().zip(&base))
            .map(|(g, (d, b))| f64::from(*g) * f64::from(d - b))
            .sum::<f64>();
    }
    println!("numeric {numeric}, analytic {analytic}");
    assert!(
        (numeric - analytic).abs() < 2e-3 * analytic.abs().max(1.0),
        "{numeric} {analytic}"
    );
}

/// Stops a run after a number of steps.
struct StopAfter<'a>(u64, &'a AtomicBool);

impl TrainObserver for StopAfter<'_> {
    fn on_step(&mut self, report: &StepReport) {
        if report.step == self.0 {
            self.1.store(true, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_stopped_and_resumed_run_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = trainer(folder.path(), "whole", training(9), TrainDevice::Cpu)
        .run(&mut (), &AtomicBool::new(false))
        .expect("a run");
    assert!(!whole.stopped_by_user);

    let stop = AtomicBool::new(false);
    let stats = trainer(folder.path(), "parts", training(9), TrainDevice::Cpu)
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
fn an_infinite_learning_signal_is_skipped_counted_and_at_last_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    // The largest rate that is allowed, without clipping and warm-up, blows this model up.
    let config = TrainingConfig {
        learning_rate: 1.0,
        min_lr_ratio: 1.0,
        warmup_steps: 0,
        gradient_clip: 0.0,
        max_nan_steps: 2,
        weight_decay: 1.0,
        ..training(500)
    };
    let mut recorder = Recorder::default();
    let result = trainer(folder.path(), "run", config, TrainDevice::Cpu)
        .run(&mut recorder, &AtomicBool::new(false));
    match result {
        Err(TrainError::Diverged { count, .. }) => {
            assert_eq!(count, 3);
            assert_eq!(recorder.steps.iter().filter(|step| step.skipped).count(), 3);
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
