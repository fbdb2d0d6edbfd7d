//! `test-gpu --memory`: which settings of a size fit in so much memory, by arithmetic alone.

use anyhow::Result;
use ptbr_model::{Placement, Precision, RwkvConfig, StepPlan};
use serde_json::{Value, json};

use crate::training::{MemorySize, settings};
use crate::ui::{self, Ui};

/// Batches that are tried, the largest first.
const BATCHES: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// Shows for each setting the largest batch that fits `memory`, or what a batch of one sequence needs; true when there is one that fits.
///
/// # Errors
/// When stdout cannot be written.
pub fn show(
    (name, config): (&str, &RwkvConfig),
    seq_len: usize,
    memory: MemorySize,
    ui: &Ui,
) -> Result<bool> {
    ui.line(format!(
        "{name} in {}: micro-batches of sequences of {seq_len} tokens, several of which make a step",
        ui::bytes(memory.0)
    ))?;
    ui.line(format!(
        "{:<10} {:<8} {:<13} {:>10} {:>12}",
        "precision", "moments", "checkpointing", "batch size", "needs"
    ))?;
    let mut rows = Vec::new();
    for precision in [Precision::F32, Precision::F16] {
        let plan = StepPlan {
            precision,
            ..StepPlan::new(1, seq_len, 2)
        };
        for setting in settings(&plan) {
            rows.push(row(config, &setting, memory, ui)?);
        }
    }
    let fits = rows.iter().any(|row| !row["batch_size"].is_null());
    if !fits {
        ui.note("nothing fits: take a smaller --model-size or a shorter --seq-len");
    }
    ui.result(&json!({
        "ok": fits,
        "model_size": name,
        "parameters": config.num_parameters(),
        "seq_len": seq_len,
        "memory": memory.0,
        "settings": rows,
    }))?;
    Ok(fits)
}

/// One line of the table.
fn row(config: &RwkvConfig, setting: &StepPlan, memory: MemorySize, ui: &Ui) -> Result<Value> {
    let needs = |batch_size| {
        let plan = StepPlan {
            batch_size,
            ..setting.clone()
        };
        config.estimated_memory(&plan, Placement::Gpu).total()
    };
    let largest = BATCHES.into_iter().find(|batch| needs(*batch) <= memory.0);
    let bytes = needs(largest.unwrap_or(1));
    ui.line(format!(
        "{:<10} {:<8} {:<13} {:>10} {:>12}",
        setting.precision.to_string(),
        setting.moments.to_string(),
        setting.checkpointing.to_string(),
        largest.map_or_else(|| "none".to_owned(), |batch| batch.to_string()),
        ui::bytes(bytes),
    ))?;
    Ok(json!({
        "precision": setting.precision,
        "moments": setting.moments,
        "checkpointing": setting.checkpointing,
        "batch_size": largest,
        "bytes": bytes,
    }))
}
