//! Rounding f32 matrices into the number formats of model files.
//!
//! A matrix is `[rows, cols]`, row-major; each group of [`GROUP`] elements of a row is rounded on its own, to the scale (and minimum) that make the sum of squared errors smallest among the ones
//! tried.

mod int4;
mod pieces;
mod symmetric;

use half::f16;
use thiserror::Error;

use crate::format::{GROUP, MatrixData, WeightFormat};

/// A matrix in one of the formats, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizedMatrix {
    format: WeightFormat,
    /// The values' bytes as they lie in a file.
    values: Vec<u32>,
    scales: Vec<u32>,
}

/// A matrix that cannot be rounded into a format.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// An element is NaN or infinite.
    #[error("element {index} is {value}; the training run that wrote it had diverged")]
    NotFinite {
        /// Its index, row-major.
        index: usize,
        /// `NaN`, `inf` or `-inf`.
        value: f32,
    },
    /// An element is larger than the format's largest number. Nothing is clamped.
    #[error(
        "element {index} is {value}, and {format} ends at {largest}; keep this matrix in f32 or in a format that reaches further"
    )]
    OutOfRange {
        /// Its index, row-major.
        index: usize,
        /// The element.
        value: f32,
        /// The format asked for.
        format: WeightFormat,
        /// The largest absolute value that it can hold.
        largest: f32,
    },
    /// The elements are no rows of this width, or the width is no multiple of [`GROUP`].
    #[error("{elements} elements are not rows of {cols} columns, a multiple of {GROUP}")]
    Shape {
        /// Number of elements.
        elements: usize,
        /// Columns.
        cols: usize,
    },
}

impl QuantizedMatrix {
    /// Rounds `values` `[rows, cols]` to `format`, on the threads of the caller's rayon pool: the same words for any number of them.
    pub fn new(values: &[f32], cols: usize, format: WeightFormat) -> Result<Self, QuantizeError> {
        if cols == 0 || !cols.is_multiple_of(GROUP) || !values.len().is_multiple_of(cols) {
            return Err(QuantizeError::Shape {
                elements: values.len(),
                cols,
            });
        }
        check_range(values, format)?;
        let groups = values.as_chunks::<GROUP>().0;
        let (values, scales) = match format {
            WeightFormat::F32 => (bytemuck::pod_collect_to_vec(values), Vec::new()),
            WeightFormat::F16 => pieces::round(format, groups, |groups, values, _| {
                halves(groups.as_flattened(), values);
            }),
            WeightFormat::Int8 => {
                pieces::round(format, groups, symmetric::quantize::<symmetric::Int8>)
            }
            WeightFormat::Fp8 => {
                pieces::round(format, groups, symmetric::quantize::<symmetric::E4m3>)
            }
            WeightFormat::Int4 => pieces::round(format, groups, int4::quantize),
        };
        Ok(Self {
            format,
            values,
            scales,
        })
    }

    /// The numbers, as the engines take them.
    pub fn data(&self) -> MatrixData<'_> {
        let (values, scales) = (self.values.as_slice(), self.scales.as_slice());
        match self.format {
            WeightFormat::F32 => MatrixData::F32(bytemuck::cast_slice(values)),
            WeightFormat::F16 => MatrixData::F16(bytemuck::cast_slice(values)),
            WeightFormat::Int8 => MatrixData::Int8 { values, scales },
            WeightFormat::Fp8 => MatrixData::Fp8 { values, scales },
            WeightFormat::Int4 => MatrixData::Int4 { values, scales },
        }
    }

    /// The values' words as they lie in a file.
    pub(crate) fn values(&self) -> &[u32] {
        &self.values
    }

    /// The scales' words as they lie in a file; none for f32 and f16.
    pub(crate) fn into_scales(self) -> Vec<u32> {
        self.scales
    }

    /// Root of (sum of squared errors / sum of squares) against the `original` that it was made from; 0 where the original is zero.
    pub fn relative_error(&self, original: &[f32]) -> f64 {
        let data = self.data();
        let [errors, squares] = pieces::add_up(original.as_chunks().0, |first, groups| {
            let mut rounded = [0.0; GROUP];
            let [mut errors, mut squares] = [0.0f64; 2];
            for (group, original) in groups.iter().enumerate() {
                data.dequantize((first + group) * GROUP, &mut rounded);
                for (&x, &rounded) in original.iter().zip(&rounded) {
                    errors += (f64::from(x) - f64::from(rounded)).powi(2);
                    squares += f64::from(x).powi(2);
                }
            }
            [errors, squares]
        });
        if squares == 0.0 {
            0.0
        } else {
            (errors / squares).sqrt()
        }
    }
}

/// Bits of f16, two to a word.
fn halves(values: &[f32], words: &mut [u32]) {
    let half = |value: f32| u32::from(f16::from_f32(value).to_bits());
    for (word, pair) in words.iter_mut().zip(values.as_chunks::<2>().0) {
        *word = half(pair[1]) << 16 | half(pair[0]);
    }
}

/// The largest absolute value that a format holds without clamping.
fn largest(format: WeightFormat) -> f32 {
    let half = f16::MAX.to_f32();
    match format {
        WeightFormat::F32 => f32::MAX,
        // Both of them hold an element of a constant matrix as an f16.
        WeightFormat::F16 | WeightFormat::Int4 => half,
        WeightFormat::Int8 => half * <symmetric::Int8 as symmetric::Grid>::LARGEST,
        WeightFormat::Fp8 => half * <symmetric::E4m3 as symmetric::Grid>::LARGEST,
    }
}

fn check_range(values: &[f32], format: WeightFormat) -> Result<(), QuantizeError> {
    let largest = largest(format);
    let bad = |value: &f32| value.is_nan() || value.abs() > largest;
    let Some(index) = values.iter().position(bad) else {
        return Ok(());
    };
    let value = values[index];
    Err(if value.is_finite() {
        QuantizeError::OutOfRange {
            index,
            value,
            format,
            largest,
        }
    } else {
        QuantizeError::NotFinite { index, value }
    })
}

/// Nearest integer, ties to even, for |x| up to 2²²: adding 1.5·2²³ leaves no bits for a fraction. The standard function is a call where the target's baseline has no instruction for it.
fn round_even(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// Sum of `term(i)` over a group, in eight running sums: one would be a chain of additions that no compiler may cut into vectors.
fn sum(term: impl Fn(usize) -> f32) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0f32; LANES];
    for first in (0..GROUP).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(first + lane);
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests;
