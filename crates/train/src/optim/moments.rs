//! Adam's moments of one parameter: in f32, or packed into bytes, wherever the parameter lives.

use std::io;

use burn::tensor::{DType, Device, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;
use ptbr_kernels::cpu::{
    AdamwParams, MOMENT_BLOCK, Moment, PackedMoment, adamw_8bit, pack_moment, unpack_moment,
};
use ptbr_kernels::table;
use rayon::prelude::*;

use super::flat::{BLOCK, Flat};
use crate::ops::host::{elements, is_host};
use crate::ops::kernels::{filled, launch, sized, upload};

/// The moments of one parameter.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Running mean of the gradient.
    pub m: Kept,
    /// Running mean of its square.
    pub v: Kept,
}

/// How a moment is kept.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are a few hundred, two a parameter"
)]
pub enum Kept {
    /// In f32.
    Full(Flat),
    /// In bytes.
    Packed(Packed),
}

/// A moment in bytes with the scales of its blocks: `ptbr_kernels::cpu::Moment` has the format.
#[derive(Debug, Clone)]
pub struct Packed {
    moment: Moment,
    len: usize,
    buffers: Buffers,
}

#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are a few hundred, two a parameter"
)]
enum Buffers {
    /// In the memory of the CPU.
    Host { words: Vec<u32>, scales: Vec<f32> },
    /// On a GPU.
    Device {
        words: CubeTensor,
        scales: CubeTensor,
    },
}

impl Moments {
    /// Both moments of the elements `m` and `v`, which are in f32.
    pub fn full(m: Flat, v: Flat) -> Self {
        Self {
            m: Kept::Full(m),
            v: Kept::Full(v),
        }
    }

    /// Moments of `len` zeros beside `parameter`.
    pub(super) fn zeros(parameter: &Flat, device: &Device, packed: bool) -> Self {
        let (len, host) = (parameter.len(), matches!(parameter, Flat::Host(_)));
        let full = || Flat::from_values(vec![0.0; len], device, host);
        match packed {
            false => Self::full(full(), full()),
            true => Self {
                m: Kept::Packed(Packed::zeros(Moment::Mean, parameter)),
                v: Kept::Packed(Packed::zeros(Moment::Root, parameter)),
            },
        }
    }

    /// The moments of a checkpoint, m and v, on a device.
    pub fn from_values(m: Vec<f32>, v: Vec<f32>, device: &Device, packed: bool) -> Self {
        let host = is_host(device);
        if !packed {
            let full = |values| Flat::from_values(values, device, host);
            return Self::full(full(m), full(v));
        }
        let place = Flat::from_values(vec![0.0], device, host);
        let mut root = v;
        root.par_iter_mut().for_each(|v| *v = v.sqrt());
        Self {
            m: Kept::Packed(Packed::of(Moment::Mean, &m, &place)),
            v: Kept::Packed(Packed::of(Moment::Root, &root, &place)),
        }
    }
}

impl Kept {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Full(flat) => flat.len(),
            Self::Packed(packed) => packed.len,
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Full(flat) => (flat.len() as u64).saturating_mul(4),
            Self::Packed(packed) => {
                let words = packed.len.div_ceil(4) + packed.len.div_ceil(MOMENT_BLOCK);
                (words as u64).saturating_mul(4)
            }
        }
    }

    /// Passes the elements to `sink`, in f32; from another device in one read.
    pub fn read(&self, sink: &mut dyn FnMut(&[f32]) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Full(flat) => flat.read(sink),
            Self::Packed(packed) => packed.read(sink),
        }
    }
}

impl Packed {
    /// Zeros beside `parameter`.
    fn zeros(moment: Moment, parameter: &Flat) -> Self {
        let len = parameter.len();
        Self::beside(
            parameter,
            (moment, len),
            vec![0; len.div_ceil(4)],
            vec![0.0; len.div_ceil(MOMENT_BLOCK)],
        )
    }

    /// These elements where `place` is; of v its root.
    fn of(moment: Moment, elements: &[f32], place: &Flat) -> Self {
        let len = elements.len();
        let (mut words, mut scales) = (
            vec![0; len.div_ceil(4)],
            vec![0.0; len.div_ceil(MOMENT_BLOCK)],
        );
        sized(pack_moment(moment, elements, &mut words, &mut scales));
        Self::beside(place, (moment, len), words, scales)
    }

    /// These words and scales where `place` is.
    fn beside(
        place: &Flat,
        (moment, len): (Moment, usize),
        words: Vec<u32>,
        scales: Vec<f32>,
    ) -> Self {
        let buffers = match place {
            Flat::Host(_) => Buffers::Host { words, scales },
            Flat::Device(tensor) => {
                let place = cube(tensor.clone());
                let tensor = |buffer, len: usize, dtype| {
                    let shape = Shape::from(vec![len]);
                    filled(&place.client, &place.device, shape, buffer, dtype)
                };
                Buffers::Device {
                    words: tensor(upload(&place.client, &words), words.len(), DType::U32),
                    scales: tensor(upload(&place.client, &scales), scales.len(), DType::F32),
                }
            }
        };
        Self {
            moment,
            len,
            buffers,
        }
    }

