//! What a state consists of.

use crate::RuntimeError;
use ptbr_kernels::EMPTY_PP;
use ptbr_model::{ArchConfig, RwkvConfig};

/// One tensor of a state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateTensor {
    /// Its name, e.g. `blocks.3.aa`.
    pub name: String,
    /// Its dimensions, slowest first.
    pub shape: Vec<usize>,
    /// The value of every element before the first token.
    pub initial: f32,
}

/// What a state of some architecture consists of, in order. To everything but that architecture's own code a state is a row of numbers described by this.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSpec {
    tensors: Vec<StateTensor>,
}

impl StateSpec {
    /// The state of a model of this configuration.
    pub fn new(config: &ArchConfig) -> Result<Self, RuntimeError> {
        match config {
            ArchConfig::Rwkv4(config) => Ok(Self::rwkv4(config)),
            other => Err(RuntimeError::Architecture { name: other.name() }),
        }
    }

    /// RWKV-4, each layer: the inputs of time mixing and channel mixing at the last token (after their layer norm), then WKV's numerator and denominator, both
    /// divided by `e^pp`, and pp. The last three are what the kernels take as one slot.
    fn rwkv4(config: &RwkvConfig) -> Self {
        let tensor = |layer: usize, (name, initial): (&str, f32)| StateTensor {
            name: format!("blocks.{layer}.{name}"),
            shape: vec![config.d_model],
            initial,
        };
        let layer = [
            ("att_x", 0.0),
            ("ffn_x", 0.0),
            ("aa", 0.0),
            ("bb", 0.0),
            ("pp", EMPTY_PP),
        ];
        Self {
            tensors: (0..config.n_layers)
                .flat_map(|index| layer.map(|part| tensor(index, part)))
                .collect(),
        }
    }

    /// The tensors, in the order in which their values lie.
    pub fn tensors(&self) -> &[StateTensor] {
        &self.tensors
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.tensors
            .iter()
            .map(|tensor| tensor.shape.iter().product::<usize>())
            .sum()
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values before the first token.
    pub(crate) fn initial(&self) -> Vec<f32> {
        self.tensors
            .iter()
            .flat_map(|tensor| std::iter::repeat_n(tensor.initial, tensor.shape.iter().product()))
            .collect()
    }
}
