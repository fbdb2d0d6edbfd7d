//! Fine-tuning on the CPU: gradients, what stays as it was, merging, resuming, refusals. Needs nothing.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{
    Recorder, StopAfter, all_targets, base_file, fine_tune, noise_at, state_tuning, trainer,
    training, windows,
};
use ptbr_model::{
    ArchConfig, CheckpointError, DomainFineTuneConfig, ModelFileInfo, Precision, TensorSpec,
    Verify, WeightFormat, find_fine_tune_checkpoint, model_id, open_checkpoint,
    open_fine_tune_checkpoint, write_model_file,
};
use ptbr_train::collective::ProcessGroup;
use ptbr_train::fine_tune::{BaseModel, FineTuned, initial_values, trained_specs, tuned_model};
use ptbr_train::model::parameters::{build, f32_values};
use ptbr_train::model::{ForwardOptions, Rwkv};
use ptbr_train::optim::GradientSum;
use ptbr_train::{TrainDevice, TrainError, Trainer};

const SEED: u64 = 11;

fn open(path: &Path) -> BaseModel {
    BaseModel::open(path, TrainDevice::Cpu).unwrap_or_else(|error| panic!("{error}"))
}

fn logits(model: &Rwkv, base: &BaseModel) -> Vec<f32> {
    let windows = windows(base.config(), 2, 9);
    let hidden = model.hidden(base.config(), &windows, ForwardOptions::EVALUATION);
    let logits = model.head.forward(hidden, Precision::F32).into_data();
    logits.try_into_vec::<f32>().expect("f32 logits")
}

/// The slope of the loss along each trained tensor's own gradient, by differences, is the norm of that gradient. Nothing is zero, or
/// half of the paths would carry no gradient.
fn check_gradients(base: &BaseModel, tuning: &DomainFineTuneConfig) {
    let config = base.config();
    let specs = trained_specs(tuning, config).expect("targets");
    let windows = windows(base.config(), 2, 9);
    let moved = |moved: &str, by: &dyn Fn(usize) -> f32| {
        let values = &mut |spec: &TensorSpec| {
            let mut values = initial_values(base, spec, SEED)?;
            for (i, value) in values.iter_mut().enumerate() {
                *value += 0.1 * noise_at(&spec.name, i);
                if spec.name == moved {
                    *value += by(i);
                }
            }
            Ok(values)
        };
        tuned_model(base, tuning, &specs, values).expect("a model")
    };
    let model = moved("", &|_| 0.0);
    let output = model.forward(config, &windows, ForwardOptions::EVALUATION);
    let mut gradients = GradientSum::default();
    gradients.add(&model, output.objective.backward());
    for spec in &specs {
        let gradient = gradients
            .values(&spec.name)
            .unwrap_or_else(|| panic!("{} has no gradient", spec.name));
        let squares = gradient.iter().map(|g| f64::from(*g) * f64::from(*g));
        let norm = squares.sum::<f64>().sqrt();
        assert!(norm > 1e-6, "{}: {norm}", spec.name);
        let loss = |distance: f64| {
            let model = moved(&spec.name, &|i| {
                (distance * f64::from(gradient[i]) / norm) as f32
            });
            let output = model.forward(config, &windows, ForwardOptions::EVALUATION);
            output.read().loss
        };
        // Far enough that the loss changes by much more than its rounding; fourth order, so that this is not too far.
        let h = (0.02 / norm).min(0.02_f64);
        let slope = (8.0 * (loss(h) - loss(-h)) - (loss(2.0 * h) - loss(-2.0 * h))) / (12.0 * h);
        assert!(
            (slope - norm).abs() < 5e-3 * norm + 1e-4,
            "{} on a base in {}: slope {slope}, norm {norm}",
            spec.name,
            base.source().plan().format()
        );
    }
    // What is frozen has none: its gradient was never formed.
    for spec in config.tensor_specs() {
        let trained = specs.iter().any(|trained| trained.name == spec.name);
        assert_eq!(
            gradients.values(&spec.name).is_some(),
            trained,
            "{}",
            spec.name
        );
    }
}

#[test]
fn gradients_match_finite_differences_on_a_base_of_every_format() {
    let folder = tempfile::tempdir().expect("a folder");
    for format in WeightFormat::ALL {
        let base = open(&base_file(folder.path(), format));
        check_gradients(&base, &all_targets());
        check_gradients(&base, &state_tuning());
    }
    let base = open(&base_file(folder.path(), WeightFormat::F32));
    check_gradients(
        &base,
        &DomainFineTuneConfig {
            targets: vec!["ffn.value".to_owned()],
            train_time: true,
            train_norms: true,
            ..all_targets()
        },
    );
}

