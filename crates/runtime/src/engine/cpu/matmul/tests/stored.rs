//! Random matrices in every format: not quantized from numbers, but every bit pattern that a file may hold.

use crate::testing::Numbers;
use half::f16;
use ptbr_model::{GROUP, MatrixData, WeightFormat};

/// A matrix and what holds it.
pub(super) struct Stored {
    pub(super) format: WeightFormat,
    floats: Vec<f32>,
    halves: Vec<u16>,
    values: Vec<u32>,
    scales: Vec<u32>,
}

impl Stored {
    /// Any values; dequantized they are about as large as 1.
    pub(super) fn random(
        format: WeightFormat,
        rows: usize,
        cols: usize,
        numbers: &mut Numbers,
    ) -> Self {
        let count = rows * cols;
        let mut stored = Self {
            format,
            floats: Vec::new(),
            halves: Vec::new(),
            values: Vec::new(),
            scales: Vec::new(),
        };
        let groups = count / GROUP;
        match format {
            WeightFormat::F32 => stored.floats = numbers.vector(count, 1.0),
            WeightFormat::F16 => {
                stored.halves = half_bits(&numbers.vector(count, 1.0));
                // Smallest numbers, which have an exponent of their own.
                stored.halves[..4].copy_from_slice(&[0x0001, 0x83ff, 0x8000, 0x0400]);
            }
            WeightFormat::Int8 => {
                stored.values = words(&bytes(numbers, count));
                stored.scales = pairs(&scales(numbers, groups, 1.0 / 128.0));
            }
            WeightFormat::Fp8 => {
                let mut bytes = bytes(numbers, count);
                for byte in &mut bytes {
                    // The two patterns that mean NaN are never stored.
                    if *byte & 0x7f == 0x7f {
                        *byte ^= 1;
                    }
                }
                stored.values = words(&bytes);
                stored.scales = pairs(&scales(numbers, groups, 1.0 / 448.0));
            }
            WeightFormat::Int4 => {
                stored.values = words(&bytes(numbers, count / 2));
                let minima = half_bits(&numbers.vector(groups, 1.0));
                stored.scales = scales(numbers, groups, 1.0 / 16.0)
                    .into_iter()
                    .zip(minima)
                    .map(|(scale, minimum)| u32::from(minimum) << 16 | u32::from(scale))
                    .collect();
            }
        }
        stored
    }

    pub(super) fn matrix(&self) -> MatrixData<'_> {
        let (values, scales) = (&self.values[..], &self.scales[..]);
        match self.format {
            WeightFormat::F32 => MatrixData::F32(&self.floats),
            WeightFormat::F16 => MatrixData::F16(&self.halves),
            WeightFormat::Int8 => MatrixData::Int8 { values, scales },
            WeightFormat::Fp8 => MatrixData::Fp8 { values, scales },
            WeightFormat::Int4 => MatrixData::Int4 { values, scales },
        }
    }

    /// As f32, by the format's definition.
    pub(super) fn dequantized(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.matrix().len()];
        self.matrix().dequantize(0, &mut out);
        out
    }
}

fn half_bits(values: &[f32]) -> Vec<u16> {
    values.iter().map(|&x| f16::from_f32(x).to_bits()).collect()
}

/// Scales between nothing and `largest`, one of them so small that it has an exponent of its own.
fn scales(numbers: &mut Numbers, groups: usize, largest: f32) -> Vec<u16> {
    let mut scales = numbers.vector(groups, largest);
    scales.iter_mut().for_each(|scale| *scale = scale.abs());
    scales[groups / 2] = 3e-7;
    half_bits(&scales)
}

fn bytes(numbers: &mut Numbers, count: usize) -> Vec<u8> {
    let vector = numbers.vector(count, 128.0);
    vector.iter().map(|x| x.floor() as i8 as u8).collect()
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(bytes)
}

fn pairs(halves: &[u16]) -> Vec<u32> {
    halves
        .chunks(2)
        .map(|pair| u32::from(*pair.get(1).unwrap_or(&0)) << 16 | u32::from(pair[0]))
        .collect()
}
