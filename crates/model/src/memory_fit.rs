//! Settings of a training step that fit the memory at hand.

use serde::Serialize;

use crate::gradient_checkpointing::GradientCheckpointing;
use crate::memory::{Placement, StepPlan};
use crate::moments::MomentFormat;
use crate::rwkv4::RwkvConfig;

/// Rows of a micro-batch below which matrix products no longer keep a device busy: smaller ones are the last resort.
const ENOUGH_ROWS: u64 = 1024;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryFit {
    /// The plan fits as it is.
    Fits,
    /// This one fits in its place: as many tokens a step, and the least that costs time or precision.
    Instead(StepPlan),
    /// Nothing fits: so many bytes are needed at least.
    Needs(u64),
}

/// Looks for settings that fit `bytes`, changing as little as it can, what costs least first: a smaller batch with as many micro-batches more; then activations
/// computed twice, a block of layers at a time, then every layer; then moments in bytes; and at last batches too small for a device to be busy. The number of
/// tokens a step and the length of the sequences stay.
pub fn fit_step(
    config: &RwkvConfig,
    plan: &StepPlan,
    placement: Placement,
    bytes: u64,
) -> MemoryFit {
    let needs = |plan: &StepPlan| config.estimated_memory(plan, placement).total();
    if needs(plan) <= bytes {
        return MemoryFit::Fits;
    }
    let mut least = u64::MAX;
    for enough in [ENOUGH_ROWS, 0] {
        for moments in [plan.moments, MomentFormat::EightBit] {
            for checkpointing in [
                plan.checkpointing.clone(),
                GradientCheckpointing::Balanced,
                GradientCheckpointing::Aggressive,
            ] {
                for candidate in halved(plan) {
                    let rows =
                        (candidate.batch_size as u64).saturating_mul(candidate.seq_len as u64);
                    if rows < enough && candidate.batch_size < plan.batch_size {
                        continue;
                    }
                    let candidate = StepPlan {
                        moments,
                        checkpointing: checkpointing.clone(),
                        ..candidate
                    };
                    let needed = needs(&candidate);
                    if needed <= bytes {
                        return MemoryFit::Instead(candidate);
                    }
                    least = least.min(needed);
                }
            }
        }
    }
    MemoryFit::Needs(least)
}

/// The plan, and the same with smaller batches and more of them: the batch is divided by two, and by what is left of it.
fn halved(plan: &StepPlan) -> impl Iterator<Item = StepPlan> {
    std::iter::successors(Some(plan.clone()), |plan| {
        let by = (2..=plan.batch_size).find(|by| plan.batch_size.is_multiple_of(*by))?;
        Some(StepPlan {
            batch_size: plan.batch_size / by,
            micro_batches: plan.micro_batches.checked_mul(by)?,
            ..plan.clone()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::preset;

    const GB: u64 = 1_000_000_000;

    fn fit(size: &str, plan: &StepPlan, bytes: u64) -> MemoryFit {
        fit_step(&preset(size).unwrap(), plan, Placement::Gpu, bytes)
    }

    #[test]
    fn what_fits_is_left_alone_and_what_cannot_says_what_it_needs() {
        let plan = StepPlan::new(8, 512, 16);
        assert_eq!(fit("85m", &plan, 100 * GB), MemoryFit::Fits);
        let MemoryFit::Needs(bytes) = fit("1.5b", &plan, 8 * GB) else {
            panic!("2.1 G parameters in 8 GB");
        };
        assert!(bytes > 20 * GB, "{bytes}");
        assert!(fit("1.5b", &plan, bytes) != MemoryFit::Needs(bytes));
    }

    #[test]
    fn suggestions_fit_keep_the_tokens_of_a_step_and_begin_with_the_cheapest() {
        let plan = StepPlan::new(12, 512, 4);
        for (size, gb) in [
            ("85m", 8),
            ("85m", 5),
            ("85m", 3),
            ("400m", 10),
            ("1b", 16),
            ("1b", 40),
        ] {
            let config = preset(size).unwrap();
            let found = match fit(size, &plan, gb * GB) {
                MemoryFit::Fits => plan.clone(),
                MemoryFit::Instead(found) => found,
                MemoryFit::Needs(bytes) => panic!("{size} in {gb} GB needs {bytes}"),
            };
            let bytes = config.estimated_memory(&found, Placement::Gpu).total();
            assert!(bytes <= gb * GB, "{size} in {gb} GB: {bytes}");
            assert_eq!(found.batch_size * found.micro_batches, 48);
            println!("{size} in {gb} GB: {found:?}, {bytes}");
        }
        // A smaller batch is enough here: nothing else changes.
        let MemoryFit::Instead(found) = fit("85m", &plan, 8 * GB) else {
            panic!("12 × 512 does not fit as it is");
        };
        assert!(found.batch_size < 12);
        assert_eq!(found.checkpointing, GradientCheckpointing::Off);
        assert_eq!(found.moments, MomentFormat::F32);
    }

    #[test]
    fn a_batch_is_divided_until_one_sequence_is_left() {
        let sizes = |batch| {
            halved(&StepPlan::new(batch, 8, 3))
                .map(|plan| (plan.batch_size, plan.micro_batches))
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(12), [(12, 3), (6, 6), (3, 12), (1, 36)]);
        assert_eq!(sizes(7), [(7, 3), (1, 21)]);
        assert_eq!(sizes(1), [(1, 3)]);
    }
}
