//! The elements of one tensor as a flat buffer, wherever they live: what accumulation, norms and optimizer states are made of.

use std::io;

use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use crate::ops::host::{contiguous, elements, flex_tensor};
use crate::ops::kernels::expect_dtype;

/// Elements in a block. Sums are taken within a block and then over the blocks in order, whatever the number of threads.
pub(super) const BLOCK: usize = 1 << 16;

/// A flat f32 buffer.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are a few hundred, one a parameter"
)]
pub enum Flat {
    /// In the memory of burn's CPU backend.
    Host(FlexTensor),
    /// On another device.
    Device(Tensor<1>),
}

impl Flat {
    /// The elements of a tensor outside autodiff.
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        match tensor.clone().try_into_primitive::<Flex>() {
            Ok(primitive) => {
                drop(tensor);
                Self::Host(whole(primitive))
            }
            Err(_) => {
                expect_dtype("a parameter or gradient", tensor.dtype(), DType::F32);
                let len = tensor.shape().num_elements();
                Self::Device(tensor.reshape([len]))
            }
        }
    }

    /// `values` on `device`.
    pub fn from_values(values: Vec<f32>, device: &Device, host: bool) -> Self {
        let len = values.len();
        if host {
            return Self::Host(flex_tensor(values, &[len]));
        }
        Self::Device(Tensor::from_data(TensorData::new(values, [len]), device))
    }

    /// The tensor over these elements in the given shape.
    pub fn into_tensor<const D: usize>(self, shape: [usize; D]) -> Tensor<D> {
        match self {
            Self::Host(primitive) => {
                Tensor::from_primitive::<Flex>(primitive.reshape(shape.to_vec().into()))
            }
            Self::Device(tensor) => tensor.reshape(shape),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Host(primitive) => elements(primitive).len(),
            Self::Device(tensor) => tensor.shape().num_elements(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `other`, element by element, in place.
    pub fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::Host(to), Self::Host(from)) => {
                let from = contiguous(&from);
                let from = elements(&from);
                to.storage_mut::<f32>()
                    .par_chunks_mut(BLOCK)
                    .zip(from.par_chunks(BLOCK))
                    .for_each(|(to, from)| {
                        to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
                    });
            }
            (Self::Device(to), Self::Device(from)) => *to = to.clone().add(from),
            _ => unreachable!("gradients of one parameter live on one device"),
        }
    }

    /// The elements, where they are in this computer's memory.
    pub(crate) fn host(&self) -> Option<&[f32]> {
        match self {
            Self::Host(primitive) => Some(elements(primitive)),
            Self::Device(_) => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn host_mut(&mut self) -> Option<&mut [f32]> {
        match self {
            Self::Host(primitive) => Some(primitive.storage_mut::<f32>()),
            Self::Device(_) => None,
        }
    }

    /// A copy of the elements; from another device in one read.
    pub(crate) fn to_values(&self) -> io::Result<Vec<f32>> {
        let mut values = Vec::with_capacity(self.len());
        self.read(&mut |part| {
            values.extend_from_slice(part);
            Ok(())
        })?;
        Ok(values)
    }

    /// Replaces all elements.
    pub(crate) fn set_values(&mut self, values: Vec<f32>) {
        match self {
            Self::Host(primitive) => primitive.storage_mut::<f32>().copy_from_slice(&values),
            Self::Device(tensor) => {
                let len = values.len();
                *tensor = Tensor::from_data(TensorData::new(values, [len]), &tensor.device());
            }
        }
    }

    /// Passes the elements to `sink`; from another device in one read.
    pub fn read(&self, sink: &mut dyn FnMut(&[f32]) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Host(primitive) => sink(elements(primitive)),
            Self::Device(tensor) => {
                let values = tensor.clone().into_data().try_into_vec::<f32>();
                sink(&values.map_err(|error| {
                    io::Error::other(format!("reading a tensor back from the device: {error:?}"))
                })?)
            }
        }
    }
}

/// The sum of squares in f64, whatever the number of threads the same.
pub(super) fn sum_of_squares(primitive: &FlexTensor) -> f64 {
    let blocks: Vec<f64> = elements(primitive)
        .par_chunks(BLOCK)
        .map(|block| {
            let mut lanes = [0.0f64; 8];
            for chunk in block.chunks(8) {
                for (lane, x) in lanes.iter_mut().zip(chunk) {
                    *lane += f64::from(*x) * f64::from(*x);
                }
            }
            lanes.iter().sum()
        })
        .collect();
    blocks.iter().sum()
}

/// `tensor` over a storage that holds its elements and no others. Sums and updates write to the storage, and what comes out of autodiff may
/// be a view: the gradient of one row of a stacked tensor is a slice of the whole one's.
fn whole(tensor: FlexTensor) -> FlexTensor {
    match tensor.as_slice::<f32>() {
        Some(elements) if elements.len() == tensor.storage::<f32>().len() => tensor,
        Some(elements) => flex_tensor(elements.to_vec(), tensor.layout().shape().as_ref()),
        None => tensor.to_contiguous(),
    }
}

/// Calls `body` with matching blocks of the parameter, the two moments and the gradient.
pub(super) fn for_blocks(
    (parameter, m, v): (&mut FlexTensor, &mut FlexTensor, &mut FlexTensor),
    gradient: &FlexTensor,
    body: impl Fn(&mut [f32], &mut [f32], &mut [f32], &[f32]) + Sync,
) {
    let (p, m, v) = (
        parameter.storage_mut::<f32>(),
        m.storage_mut::<f32>(),
        v.storage_mut::<f32>(),
    );
    p.par_chunks_mut(BLOCK)
        .zip(m.par_chunks_mut(BLOCK))
        .zip(v.par_chunks_mut(BLOCK))
        .zip(elements(gradient).par_chunks(BLOCK))
        .for_each(|(((p, m), v), g)| body(p, m, v, g));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_added_where_they_are_not_where_their_storage_begins() {
        let device = Device::flex();
        let both = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0]], &device);
        let row = |i: usize| Flat::of(both.clone().slice(i..i + 1));
        let mut sum = row(1);
        sum.add(row(1));
        sum.add(row(0));
        let mut found = Vec::new();
        let copied = sum.read(&mut |part| {
            found.extend_from_slice(part);
            Ok(())
        });
        copied.expect("elements");
        assert_eq!(found, [7.0, 10.0]);
        let columns = Flat::of(both.transpose());
        assert_eq!(columns.len(), 4);
        assert_eq!(
            columns
                .into_tensor([4])
                .into_data()
                .try_into_vec::<f32>()
                .expect("f32"),
            [1.0, 3.0, 2.0, 4.0]
        );
    }
}