#[test]
fn an_untrained_adapter_changes_no_logit_and_a_frozen_base_computes_what_a_trainable_one_does() {
    let folder = tempfile::tempdir().expect("a folder");
    for format in WeightFormat::ALL {
        let base = open(&base_file(folder.path(), format));
        let expected = logits(base.model(), &base);
        let tuning = all_targets();
        let specs = trained_specs(&tuning, base.config()).expect("targets");
        let values = &mut |spec: &TensorSpec| initial_values(&base, spec, SEED);
        let tuned = tuned_model(&base, &tuning, &specs, values).expect("a model");
        assert!(logits(&tuned, &base) == expected, "{format}");

        let source = Arc::new(
            ptbr_model::ModelSource::open(&folder.path().join(format!("{format}.safetensors")))
                .expect("the base"),
        );
        let device = burn::tensor::Device::flex().autodiff();
        let values = &mut |spec: &TensorSpec| f32_values(&source, spec);
        let dense = build(base.config(), &device, values).expect("a model");
        let dense = logits(&dense, &base);
        let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let worst = dense.iter().zip(&expected).map(|(d, e)| (d - e).abs());
        let worst = worst.fold(0.0, f32::max);
        assert!(worst <= 1e-6 * largest, "{format}: {worst} of {largest}");
    }
}

fn run(trainer: &mut Trainer) -> Vec<f64> {
    let mut recorder = Recorder::default();
    trainer
        .run(&mut recorder, &AtomicBool::new(false))
        .unwrap_or_else(|error| panic!("{error}"));
    recorder.steps.iter().map(|step| step.loss).collect()
}

#[test]
fn training_lowers_the_loss_and_leaves_the_base_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = base_file(folder.path(), WeightFormat::Int8);
    let bytes = fs::read(&path).expect("the base");
    let base = open(&path);
    let before = logits(base.model(), &base);
    let with_vectors = DomainFineTuneConfig {
        train_time: true,
        train_norms: true,
        ..all_targets()
    };
    for (name, tuning, at_least) in [
        ("lora", all_targets(), 1.0),
        ("vectors", with_vectors, 1.0),
        ("state", state_tuning(), 0.05),
    ] {
        let mut trainer = fine_tune(folder.path(), name, &base, &tuning, 24);
        let loss = |trainer: &mut Trainer| {
            let metrics = trainer.evaluate().expect("an evaluation");
            metrics.expect("validation tokens").loss
        };
        let first = loss(&mut trainer);
        run(&mut trainer);
        let last = loss(&mut trainer);
        println!("{name}: {first} to {last}");
        assert!(first - last > at_least, "{name}: {first} to {last}");
        assert!(
            logits(base.model(), &base) == before,
            "{name} changed the base in memory"
        );
    }
    assert!(
        fs::read(&path).expect("the base") == bytes,
        "the file of the base"
    );
}

#[test]
fn merged_weights_give_the_logits_of_the_adapter_beside_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = open(&base_file(folder.path(), WeightFormat::F32));
    for (name, vectors) in [("plain", false), ("vectors", true)] {
        let tuning = DomainFineTuneConfig {
            train_time: vectors,
            train_norms: vectors,
            ..all_targets()
        };
        let mut trainer = fine_tune(folder.path(), name, &base, &tuning, 12);
        run(&mut trainer);
        let best = trainer.state().best_eval_step;
        let unmerged = logits(trainer.model(), &base);
        assert!(
            unmerged != logits(base.model(), &base),
            "nothing was trained"
        );
        drop(trainer);
        let tuned = FineTuned::open(&folder.path().join(name), &base).expect("a result");
        assert_eq!(Some(tuned.step()), best);
        // The last step is the best one, or the comparison below would be with another moment.
        assert_eq!(best, Some(12), "{name}");
        assert_eq!(tuned.is_adapter(), !vectors);
        assert_eq!(
            tuned.adapter().expect("an adapter").modules.len(),
            2 * 7 + 1
        );
        assert!(tuned.state_values().is_none());

        let merged = tuned.merged(&base).expect("a base in f32");
        let arch = ArchConfig::Rwkv4(base.config().clone());
        let id = model_id(&merged).expect("an id");
        assert_ne!(id, base.source().model_id());
        let path = folder.path().join(format!("{name}.safetensors"));
        write_model_file(&path, &ModelFileInfo::f32(arch, None, id), &merged).expect("written");
        let merged = open(&path);
        let merged = logits(merged.model(), &merged);
        let largest = unmerged.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let differences = merged.iter().zip(&unmerged).map(|(m, u)| (m - u).abs());
        let worst = differences.fold(0.0, f32::max);
        println!("{name}: {worst:e} of {largest}");
        assert!(worst <= 1e-5 * largest, "{name}: {worst} of {largest}");
    }
}

