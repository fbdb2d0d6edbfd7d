//! `kill -9` at any moment, then `resume`: the same bytes as a run that was never disturbed. 3 moments, or 20 with PTBR_FULL=1.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::program::{command, run};
use crate::training::{prepared, train};

/// Several checkpoints are written and pruned on the way.
const SMALL: &[&str] = &[
    "--max-steps",
    "120",
    "--batch-size",
    "4",
    "--seq-len",
    "32",
    "--save-every",
    "10",
    "--keep-last",
    "2",
    "--learning-rate",
    "2e-3",
    "--dropout",
    "0.1",
    "--log-every",
    "0",
];

/// Channel mixing has matrices of 1,024 x 4,128 = 4,227,072 elements: above 4,194,304 sums are taken in parallel, and must
/// still be taken in one order.
const WIDE: &[&str] = &[
    "--max-steps",
    "6",
    "--batch-size",
    "2",
    "--seq-len",
    "8",
    "--save-every",
    "2",
    "--keep-last",
    "2",
    "--log-every",
    "0",
];
const WIDE_SIZE: &str = "architecture = \"rwkv4\"\nvocab_size = 512\nd_model = 1024\nd_ffn = 4128\nn_layers = 1\nmax_seq_len = 32\n";

fn latest(folder: &Path, output: &str) -> Option<String> {
    let name = fs::read_to_string(folder.join(output).join("latest")).ok()?;
    Some(name.trim().to_owned())
}

fn weights(folder: &Path, output: &str) -> Vec<u8> {
    let name = latest(folder, output).expect("a checkpoint");
    fs::read(folder.join(output).join(name).join("model.safetensors")).expect("its weights")
}

/// Starts a run, kills it when `is_time` says so, and brings it to its end. True when it went on from a checkpoint.
fn kill_and_finish(
    folder: &Path,
    output: &str,
    flags: &[&str],
    last_step: u64,
    is_time: impl Fn() -> bool,
) -> bool {
    let mut child: Child = command(folder, &train(output, flags))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    while !is_time() && child.try_wait().expect("a child").is_none() {
        sleep(Duration::from_millis(1));
    }
    // SIGKILL, which no program can catch.
    child.kill().expect("it is killed");
    child.wait().expect("it is dead");
    match latest(folder, output) {
        // Killed after its last checkpoint, or too late: it is complete, and its bytes must be right all the same.
        Some(name) if name == ptbr_model::checkpoint_name(last_step) => false,
        Some(_) => {
            run(
                folder,
                &[
                    "resume",
                    "--output",
                    output,
                    "--device",
                    "cpu",
                    "--sample-tokens",
                    "0",
                ],
            )
            .done();
            true
        }
        None => {
            // Killed before its first checkpoint: there is nothing to go on from, it says so, and it can begin again.
            run(folder, &["resume", "--output", output, "--device", "cpu"]).fails_with(&[output]);
            run(folder, &train(output, flags)).done();
            false
        }
    }
}

#[test]
fn a_killed_run_ends_with_the_same_bytes() {
    let folder = prepared();
    let at = folder.path();
    let start = Instant::now();
    run(at, &train("undisturbed", SMALL)).done();
    let whole = start.elapsed();
    let wanted = weights(at, "undisturbed");

    let full = std::env::var_os("PTBR_FULL").is_some_and(|value| value == "1");
    let count: u32 = if full { 20 } else { 3 };
    let mut resumed = 0;
    for number in 1..=count {
        // Spread over the run, no two alike: the fractional parts of multiples of the golden ratio.
        let moment = whole.mul_f64((f64::from(number) * 0.618_033_988_749_895).fract());
        let output = format!("killed-{number}");
        let start = Instant::now();
        resumed += u32::from(kill_and_finish(at, &output, SMALL, 120, || {
            start.elapsed() >= moment
        }));
        assert!(
            weights(at, &output) == wanted,
            "killed after {moment:?}: other bytes than undisturbed"
        );
        fs::remove_dir_all(at.join(&output)).expect("the folder goes");
    }
    println!("{count} kills, {resumed} of them resumed from a checkpoint");
    assert!(
        resumed > 0,
        "no kill came after a checkpoint and before the end"
    );
}

#[test]
fn sums_over_large_tensors_survive_a_kill_too() {
    let folder = prepared();
    let at = folder.path();
    fs::write(at.join("tiny.toml"), WIDE_SIZE).expect("written");
    run(at, &train("undisturbed", WIDE)).done();
    let wanted = weights(at, "undisturbed");
    fs::remove_dir_all(at.join("undisturbed")).expect("the folder goes");
    let resumed = kill_and_finish(at, "killed", WIDE, 6, || latest(at, "killed").is_some());
    assert!(resumed, "it ran to its end before it could be killed");
    assert!(
        weights(at, "killed") == wanted,
        "other bytes than undisturbed"
    );
}
