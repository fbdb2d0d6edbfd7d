//! Several ranks, as threads of this process, against one: weights, bits, resuming, uneven shares, sharded optimizer state. Needs nothing.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use common::{Recorder, all_targets, base_file, data, model_config, training};
use ptbr_model::{TrainingConfig, Verify, WeightFormat, open_checkpoint};
use ptbr_train::collective::{GroupOptions, InProcess, ProcessGroup};
use ptbr_train::fine_tune::BaseModel;
use ptbr_train::{
    FineTuneSetup, ResumeOverrides, StepReport, TrainDevice, TrainError, TrainStats, Trainer,
    TrainerSetup,
};

/// What a rank's run gave.
type Ended = (TrainStats, Vec<StepReport>);

/// Runs `work` on `world` ranks, each in a thread of its own.
fn on_ranks<T: Send + 'static>(
    world: usize,
    options: GroupOptions,
    work: impl Fn(Arc<ProcessGroup>) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let work = Arc::new(work);
    let threads: Vec<_> = InProcess::ranks(world)
        .into_iter()
        .map(|transport| {
            let work = Arc::clone(&work);
            thread::spawn(move || {
                let group = ProcessGroup::start(options, move |_| Ok(transport)).expect("a group");
                work(group)
            })
        })
        .collect();
    let ended = threads.into_iter().map(|thread| thread.join());
    ended.map(|result| result.expect("a rank")).collect()
}

fn run(mut trainer: Trainer) -> Ended {
    let mut recorder = Recorder::default();
    let stats = trainer
        .run(&mut recorder, &AtomicBool::new(false))
        .unwrap_or_else(|error| panic!("{error}"));
    (stats, recorder.steps)
}

fn config(max_steps: u64) -> TrainingConfig {
    TrainingConfig {
        gradient_accumulation_steps: 4,
        dropout: Some(0.1),
        eval_every: 5,
        eval_tokens: 900,
        ..training(max_steps)
    }
}

/// A new run of `max_steps` steps in `folder/output`.
fn train(
    folder: &Path,
    output: &str,
    world: usize,
    options: GroupOptions,
    config: TrainingConfig,
) -> Vec<Ended> {
    let (tokenizer, data) = data(folder);
    let output_dir = folder.join(output);
    on_ranks(world, options, move |group| {
        run(Trainer::new(TrainerSetup {
            model_config: model_config(&tokenizer),
            training: config.clone(),
            tokenizer_json: tokenizer.to_json(),
            val: Some(Arc::clone(&data)),
            data: Arc::clone(&data),
            output_dir: output_dir.clone(),
            device: TrainDevice::Cpu,
            group,
        })
        .unwrap_or_else(|error| panic!("{error}")))
    })
}

/// Goes on with the run in `folder/output`.
fn resume(folder: &Path, output: &str, world: usize, options: GroupOptions, max_steps: u64) {
    let output = folder.join(output);
    on_ranks(world, options, move |group| {
        let overrides = ResumeOverrides {
            max_steps: Some(max_steps),
            device: TrainDevice::Cpu,
            group,
        };
        run(Trainer::resume(&output, overrides).unwrap_or_else(|error| panic!("{error}")))
    });
}

const SHARDED: GroupOptions = GroupOptions {
    shard_optimizer: true,
};

/// The largest difference between the weights, and between the moments, of two checkpoints.
fn distance(folder: &Path, one: &str, other: &str) -> [f32; 2] {
    let open = |path: &str| open_checkpoint(&folder.join(path)).expect("a checkpoint");
    let (one, other) = (open(one), open(other));
    let specs = one.config.tensor_specs();
    let far = |a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max)
    };
    let mut worst = [0.0f32; 2];
    let (m, n) = (
        one.optimizer.expect("moments"),
        other.optimizer.expect("moments"),
    );
    for spec in specs {
        let (a, b) = (one.model.tensor(&spec.name), other.model.tensor(&spec.name));
        worst[0] = worst[0].max(far(a.expect("a"), b.expect("b")));
        let name = format!("{}.m", spec.name);
        let (a, b) = (m.tensor(&name).expect("a"), n.tensor(&name).expect("b"));
        worst[1] = worst[1].max(far(a, b));
    }
    worst
}

