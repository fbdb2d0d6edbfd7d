//! Random matrices in every number format, as words that a shader binds and a twin reads.

use half::f16;
use ptbr_model::{GROUP, MatrixData, WeightFormat};

use super::Random;

/// A matrix `[rows, cols]`.
pub struct Matrix {
    pub format: WeightFormat,
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<u32>,
    pub scales: Vec<u32>,
}

impl Matrix {
    /// Elements of size 1 at most, about: every value that the format has may occur, also the subnormal ones of fp8.
    pub fn random(rng: &mut Random, format: WeightFormat, rows: usize, cols: usize) -> Self {
        let elements = rows * cols;
        let values = match format {
            WeightFormat::F32 => (0..elements)
                .map(|_| rng.range(-1.0, 1.0).to_bits())
                .collect(),
            WeightFormat::F16 => {
                let mut one = || u32::from(f16::from_f32(rng.range(-1.0, 1.0)).to_bits());
                (0..elements / 2).map(|_| one() | one() << 16).collect()
            }
            _ => {
                let bits = format.value_bytes(elements).expect("small");
                let bytes: Vec<u8> = (0..bits).map(|_| byte(rng, format)).collect();
                bytemuck::pod_collect_to_vec(&bytes)
            }
        };
        let largest = match format {
            WeightFormat::Int8 => 127.0,
            WeightFormat::Fp8 => 448.0,
            _ => 15.0,
        };
        let mut half =
            |low: f32, high: f32| u32::from(f16::from_f32(rng.range(low, high)).to_bits());
        let scales = (0..format.scale_words(elements))
            .map(|_| match format {
                WeightFormat::Int4 => half(0.1 / largest, 2.0 / largest) | half(-1.0, 0.0) << 16,
                _ => half(0.1 / largest, 1.0 / largest) | half(0.1 / largest, 1.0 / largest) << 16,
            })
            .collect();
        Self {
            format,
            rows,
            cols,
            values,
            scales,
        }
    }

    pub fn data(&self) -> MatrixData<'_> {
        let (values, scales) = (&self.values[..], &self.scales[..]);
        match self.format {
            WeightFormat::F32 => MatrixData::F32(bytemuck::cast_slice(values)),
            WeightFormat::F16 => MatrixData::F16(bytemuck::cast_slice(values)),
            WeightFormat::Int8 => MatrixData::Int8 { values, scales },
            WeightFormat::Fp8 => MatrixData::Fp8 { values, scales },
            WeightFormat::Int4 => MatrixData::Int4 { values, scales },
        }
    }

    /// What a shader binds: values, and scales if there are any.
    pub fn bindings(&self) -> Vec<&[u32]> {
        match self.scales.is_empty() {
            true => vec![&self.values],
            false => vec![&self.values, &self.scales],
        }
    }

    /// Rows `first..end` as a matrix of its own. Their scales must begin in a word of their own.
    pub fn part(&self, first: usize, end: usize) -> Self {
        let words_of = |row: usize| row * (self.values.len() / self.rows);
        let groups_of = |row: usize| row * self.cols / GROUP;
        let scales = match self.format {
            WeightFormat::F32 | WeightFormat::F16 => Vec::new(),
            WeightFormat::Int4 => self.scales[groups_of(first)..groups_of(end)].to_vec(),
            WeightFormat::Int8 | WeightFormat::Fp8 => {
                assert_eq!(groups_of(first) % 2, 0, "scales lie two to a word");
                self.scales[groups_of(first) / 2..groups_of(end).div_ceil(2)].to_vec()
            }
        };
        Self {
            format: self.format,
            rows: end - first,
            cols: self.cols,
            values: self.values[words_of(first)..words_of(end)].to_vec(),
            scales,
        }
    }

    /// The absolute values: what sums of products are measured with.
    pub fn absolute(&self) -> Self {
        let mut values = vec![0.0f32; self.rows * self.cols];
        self.data().dequantize(0, &mut values);
        Self {
            format: WeightFormat::F32,
            rows: self.rows,
            cols: self.cols,
            values: values.iter().map(|x| x.abs().to_bits()).collect(),
            scales: Vec::new(),
        }
    }
}

/// A byte of quantized values: no NaN of fp8, no -128 of int8, which files do not hold.
fn byte(rng: &mut Random, format: WeightFormat) -> u8 {
    loop {
        let byte = rng.next() as u8;
        let is_never_written = match format {
            WeightFormat::Fp8 => byte & 0x7f == 0x7f,
            WeightFormat::Int8 => byte == 0x80,
            _ => false,
        };
        if !is_never_written {
            return byte;
        }
    }
}
