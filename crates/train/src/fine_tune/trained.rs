//! What a fine-tuning run trains: the names, shapes and first values of its parameters, and the model that holds them.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use ptbr_model::{
    ArchConfig, DomainFineTuneConfig, FineTuneMethod, PatternError, RwkvConfig, TensorError,
    TensorSpec,
};

use super::BaseModel;
use crate::TrainError;
use crate::model::init::split_layer;
use crate::model::parameters::{Path, f32_values};
use crate::model::{LayerState, LoraAdapter, Rwkv, initial_a};

/// What stands behind a matrix's name in the names of its factors.
const LORA_A: &str = ".lora.a";
pub(super) const LORA_B: &str = ".lora.b";
/// What stands between a layer and the name of a vector of its trained state.
const STATE: &str = "state.";

/// The parameters that a run trains, in the order in which checkpoints hold them: `<matrix>.lora.a` `[rank, in]` and `.lora.b`
/// `[out, rank]`, then vectors of the model by their official names; or the vectors of a state, `blocks.<n>.state.<part>` `[C]`.
///
/// Fails when a target names no matrix.
pub fn trained_specs(
    tuning: &DomainFineTuneConfig,
    config: &RwkvConfig,
) -> Result<Vec<TensorSpec>, PatternError> {
    if tuning.method == FineTuneMethod::State {
        let states = (0..config.n_layers).flat_map(|layer| {
            LayerState::PARTS.map(|part| {
                TensorSpec::new(format!("blocks.{layer}.{STATE}{part}"), [config.d_model])
            })
        });
        return Ok(states.collect());
    }
    let arch = ArchConfig::Rwkv4(config.clone());
    let targets = tuning.target_matrices(&arch)?;
    let specs = config.tensor_specs();
    let mut trained = Vec::new();
    for target in targets {
        let weight = format!("{target}.weight");
        if let Some([outputs, inputs]) = specs
            .iter()
            .find(|spec| spec.name == weight)
            .and_then(|spec| <[usize; 2]>::try_from(spec.shape.as_slice()).ok())
        {
            let (a, b) = (format!("{target}{LORA_A}"), format!("{target}{LORA_B}"));
            trained.push(TensorSpec::new(a, [tuning.rank, inputs]));
            trained.push(TensorSpec::new(b, [outputs, tuning.rank]));
        }
    }
    trained.extend(specs.into_iter().filter(|spec| {
        let (_, part) = split_layer(&spec.name);
        let is_time = part.contains(".time_");
        let is_norm = part.starts_with("ln");
        (tuning.train_time && is_time) || (tuning.train_norms && is_norm)
    }));
    Ok(trained)
}

/// What a trained parameter is, by its name.
pub(super) enum Trained<'a> {
    /// A of this matrix.
    A(&'a str),
    /// B of this matrix.
    B(&'a str),
    /// A vector of the state of this layer.
    State(usize, &'a str),
    /// A vector of the model.
    Vector,
}

pub(super) fn kind(name: &str) -> Trained<'_> {
    if let Some(target) = name.strip_suffix(LORA_A) {
        return Trained::A(target);
    }
    if let Some(target) = name.strip_suffix(LORA_B) {
        return Trained::B(target);
    }
    match split_layer(name) {
        (layer, part) if part.starts_with(STATE) => Trained::State(layer, &part[STATE.len()..]),
        _ => Trained::Vector,
    }
}

/// The values that a parameter begins with: a pure function of (base, seed, name). The base's logits do not change by them, but for the
/// little that [`crate::model::INITIAL_PP`] weighs.
pub fn initial_values(
    base: &BaseModel,
    spec: &TensorSpec,
    seed: u64,
) -> Result<Vec<f32>, TensorError> {
    let count = spec.num_elements().unwrap_or(0);
    Ok(match kind(&spec.name) {
        Trained::A(target) => initial_a(spec.shape[0], count / spec.shape[0].max(1), target, seed),
        Trained::B(_) => vec![0.0; count],
        Trained::State(_, part) => {
            let [att_x, ffn_x, aa, pp] = LayerState::initial(count);
            match part {
                "att_x" => att_x,
                "ffn_x" => ffn_x,
                "aa" => aa,
                _ => pp,
            }
        }
        Trained::Vector => f32_values(&base.source, spec)?,
    })
}

/// The base with the parameters of `specs` in it, trainable, their elements from `values`; everything else is shared with the base and
/// frozen.
pub fn tuned_model(
    base: &BaseModel,
    tuning: &DomainFineTuneConfig,
    specs: &[TensorSpec],
    values: &mut dyn FnMut(&TensorSpec) -> Result<Vec<f32>, TensorError>,
) -> Result<Rwkv, TrainError> {
    let device = base.frozen.device();
    let mut model = base.frozen.clone();
    let mut vectors = BTreeMap::new();
    let mut factors: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    let mut states: BTreeMap<usize, Vec<Vec<f32>>> = BTreeMap::new();
    for spec in specs {
        let elements = values(spec)?;
        match kind(&spec.name) {
            // A comes right before B of the same matrix, and the parts of a state in their order: that is how they are listed.
            Trained::A(target) => {
                factors.insert(target, elements);
            }
            Trained::B(target) => {
                let a = factors.remove(target).unwrap_or_default();
                let scale = tuning.scale() as f32;
                let lora = LoraAdapter::new(tuning.rank, scale, a, elements, &device);
                if let Some(projection) = model.projection_mut(target) {
                    projection.set_lora(Some(lora));
                }
            }
            Trained::State(layer, _) => states.entry(layer).or_default().push(elements),
            Trained::Vector => {
                vectors.insert(spec.name.clone(), elements);
            }
        }
    }
    for (block, parts) in model.blocks.iter_mut().zip(states.into_values()) {
        if let Ok(parts) = <[Vec<f32>; 4]>::try_from(parts) {
            block.state = Some(LayerState::new(parts, &device));
        }
    }
    if vectors.is_empty() {
        return Ok(model);
    }
    Ok(model.map(&mut SetVectors {
        path: Path::default(),
        vectors,
    }))
}

/// Puts trainable vectors in the place of frozen ones.
struct SetVectors {
    path: Path,
    vectors: BTreeMap<String, Vec<f32>>,
}

impl ModuleMapper for SetVectors {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(values) = self.vectors.remove(self.path.name()) else {
            return param;
        };
        let tensor = param.val();
        let data = TensorData::new(values, tensor.dims());
        Param::from_tensor(Tensor::from_data(data, &tensor.device()))
    }
}