fn same_bytes(folder: &Path, one: &str, other: &str) {
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let read = |run: &str| fs::read(folder.join(run).join(file)).expect(file);
        assert!(
            read(one) == read(other),
            "{file} of {one} and {other} differ"
        );
    }
}

#[test]
fn any_number_of_ranks_gives_the_same_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let plain = GroupOptions::default();
    let alone = train(at, "1", 1, plain, config(20));
    let (alone_stats, alone_steps) = &alone[0];
    assert!(alone_steps.iter().all(|step| step.waited_seconds.is_none()));
    // Three ranks share four micro-batches unevenly: 1, 1 and 2.
    for world in [2, 3, 4] {
        let ranks = train(at, &format!("{world}"), world, plain, config(20));
        let [weights, moments] = distance(at, "1/step-000020", &format!("{world}/step-000020"));
        println!("{world} ranks: weights differ by {weights:.1e}, moments by {moments:.1e}");
        assert!(weights < 1e-5 && moments < 1e-5, "{weights} {moments}");
        for (rank, (stats, steps)) in ranks.iter().enumerate() {
            assert_eq!(stats.ranks, world);
            assert_eq!(stats.tokens_seen, alone_stats.tokens_seen);
            assert!(
                steps.iter().all(|step| step.waited_seconds.is_some()),
                "{rank}"
            );
            for (mine, theirs) in steps.iter().zip(alone_steps) {
                assert!(
                    (mine.loss - theirs.loss).abs() < 1e-5,
                    "{mine:?} {theirs:?}"
                );
                let near = (mine.grad_norm / theirs.grad_norm - 1.0).abs() < 1e-4;
                assert!(near, "{mine:?} {theirs:?}");
            }
            // The validation windows, one of them short, were shared out and are all there.
            let (mine, all) = (stats.last_evaluation, alone_stats.last_evaluation);
            let (mine, all) = (mine.expect("one"), all.expect("one"));
            assert_eq!(mine.tokens, all.tokens);
            assert!((mine.loss - all.loss).abs() < 1e-5, "{mine:?} {all:?}");
        }
        // Only rank 0 has written, once.
        let csv = fs::read_to_string(at.join(format!("{world}/metrics.csv"))).expect("a table");
        assert_eq!(csv.lines().count(), 1 + 20 + 4, "{csv}");

        train(at, &format!("{world}-again"), world, plain, config(20));
        let runs = ["", "-again"].map(|s| format!("{world}{s}/step-000020"));
        same_bytes(at, &runs[0], &runs[1]);
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let plain = GroupOptions::default();
    train(at, "whole", 1, plain, config(12));
    // The rate of a step depends on the length of the run, so the whole of it is asked for, and ends early.
    train(
        at,
        "parts",
        2,
        plain,
        TrainingConfig {
            save_every: 4,
            keep_last: 0,
            ..config(12)
        },
    );
    for later in ["step-000012", "step-000008"] {
        fs::remove_dir_all(at.join("parts").join(later)).expect("a checkpoint");
    }
    fs::write(at.join("parts/latest"), "step-000004\n").expect("written");
    for (world, options, remove) in [
        (1, plain, "step-000012"),
        (2, SHARDED, "step-000012"),
        (3, plain, ""),
    ] {
        resume(at, "parts", world, options, 12);
        if !remove.is_empty() {
            fs::remove_dir_all(at.join("parts").join(remove)).expect("a checkpoint");
            fs::write(at.join("parts/latest"), "step-000008\n").expect("written");
        }
    }
    let [weights, moments] = distance(at, "whole/step-000012", "parts/step-000012");
    println!("2, 1, 2 and 3 ranks: weights differ by {weights:.1e}, moments by {moments:.1e}");
    assert!(weights < 1e-5 && moments < 1e-5, "{weights} {moments}");
}

