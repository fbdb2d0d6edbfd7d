//! Memory over a long run on the GPU path. A software adapter's memory is that of the process, which Linux tells.

use std::sync::atomic::AtomicBool;

use ptbr_model::{Precision, TrainingConfig};
use ptbr_train::{StepReport, TrainDevice, TrainObserver};

use crate::common::{trainer, training};
use crate::turn;

/// Steps between two looks.
const EVERY: u64 = 50;

/// Resident memory of this process in bytes every [`EVERY`] steps.
#[derive(Default)]
struct Resident(Vec<u64>);

impl TrainObserver for Resident {
    fn on_step(&mut self, report: &StepReport) {
        if report.step.is_multiple_of(EVERY) {
            let status =
                std::fs::read_to_string("/proc/self/status").expect("the process's status");
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
            let kib: u64 = kib.unwrap_or_else(|| panic!("{status}"));
            self.0.push(1024 * kib);
        }
    }
}

#[test]
fn memory_is_flat_over_five_hundred_steps() {
    if std::env::var_os("PTBR_FULL").is_none_or(|value| value != "1") {
        println!("500 steps in each precision run with PTBR_FULL=1");
        return;
    }
    let _turn = turn();
    let folder = tempfile::tempdir().expect("a folder");
    for precision in [Precision::F32, Precision::F16] {
        let config = TrainingConfig {
            precision,
            ..training(500)
        };
        let mut resident = Resident::default();
        let name = format!("{precision}");
        trainer(folder.path(), &name, config, TrainDevice::Gpu)
            .run(&mut resident, &AtomicBool::new(false))
            .unwrap_or_else(|error| panic!("{error}"));
        let mib: Vec<f64> = resident
            .0
            .iter()
            .map(|bytes| *bytes as f64 / 1048576.0)
            .collect();
        println!("{precision}: MiB every {EVERY} steps: {mib:.1?}");
        // Pools, pipelines and staging buffers are there after the first looks; what is left may move by a page here and there.
        let (settled, last) = (mib[1], mib[mib.len() - 1]);
        assert!(last < settled + 4.0, "{precision}: {mib:?}");
    }
}
