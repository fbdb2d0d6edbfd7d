//! Gradients by segments of layers against those of the whole, on the CPU and on a GPU adapter (a software one will do). Needs an adapter.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Device;
use common::{all_targets, base_file, noise_at, state_tuning, windows};
use ptbr_model::{
    DomainFineTuneConfig, GradientCheckpointing, Precision, RwkvConfig, TensorSpec, WeightFormat,
};
use ptbr_train::TrainDevice;
use ptbr_train::fine_tune::{BaseModel, initial_values, trained_specs, tuned_model};
use ptbr_train::model::{
    BLOCK_LOGITS, BackwardOptions, ForwardOptions, Rwkv, init, parameters::build,
};
use ptbr_train::ops::wkv::wgsl_launches;
use ptbr_train::optim::GradientSum;

const POLICIES: [&str; 5] = ["balanced", "aggressive", "every-2", "0,1,4", "0,4"];

/// Held by every test that launches kernels: launches are counted by the process.
static GPU: Mutex<()> = Mutex::new(());

fn alone_on_the_gpu() -> MutexGuard<'static, ()> {
    GPU.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A model of five layers in which nothing is zero: half of the paths would carry no gradient.
fn model(config: &RwkvConfig, device: &Device) -> Rwkv {
    let values = &mut |spec: &TensorSpec| {
        let mut values = init::initial_values(config, spec, 5);
        for (i, value) in values.iter_mut().enumerate() {
            *value += 0.2 * noise_at(&spec.name, i);
        }
        Ok::<_, std::convert::Infallible>(values)
    };
    build(config, device, values).unwrap_or_else(|never| match never {})
}

/// A model, its sizes, and what it is multiplied in.
type Setup<'a> = (&'a Rwkv, &'a RwkvConfig, Precision);

/// The gradients of two micro-batches by parameter, and the loss of the last.
struct Found {
    gradients: Vec<(String, Option<Vec<f32>>)>,
    loss: f64,
    correct: f64,
}

/// Dropout and L2Wrap too: masks must come back the second time.
fn options(micro_batch: u64, precision: Precision) -> ForwardOptions {
    ForwardOptions {
        dropout: 0.2,
        seed: 9,
        micro_batch,
        l2_wrap: 1e-2,
        precision,
    }
}

fn found(
    (model, config, precision): Setup<'_>,
    specs: &[TensorSpec],
    policy: &str,
    block_logits: usize,
) -> Found {
    let policy: GradientCheckpointing = policy.parse().expect("a policy");
    let segments = policy.segments(config.n_layers);
    let backward = BackwardOptions {
        segments: &segments,
        loss_scale: 1.0,
        block_logits,
    };
    let windows = windows(config, 3, 11);
    let mut sum = GradientSum::default();
    let mut report = None;
    for micro_batch in 0..2 {
        report = Some(model.backward(
            config,
            &windows,
            options(micro_batch, precision),
            backward,
            &mut sum,
        ));
    }
    let report = report.expect("two micro-batches").read();
    let gradient = |spec: &TensorSpec| (spec.name.clone(), sum.values(&spec.name));
    Found {
        gradients: specs.iter().map(gradient).collect(),
        loss: report.loss,
        correct: report.correct,
    }
}

/// What the trainer did before there were segments: one graph, differentiated as a whole.
fn whole((model, config, precision): Setup<'_>, specs: &[TensorSpec]) -> Found {
    let windows = windows(config, 3, 11);
    let mut sum = GradientSum::default();
    let mut report = None;
    for micro_batch in 0..2 {
        let output = model.forward(config, &windows, options(micro_batch, precision));
        sum.add(model, output.objective.backward());
        report = Some(output.read());
    }
    let report = report.expect("two micro-batches");
    let gradient = |spec: &TensorSpec| (spec.name.clone(), sum.values(&spec.name));
    Found {
        gradients: specs.iter().map(gradient).collect(),
        loss: report.loss,
        correct: report.correct,
    }
}

