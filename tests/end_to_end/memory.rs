//! The memory estimate against the peak of a real training process, on the CPU. Linux, which tells a process's peak while it runs.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use ptbr_model::{MomentFormat, Placement, StepPlan, preset};

use crate::program::{command, run};
use crate::samples;
use crate::training::prepared;

/// The peak resident memory of a process, in bytes; `None` once it has ended.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[test]
fn estimates_are_within_a_fifth_of_the_measured_peak() {
    let folder = prepared();
    let at = folder.path();
    fs::write(at.join("mais.txt"), samples::literature(200)).expect("written");
    for (size, batch, seq_len) in [("nano", 8, 128), ("micro", 8, 256)] {
        let config = preset(size).expect("a preset");
        let vocabulary = config.vocab_size.to_string();
        // The sample is too small for 8,192 tokens unless every pair counts; the model's matrices must have the preset's sizes.
        let learn = [
            "train-tokenizer",
            "--input",
            "mais.txt",
            "--output",
            "t.json",
            "--vocab-size",
            &vocabulary,
        ];
        run(at, &learn).done();
        run(
            at,
            &[
                "tokenize",
                "--input",
                "mais.txt",
                "--tokenizer",
                "t.json",
                "--output",
                "t.bin",
            ],
        )
        .done();
        let cases = [
            ("off", "f32", 1),
            ("off", "f32", 2),
            ("balanced", "f32", 1),
            ("aggressive", "f32", 1),
            ("aggressive", "8bit", 2),
        ];
        for (checkpointing, moments, micro_batches) in cases {
            let plan = StepPlan {
                checkpointing: checkpointing.parse().expect("a policy"),
                moments: match moments {
                    "f32" => MomentFormat::F32,
                    _ => MomentFormat::EightBit,
                },
                ..StepPlan::new(batch, seq_len, micro_batches)
            };
            let measured = measured_peak(at, size, &plan);
            let estimate = config.estimated_memory(&plan, Placement::Cpu).total();
            let ratio = estimate as f64 / measured as f64;
            println!(
                "{size} {batch}×{seq_len}×{micro_batches} {checkpointing} {moments}: estimated {estimate}, measured {measured}, ratio {ratio:.2}"
            );
            assert!(
                (0.8..=1.2).contains(&ratio),
                "{size} {plan:?}: estimated {estimate}, measured {measured}"
            );
        }
    }
}

/// The peak of three steps of `plan` on `t.bin`.
fn measured_peak(at: &Path, size: &str, plan: &StepPlan) -> u64 {
    let numbers = [plan.batch_size, plan.seq_len, plan.micro_batches].map(|n| n.to_string());
    let texts = [plan.checkpointing.to_string(), plan.moments.to_string()];
    let output = format!("{size}-{}-{}-{}", texts[0], texts[1], numbers[2]);
    let mut child = command(
        at,
        &[
            "train",
            "--data",
            "t.bin",
            "--tokenizer",
            "t.json",
            "--model-size",
            size,
            "--device",
            "cpu",
            "--max-steps",
            "3",
            "--batch-size",
            &numbers[0],
            "--seq-len",
            &numbers[1],
            "--gradient-accumulation-steps",
            &numbers[2],
            "--checkpointing",
            &texts[0],
            "--moments",
            &texts[1],
            "--sample-tokens",
            "0",
            "--output",
            &output,
        ],
    )
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .expect("the program starts");
    let mut measured = 0;
    while child.try_wait().expect("a child").is_none() {
        measured = peak(child.id()).unwrap_or(0).max(measured);
        sleep(Duration::from_millis(2));
    }
    assert!(child.wait().expect("a child").success());
    measured
}
