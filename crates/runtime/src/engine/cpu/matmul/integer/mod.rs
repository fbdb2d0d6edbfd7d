//! Weights as integers: int8 and int4, times activations that are quantized to 8 bits.
//!
//! A token's input is cut into groups of 32 like the rows of the weights, each with a scale of its own ([`Activations`]). A group's part of an output element is
//! ```text
//! p = Σ w·x · (scale_w · scale_x)                        Σ over the 32, in integers: exact
//! p = fma(minimum_w, scale_x · Σ x, p)                   int4 only
//! ```
//! and they are added up in blocks of eight groups, missing ones being zeros, over the blocks in sequence:
//! ```text
//! sum = sum + ((((p0 + p4) + (p1 + p5)) + (p2 + p6)) + (p3 + p7))
//! ```
//! Since the inner sums are exact, nothing but this order decides the bits, and kernels are free to add integers as suits the machine. The order is one that suits both
//! kernels: that of many tokens, which has a row in each lane and few registers to spare ([`kernel`]), and that of one token, which has a group in each lane ([`decode`]).
//!
//! Both are written over traits of what vectors of an instruction set can do ([`lanes::Lanes`], [`decode::RowSum`]). Sets without the second use the first for one token too.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_row;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_row;
mod block;
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "other machines decode as they read many tokens")
)]
mod decode;
mod kernel;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
#[cfg(target_arch = "x86_64")]
mod sse41;

use super::isa::{Isa, Kind};
pub(super) use activations::Activations;
use kernel::Panel;
use lanes::Lanes;
use ptbr_model::{GROUP, MatrixData};

/// All rows of a matrix of integers where they lie.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    values: &'a [u8],
    scales: &'a [u8],
    /// Groups of a row.
    groups: usize,
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Int8,
    Int4,
}

impl Format {
    /// Bytes of a group's values.
    fn value_bytes(self) -> usize {
        match self {
            Self::Int8 => GROUP,
            Self::Int4 => GROUP / 2,
        }
    }

    /// Bytes of a group's scale, and minimum where there is one.
    fn scale_bytes(self) -> usize {
        match self {
            Self::Int8 => 2,
            Self::Int4 => 4,
        }
    }
}

impl<'a> Rows<'a> {
    /// The rows of `cols` elements, a multiple of [`GROUP`], of a matrix of integers.
    pub(super) fn new(weights: MatrixData<'a>, cols: usize) -> Self {
        let (format, values, scales) = match weights {
            MatrixData::Int8 { values, scales } => (Format::Int8, values, scales),
            MatrixData::Int4 { values, scales } => (Format::Int4, values, scales),
            _ => unreachable!("floats are multiplied as floats"),
        };
        assert!(cols.is_multiple_of(GROUP), "a row is not of whole groups");
        let rows = Self {
            values: bytemuck::cast_slice(values),
            scales: bytemuck::cast_slice(scales),
            groups: cols / GROUP,
            format,
        };
        let groups = rows.values.len() / format.value_bytes();
        assert!(
            rows.scales.len() >= groups * format.scale_bytes(),
            "a group without a scale"
        );
        rows
    }

    /// Rows.
    fn count(&self) -> usize {
        self.values.len() / self.format.value_bytes() / self.groups
    }
}

/// Rows of one panel, from row `first` of `weights` on, for every token; `output` is `[tokens, rows of the panel]`.
pub(super) fn panel(
    isa: Isa,
    weights: Rows<'_>,
    first: usize,
    activations: &Activations,
    tokens: usize,
    output: &mut [f32],
) {
    let panel = Panel::new(weights, first, activations, tokens, output);
    match isa.0 {
        Kind::Portable => portable::panel(panel),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` exists only where its instructions do; so for those that follow.
        Kind::Sse41 => unsafe { sse41::panel(panel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Kind::Avx2 | Kind::Avx512 => unsafe { avx2::panel(panel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Kind::AvxVnni => unsafe { avx2::panel_vnni(panel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Kind::Avx512Vnni => unsafe { avx512::panel(panel) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Kind::Neon => unsafe { neon::panel(panel) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Kind::NeonDot => unsafe { neon::panel_dotprod(panel) },
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Kind::Simd128 => simd128::panel(panel),
    }
}

/// Most tokens of one tile: [`Lanes::TOKENS`] of the kernel that [`panel`] calls.
fn tile_tokens(isa: Isa) -> usize {
    match isa.0 {
        Kind::Portable => portable::Portable::TOKENS,
        #[cfg(target_arch = "x86_64")]
        Kind::Sse41 => sse41::Sse41::TOKENS,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::Avx512 => avx2::Avx2::TOKENS,
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni => avx2::AvxVnni::TOKENS,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512Vnni => avx512::Avx512Vnni::TOKENS,
        #[cfg(target_arch = "aarch64")]
        Kind::Neon => neon::Neon::TOKENS,
        #[cfg(target_arch = "aarch64")]
        Kind::NeonDot => neon::NeonDot::TOKENS,
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Kind::Simd128 => simd128::Simd128::TOKENS,
    }
}

/// The tiles that `tokens` tokens are cut into, `(first token, tokens)`: powers of two, the largest first, none above `most` (a power of two).
fn tiles(tokens: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = tokens - first;
        let count = most.min(1 << left.checked_ilog2()?);
        first += count;
        Some((first - count, count))
    })
}