fn assert_same_bits(expected: &Found, found: &Found, what: &str) {
    let bits = |values: &Option<Vec<f32>>| {
        let values = values.as_ref();
        values.map(|values| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
    };
    for ((name, expected), (_, found)) in expected.gradients.iter().zip(&found.gradients) {
        assert!(bits(expected) == bits(found), "{what}: {name}");
    }
    assert_eq!(expected.loss.to_bits(), found.loss.to_bits(), "{what}");
    assert_eq!(expected.correct, found.correct, "{what}");
}

/// The largest difference between two tensors as a part of the largest element.
fn relative(a: &[f32], b: &[f32]) -> f32 {
    let largest = a.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let pairs = a.iter().zip(b);
    let apart = pairs.fold(0.0f32, |most, (x, y)| most.max((x - y).abs()));
    apart / largest.max(f32::MIN_POSITIVE)
}

fn assert_close(expected: &Found, found: &Found, most: f32, what: &str) {
    for ((name, expected), (_, found)) in expected.gradients.iter().zip(&found.gradients) {
        match (expected, found) {
            (Some(expected), Some(found)) => {
                let difference = relative(expected, found);
                assert!(difference < most, "{what}: {name} differs by {difference}");
            }
            (expected, found) => assert_eq!(expected.is_some(), found.is_some(), "{what}: {name}"),
        }
    }
    assert!((expected.loss - found.loss).abs() < 1e-5, "{what}");
    assert_eq!(expected.correct, found.correct, "{what}");
}

#[test]
fn on_the_cpu_every_policy_gives_the_same_bits() {
    let config = RwkvConfig::new(40, 32, 5, 16);
    let model = model(&config, &Device::flex().autodiff());
    let specs = config.tensor_specs();
    let expected = whole((&model, &config, Precision::F32), &specs);
    assert!(expected.gradients.iter().all(|(_, g)| g.is_some()));
    for policy in ["off"].into_iter().chain(POLICIES) {
        let found = found(
            (&model, &config, Precision::F32),
            &specs,
            policy,
            BLOCK_LOGITS,
        );
        assert_same_bits(&expected, &found, policy);
    }
}

/// What is trained: everything that can be; only the second layer; nothing but the head; the initial states.
fn tunings() -> Vec<(&'static str, DomainFineTuneConfig)> {
    let targets = |targets: &[&str]| DomainFineTuneConfig {
        targets: targets.iter().map(|t| (*t).to_owned()).collect(),
        ..all_targets()
    };
    vec![
        ("all targets", all_targets()),
        ("the second layer", targets(&["blocks.1"])),
        ("the first layer", targets(&["blocks.0"])),
        ("the head", targets(&["head"])),
        ("states", state_tuning()),
    ]
}

#[test]
fn fine_tuning_by_segments_trains_the_same_parameters_with_the_same_gradients() {
    let _alone = alone_on_the_gpu();
    let folder = tempfile::tempdir().expect("a folder");
    let path = base_file(folder.path(), WeightFormat::Int8);
    for device in [TrainDevice::Cpu, TrainDevice::Gpu] {
        let base = BaseModel::open(&path, device).unwrap_or_else(|error| panic!("{error}"));
        let config = base.config();
        for (what, tuning) in tunings() {
            let specs = trained_specs(&tuning, config).expect("targets");
            let values = &mut |spec: &TensorSpec| {
                let mut values = initial_values(&base, spec, 11)?;
                for (i, value) in values.iter_mut().enumerate() {
                    *value += 0.1 * noise_at(&spec.name, i);
                }
                Ok(values)
            };
            let model = tuned_model(&base, &tuning, &specs, values).expect("a model");
            let expected = whole((&model, config, Precision::F32), &specs);
            assert!(
                expected.gradients.iter().all(|(_, g)| g.is_some()),
                "{what}"
            );
            let found = found(
                (&model, config, Precision::F32),
                &specs,
                "aggressive",
                7 * config.vocab_size,
            );
            match device {
                TrainDevice::Cpu => assert_same_bits(&expected, &found, what),
                _ => assert_close(&expected, &found, 1e-5, what),
            }
        }
    }
}

/// Segments and blocks of logits together, against one graph with whole logits.
#[test]
fn on_a_gpu_segments_and_blocks_of_logits_give_the_same_gradients() {
    let _alone = alone_on_the_gpu();
    let selected = TrainDevice::Gpu
        .select()
        .unwrap_or_else(|error| panic!("{error}"));
    println!("adapter: {}", selected.name);
    let config = RwkvConfig::new(40, 32, 5, 16);
    let model = model(&config, &selected.device.clone().autodiff());
    let specs = config.tensor_specs();
    let launches = |work: &dyn Fn() -> Found| {
        let before = wgsl_launches();
        (work(), wgsl_launches() - before)
    };
    let (expected, whole_launches) = launches(&|| whole((&model, &config, Precision::F32), &specs));
    // Forward and backward of five layers, two micro-batches.
    assert_eq!(whole_launches, 20);
    // 33 rows: one block; five of seven rows, the last shorter; a block for each row.
    for (policy, block_logits, forward_again) in [
        ("off", BLOCK_LOGITS, 0),
        ("off", 7 * 40 + 1, 0),
        ("aggressive", 7 * 40, 4),
        ("balanced", 1, 3),
    ] {
        let what = format!("{policy} with {block_logits} logits");
        let (found, count) = launches(&|| {
            found(
                (&model, &config, Precision::F32),
                &specs,
                policy,
                block_logits,
            )
        });
        assert_close(&expected, &found, 1e-5, &what);
        assert_eq!(count, 20 + 2 * forward_again, "{what}");
    }
    // In f16 the second forward pass rounds what the first did.
    let half = (&model, &config, Precision::F16);
    let (expected, found) = (
        whole(half, &specs),
        found(half, &specs, "aggressive", BLOCK_LOGITS),
    );
    assert_close(&expected, &found, 1e-5, "f16");
    // Without gradients, as evaluation asks for it.
    let plain = burn::module::Module::valid(&model);
    let windows = windows(&config, 3, 11);
    let one = plain
        .forward(&config, &windows, ForwardOptions::EVALUATION)
        .read();
    let blocks = plain.loss(&config, &windows, 7 * 40).read();
    assert!((one.loss - blocks.loss).abs() < 1e-6 && one.correct == blocks.correct);
}

/// f16's loss scaling multiplies the objective before anything is differentiated.
#[test]
fn the_loss_scale_multiplies_every_gradient() {
    let _alone = alone_on_the_gpu();
    let config = RwkvConfig::new(40, 32, 3, 16);
    let windows = windows(&config, 2, 9);
    let gpu = TrainDevice::Gpu
        .select()
        .unwrap_or_else(|error| panic!("{error}"));
    for device in [Device::flex(), gpu.device] {
        let model = model(&config, &device.autodiff());
        let segments = GradientCheckpointing::Aggressive.segments(config.n_layers);
        let of_scale = |loss_scale| {
            let backward = BackwardOptions {
                segments: &segments,
                loss_scale,
                block_logits: 100,
            };
            let mut sum = GradientSum::default();
            let report = model.backward(
                &config,
                &windows,
                options(0, Precision::F32),
                backward,
                &mut sum,
            );
            let measured = sum.measure(1.0, vec![report.into_tensor()]);
            (measured.norm, measured.reports[0].loss)
        };
        let ((one, loss), (scaled, same_loss)) = (of_scale(1.0), of_scale(1024.0));
        assert!((scaled / one - 1024.0).abs() < 1e-2, "{one} {scaled}");
        assert_eq!(loss, same_loss);
    }
}
