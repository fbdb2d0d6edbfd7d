//! Four rows in 128-bit registers of WebAssembly.

use super::kernel::{Panel, compute};
use super::lanes::Lanes;
use std::arch::wasm32::*;

pub(super) struct Simd128;

/// Computes a panel.
pub(super) fn panel(panel: Panel<'_>) {
    // SAFETY: this file is compiled where SIMD128 is enabled for the whole program.
    unsafe { compute::<Simd128>(panel) }
}

// SAFETY of every block: reading and writing memory as the trait says; the rest is safe where SIMD128 is enabled.
#[allow(clippy::undocumented_unsafe_blocks, reason = "said above, once")]
impl Lanes for Simd128 {
    const ROWS: usize = 4;
    const TOKENS: usize = 4;
    const UNSIGNED: bool = false;
    type Bytes = v128;
    /// Rows 0 and 1, 2 and 3, as 16-bit numbers.
    type Weights = [v128; 2];
    /// Two partial sums a row: rows 0 and 1, 2 and 3.
    type Sums = [v128; 2];
    type Floats = v128;

    #[inline(always)]
    unsafe fn columns(from: *const u8, stride: usize) -> [Self::Bytes; 4] {
        let [a, b, c, d] =
            std::array::from_fn(|row| unsafe { v128_load(from.add(row * stride).cast()) });
        // A transposition of 4 × 4 words.
        let (ab, cd) = (
            i32x4_shuffle::<0, 4, 1, 5>(a, b),
            i32x4_shuffle::<0, 4, 1, 5>(c, d),
        );
        let (ef, gh) = (
            i32x4_shuffle::<2, 6, 3, 7>(a, b),
            i32x4_shuffle::<2, 6, 3, 7>(c, d),
        );
        [
            i64x2_shuffle::<0, 2>(ab, cd),
            i64x2_shuffle::<1, 3>(ab, cd),
            i64x2_shuffle::<0, 2>(ef, gh),
            i64x2_shuffle::<1, 3>(ef, gh),
        ]
    }

    #[inline(always)]
    unsafe fn flip(bytes: Self::Bytes) -> Self::Bytes {
        v128_xor(bytes, i8x16_splat(-128))
    }

    #[inline(always)]
    unsafe fn nibbles(bytes: Self::Bytes) -> [Self::Bytes; 2] {
        [v128_and(bytes, u8x16_splat(15)), u8x16_shr(bytes, 4)]
    }

    #[inline(always)]
    unsafe fn halves(bytes: Self::Bytes) -> [Self::Floats; 2] {
        // The bits of an f16 as those of an f32 whose exponent is 112 too small, subnormals included.
        let widen = |words: v128| {
            let magnitude = u32x4_shl(v128_and(words, u32x4_splat(0x7fff)), 13);
            let sign = u32x4_shl(v128_and(words, u32x4_splat(0x8000)), 16);
            let scaled = v128_or(magnitude, sign);
            f32x4_mul(scaled, f32x4_splat(f32::from_bits((127 + 112) << 23)))
        };
        [widen(bytes), widen(u32x4_shr(bytes, 16))]
    }

    #[inline(always)]
    unsafe fn weights(bytes: Self::Bytes) -> Self::Weights {
        [
            i16x8_extend_low_i8x16(bytes),
            i16x8_extend_high_i8x16(bytes),
        ]
    }

    #[inline(always)]
    unsafe fn sums(bias: i32) -> Self::Sums {
        [i32x4(bias, 0, bias, 0); 2]
    }

    #[inline(always)]
    unsafe fn dot(sums: Self::Sums, weights: Self::Weights, x: i32) -> Self::Sums {
        let x = i16x8_extend_low_i8x16(i32x4_splat(x));
        std::array::from_fn(|i| i32x4_add(sums[i], i32x4_dot_i16x8(weights[i], x)))
    }

    #[inline(always)]
    unsafe fn floats(sums: Self::Sums) -> Self::Floats {
        let even = i32x4_shuffle::<0, 2, 4, 6>(sums[0], sums[1]);
        let odd = i32x4_shuffle::<1, 3, 5, 7>(sums[0], sums[1]);
        f32x4_convert_i32x4(i32x4_add(even, odd))
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::Floats {
        f32x4_splat(x)
    }

    #[inline(always)]
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        f32x4_add(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        f32x4_mul(a, b)
    }

    #[inline(always)]
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        f32x4_add(f32x4_mul(a, b), c)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Floats {
        unsafe { v128_load(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(floats: Self::Floats, to: *mut f32) {
        unsafe { v128_store(to.cast(), floats) }
    }
}
