//! Real ranks under `mpirun`: the weights of one process, the same bits twice, other numbers of ranks, and the death of one. Needs an
//! MPI and the feature `mpi`; `cargo xtask mpi` installs the one and turns on the other. Three kills in all, or ten and a hang with
//! PTBR_FULL=1.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ptbr_model::open_checkpoint;

use crate::program::{Run, command, run};
use crate::training::{prepared, train};

const RUN: &[&str] = &[
    "--max-steps",
    "20",
    "--batch-size",
    "2",
    "--seq-len",
    "32",
    "--learning-rate",
    "2e-3",
    "--dropout",
    "0.1",
    "--val",
    "texto.bin",
    "--eval-every",
    "10",
    "--eval-tokens",
    "900",
    "--log-every",
    "0",
];

/// `train`, with several micro-batches a step.
fn flags<'a>(output: &'a str, micro_batches: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut flags = train(output, more);
    let at = flags
        .iter()
        .position(|flag| *flag == "--gradient-accumulation-steps");
    flags[at.expect("a flag") + 1] = micro_batches;
    flags
}

/// `mpirun -np world` of the program, ready to be started in `folder`.
fn mpirun(folder: &Path, world: usize, args: &[&str]) -> Command {
    let program = command(folder, args);
    let mut mpirun = Command::new("mpirun");
    mpirun
        .arg("-np")
        .arg(world.to_string())
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(folder)
        .stdin(Stdio::null())
        // More ranks than cores, as root, two threads in all: what a small machine that runs tests is.
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("OMPI_MCA_hwloc_base_binding_policy", "none")
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .env("NO_COLOR", "1");
    mpirun
}

fn ranks(folder: &Path, world: usize, args: &[&str]) -> Run {
    let output = mpirun(folder, world, args).output();
    let output = output.expect("mpirun starts; Debian: apt-get install openmpi-bin");
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The largest difference between the weights of two checkpoints.
fn distance(folder: &Path, one: &str, other: &str) -> f32 {
    let open = |path: &str| open_checkpoint(&folder.join(path)).expect("a checkpoint");
    let (one, other) = (open(one), open(other));
    let mut worst = 0.0f32;
    for spec in one.config.tensor_specs() {
        let tensor =
            |of: &ptbr_model::Checkpoint| of.model.tensor(&spec.name).expect("it").to_vec();
        for (a, b) in tensor(&one).iter().zip(&tensor(&other)) {
            worst = worst.max((a - b).abs());
        }
    }
    worst
}

fn bytes(folder: &Path, checkpoint: &str) -> Vec<u8> {
    fs::read(folder.join(checkpoint).join("model.safetensors")).expect("weights")
}

#[test]
fn two_ranks_give_the_weights_of_one() {
    let folder = prepared();
    let at = folder.path();
    run(at, &flags("one", "4", RUN)).done();
    let shown = ranks(at, 2, &flags("two", "4", RUN)).done();
    assert!(
        shown.out.contains("processes 2, 2 on this machine"),
        "{}",
        shown.out
    );
    // One of them speaks.
    assert_eq!(shown.out.matches("saved ").count(), 1, "{}", shown.out);
    let difference = distance(at, "one/step-000020", "two/step-000020");
    println!("two ranks: weights differ by {difference:.1e}");
    assert!(difference < 1e-5, "{difference}");
    ranks(at, 2, &flags("again", "4", RUN)).done();
    assert!(bytes(at, "two/step-000020") == bytes(at, "again/step-000020"));

    // Sharded state, three ranks for four micro-batches, and on with one: still the same weights.
    let mut sharded = RUN.to_vec();
    sharded.extend(["--shard-optimizer", "--save-every", "10"]);
    ranks(at, 3, &flags("three", "4", &sharded)).done();
    fs::remove_dir_all(at.join("three/step-000020")).expect("it goes");
    fs::write(at.join("three/latest"), "step-000010\n").expect("written");
    run(
        at,
        &[
            "resume",
            "--output",
            "three",
            "--device",
            "cpu",
            "--sample-tokens",
            "0",
        ],
    )
    .done();
    let difference = distance(at, "one/step-000020", "three/step-000020");
    println!("three ranks with sharded state, then one: weights differ by {difference:.1e}");
    assert!(difference < 1e-5, "{difference}");
}

/// The ids of the processes of this program that train into `output` below `folder`.
fn pids(folder: &Path, output: &str) -> Vec<i32> {
    let all = fs::read_dir("/proc").expect("processes").flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let ours = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        let is_program = words.first().is_some_and(|w| w.ends_with(b"ptbr-slm"));
        let here = fs::read_link(format!("/proc/{pid}/cwd"))
            .is_ok_and(|cwd| cwd == fs::canonicalize(folder).unwrap_or_default());
        is_program && here && words.contains(&output.as_bytes())
    };
    numbers.filter(ours).collect()
}

