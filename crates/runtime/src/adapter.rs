//! LoRA adapters at run time: loaded beside a model, chosen by a session, applied as it computes. The model's weights are never touched.

use crate::RuntimeError;
use crate::model::rwkv4::{LayerMatrix, Rwkv4Matrix};
use ptbr_model::{
    Adapter, AdapterConfig, AdapterError, AdapterMatch, ArchConfig, LoraModule, TensorError,
};
use std::sync::Arc;

/// An adapter that fits a loaded model: `y = W·x + s · B·(A·x)` on some of its matrices, above weights of any format.
///
/// Made by [`Model::load_adapter`](crate::Model::load_adapter) or [`Model::add_adapter`](crate::Model::add_adapter). Any number of them are resident at once, for as long as somebody
/// holds them; any number of sessions share one.
pub struct LoadedAdapter {
    id: Arc<str>,
    model_id: Arc<str>,
    /// The model's sizes: an id that a file claims is no proof of them.
    model: ArchConfig,
    matching: AdapterMatch,
    config: AdapterConfig,
    scale: f32,
    /// By [`index`]: the matrices of each layer, then the head.
    modules: Vec<Option<Module>>,
}

struct Module {
    lora: LoraModule,
    /// B turned, `[rank, out]`: see [`Lora::b_turned`].
    b_turned: Vec<f32>,
}

/// The change of one matrix: `s · B·A`.
#[derive(Clone, Copy)]
pub(crate) struct Lora<'a> {
    /// `[rank, in]`
    pub a: &'a [f32],
    /// `[out, rank]`
    #[cfg_attr(
        not(feature = "gpu"),
        expect(dead_code, reason = "the CPU takes the other")
    )]
    pub b: &'a [f32],
    /// `[rank, out]`: with so few columns, rows are no length for vectors, and columns are.
    pub b_turned: &'a [f32],
    pub rank: usize,
    pub scale: f32,
}

impl LoadedAdapter {
    /// Checks that every part of `adapter` fits the model of this configuration and id.
    pub(crate) fn new(
        adapter: Adapter,
        arch: &ArchConfig,
        model_id: &Arc<str>,
    ) -> Result<Self, RuntimeError> {
        let ArchConfig::Rwkv4(rwkv) = arch else {
            return Err(RuntimeError::Architecture { name: arch.name() });
        };
        let matching = adapter.check_against(arch, model_id)?;
        let id = adapter.id().into();
        let scale = adapter.config.scale();
        if !scale.is_finite() {
            return Err(content(format!("its scale is {scale}")));
        }
        let mut modules: Vec<Option<Module>> = Vec::new();
        modules.resize_with(rwkv.n_layers * LayerMatrix::ALL.len() + 1, || None);
        for module in adapter.modules {
            let place = matrix_named(&module.target)
                .and_then(|matrix| modules.get_mut(index(matrix, rwkv.n_layers)))
                .ok_or_else(|| AdapterError::NoSuchTarget {
                    target: module.target.clone(),
                })?;
            if place.is_some() {
                return Err(content(format!("it changes `{}` twice", module.target)));
            }
            check_values(&module, adapter.config.rank)?;
            *place = Some(Module::new(module, adapter.config.rank));
        }
        Ok(Self {
            id,
            model_id: Arc::clone(model_id),
            model: arch.clone(),
            matching,
            config: adapter.config,
            scale,
            modules,
        })
    }

    /// Its id: 64 hexadecimal digits, the same for every folder with the same effect. States name it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it was loaded for a model of this id and these sizes.
    pub(crate) fn is_for(&self, model_id: &str, model: &ArchConfig) -> bool {
        *self.model_id == *model_id && self.model == *model
    }

    /// Id of the model that it was loaded for.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// Whether it names that model. [`AdapterMatch::ShapesOnly`], an adapter that names none, is worth a warning: it would also load on another model of this size, and do harm there.
    pub fn matching(&self) -> AdapterMatch {
        self.matching
    }

