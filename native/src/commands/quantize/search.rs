//! Which matrices stay wider so that the perplexity rises by no more than a bound.
//!
//! Harms add up nearly: what rounding one kind of matrix alone costs is close to its share of the cost of rounding all. So each kind is measured alone, and kinds are widened in the
//! order of harm removed for each byte added, until a measurement of the whole is within the bound.

use anyhow::Result;
use ptbr_model::{QuantizationPlan, WeightFormat};

use super::as_percent;
use super::trial::Trial;
use crate::ui::Ui;

/// How a search ended.
pub enum Found {
    /// A plan within the bound.
    Plan(QuantizationPlan),
    /// No plan within the bound: even with the widest formats the perplexity rises by this share.
    OutOfReach {
        /// As a share.
        increase: f64,
    },
}

/// A kind of matrix that could be wider.
struct Candidate {
    kind: String,
    /// Share by which the perplexity rises when this kind alone is rounded.
    harm: f64,
    /// Bytes that widening it adds.
    added: u64,
}

/// Widens matrices of `plan` that have its main format, kind by kind, to int8 and then to f16, until the perplexity rises by at most `most`. Matrices that the user gave a
/// format keep it.
///
/// # Errors
/// When a plan cannot be measured.
pub fn widen(trial: &Trial<'_>, plan: QuantizationPlan, most: f64, ui: &Ui) -> Result<Found> {
    let mut increase = trial.increase(&plan)?;
    ui.note(format!(
        "all in {}: perplexity {}",
        plan.format(),
        as_percent(increase)
    ));
    let fixed = plan.clone();
    let (mut plan, mut narrow) = (plan, fixed.format());
    while increase > most {
        let Some(wide) = wider(narrow) else {
            return Ok(Found::OutOfReach { increase });
        };
        let mut predicted = increase;
        for candidate in candidates(trial, &fixed, narrow, wide)? {
            keep(trial, &mut plan, &fixed, &candidate.kind, wide)?;
            predicted -= candidate.harm;
            ui.note(format!(
                "{} in {wide}: alone in {narrow} it costs {}",
                candidate.kind,
                as_percent(candidate.harm)
            ));
            // Measuring costs a pass over the data, so not before it is likely to succeed.
            if predicted <= most {
                increase = trial.increase(&plan)?;
                ui.note(format!("together: perplexity {}", as_percent(increase)));
                predicted = increase;
                if increase <= most {
                    break;
                }
            }
        }
        if increase > most {
            increase = trial.increase(&plan)?;
        }
        narrow = wide;
    }
    Ok(Found::Plan(plan))
}

/// What a matrix may be widened to.
fn wider(format: WeightFormat) -> Option<WeightFormat> {
    match format {
        WeightFormat::Int4 => Some(WeightFormat::Int8),
        WeightFormat::Int8 | WeightFormat::Fp8 => Some(WeightFormat::F16),
        WeightFormat::F16 | WeightFormat::F32 => None,
    }
}

/// The kinds that are not fixed, each measured alone in `narrow` beside f32, the most harm removed for a byte first.
fn candidates(
    trial: &Trial<'_>,
    fixed: &QuantizationPlan,
    narrow: WeightFormat,
    wide: WeightFormat,
) -> Result<Vec<Candidate>> {
    let config = trial.source().config();
    let f32 = QuantizationPlan::uniform(WeightFormat::F32);
    let mut candidates = Vec::new();
    for size in fixed.by_kind(config) {
        if !size.formats.contains(&fixed.format()) {
            continue;
        }
        let with = |format| {
            let mut plan = f32.clone();
            keep(trial, &mut plan, fixed, &size.kind, format)?;
            Ok::<_, anyhow::Error>(plan)
        };
        let (narrow, wide) = (with(narrow)?, with(wide)?);
        candidates.push(Candidate {
            harm: trial.increase(&narrow)?,
            added: wide
                .num_bytes(config)
                .saturating_sub(narrow.num_bytes(config)),
            kind: size.kind,
        });
    }
    let gain = |candidate: &Candidate| candidate.harm / candidate.added.max(1) as f64;
    candidates.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
    Ok(candidates)
}

/// Gives `format` to the matrices of a kind that are not fixed otherwise.
fn keep(
    trial: &Trial<'_>,
    plan: &mut QuantizationPlan,
    fixed: &QuantizationPlan,
    kind: &str,
    format: WeightFormat,
) -> Result<()> {
    let config = trial.source().config();
    let names = config.matrix_names();
    let of_kind = names.iter().filter(|name| {
        ptbr_model::matrix_kind(name) == kind && !fixed.exceptions().contains_key(*name)
    });
    for name in of_kind {
        plan.keep(config, name, format)?;
    }
    Ok(())
}
