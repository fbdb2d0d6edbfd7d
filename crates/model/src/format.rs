//! Number formats of the weights in a model file, and what a stored matrix looks like in each.
//!
//! A matrix is `[rows, cols]` = `[out, in]`, row-major, `cols` a multiple of [`GROUP`]. Quantized formats divide every row into groups of [`GROUP`] elements:
//!
//! | format | values | scales | element |
//! |---|---|---|---|
//! | `f32` | f32 | | `v` |
//! | `f16` | f16 | | `v` |
//! | `int8` | i8, four to a u32 | f16 a group, two to a u32 | `scale · v`, v from -127 to 127 (-128 is read as what it says and never written) |
//! | `fp8` | E4M3, four to a u32 | f16 a group, two to a u32 | `scale · v` |
//! | `int4` | u4, eight to a u32 | f16 scale (low half) and f16 minimum of a group in a u32 | `scale · v + minimum` |
//!
//! Groups are numbered through the whole matrix, `row · cols / 32 + col / 32`; that of int8 and fp8 with number g has its scale in half `g % 2` (0 is the low one) of word `g / 2`.
//! In int4, byte j of a group's 16 holds element j in its low four bits and element j + 16 in its high four: one mask takes sixteen consecutive elements apart.
//!
//! E4M3 is the 8-bit float of the OCP specification (OFP8, revision 1.0): sign, four bits of exponent with bias 7, three of mantissa, no infinity; NaN (`0x7f`, `0xff`) is never written and
//! refused when read.

use std::fmt;
use std::str::FromStr;

use half::f16;
use serde::{Deserialize, Serialize};

/// Elements of a row that share a scale.
pub const GROUP: usize = 32;

/// Number format of a matrix. Vectors (norms, mixes, decays) are f32 in every model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightFormat {
    /// 32-bit floats: exact.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers with a scale for every 32: 8.5 bits a weight.
    Int8,
    /// 8-bit floats (E4M3) with a scale for every 32: 8.5 bits a weight.
    Fp8,
    /// 4-bit integers with a scale and a minimum for every 32: 5 bits a weight.
    Int4,
}

impl WeightFormat {
    /// Every format, widest first.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Int8, Self::Fp8, Self::Int4];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Fp8 => "fp8",
            Self::Int4 => "int4",
        }
    }

    /// Bytes of the values of `elements` elements (a multiple of [`GROUP`]); `None` when they do not fit in memory's addresses.
    pub fn value_bytes(self, elements: usize) -> Option<usize> {
        match self {
            Self::F32 => elements.checked_mul(4),
            Self::F16 => elements.checked_mul(2),
            Self::Int8 | Self::Fp8 => Some(elements),
            Self::Int4 => Some(elements / 2),
        }
    }

    /// Words of the scales of `elements` elements: 0 where there are none.
    pub fn scale_words(self, elements: usize) -> usize {
        match self {
            Self::F32 | Self::F16 => 0,
            Self::Int8 | Self::Fp8 => (elements / GROUP).div_ceil(2),
            Self::Int4 => elements / GROUP,
        }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| {
                format!("`{name}` is no number format of weights; there are f32, f16, int8, fp8 and int4")
            })
    }
}

