//! Several adapters made one thing: baked into a model's weights, or joined into one adapter.

use std::collections::BTreeMap;
use std::io;

use super::config::MAX_RANK;
use super::{Adapter, AdapterConfig, AdapterError, LoraModule};
use crate::format::WeightFormat;
use crate::source::ModelSource;
use crate::tensor::{TensorSource, TensorSpec};

/// An adapter and how much of it: 1 is as it was trained, 0 nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedAdapter {
    /// The adapter.
    pub adapter: Adapter,
    /// Factor of its change.
    pub weight: f64,
}

impl WeightedAdapter {
    /// `weight · scale`, the factor of B·A.
    fn factor(&self) -> f64 {
        self.weight * f64::from(self.adapter.config.scale())
    }

    fn module(&self, target: &str) -> Option<&LoraModule> {
        let mut modules = self.adapter.modules.iter();
        modules.find(|module| module.target == target)
    }
}

/// A model's weights with `W + Σ weight · scale · B·A` in place of every W that the adapters change: summed in f64, rounded once.
#[derive(Debug)]
pub struct MergedWeights<'a> {
    model: &'a ModelSource,
    adapters: &'a [WeightedAdapter],
}

impl<'a> MergedWeights<'a> {
    /// The model with the adapters.
    ///
    /// Errors: an adapter that does not fit the model ([`Adapter::check_against`]), a weight that is no number, and a model whose matrices are not f32: merging into rounded weights would round
    /// them again.
    pub fn new(
        model: &'a ModelSource,
        adapters: &'a [WeightedAdapter],
    ) -> Result<Self, AdapterError> {
        let content = |reason: String| AdapterError::Content {
            file: model.path().display().to_string(),
            reason,
        };
        for one in adapters {
            check_weight(one)?;
            one.adapter
                .check_against(model.config(), model.model_id())?;
        }
        for name in model.config().matrix_names() {
            let format = model.matrix(&name)?.format();
            if format != WeightFormat::F32 {
                return Err(content(format!(
                    "its weights are in {format}, and merging into rounded weights would round them again; give the f32 model that it was made from"
                )));
            }
        }
        Ok(Self { model, adapters })
    }

    /// Matrices that change.
    pub fn num_changed(&self) -> usize {
        let mut targets: Vec<&str> = self
            .adapters
            .iter()
            .flat_map(|one| &one.adapter.modules)
            .map(|module| module.target.as_str())
            .collect();
        targets.sort_unstable();
        targets.dedup();
        targets.len()
    }
}

impl TensorSource for MergedWeights<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.model.config().tensor_specs()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let values = self.model.tensor(name).map_err(io::Error::other)?;
        let target = name.strip_suffix(".weight").unwrap_or(name);
        let changes: Vec<(f64, &LoraModule, usize)> = self
            .adapters
            .iter()
            .filter_map(|one| {
                let module = one.module(target)?;
                Some((one.factor(), module, one.adapter.config.rank))
            })
            .collect();
        let Some((_, first, _)) = changes.first() else {
            return sink(values);
        };
        let width = first.in_features;
        let (mut sums, mut rounded) = (vec![0.0f64; width], vec![0.0f32; width]);
        for (row, weights) in values.chunks_exact(width).enumerate() {
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum = f64::from(weight);
            }
            for (factor, module, rank) in &changes {
                let b = &module.b[row * rank..][..*rank];
                for (&b, a) in b.iter().zip(module.a.chunks_exact(width)) {
                    let factor = factor * f64::from(b);
                    for (sum, &a) in sums.iter_mut().zip(a) {
                        *sum += factor * f64::from(a);
                    }
                }
            }
            for (rounded, &sum) in rounded.iter_mut().zip(&sums) {
                *rounded = sum as f32;
            }
            sink(&rounded)?;
        }
        Ok(())
    }
}

impl Adapter {
    /// One adapter that does what several do together: the A matrices one under the other, the B matrices side by side, each B times its adapter's weight and scale. The rank is the sum of the
    /// ranks, the scale 1; nothing is approximated, each number of B is rounded once.
    ///
    /// Errors: none at all, adapters of different models or of matrices of different sizes, a weight that is no number, more ranks than an adapter can have, and a product that f32 cannot hold.
    pub fn joined(parts: &[WeightedAdapter]) -> Result<Self, AdapterError> {
        let mut rank = 0usize;
        let mut model_id: Option<&String> = None;
        let mut targets: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for part in parts {
            check_weight(part)?;
            rank = rank.saturating_add(part.adapter.config.rank);
            match (model_id, &part.adapter.model_id) {
                (Some(known), Some(other)) if known != other => {
                    return Err(AdapterError::OtherModel {
                        expected: other.clone(),
                        found: known.clone(),
                    });
                }
                (None, Some(id)) => model_id = Some(id),
                _ => {}
            }
            for module in &part.adapter.modules {
                let shape = [module.out_features, module.in_features];
                let known = *targets.entry(&module.target).or_insert(shape);
                if known != shape {
                    return Err(AdapterError::Shape {
                        target: module.target.clone(),
                        found: shape,
                        expected: known.to_vec(),
                    });
                }
            }
        }
        if !(1..=MAX_RANK).contains(&rank) {
            return Err(joining(format!(
                "the sum of their ranks is {rank}, and must be from 1 to {MAX_RANK}"
            )));
        }
        let mut modules = Vec::with_capacity(targets.len());
        for (target, [out_features, in_features]) in targets {
            modules.push(joined_module(
                parts,
                target,
                [out_features, in_features],
                rank,
            )?);
        }
        Ok(Self {
            config: AdapterConfig {
                rank,
                alpha: rank as f64,
                rank_stabilized: false,
                base_model: parts
                    .iter()
                    .find_map(|part| part.adapter.config.base_model.clone()),
            },
            model_id: model_id.cloned(),
            modules,
        })
    }
}

/// A part that does not change this matrix leaves its rows of A and columns of B zero: a PEFT folder has one rank for all.
fn joined_module(
    parts: &[WeightedAdapter],
    target: &str,
    [out_features, in_features]: [usize; 2],
    rank: usize,
) -> Result<LoraModule, AdapterError> {
    let too_large = || joining(format!("`{target}` becomes too large"));
    let mut a = vec![0.0f32; in_features.checked_mul(rank).ok_or_else(too_large)?];
    let mut b = vec![0.0f32; out_features.checked_mul(rank).ok_or_else(too_large)?];
    let mut first = 0;
    for part in parts {
        let own = part.adapter.config.rank;
        if let Some(module) = part.module(target) {
            a[first * in_features..][..own * in_features].copy_from_slice(&module.a);
            let factor = part.factor();
            for (row, values) in b.chunks_exact_mut(rank).zip(module.b.chunks_exact(own)) {
                for (joined, &value) in row[first..].iter_mut().zip(values) {
                    *joined = (factor * f64::from(value)) as f32;
                }
            }
        }
        first += own;
    }
    if let Some(value) = b.iter().find(|value| !value.is_finite()) {
        return Err(joining(format!(
            "`{target}` would hold {value}; use smaller weights"
        )));
    }
    Ok(LoraModule {
        target: target.to_owned(),
        in_features,
        out_features,
        a,
        b,
    })
}

fn check_weight(part: &WeightedAdapter) -> Result<(), AdapterError> {
    if part.weight.is_finite() {
        return Ok(());
    }
    Err(joining(format!(
        "the weight of one is {}: give a number",
        part.weight
    )))
}

fn joining(reason: String) -> AdapterError {
    AdapterError::Content {
        file: "the adapters to be joined".to_owned(),
        reason,
    }
}
