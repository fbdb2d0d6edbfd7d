//! Ten steps of the published recipe against an independent implementation. Needs nothing.
//!
//! `fixtures/rwkv4_recipe.json` holds what `tests/peers/recipe_replay.py` (PyTorch in f64, WKV by plain autograd) makes of the same
//! initial weights and batches: losses, gradient norms, learning rates, and elements of every tensor after the last step. To make it
//! anew: `PTBR_REPLAY=FOLDER cargo test … --test recipe` leaves the weights and batches in FOLDER; the script says the rest.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{Recorder, data};
use ptbr_dataset::{LoaderConfig, WindowSampler, batch_at};
use ptbr_model::{Recipe, RwkvConfig, TrainingConfig, open_checkpoint};
use ptbr_tokenizer::Tokenizer;
use ptbr_train::collective::ProcessGroup;
use ptbr_train::model::init::initial_values;
use ptbr_train::{TrainDevice, Trainer, TrainerSetup};
use serde_json::Value;

const STEPS: u64 = 10;

/// What was promised: a relative difference of 1e-4, of weights to their tensor's largest.
const TOLERANCE: f64 = 1e-4;

/// And of weights to their tensor's largest change: ten steps move a gain near 1 by less than what the other bound lets pass.
const TOLERANCE_OF_CHANGE: f64 = 1e-3;

fn recipe() -> TrainingConfig {
    TrainingConfig {
        max_steps: STEPS,
        learning_rate: 3e-3,
        batch_size: 3,
        seq_len: 19,
        gradient_accumulation_steps: 2,
        save_every: 0,
        eval_every: 0,
        log_every: 0,
        ..TrainingConfig::for_recipe(Recipe::Rwkv4)
    }
}

/// A run of ten steps: its reports, and every tensor before and after.
struct Run {
    config: RwkvConfig,
    reports: Recorder,
    end: BTreeMap<String, Vec<f32>>,
}

fn run(folder: &Path, name: &str, training: TrainingConfig) -> Run {
    let (tokenizer, data) = data(folder);
    let config = RwkvConfig {
        d_ffn: 64,
        ..RwkvConfig::new(tokenizer.vocab_size(), 32, 2, 32)
    };
    let output = folder.join(name);
    let mut trainer = Trainer::new(TrainerSetup {
        model_config: config.clone(),
        training: training.clone(),
        tokenizer_json: tokenizer.to_json(),
        val: None,
        data: Arc::clone(&data),
        output_dir: output.clone(),
        device: TrainDevice::Cpu,
        group: ProcessGroup::solo(),
    })
    .unwrap_or_else(|error| panic!("{name}: {error}"));
    if std::env::var_os("PTBR_REPLAY").is_some() && name == "rwkv4" {
        trainer.save().expect("the initial weights");
        fs::write(output.join("batches.bin"), batches(&data, &training)).expect("the batches");
    }
    let mut reports = Recorder::default();
    trainer
        .run(&mut reports, &AtomicBool::new(false))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let checkpoint = open_checkpoint(&output.join("step-000010")).expect("a checkpoint");
    let values = |name: &str| checkpoint.model.tensor(name).expect(name).to_vec();
    let end = config
        .tensor_specs()
        .into_iter()
        .map(|spec| (spec.name.clone(), values(&spec.name)));
    Run {
        end: end.collect(),
        config,
        reports,
    }
}

/// Inputs and targets of every micro-batch, little-endian u16, as the peers read them.
fn batches(data: &ptbr_dataset::MmapDataset, training: &TrainingConfig) -> Vec<u8> {
    let loader = LoaderConfig {
        batch_size: training.batch_size,
        seq_len: training.seq_len,
        seed: training.seed,
        start: 0,
    };
    let sampler = WindowSampler::new(data.tokens().len(), training.seq_len, training.seed)
        .expect("enough tokens");
    (0..STEPS * training.gradient_accumulation_steps as u64)
        .flat_map(|index| {
            let batch = batch_at(data, &sampler, &loader, index);
            [batch.inputs, batch.targets].concat()
        })
        .flat_map(u16::to_le_bytes)
        .collect()
}

fn fixture() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rwkv4_recipe.json");
    serde_json::from_str(&fs::read_to_string(path).expect("the fixture")).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Where `run` departs from the fixture by more than what is promised, and the largest differences: of losses and norms, of weights
