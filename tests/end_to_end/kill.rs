//! `kill -9` at any moment, then `resume`: the same bytes as a run that was never disturbed. 3 moments, or 20 with PTBR_FULL=1.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::program::{command, run};
use crate::training::{prepared, train};

/// Steps of a run, and steps between its checkpoints: several checkpoints are written and pruned on the way.
const FLAGS: &[&str] = &[
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

fn weights(folder: &Path, output: &str) -> Vec<u8> {
    let latest = fs::read_to_string(folder.join(output).join("latest")).expect("a checkpoint");
    fs::read(
        folder
            .join(output)
            .join(latest.trim())
            .join("model.safetensors"),
    )
    .expect("its weights")
}

/// Moments spread over the run, none twice, by a generator that anyone can follow (the golden ratio's fractional parts).
fn moments(count: usize) -> impl Iterator<Item = f64> {
    (1..=count).map(|i| (i as f64 * 0.618_033_988_749_895).fract())
}

#[test]
fn a_killed_run_ends_with_the_same_bytes() {
    let folder = prepared();
    let at = folder.path();
    let start = Instant::now();
    run(at, &train("undisturbed", FLAGS)).done();
    let whole = start.elapsed();
    let wanted = weights(at, "undisturbed");

    let count = if std::env::var_os("PTBR_FULL").is_some_and(|value| value == "1") {
        20
    } else {
        3
    };
    let mut resumed = 0;
    for (number, moment) in moments(count).enumerate() {
        let output = format!("killed-{number}");
        let mut child = command(at, &train(&output, FLAGS))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let until = Instant::now() + whole.mul_f64(moment);
        while Instant::now() < until && child.try_wait().expect("a child").is_none() {
            sleep(Duration::from_millis(2));
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("it is dead");
        if at.join(&output).join("latest").exists() {
            run(
                at,
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
            resumed += 1;
        } else {
            // Killed before its first checkpoint: there is nothing to go on from, and it says so.
            let shown = run(at, &["resume", "--output", &output, "--device", "cpu"]);
            assert_eq!(shown.code, 2, "{}", shown.err);
            fs::remove_dir_all(at.join(&output)).ok();
            run(at, &train(&output, FLAGS)).done();
        }
        assert!(
            weights(at, &output) == wanted,
            "killed at {moment:.3} of the run: other bytes than undisturbed"
        );
        fs::remove_dir_all(at.join(&output)).expect("the folder goes");
    }
    println!("{count} kills, {resumed} of them resumed from a checkpoint");
    assert!(resumed > 0, "no kill came after a checkpoint");
}
