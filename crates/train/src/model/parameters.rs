//! Parameters by their official names: building a model from named tensors, and reading it back.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use ptbr_model::{ModelSource, RwkvConfig, TensorError, TensorSource, TensorSpec};

use super::{ChannelMixing, LayerNorm, Projection, Rwkv, RwkvBlock, TimeMixing};
use crate::ops::host::is_host;
use crate::ops::stored::StoredMatrix;
use crate::optim::Flat;

/// Where a visitor stands in the module tree, as a dotted name.
#[derive(Debug, Default)]
pub struct Path {
    name: String,
    lengths: Vec<usize>,
}

impl Path {
    /// One level down.
    pub fn enter(&mut self, name: &str) {
        self.lengths.push(self.name.len());
        if !self.name.is_empty() {
            self.name.push('.');
        }
        self.name.push_str(name);
    }

    /// One level up.
    pub fn exit(&mut self) {
        self.name.truncate(self.lengths.pop().unwrap_or(0));
    }

    /// `blocks.3.att.key.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Where the elements of a new model come from: called once for each tensor, in canonical order.
pub type Values<'a, E> = dyn FnMut(&TensorSpec) -> Result<Vec<f32>, E> + 'a;

/// Builds the model on `device` from named values; its parameters are trainable when the device has autodiff.
pub fn build<E>(
    config: &RwkvConfig,
    device: &Device,
    values: &mut Values<'_, E>,
) -> Result<Rwkv, E> {
    Builder::new(config, device, Trainable(values)).model(config)
}

/// Builds the model of `source` on `device` with nothing to train: on the CPU its matrices stay where the file is mapped, in the form
/// that the file has; on another device they are uploaded once, as f32.
pub fn build_frozen(
    source: &Arc<ModelSource>,
    config: &RwkvConfig,
    device: &Device,
) -> Result<Rwkv, TensorError> {
    let host = is_host(device);
    Builder::new(config, device, Frozen { source, host }).model(config)
}

/// The elements of a tensor of `source` as f32, whatever the form that the file has.
pub fn f32_values(source: &Arc<ModelSource>, spec: &TensorSpec) -> Result<Vec<f32>, TensorError> {
    if spec.is_matrix() {
        return Ok(StoredMatrix::new(source, &spec.name)?.to_f32());
    }
    Ok(source.tensor(&spec.name)?.to_vec())
}

/// What the parts of a new model are made of.
trait Origin {
    type Error;
    /// The elements of a vector.
    fn values(&mut self, spec: &TensorSpec) -> Result<Vec<f32>, Self::Error>;
    /// A matrix.
    fn matrix(&mut self, spec: &TensorSpec, device: &Device) -> Result<Projection, Self::Error>;
    /// Whether vectors are trained.
    const TRAINED: bool;
}

struct Trainable<'a, 'b, E>(&'a mut Values<'b, E>);

impl<E> Origin for Trainable<'_, '_, E> {
    type Error = E;

    fn values(&mut self, spec: &TensorSpec) -> Result<Vec<f32>, E> {
        (self.0)(spec)
    }

    fn matrix(&mut self, spec: &TensorSpec, device: &Device) -> Result<Projection, E> {
        let weight = tensor((self.0)(spec)?, spec, device);
        Ok(Projection::of_tensor(Param::from_tensor(weight)))
    }

    const TRAINED: bool = true;
}

struct Frozen<'a> {
    source: &'a Arc<ModelSource>,
    host: bool,
}

impl Origin for Frozen<'_> {
    type Error = TensorError;

    fn values(&mut self, spec: &TensorSpec) -> Result<Vec<f32>, TensorError> {
        f32_values(self.source, spec)
    }

    fn matrix(&mut self, spec: &TensorSpec, device: &Device) -> Result<Projection, TensorError> {
        let stored = StoredMatrix::new(self.source, &spec.name)?;
        if self.host {
            return Ok(Projection::of_stored(stored));
        }
        let weight = tensor(stored.to_f32(), spec, device);
        let weight = Param::from_tensor(weight).set_require_grad(false);
        Ok(Projection::of_tensor(weight))
    }

    const TRAINED: bool = false;
}

