//! Which matrices stay wider so that the perplexity rises by no more than a bound.
//!
//! Harms add up nearly: what rounding one kind of matrix alone costs is close to its share of the cost of rounding all. So each kind is measured alone, and kinds are widened in the
//! order of harm removed for each byte added, until a measurement of the whole is within the bound.

use anyhow::Result;
use ptbr_model::{ArchConfig, QuantizationPlan, WeightFormat, matrix_kind};

use super::as_percent;
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

/// What a search needs to know of a model.
pub struct Search<'a> {
    /// Its sizes.
    pub config: &'a ArchConfig,
    /// By what share the perplexity rises with a plan.
    pub increase: &'a dyn Fn(&QuantizationPlan) -> Result<f64>,
    /// Where the search says what it finds.
    pub ui: &'a Ui,
}

/// A kind of matrix that could be wider.
struct Candidate {
    kind: String,
    /// Share by which the perplexity rises when this kind alone is rounded.
    harm: f64,
    /// Bytes that widening it adds.
    added: u64,
}

impl Search<'_> {
    /// Widens matrices of `plan` that have its main format, kind by kind, to int8 and then to f16, until the perplexity rises by at most `most`. Matrices that the user gave
    /// a format keep it.
    ///
    /// # Errors
    /// When a plan cannot be measured.
    pub fn widen(&self, fixed: &QuantizationPlan, most: f64) -> Result<Found> {
        let mut plan = fixed.clone();
        let mut narrow = fixed.format();
        let mut increase = (self.increase)(&plan)?;
        self.say(&format!("all in {narrow}"), increase);
        while increase > most {
            let Some(wide) = wider(narrow) else {
                return Ok(Found::OutOfReach { increase });
            };
            let candidates = self.candidates(fixed, narrow, wide)?;
            let last = candidates.len().saturating_sub(1);
            let mut predicted = increase;
            for (index, candidate) in candidates.iter().enumerate() {
                self.give(&mut plan, fixed, &candidate.kind, wide)?;
                self.say(
                    &format!("{} alone in {narrow}", candidate.kind),
                    candidate.harm,
                );
                predicted -= candidate.harm;
                // Measuring costs a pass over the data, so not before it is likely to succeed.
                if predicted <= most || index == last {
                    increase = (self.increase)(&plan)?;
                    self.say(&format!("up to {} in {wide}", candidate.kind), increase);
                    predicted = increase;
                    if increase <= most {
                        break;
                    }
                }
            }
            narrow = wide;
        }
        Ok(Found::Plan(plan))
    }

    /// The kinds that are not fixed, each measured alone in `narrow` beside f32, the most harm removed for a byte first.
    fn candidates(
        &self,
        fixed: &QuantizationPlan,
        narrow: WeightFormat,
        wide: WeightFormat,
    ) -> Result<Vec<Candidate>> {
        let mut candidates = Vec::new();
        for size in fixed.by_kind(self.config) {
            if !size.formats.contains(&fixed.format()) {
                continue;
            }
            let alone = |format| {
                let mut plan = QuantizationPlan::uniform(WeightFormat::F32);
                self.give(&mut plan, fixed, &size.kind, format)?;
                Ok::<_, anyhow::Error>(plan)
            };
            let (narrow, wide) = (alone(narrow)?, alone(wide)?);
            let bytes = |plan: &QuantizationPlan| plan.num_bytes(self.config);
            candidates.push(Candidate {
                harm: (self.increase)(&narrow)?,
                added: bytes(&wide).saturating_sub(bytes(&narrow)),
                kind: size.kind,
            });
        }
        let gain = |candidate: &Candidate| candidate.harm / candidate.added.max(1) as f64;
        candidates.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
        Ok(candidates)
    }

    /// Gives `format` to the matrices of a kind that are not fixed otherwise.
    fn give(
        &self,
        plan: &mut QuantizationPlan,
        fixed: &QuantizationPlan,
        kind: &str,
        format: WeightFormat,
    ) -> Result<()> {
        for name in self.config.matrix_names() {
            if matrix_kind(&name) == kind && !fixed.exceptions().contains_key(&name) {
                plan.keep(self.config, &name, format)?;
            }
        }
        Ok(())
    }

    fn say(&self, what: &str, increase: f64) {
        self.ui
            .note(format!("{what}: perplexity {}", as_percent(increase)));
    }
}

