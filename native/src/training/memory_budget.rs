//! How much memory a run may take, and what to change when its settings need more.

use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use ptbr_model::{
    GradientCheckpointing, MemoryFit, MomentFormat, Placement, RwkvConfig, StepPlan, fit_step,
};

use crate::ui::{self, Ui};

/// A number of bytes as people write it: 16GB, 7.5GiB, 800MB, or plain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySize(pub u64);

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "mb" | "m" => 1e6,
            "gb" | "g" => 1e9,
            "tb" | "t" => 1e12,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => {
                return Err(format!(
                    "\"{unit}\" is no unit: give a size like 16GB, 7.5GiB or 800MB"
                ));
            }
        };
        let number: f64 = number
            .parse()
            .map_err(|_| "give a size like 16GB, 7.5GiB or 800MB".to_owned())?;
        let bytes = number * factor;
        if !(1.0..1e18).contains(&bytes) {
            return Err("a size is at least a byte, and below an exabyte".to_owned());
        }
        Ok(Self(bytes as u64))
    }
}

/// `--memory`.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryBudget {
    /// Memory to plan for, as 16GB [default: what this machine has free; a GPU does not tell]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<MemorySize>,
}

impl MemoryBudget {
    /// Bytes to plan for; `None` where nobody knows.
    pub fn bytes(self, placement: Placement) -> Option<u64> {
        match (self.memory, placement) {
            (Some(size), _) => Some(size.0),
            (None, Placement::Cpu) => free_memory(),
            (None, Placement::Gpu) => None,
        }
    }
}

/// Memory that this machine can give without swapping, where the system says (Linux).
fn free_memory() -> Option<u64> {
    parse_free(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_free(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Says what a run takes and, where that is more than there is, which settings would fit. Nothing is refused: estimates err.
///
/// # Errors
/// When stdout cannot be written.
pub fn announce_memory(
    ui: &Ui,
    model: &RwkvConfig,
    plan: &StepPlan,
    placement: Placement,
    budget: MemoryBudget,
) -> Result<()> {
    let needed = model.estimated_memory(plan, placement).total();
    let Some(available) = budget.bytes(placement) else {
        ui.line(format!("memory    about {}", ui::bytes(needed)))?;
        return Ok(());
    };
    ui.line(format!(
        "memory    about {} of {}",
        ui::bytes(needed),
        ui::bytes(available)
    ))?;
    match fit_step(model, plan, placement, available) {
        MemoryFit::Fits => {}
        MemoryFit::Instead(found) => {
            let needed = model.estimated_memory(&found, placement).total();
            ui.note(format!(
                "this may be more than there is; with as many tokens a step, about {} would do:\n  {}",
                ui::bytes(needed),
                flags(plan, &found)
            ));
        }
        MemoryFit::Needs(least) => ui.note(format!(
            "this may be more than there is, and no setting of this model needs less than about {}: train a smaller --model-size, or on a machine with more memory",
            ui::bytes(least)
        )),
    }
    Ok(())
}

/// What to type to go from one plan to another.
pub fn flags(from: &StepPlan, to: &StepPlan) -> String {
    let mut flags = Vec::new();
    if to.batch_size != from.batch_size {
        flags.push(format!("--batch-size {}", to.batch_size));
        flags.push(format!(
            "--gradient-accumulation-steps {}",
            to.micro_batches
        ));
    }
    if to.checkpointing != from.checkpointing {
        flags.push(format!("--checkpointing {}", to.checkpointing));
    }
    if to.moments != from.moments {
        flags.push(format!("--moments {}", to.moments));
    }
    flags.join(" ")
}

/// The plans that a table of settings shows, the dearest in memory first: batch and precision are the caller's.
pub fn settings(plan: &StepPlan) -> impl Iterator<Item = StepPlan> {
    let moments = [MomentFormat::F32, MomentFormat::EightBit];
    let policies = [
        GradientCheckpointing::Off,
        GradientCheckpointing::Balanced,
        GradientCheckpointing::Aggressive,
    ];
    moments.into_iter().flat_map(move |moments| {
        let plan = plan.clone();
        policies
            .clone()
            .into_iter()
            .map(move |checkpointing| StepPlan {
                checkpointing,
                moments,
                ..plan.clone()
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let size = |text: &str| text.parse::<MemorySize>().map(|size| size.0);
        assert_eq!(size("16GB"), Ok(16_000_000_000));
        assert_eq!(size("1.5 GiB"), Ok(1_610_612_736));
        assert_eq!(size("800m"), Ok(800_000_000));
        assert_eq!(size("4096"), Ok(4096));
        for wrong in [
            "",
            "GB",
            "16 apples",
            "-1GB",
            "0",
            "1e9",
            "99999999TB",
            "1.2.3GB",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_systems_line_is_found() {
        let text = "MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(parse_free(text), Some(2 << 20));
        assert_eq!(parse_free("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn flags_name_what_changed() {
        let plan = StepPlan::new(8, 512, 16);
        let other = StepPlan {
            checkpointing: GradientCheckpointing::Balanced,
            moments: MomentFormat::EightBit,
            ..StepPlan::new(2, 512, 64)
        };
        assert_eq!(
            flags(&plan, &other),
            "--batch-size 2 --gradient-accumulation-steps 64 --checkpointing balanced --moments 8bit"
        );
        assert_eq!(flags(&plan, &plan), "");
    }
}
