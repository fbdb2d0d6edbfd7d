//! Parameters by their official names: building a model from named tensors, and reading it back.

use std::collections::BTreeMap;
use std::io;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use ptbr_model::{RwkvConfig, TensorSource, TensorSpec};

use super::{ChannelMixing, LayerNorm, Projection, Rwkv, RwkvBlock, TimeMixing};
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
    let specs: BTreeMap<String, TensorSpec> = config
        .tensor_specs()
        .into_iter()
        .map(|s| (s.name.clone(), s))
        .collect();
    let mut builder = Builder {
        specs,
        device,
        values,
    };
    let blocks = (0..config.n_layers)
        .map(|layer| builder.block(layer))
        .collect::<Result<_, E>>()?;
    Ok(Rwkv {
        emb: builder.projection("emb")?,
        blocks,
        ln_out: builder.layer_norm("ln_out")?,
        head: builder.projection("head")?,
    })
}

struct Builder<'a, 'b, E> {
    specs: BTreeMap<String, TensorSpec>,
    device: &'a Device,
    values: &'a mut Values<'b, E>,
}

impl<E> Builder<'_, '_, E> {
    fn parameter<const D: usize>(&mut self, name: String) -> Result<Param<Tensor<D>>, E> {
        let spec = &self.specs[&name];
        let values = (self.values)(spec)?;
        let shape: [usize; D] = match D {
            // time_mix vectors are [1, 1, C] on disk.
            1 => [values.len(); D],
            _ => std::array::from_fn(|i| spec.shape[i]),
        };
        Ok(Param::from_tensor(Tensor::from_data(
            TensorData::new(values, shape),
            self.device,
        )))
    }

    fn projection(&mut self, name: &str) -> Result<Projection, E> {
        Ok(Projection {
            weight: self.parameter(format!("{name}.weight"))?,
        })
    }

    fn layer_norm(&mut self, name: &str) -> Result<LayerNorm, E> {
        Ok(LayerNorm {
            weight: self.parameter(format!("{name}.weight"))?,
            bias: self.parameter(format!("{name}.bias"))?,
        })
    }

    fn block(&mut self, layer: usize) -> Result<RwkvBlock, E> {
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
                time_decay: self.parameter(name("att.time_decay"))?,
                time_first: self.parameter(name("att.time_first"))?,
                time_mix_k: self.parameter(name("att.time_mix_k"))?,
                time_mix_v: self.parameter(name("att.time_mix_v"))?,
                time_mix_r: self.parameter(name("att.time_mix_r"))?,
                key: self.projection(&name("att.key"))?,
                value: self.projection(&name("att.value"))?,
                receptance: self.projection(&name("att.receptance"))?,
                output: self.projection(&name("att.output"))?,
            },
            ffn: ChannelMixing {
                time_mix_k: self.parameter(name("ffn.time_mix_k"))?,
                time_mix_r: self.parameter(name("ffn.time_mix_r"))?,
                key: self.projection(&name("ffn.key"))?,
                receptance: self.projection(&name("ffn.receptance"))?,
                value: self.projection(&name("ffn.value"))?,
            },
        })
    }
}

/// The parameters of a model, to be streamed into a file. On the CPU the elements are shared with the model, not copied.
pub struct NamedTensors {
    specs: Vec<TensorSpec>,
    tensors: BTreeMap<String, Flat>,
}

impl NamedTensors {
    /// The parameters of `model`.
    pub fn of(model: &Rwkv, config: &RwkvConfig) -> Self {
        let mut collector = Collector {
            path: Path::default(),
            tensors: BTreeMap::new(),
        };
        model.visit(&mut collector);
        Self {
            specs: config.tensor_specs(),
            tensors: collector.tensors,
        }
    }

    /// Named buffers in the order of `specs`.
    pub fn new(specs: Vec<TensorSpec>, tensors: BTreeMap<String, Flat>) -> Self {
        Self { specs, tensors }
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