/// The rank of a process, by the variable that its launcher set.
fn rank_of(pid: i32) -> usize {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let text = String::from_utf8_lossy(&environment);
    let mut variables = text.split('\0').filter_map(|v| v.split_once('='));
    let rank = variables.find(|(name, _)| *name == "OMPI_COMM_WORLD_RANK");
    rank.and_then(|(_, value)| value.parse().ok())
        .expect("a rank")
}

/// Starts two ranks, sends `signal` to one of them after `moment` of training, and waits for the end of the run: the rank, what was
/// said, and how long the end took. `None` when the run was over before.
fn disturb(
    folder: &Path,
    output: &str,
    args: &[&str],
    rank: usize,
    signal: i32,
    moment: Duration,
) -> Option<(Run, Duration)> {
    let child = mpirun(folder, 2, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mpirun starts");
    let child = std::thread::spawn(move || child.wait_with_output());
    // From the first row of the metrics: the time that a start takes varies.
    let metrics = folder.join(output).join("metrics.csv");
    while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 2
        && !child.is_finished()
    {
        sleep(Duration::from_millis(2));
    }
    sleep(moment);
    let victim = pids(folder, output)
        .into_iter()
        .find(|pid| rank_of(*pid) == rank);
    let begun = Instant::now();
    let hit = victim.is_some_and(|pid| {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(pid.to_string())
            .status();
        status.is_ok_and(|status| status.success())
    });
    let output = child.join().expect("a thread").expect("an end");
    let ended = Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    (hit && ended.code != 0).then(|| (ended, begun.elapsed()))
}

#[test]
fn a_killed_rank_ends_the_run_and_resuming_gives_the_weights_of_an_undisturbed_one() {
    let full = std::env::var_os("PTBR_FULL").is_some_and(|value| value == "1");
    let folder = prepared();
    let at = folder.path();
    let mut more = RUN.to_vec();
    let steps = more.iter().position(|flag| *flag == "20").expect("steps");
    more[steps] = "150";
    more.extend(["--save-every", "10", "--keep-last", "2"]);
    let begun = Instant::now();
    ranks(at, 2, &flags("undisturbed", "2", &more)).done();
    let whole = begun.elapsed();
    let wanted = bytes(at, "undisturbed/step-000150");

    let kills: u32 = if full { 10 } else { 2 };
    let mut hits = 0;
    for number in 1..=kills {
        // Spread over the run, no two alike: the fractional parts of multiples of the golden ratio.
        let moment = whole.mul_f64(0.7 * (f64::from(number) * 0.618_033_988_749_895).fract());
        let rank = number as usize % 2;
        let output = format!("killed-{number}");
        let args = flags(&output, "2", &more);
        let ended = disturb(at, &output, &args, rank, 9, moment);
        if let Some((ended, time)) = ended {
            hits += 1;
            println!("rank {rank} killed {moment:.1?} into the run: over after {time:.1?}");
            assert!(time < Duration::from_secs(30), "{time:?}");
            // mpirun's own words, or the roll call's, whichever comes first.
            let named = ended.err.contains(&format!("process rank {rank} with PID"))
                || ended.err.contains(&format!("rank {rank} (process "));
            assert!(named, "{}", ended.err);
            if at.join(&output).join("latest").exists() {
                ranks(
                    at,
                    2,
                    &[
                        "resume",
                        "--output",
                        &output,
                        "--device",
                        "cpu",
                        "--sample-tokens",
                        "0",
                    ],
                )
                .done();
            } else {
                ranks(at, 2, &args).done();
            }
        }
        assert!(
            bytes(at, &format!("{output}/step-000150")) == wanted,
            "{output}"
        );
        fs::remove_dir_all(at.join(&output)).expect("the folder goes");
    }
    assert!(hits > 0, "every run was over before its kill");

    // A rank that is stopped is silent, which only the roll call notices.
    if full {
        let args = flags("stopped", "2", &more);
        let (ended, time) = disturb(at, "stopped", &args, 1, 19, Duration::ZERO).expect("a hang");
        println!("rank 1 stopped: over after {time:.1?}");
        assert!(time < Duration::from_secs(30), "{time:?}");
        assert!(
            ended.err.contains("rank 1 (process ") && ended.err.contains("no sign of life"),
            "{}",
            ended.err
        );
    }
}