/// A tensor of `spec` with these elements.
fn tensor<const D: usize>(values: Vec<f32>, spec: &TensorSpec, device: &Device) -> Tensor<D> {
    let shape: [usize; D] = match D {
        // time_mix vectors are [1, 1, C] on disk.
        1 => [values.len(); D],
        _ => std::array::from_fn(|i| spec.shape[i]),
    };
    Tensor::from_data(TensorData::new(values, shape), device)
}

struct Builder<'a, O> {
    specs: BTreeMap<String, TensorSpec>,
    device: &'a Device,
    origin: O,
}

impl<'a, O: Origin> Builder<'a, O> {
    fn new(config: &RwkvConfig, device: &'a Device, origin: O) -> Self {
        Self {
            specs: config
                .tensor_specs()
                .into_iter()
                .map(|s| (s.name.clone(), s))
                .collect(),
            device,
            origin,
        }
    }

    fn model(mut self, config: &RwkvConfig) -> Result<Rwkv, O::Error> {
        let blocks = (0..config.n_layers)
            .map(|layer| self.block(layer))
            .collect::<Result<_, _>>()?;
        Ok(Rwkv {
            emb: self.projection("emb")?,
            blocks,
            ln_out: self.layer_norm("ln_out")?,
            head: self.projection("head")?,
        })
    }

    fn vector(&mut self, name: String) -> Result<Param<Tensor<1>>, O::Error> {
        let spec = &self.specs[&name];
        let values = self.origin.values(spec)?;
        let vector = Param::from_tensor(tensor(values, spec, self.device));
        Ok(if O::TRAINED {
            vector
        } else {
            vector.set_require_grad(false)
        })
    }

    fn projection(&mut self, name: &str) -> Result<Projection, O::Error> {
        let spec = &self.specs[&format!("{name}.weight")];
        self.origin.matrix(spec, self.device)
    }

    fn layer_norm(&mut self, name: &str) -> Result<LayerNorm, O::Error> {
        Ok(LayerNorm {
            weight: self.vector(format!("{name}.weight"))?,
            bias: self.vector(format!("{name}.bias"))?,
        })
    }

    fn block(&mut self, layer: usize) -> Result<RwkvBlock, O::Error> {
        let name = |part: &str| format!("blocks.{layer}.{part}");
        let ln0 = if layer == 0 {
            Some(self.layer_norm(&name("ln0"))?)
        } else {
            None
        };
        Ok(RwkvBlock {
            ln0,
            ln1: self.layer_norm(&name("ln1"))?,
            ln2: self.layer_norm(&name("ln2"))?,
            att: TimeMixing {
                time_decay: self.vector(name("att.time_decay"))?,
                time_first: self.vector(name("att.time_first"))?,
                time_mix_k: self.vector(name("att.time_mix_k"))?,
                time_mix_v: self.vector(name("att.time_mix_v"))?,
                time_mix_r: self.vector(name("att.time_mix_r"))?,
                key: self.projection(&name("att.key"))?,
                value: self.projection(&name("att.value"))?,
                receptance: self.projection(&name("att.receptance"))?,
                output: self.projection(&name("att.output"))?,
            },
            ffn: ChannelMixing {
                time_mix_k: self.vector(name("ffn.time_mix_k"))?,
                time_mix_r: self.vector(name("ffn.time_mix_r"))?,
                key: self.projection(&name("ffn.key"))?,
                receptance: self.projection(&name("ffn.receptance"))?,
                value: self.projection(&name("ffn.value"))?,
            },
            state: None,
        })
    }
}

/// The parameters of a model, to be streamed into a file. On the CPU the elements are shared with the model, not copied.
pub struct NamedTensors {
    specs: Vec<TensorSpec>,
    tensors: BTreeMap<String, Flat>,
}

impl NamedTensors {
    /// Those parameters of `model` that `specs` names.
    pub fn of(model: &Rwkv, specs: Vec<TensorSpec>) -> Self {
        let mut collector = Collector {
            path: Path::default(),
            tensors: BTreeMap::new(),
        };
        model.visit(&mut collector);
        Self {
            specs,
            tensors: collector.tensors,
        }
    }
}

impl TensorSource for NamedTensors {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs.clone()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.tensors.get(name) {
            Some(tensor) => tensor.read(sink),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("the model has no parameter called `{name}`"),
            )),
        }
    }
}

struct Collector {
    path: Path,
    tensors: BTreeMap<String, Flat>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.tensors
            .insert(self.path.name().to_owned(), Flat::of(param.val().inner()));
    }
}