/// relative to their tensor's largest, and relative to its largest change.
fn departures(run: &Run, fixture: &Value) -> (Vec<String>, [f64; 3]) {
    let (mut found, mut worst) = (Vec::new(), [0.0f64; 3]);
    let steps = fixture["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), run.reports.steps.len());
    for (report, expected) in run.reports.steps.iter().zip(steps) {
        for (what, value) in [
            ("loss", report.loss),
            ("grad_norm", report.grad_norm),
            ("learning_rate", report.learning_rate),
        ] {
            let expected = number(&expected[what]);
            let difference = (value - expected).abs() / expected.abs();
            worst[0] = worst[0].max(difference);
            if difference > TOLERANCE {
                found.push(format!(
                    "step {} {what} {value}, not {expected}",
                    report.step
                ));
            }
        }
    }
    let largest =
        |values: &mut dyn Iterator<Item = f64>| values.fold(0.0f64, |m, x| m.max(x.abs()));
    for spec in run.config.tensor_specs() {
        let (name, expected) = (&spec.name, &fixture["tensors"][&spec.name]);
        let values: Vec<f64> = run.end[name].iter().map(|x| f64::from(*x)).collect();
        let before = initial_values(&run.config, &spec, recipe().seed);
        let moved = largest(&mut values.iter().zip(&before).map(|(x, b)| x - f64::from(*b)));
        let size = largest(&mut values.iter().copied());
        let mut check = |what: &str, value: f64, expected: f64, bound: f64| {
            let difference = (value - expected).abs();
            if difference > bound {
                found.push(format!("{name} {what} {value}, not {expected}"));
            }
            difference
        };
        check(
            "sum",
            values.iter().sum(),
            number(&expected["sum"]),
            TOLERANCE * values.iter().map(|x| x.abs()).sum::<f64>(),
        );
        let squares: f64 = values.iter().map(|x| x * x).sum();
        check(
            "sum of squares",
            squares,
            number(&expected["sum_of_squares"]),
            TOLERANCE * squares,
        );
        let bound = (TOLERANCE * size).min(TOLERANCE_OF_CHANGE * moved);
        let every = expected["every"].as_u64().expect("a stride") as usize;
        let sampled = expected["elements"].as_array().expect("elements");
        assert_eq!(sampled.len(), values.len().div_ceil(every), "{name}");
        for (value, expected) in values.iter().step_by(every).zip(sampled) {
            let difference = check("element", *value, number(expected), bound);
            worst[1] = worst[1].max(difference / size);
            worst[2] = worst[2].max(difference / moved);
        }
    }
    (found, worst)
}

#[test]
fn ten_steps_of_the_published_recipe_agree_with_an_independent_implementation() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder =
        std::env::var_os("PTBR_REPLAY").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let run = run(&folder, "rwkv4", recipe());
    let (found, worst) = departures(&run, &fixture());
    println!(
        "largest differences: losses and norms {:.1e}, weights {:.1e} of their size, {:.1e} of their change",
        worst[0], worst[1], worst[2]
    );
    assert!(found.is_empty(), "{found:#?}");
}

/// A fixture that any recipe passes would show nothing: with any part of the recipe left out, the run departs from it.
#[test]
fn every_part_of_the_recipe_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let fixture = fixture();
    type Change = fn(&mut TrainingConfig);
    let changes: [(&str, Change); 8] = [
        ("beta1", |c| c.adam_beta1 = 0.95),
        ("beta2", |c| c.adam_beta2 = 0.999),
        ("eps", |c| c.adam_eps = 1e-5),
        ("decay", |c| c.weight_decay = 0.01),
        ("time_decay", |c| c.time_decay_lr_scale = 1.0),
        ("time_first", |c| c.time_first_lr_scale = 1.0),
        ("l2_wrap", |c| c.l2_wrap = 0.0),
        ("clip", |c| c.gradient_clip = 0.0),
    ];
    for (name, change) in changes {
        let mut training = recipe();
        change(&mut training);
        let (found, worst) = departures(&run(folder.path(), name, training), &fixture);
        println!("without {name}: {} departures, {worst:?}", found.len());
        assert!(!found.is_empty(), "nobody would notice another {name}");
    }
}