    /// Rank, alpha, origin.
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// The official names of the matrices that it changes, by layer.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.modules
            .iter()
            .flatten()
            .map(|module| module.lora.target.as_str())
    }

    /// Numbers in its matrices, four bytes each.
    pub fn num_parameters(&self) -> usize {
        self.modules
            .iter()
            .flatten()
            .map(|module| module.lora.a.len() + module.lora.b.len())
            .sum()
    }

    /// What it does to a matrix.
    pub(crate) fn lora(&self, matrix: Rwkv4Matrix) -> Option<Lora<'_>> {
        let layers = self.modules.len() / LayerMatrix::ALL.len();
        let module = self.modules.get(index(matrix, layers))?.as_ref()?;
        Some(Lora {
            a: &module.lora.a,
            b: &module.lora.b,
            b_turned: &module.b_turned,
            rank: self.config.rank,
            scale: self.scale,
        })
    }

    /// Its id, shared.
    pub(crate) fn shared_id(&self) -> &Arc<str> {
        &self.id
    }
}

impl Module {
    fn new(lora: LoraModule, rank: usize) -> Self {
        let mut b_turned = Vec::with_capacity(lora.b.len());
        for column in 0..rank {
            b_turned.extend(lora.b.iter().skip(column).step_by(rank));
        }
        Self { lora, b_turned }
    }
}

/// A matrix's place in [`LoadedAdapter::modules`].
fn index(matrix: Rwkv4Matrix, layers: usize) -> usize {
    match matrix {
        Rwkv4Matrix::Layer(layer, name) => layer * LayerMatrix::ALL.len() + name as usize,
        Rwkv4Matrix::Head => layers * LayerMatrix::ALL.len(),
    }
}

/// `blocks.3.att.key` or `head`.
fn matrix_named(target: &str) -> Option<Rwkv4Matrix> {
    if target == "head" {
        return Some(Rwkv4Matrix::Head);
    }
    let (layer, name) = target.strip_prefix("blocks.")?.split_once('.')?;
    let (matrix, _) = LayerMatrix::ALL.into_iter().find(|(_, own)| *own == name)?;
    Some(Rwkv4Matrix::Layer(layer.parse().ok()?, matrix))
}

/// What a reader of files has checked, for adapters that were made in memory.
fn check_values(module: &LoraModule, rank: usize) -> Result<(), RuntimeError> {
    let expected = module
        .in_features
        .checked_mul(rank)
        .zip(module.out_features.checked_mul(rank));
    if rank == 0 || expected != Some((module.a.len(), module.b.len())) {
        return Err(content(format!(
            "`{}` has {} and {} values, which are not those of rank {rank}",
            module.target,
            module.a.len(),
            module.b.len()
        )));
    }
    let values = module.a.iter().chain(&module.b);
    if let Some((index, &value)) = values.enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(AdapterError::from(TensorError::NotFinite {
            file: LABEL.to_owned(),
            name: module.target.clone(),
            index,
            value,
        })
        .into());
    }
    Ok(())
}

/// What messages call an adapter of which no file is known.
const LABEL: &str = "the adapter in memory";

fn content(reason: String) -> RuntimeError {
    AdapterError::Content {
        file: LABEL.to_owned(),
        reason,
    }
    .into()
}

impl std::fmt::Debug for LoadedAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedAdapter")
            .field("id", &self.id)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptbr_model::RwkvConfig;

    #[test]
    fn every_matrix_has_a_place_of_its_own() {
        let layers = 3;
        let mut places = Vec::new();
        for spec in RwkvConfig::new(64, 32, layers, 16).tensor_specs() {
            let target = spec.name.trim_end_matches(".weight");
            if let Some(matrix) = matrix_named(target) {
                places.push(index(matrix, layers));
            }
        }
        places.sort_unstable();
        let all: Vec<usize> = (0..7 * layers + 1).collect();
        assert_eq!(places, all);
        for (number, (matrix, _)) in LayerMatrix::ALL.into_iter().enumerate() {
            assert_eq!(matrix as usize, number);
        }
        assert_eq!(matrix_named("emb"), None);
        assert_eq!(matrix_named("blocks.0.ln1"), None);
    }
}
