//! Tensors by name: what a model consists of, and how weights leave whatever holds them.

use std::io;

/// Name and dimensions of one f32 tensor, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in files, e.g. `blocks.0.att.key.weight`.
    pub name: String,
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A spec from its parts.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
        }
    }

    /// Product of the dimensions; `None` when it does not fit in memory's addresses.
    pub fn num_elements(&self) -> Option<usize> {
        self.shape
            .iter()
            .try_fold(1usize, |product, dim| product.checked_mul(*dim))
    }

    /// Whether it is a matrix, which has a number format in a model file. Everything else stays f32.
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }

    /// Bytes as f32; `None` when they do not fit in memory's addresses.
    pub fn num_bytes(&self) -> Option<usize> {
        self.num_elements()?.checked_mul(4)
    }
}

/// Something that holds f32 tensors and can stream them out one after another, so that saving never needs a second copy of the model.
pub trait TensorSource {
    /// The tensors in the order in which they are written. The same list at every call.
    fn specs(&self) -> Vec<TensorSpec>;

    /// Passes the elements of the tensor `name` to `sink`, row-major, in as many pieces as suit the source. An error of `sink` must be returned as it is.
    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()>;
}

/// Tensors in memory, in the order in which they were pushed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryTensors {
    tensors: Vec<(TensorSpec, Vec<f32>)>,
}

impl MemoryTensors {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor after the others. A number of values that is not the shape's is reported when the tensor is written.
    pub fn push(&mut self, spec: TensorSpec, values: Vec<f32>) {
        self.tensors.push((spec, values));
    }

    /// The values of a tensor, row-major.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.tensors
            .iter()
            .find(|(spec, _)| spec.name == name)
            .map(|(_, values)| values.as_slice())
    }

    /// The same, to change in place.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        self.tensors
            .iter_mut()
            .find(|(spec, _)| spec.name == name)
            .map(|(_, values)| values.as_mut_slice())
    }
}

impl TensorSource for MemoryTensors {
    fn specs(&self) -> Vec<TensorSpec> {
        self.tensors.iter().map(|(spec, _)| spec.clone()).collect()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.get(name) {
            Some(values) => sink(values),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no tensor called `{name}`"),
            )),
        }
    }
}