/// What a matrix may be widened to.
fn wider(format: WeightFormat) -> Option<WeightFormat> {
    match format {
        WeightFormat::Int4 => Some(WeightFormat::Int8),
        WeightFormat::Int8 | WeightFormat::Fp8 => Some(WeightFormat::F16),
        WeightFormat::F16 | WeightFormat::F32 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptbr_model::RwkvConfig;
    use std::cell::Cell;

    fn config() -> ArchConfig {
        ArchConfig::Rwkv4(RwkvConfig::new(512, 64, 2, 16))
    }

    /// A model whose harms add up exactly: int4 costs each matrix of a kind what `harm` says, int8 a tenth of it, f16 a hundredth.
    fn search(plan: &QuantizationPlan, most: f64, harm: &dyn Fn(&str) -> f64) -> (Found, usize) {
        let config = config();
        let measured = Cell::new(0);
        let increase = |plan: &QuantizationPlan| {
            measured.set(measured.get() + 1);
            let specs = config.tensor_specs();
            let matrices = specs.iter().filter(|spec| spec.is_matrix());
            Ok(matrices
                .map(|spec| {
                    let share = match plan.format_of(spec) {
                        WeightFormat::F32 => 0.0,
                        WeightFormat::F16 => 0.01,
                        WeightFormat::Int8 | WeightFormat::Fp8 => 0.1,
                        WeightFormat::Int4 => 1.0,
                    };
                    share * harm(matrix_kind(&spec.name))
                })
                .sum())
        };
        let search = Search {
            config: &config,
            increase: &increase,
            ui: &Ui::new(true),
        };
        (search.widen(plan, most).unwrap(), measured.get())
    }

    /// The head is large and harmful, the values of time mixing are small and nearly as harmful.
    fn harm(kind: &str) -> f64 {
        match kind {
            "head" => 0.02,
            "att.value" => 0.005,
            _ => 0.0005,
        }
    }

    fn plan_of(found: Found) -> QuantizationPlan {
        match found {
            Found::Plan(plan) => plan,
            Found::OutOfReach { increase } => panic!("out of reach at {increase}"),
        }
    }

    #[test]
    fn a_plan_within_the_bound_is_left_alone() {
        let plan = QuantizationPlan::uniform(WeightFormat::Int4);
        let (found, measured) = search(&plan, 0.05, &harm);
        assert_eq!((plan_of(found), measured), (plan, 1));
    }

    #[test]
    fn what_removes_most_harm_for_its_bytes_is_widened_first() {
        let int4 = QuantizationPlan::uniform(WeightFormat::Int4);
        // All cost 0.0365; the values in int8 leave 0.0275, the head as well 0.0095.
        let (found, _) = search(&int4, 0.03, &harm);
        let names: Vec<String> = plan_of(found).exceptions().keys().cloned().collect();
        assert_eq!(
            names,
            ["blocks.0.att.value.weight", "blocks.1.att.value.weight"]
        );
        let (found, measured) = search(&int4, 0.01, &harm);
        let plan = plan_of(found);
        assert_eq!(plan.exceptions().len(), 3);
        assert_eq!(plan.exceptions()["head.weight"], WeightFormat::Int8);
        // All, nine kinds alone, and once when the bound came into sight.
        assert_eq!(measured, 11);
    }

    #[test]
    fn int8_is_widened_to_f16_when_it_is_not_enough() {
        // All in int8 cost 0.00365, all in f16 a tenth of that.
        let (found, _) = search(&QuantizationPlan::uniform(WeightFormat::Int4), 0.002, &harm);
        let plan = plan_of(found);
        assert_eq!(plan.exceptions()["head.weight"], WeightFormat::F16);
        assert_eq!(plan.exceptions()["emb.weight"], WeightFormat::Int8);
        let (found, _) = search(&QuantizationPlan::uniform(WeightFormat::Fp8), 0.002, &harm);
        let plan = plan_of(found);
        assert_eq!(plan.exceptions()["head.weight"], WeightFormat::F16);
        assert!(!plan.exceptions().contains_key("emb.weight"));
    }

    #[test]
    fn what_the_user_fixed_stays_and_may_put_the_bound_out_of_reach() {
        let mut fixed = QuantizationPlan::uniform(WeightFormat::Int4);
        fixed.keep(&config(), "head", WeightFormat::Int8).unwrap();
        let (found, _) = search(&fixed, 0.0025, &harm);
        let plan = plan_of(found);
        assert_eq!(plan.exceptions()["head.weight"], WeightFormat::Int8);
        assert_eq!(
            plan.exceptions()["blocks.0.att.value.weight"],
            WeightFormat::F16
        );
        let (found, _) = search(&fixed, 0.001, &harm);
        let Found::OutOfReach { increase } = found else {
            panic!("the head alone costs 0.002");
        };
        assert!((increase - 0.002165).abs() < 1e-9, "{increase}");
        let (found, measured) = search(&QuantizationPlan::uniform(WeightFormat::F16), 0.0, &harm);
        assert!(matches!(found, Found::OutOfReach { .. }));
        assert_eq!(measured, 1);
    }
}