#[test]
fn a_stopped_and_resumed_run_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = open(&base_file(folder.path(), WeightFormat::Int4));
    let tokenizer = base
        .source()
        .tokenizer_json()
        .expect("a tokenizer")
        .to_owned();
    let whole_model = DomainFineTuneConfig {
        freeze_base: false,
        ..all_targets()
    };
    for (method, tuning) in [
        ("lora", all_targets()),
        ("state", state_tuning()),
        ("whole", whole_model),
    ] {
        let (whole, parts) = (format!("{method}-whole"), format!("{method}-parts"));
        run(&mut fine_tune(folder.path(), &whole, &base, &tuning, 9));
        let stop = AtomicBool::new(false);
        let stats = fine_tune(folder.path(), &parts, &base, &tuning, 9)
            .run(&mut StopAfter(5, &stop), &stop)
            .expect("a run");
        assert!(stats.stopped_by_user && stats.steps == 5);
        let output = folder.path().join(&parts);
        let mut resumed = if tuning.freeze_base {
            Trainer::resume_fine_tune(&base, &output, tokenizer.clone(), ProcessGroup::solo())
                .expect("a run")
        } else {
            let device = TrainDevice::Cpu;
            let overrides = ptbr_train::ResumeOverrides {
                device,
                ..Default::default()
            };
            Trainer::resume(&output, overrides).expect("a run")
        };
        run(&mut resumed);
        drop(resumed);
        let weights = match tuning.freeze_base {
            true => "trained.safetensors",
            false => "model.safetensors",
        };
        for file in [weights, "optimizer.safetensors"] {
            let read = |run: &str| {
                let path = folder.path().join(run).join("step-000009").join(file);
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            };
            assert!(read(&whole) == read(&parts), "{method}: {file} differs");
        }
        if tuning.freeze_base {
            let error =
                Trainer::resume_fine_tune(&base, &output, tokenizer.clone(), ProcessGroup::solo())
                    .err();
            assert!(matches!(error, Some(TrainError::Finished { .. })));
        }
    }
}

#[test]
fn a_trained_state_has_the_values_of_the_models_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = open(&base_file(folder.path(), WeightFormat::F32));
    run(&mut fine_tune(
        folder.path(),
        "run",
        &base,
        &state_tuning(),
        8,
    ));
    let tuned = FineTuned::open(&folder.path().join("run"), &base).expect("a result");
    let (channels, layers) = (base.config().d_model, base.config().n_layers);
    assert!(tuned.adapter().is_none());
    assert_eq!(tuned.num_parameters(), 4 * channels * layers);
    let values = tuned.state_values().expect("a state");
    assert_eq!(values.len(), 5 * channels * layers);
    for layer in values.chunks(5 * channels) {
        let parts: Vec<&[f32]> = layer.chunks(channels).collect();
        assert!(parts[3].iter().all(|bb| *bb == 1.0));
        for trained in [parts[0], parts[1], parts[2]] {
            assert!(trained.iter().any(|value| *value != 0.0));
        }
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = open(&base_file(folder.path(), WeightFormat::F32));
    let tokenizer = base
        .source()
        .tokenizer_json()
        .expect("a tokenizer")
        .to_owned();
    run(&mut fine_tune(
        folder.path(),
        "run",
        &base,
        &all_targets(),
        2,
    ));
    let run_folder = folder.path().join("run");

    // A checkpoint of fine-tuning is no model, and a model's is none of fine-tuning.
    let newest = run_folder.join("step-000002");
    assert!(matches!(
        open_checkpoint(&newest),
        Err(CheckpointError::FineTuning { .. })
    ));
    let message = BaseModel::open(&run_folder, TrainDevice::Cpu)
        .expect_err("a refusal")
        .to_string();
    assert!(message.contains("--adapter"), "{message}");
    trainer(folder.path(), "full", training(1), TrainDevice::Cpu)
        .run(&mut (), &AtomicBool::new(false))
        .expect("a run");
    let full = folder.path().join("full");
    assert!(matches!(
        open_fine_tune_checkpoint(&full.join("step-000001"), Verify::Everything),
        Err(CheckpointError::WholeModel { .. })
    ));

    // Another base.
    let other = BaseModel::open(&full, TrainDevice::Cpu).expect("a base");
    let refused = Trainer::resume_fine_tune(&other, &run_folder, tokenizer, ProcessGroup::solo());
    let message = refused.err().expect("a refusal").to_string();
    assert!(message.contains("was tuned from the model"), "{message}");
    assert!(matches!(
        FineTuned::open(&run_folder, &other),
        Err(TrainError::OtherBase { .. })
    ));

    // A target that is none.
    let wrong = DomainFineTuneConfig {
        targets: vec!["att.kye".to_owned()],
        ..all_targets()
    };
    let message = trained_specs(&wrong, base.config()).expect_err("no such target");
    assert!(message.to_string().contains("att.key"), "{message}");

    // A damaged checkpoint is passed over for the one before it.
    let mut bytes = fs::read(newest.join("trained.safetensors")).expect("a file");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(newest.join("trained.safetensors"), bytes).expect("written");
    let error = find_fine_tune_checkpoint(&run_folder, Verify::Everything).expect_err("damaged");
    assert!(error.to_string().contains("trained.safetensors"), "{error}");
}