    fn read(&self, sink: &mut dyn FnMut(&[f32]) -> io::Result<()>) -> io::Result<()> {
        let on_device;
        let (words, scales) = match &self.buffers {
            Buffers::Host { words, scales } => (&words[..], &scales[..]),
            Buffers::Device { words, scales } => {
                on_device = (read_words(words)?, read_words(scales)?);
                let (words, scales) = &on_device;
                (&words[..], bytemuck::cast_slice(scales))
            }
        };
        let parts = words
            .chunks(BLOCK / 4)
            .zip(scales.chunks(BLOCK / MOMENT_BLOCK));
        let mut left = self.len;
        for (words, scales) in parts {
            let mut values = vec![0.0; left.min(BLOCK)];
            sized(unpack_moment(self.moment, words, scales, &mut values));
            if self.moment == Moment::Root {
                values.iter_mut().for_each(|v| *v *= *v);
            }
            left -= values.len();
            sink(&values)?;
        }
        Ok(())
    }
}

/// Updates a parameter by `gradient` with its packed moments; everything changes in place where nothing else holds it.
pub(super) fn update_packed(
    parameter: Flat,
    (m, v): (&mut Packed, &mut Packed),
    gradient: &Flat,
    params: &AdamwParams,
) -> Flat {
    match (parameter, &mut m.buffers, &mut v.buffers, gradient) {
        (
            Flat::Host(mut p),
            Buffers::Host { words, scales },
            Buffers::Host {
                words: roots,
                scales: root_scales,
            },
            Flat::Host(g),
        ) => {
            update_host(&mut p, (words, scales), (roots, root_scales), g, params);
            Flat::Host(p)
        }
        (
            Flat::Device(p),
            Buffers::Device { words, scales },
            Buffers::Device {
                words: roots,
                scales: root_scales,
            },
            Flat::Device(g),
        ) => {
            let p = owned(&into_contiguous(cube(p)));
            let g = into_contiguous(cube(g.clone()));
            for moment in [&mut *words, &mut *scales, &mut *roots, &mut *root_scales] {
                *moment = owned(moment);
            }
            let (words_of_params, workgroups) = sized(params.words(m.len));
            let buffers = [
                &g.handle,
                &p.handle,
                &words.handle,
                &scales.handle,
                &roots.handle,
                &root_scales.handle,
            ];
            let kernel = &table::ADAMW_8BIT_READ_WRITE;
            launch(&p.client, kernel, &buffers, &words_of_params, workgroups);
            Flat::Device(Tensor::from_primitive::<CubeBackend>(p))
        }
        _ => unreachable!("a parameter, its gradient and its moments live on one device"),
    }
}

/// A parameter in blocks: they do not know of each other, so the number of threads changes nothing.
fn update_host(
    parameter: &mut FlexTensor,
    (means, mean_scales): (&mut [u32], &mut [f32]),
    (roots, root_scales): (&mut [u32], &mut [f32]),
    gradient: &FlexTensor,
    params: &AdamwParams,
) {
    let moments = blocks(means, mean_scales).zip(blocks(roots, root_scales));
    parameter
        .storage_mut::<f32>()
        .par_chunks_mut(BLOCK)
        .zip(elements(gradient).par_chunks(BLOCK))
        .zip(moments)
        .for_each(|((p, g), (mean, root))| sized(adamw_8bit(g, p, mean, root, params)));
}

/// A moment in the blocks of a parameter.
fn blocks<'a>(
    words: &'a mut [u32],
    scales: &'a mut [f32],
) -> impl IndexedParallelIterator<Item = PackedMoment<'a>> {
    let words = words.par_chunks_mut(BLOCK / 4);
    let both = words.zip(scales.par_chunks_mut(BLOCK / MOMENT_BLOCK));
    both.map(|(words, scales)| PackedMoment { words, scales })
}

/// The tensor as burn's GPU backend has it.
fn cube(tensor: Tensor<1>) -> CubeTensor {
    match tensor.try_into_primitive::<CubeBackend>() {
        Ok(primitive) => primitive,
        Err(_) => unreachable!("what is not on the CPU backend is on the GPU backend"),
    }
}

/// The same elements in a buffer that nothing else holds: what is written in place must not change a copy of the trainer.
fn owned(tensor: &CubeTensor) -> CubeTensor {
    match tensor.can_mut() {
        true => tensor.clone(),
        false => tensor.copy(),
    }
}

/// The words of a buffer, read from its device.
fn read_words(tensor: &CubeTensor) -> io::Result<Vec<u32>> {
    let bytes = tensor.client.read_one(tensor.handle.clone());
    let bytes = bytes.map_err(|error| {
        io::Error::other(format!("reading a moment back from the device: {error:?}"))
    })?;
    Ok(bytemuck::pod_collect_to_vec(&bytes))
}