/// The numbers of a matrix where they lie; see the module's table.
#[derive(Debug, Clone, Copy)]
pub enum MatrixData<'a> {
    /// `[rows, cols]`
    F32(&'a [f32]),
    /// `[rows, cols]`, bits of f16
    F16(&'a [u16]),
    /// int8
    Int8 {
        /// `[rows, cols / 4]`
        values: &'a [u32],
        /// `[ceil(rows · cols / 64)]`
        scales: &'a [u32],
    },
    /// fp8
    Fp8 {
        /// `[rows, cols / 4]`
        values: &'a [u32],
        /// `[ceil(rows · cols / 64)]`
        scales: &'a [u32],
    },
    /// int4
    Int4 {
        /// `[rows, cols / 8]`
        values: &'a [u32],
        /// `[rows · cols / 32]`
        scales: &'a [u32],
    },
}

impl MatrixData<'_> {
    /// Its number format.
    pub fn format(&self) -> WeightFormat {
        match self {
            Self::F32(_) => WeightFormat::F32,
            Self::F16(_) => WeightFormat::F16,
            Self::Int8 { .. } => WeightFormat::Int8,
            Self::Fp8 { .. } => WeightFormat::Fp8,
            Self::Int4 { .. } => WeightFormat::Int4,
        }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Int8 { values, .. } | Self::Fp8 { values, .. } => values.len() * 4,
            Self::Int4 { values, .. } => values.len() * 8,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of values and scales: what a product reads.
    pub fn num_bytes(&self) -> usize {
        match self {
            Self::F32(values) => values.len() * 4,
            Self::F16(values) => values.len() * 2,
            Self::Int8 { values, scales }
            | Self::Fp8 { values, scales }
            | Self::Int4 { values, scales } => (values.len() + scales.len()) * 4,
        }
    }

    /// The `out.len()` elements from `start` on as f32, exactly what the format means (every product of scale and value fits f32; int4's sum is rounded once). `start` and `out.len()` are
    /// multiples of [`GROUP`], and the elements are the matrix's.
    pub fn dequantize(&self, start: usize, out: &mut [f32]) {
        let range = start..start + out.len();
        match self {
            Self::F32(values) => out.copy_from_slice(&values[range]),
            Self::F16(values) => {
                for (out, &bits) in out.iter_mut().zip(&values[range]) {
                    *out = f16::from_bits(bits).to_f32();
                }
            }
            Self::Int8 { values, scales } => {
                let values: &[i8] = bytemuck::cast_slice(values);
                for (index, (out, values)) in groups(start, out, &values[range]) {
                    let scale = half_of(scales, index);
                    for (out, &value) in out.iter_mut().zip(values) {
                        *out = scale * f32::from(value);
                    }
                }
            }
            Self::Fp8 { values, scales } => {
                let values: &[u8] = bytemuck::cast_slice(values);
                for (index, (out, values)) in groups(start, out, &values[range]) {
                    let scale = half_of(scales, index);
                    for (out, &value) in out.iter_mut().zip(values) {
                        *out = scale * e4m3_to_f32(value);
                    }
                }
            }
            Self::Int4 { values, scales } => {
                let values: &[u8] = bytemuck::cast_slice(values);
                for (group, out) in out.chunks_exact_mut(GROUP).enumerate() {
                    let index = start / GROUP + group;
                    let [scale, minimum] = scale_and_minimum(scales[index]);
                    let (low, high) = out.split_at_mut(GROUP / 2);
                    let bytes = &values[index * GROUP / 2..(index + 1) * GROUP / 2];
                    for ((low, high), &byte) in low.iter_mut().zip(high).zip(bytes) {
                        *low = f32::from(byte & 15).mul_add(scale, minimum);
                        *high = f32::from(byte >> 4).mul_add(scale, minimum);
                    }
                }
            }
        }
    }
}

/// Group number, its place in `out`, its values.
fn groups<'o, 'v, T>(
    start: usize,
    out: &'o mut [f32],
    values: &'v [T],
) -> impl Iterator<Item = (usize, (&'o mut [f32], &'v [T]))> {
    (start / GROUP..).zip(out.chunks_exact_mut(GROUP).zip(values.chunks_exact(GROUP)))
}

/// The f16 number `index` of those that lie two to a word.
pub fn half_of(words: &[u32], index: usize) -> f32 {
    f16::from_bits((words[index / 2] >> (index % 2 * 16)) as u16).to_f32()
}

/// Scale and minimum of an int4 group.
pub fn scale_and_minimum(word: u32) -> [f32; 2] {
    [word as u16, (word >> 16) as u16].map(|bits| f16::from_bits(bits).to_f32())
}

/// The value of an E4M3 byte; NaN for the two that mean it.
pub fn e4m3_to_f32(byte: u8) -> f32 {
    if byte & 0x7f == 0x7f {
        return f32::NAN;
    }
    // The same bits as an f16 whose exponent is 8 too small: bias 15 against 7, subnormals included.
    let half = u16::from(byte & 0x80) << 8 | u16::from(byte & 0x7f) << 7;
    f16::from_bits(half).to_f32() * 256.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4m3_values_are_those_of_the_specification() {
        for (byte, value) in [
            (0x00, 0.0),
            (0x01, 0.001953125),
            (0x07, 0.013671875),
            (0x08, 0.015625),
            (0x38, 1.0),
            (0x39, 1.125),
            (0x7e, 448.0),
            (0xb8, -1.0),
            (0xfe, -448.0),
        ] {
            assert_eq!(e4m3_to_f32(byte), value, "{byte:#x}");
        }
        assert!(e4m3_to_f32(0x7f).is_nan() && e4m3_to_f32(0xff).is_nan());
        let finite = (0..=0xffu8).filter(|byte| byte & 0x7f != 0x7f);
        assert!(finite.map(e4m3_to_f32).all(f32::is_finite));
    }

    #[test]
    fn elements_lie_where_the_table_says() {
        let one = f16::ONE.to_bits();
        let two = f16::from_f32(2.0).to_bits();
        // Two groups; element i of the matrix holds i.
        let bytes: Vec<u8> = (0..64).collect();
        let values: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
        let scales = [u32::from(two) << 16 | u32::from(one)];
        let mut out = [0.0; 64];
        MatrixData::Int8 {
            values: &values,
            scales: &scales,
        }
        .dequantize(0, &mut out);
        for (i, &x) in out.iter().enumerate() {
            assert_eq!(x, i as f32 * if i < 32 { 1.0 } else { 2.0 });
        }
        let nibbles: Vec<u8> = (0..32).map(|j| (j % 16) | ((15 - j % 16) << 4)).collect();
        let values: Vec<u32> = bytemuck::pod_collect_to_vec(&nibbles);
        let scales = [
            u32::from(two) << 16 | u32::from(one),
            u32::from(one) << 16 | u32::from(two),
        ];
        let matrix = MatrixData::Int4 {
            values: &values,
            scales: &scales,
        };
        assert_eq!((matrix.len(), matrix.num_bytes()), (64, 40));
        let mut out = [0.0; 32];
        matrix.dequantize(32, &mut out);
        for i in 0..16 {
            assert_eq!(out[i], 2.0 * i as f32 + 1.0);
            assert_eq!(out[i + 16], 2.0 * (15 - i) as f32 + 1.0);
        }
    }

    #[test]
    fn names_both_ways() {
        for format in WeightFormat::ALL {
            assert_eq!(format.name().parse(), Ok(format));
            assert_eq!(
                serde_json::to_string(&format).unwrap(),
                format!("\"{format}\"")
            );
        }
        assert!("int3".parse::<WeightFormat>().unwrap_err().contains("int4"));
    }
}
