//! The tile in plain Rust: the oracle of the others, and what runs where there is neither AVX2 nor AVX-512.
//!
//! Sixteen running sums per output element, as in the vector versions. Where a fused multiply-add without the instruction would be a library call, it multiplies
//! and adds in two roundings; there it agrees with the vector versions to rounding, not to the bit.

use super::{LANES, Rows, Tile, reduce};
use ptbr_model::GROUP;

/// Whether every machine of the target fuses multiplication and addition.
const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

/// Computes a tile of f32 weights; see [`Tile`].
pub(super) fn tile(tile: Tile<'_>) {
    match tile.tokens {
        1 => tokens::<1>(tile),
        _ => tokens::<2>(tile),
    }
}

fn tokens<const N: usize>(tile: Tile<'_>) {
    let Rows::F32(weights) = tile.weights else {
        unreachable!("other weights have been widened");
    };
    let full = tile.cols / LANES;
    for row in 0..tile.rows {
        let weights = &weights[row * tile.cols..(row + 1) * tile.cols];
        let mut sums = [[0.0f32; LANES]; N];
        let (steps, tail) = weights.as_chunks::<LANES>();
        for (step, input) in steps.iter().zip(tile.input.chunks_exact(N * LANES)) {
            accumulate(&mut sums, step, input);
        }
        if !tail.is_empty() {
            let mut step = [0.0; LANES];
            step[..tail.len()].copy_from_slice(tail);
            accumulate(
                &mut sums,
                &step,
                &tile.input[full * N * LANES..(full + 1) * N * LANES],
            );
        }
        for (token, sum) in sums.iter().enumerate() {
            tile.output[token * tile.stride + row] = reduce(sum);
        }
    }
}

#[inline(always)]
fn accumulate<const N: usize>(sums: &mut [[f32; LANES]; N], weights: &[f32; LANES], input: &[f32]) {
    for (sum, input) in sums.iter_mut().zip(input.chunks_exact(LANES)) {
        for ((sum, w), x) in sum.iter_mut().zip(weights).zip(input) {
            *sum = if FUSED {
                w.mul_add(*x, *sum)
            } else {
                *sum + w * x
            };
        }
    }
}

/// Writes f16 or fp8 weights as f32. Straight-line code that the compiler turns into vector instructions.
pub(super) fn widen(weights: Rows<'_>, out: &mut [f32]) {
    match weights {
        Rows::F32(values) => out.copy_from_slice(values),
        Rows::F16(values) => {
            for (out, &bits) in out.iter_mut().zip(values) {
                *out = half(bits);
            }
        }
        Rows::Fp8 { values, scales } => {
            let groups = out.chunks_exact_mut(GROUP).zip(values.chunks_exact(GROUP));
            for ((out, values), &scale) in groups.zip(scales) {
                for (out, &byte) in out.iter_mut().zip(values) {
                    *out = e4m3(byte) * scale;
                }
            }
        }
    }
}

/// The value of a finite f16: its bits as those of an f32 whose exponent is 112 too small (bias 15 against 127), subnormals included.
pub(in super::super) fn half(bits: u16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(bits);
    f32::from_bits((bits & 0x7fff) << 13 | (bits & 0x8000) << 16) * TWO_TO_112
}

/// The value of an E4M3 byte that is no NaN, in the same way (bias 7 against 127).
fn e4m3(byte: u8) -> f32 {
    const TWO_TO_120: f32 = f32::from_bits((127 + 120) << 23);
    let bits = u32::from(byte);
    f32::from_bits((bits & 0x7f) << 20 | (bits & 0x80) << 24) * TWO_TO_120
}