#[test]
fn sharded_optimizer_state_changes_memory_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let whole = train(at, "whole", 4, GroupOptions::default(), config(10));
    let sharded = train(at, "sharded", 4, SHARDED, config(10));
    same_bytes(at, "whole/step-000010", "sharded/step-000010");
    let all = whole[0].0.optimizer_bytes;
    let mut sum = 0;
    for (stats, _) in &sharded {
        let share = stats.optimizer_bytes as f64 / all as f64;
        println!("{share:.3} of the optimizer's {all} bytes");
        assert!(share <= 0.3, "{share}");
        sum += stats.optimizer_bytes;
    }
    assert_eq!(sum, all, "every moment is kept once");
}

#[test]
fn fine_tuning_is_shared_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_owned();
    let file = base_file(&at, WeightFormat::F32);
    let mut trained = Vec::new();
    for (world, options) in [
        (1, GroupOptions::default()),
        (2, GroupOptions::default()),
        (2, SHARDED),
    ] {
        let output = at.join(format!("{world}-{}", options.shard_optimizer));
        let (at, file, to) = (at.clone(), file.clone(), output.clone());
        on_ranks(world, options, move |group| {
            let (tokenizer, data) = data(&at);
            let base = BaseModel::open_among(&file, TrainDevice::Cpu, &group).expect("a base");
            let setup = FineTuneSetup {
                tuning: all_targets(),
                training: TrainingConfig {
                    learning_rate: 1e-2,
                    dropout: Some(0.0),
                    ..training(6)
                },
                tokenizer_json: tokenizer.to_json(),
                val: None,
                data,
                output_dir: to.clone(),
                group,
            };
            run(Trainer::fine_tune(&base, setup).unwrap_or_else(|error| panic!("{error}")))
        });
        let checkpoint =
            ptbr_model::open_fine_tune_checkpoint(&output.join("step-000006"), Verify::Everything);
        let checkpoint = checkpoint.expect("a checkpoint");
        let names = ["head.lora.b", "blocks.0.att.key.lora.a"];
        trained.push(names.map(|name| checkpoint.trained.tensor(name).expect(name).to_vec()));
    }
    assert_eq!(trained[1], trained[2]);
    for (one, two) in trained[0].iter().zip(&trained[1]) {
        assert!(one.iter().any(|v| *v != 0.0));
        for (a, b) in one.iter().zip(two) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}

#[test]
fn what_cannot_be_shared_or_differs_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_owned();
    let (tokenizer, data) = data(&at);
    let begin = move |output: &str, group: Arc<ProcessGroup>, seed: u64| {
        let setup = TrainerSetup {
            model_config: model_config(&tokenizer),
            training: TrainingConfig {
                seed,
                ..training(3)
            },
            tokenizer_json: tokenizer.to_json(),
            val: None,
            data: Arc::clone(&data),
            output_dir: at.join(output),
            device: TrainDevice::Cpu,
            group,
        };
        Trainer::new(setup)?.run(&mut (), &AtomicBool::new(false))
    };
    let begin = Arc::new(begin);
    let again = Arc::clone(&begin);
    // Two micro-batches a step.
    for error in on_ranks(3, GroupOptions::default(), move |group| {
        begin("many", group, 1)
    }) {
        let error = error.expect_err("too many").to_string();
        assert!(
            error.contains("3 processes cannot share 2 micro-batches"),
            "{error}"
        );
    }
    let errors = on_ranks(2, GroupOptions::default(), move |group| {
        let seed = group.place().rank as u64;
        again("other", group, seed)
    });
    for error in errors {
        match error {
            Err(TrainError::Collective(error)) => assert!(
                error
                    .to_string()
                    .contains("rank 1 does not agree with rank 0 on the model"),
                "{error}"
            ),
            other => panic!("{:?}", other.map(|stats| stats.steps)),
        }
    }
}
