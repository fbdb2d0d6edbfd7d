//! Four rows in 128-bit registers of x86-64: machines without AVX2, and the yardstick of what 128 bits can do.

use super::kernel::{Panel, compute};
use super::lanes::Lanes;
use std::arch::x86_64::*;

pub(super) struct Sse41;

/// Computes a panel.
///
/// # Safety
/// The machine must have SSE4.1.
#[target_feature(enable = "sse4.1")]
pub(super) unsafe fn panel(panel: Panel<'_>) {
    // SAFETY: passed on.
    unsafe { compute::<Sse41>(panel) }
}

// SAFETY of every block: the caller of a `Lanes` function has the instructions; pointers are as the trait asks.
#[allow(clippy::undocumented_unsafe_blocks, reason = "said above, once")]
impl Lanes for Sse41 {
    const ROWS: usize = 4;
    const TOKENS: usize = 4;
    const UNSIGNED: bool = false;
    type Bytes = __m128i;
    /// Rows 0 and 1, 2 and 3, as 16-bit numbers.
    type Weights = [__m128i; 2];
    /// Two partial sums a row: rows 0 and 1, 2 and 3.
    type Sums = [__m128i; 2];
    type Floats = __m128;

    #[inline(always)]
    unsafe fn columns(from: *const u8, stride: usize) -> [Self::Bytes; 4] {
        unsafe {
            let row = |index: usize| _mm_loadu_si128(from.add(index * stride).cast());
            let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
            // A transposition of 4 × 4 words.
            let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
            let (ef, gh) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
            [
                _mm_unpacklo_epi64(ab, cd),
                _mm_unpackhi_epi64(ab, cd),
                _mm_unpacklo_epi64(ef, gh),
                _mm_unpackhi_epi64(ef, gh),
            ]
        }
    }

    #[inline(always)]
    unsafe fn flip(bytes: Self::Bytes) -> Self::Bytes {
        unsafe { _mm_xor_si128(bytes, _mm_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn nibbles(bytes: Self::Bytes) -> [Self::Bytes; 2] {
        unsafe {
            let mask = _mm_set1_epi8(15);
            [
                _mm_and_si128(bytes, mask),
                _mm_and_si128(_mm_srli_epi16::<4>(bytes), mask),
            ]
        }
    }

    #[inline(always)]
    unsafe fn halves(bytes: Self::Bytes) -> [Self::Floats; 2] {
        unsafe {
            // The bits of an f16 as those of an f32 whose exponent is 112 too small, subnormals included.
            let widen = |words: __m128i| {
                let magnitude = _mm_slli_epi32::<13>(_mm_and_si128(words, _mm_set1_epi32(0x7fff)));
                let sign = _mm_slli_epi32::<16>(_mm_and_si128(words, _mm_set1_epi32(0x8000)));
                let scaled = _mm_castsi128_ps(_mm_or_si128(magnitude, sign));
                _mm_mul_ps(scaled, _mm_set1_ps(f32::from_bits((127 + 112) << 23)))
            };
            [widen(bytes), widen(_mm_srli_epi32::<16>(bytes))]
        }
    }

    #[inline(always)]
    unsafe fn weights(bytes: Self::Bytes) -> Self::Weights {
        unsafe {
            [
                _mm_cvtepi8_epi16(bytes),
                _mm_cvtepi8_epi16(_mm_unpackhi_epi64(bytes, bytes)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn sums(bias: i32) -> Self::Sums {
        unsafe { [_mm_setr_epi32(bias, 0, bias, 0); 2] }
    }

    #[inline(always)]
    unsafe fn dot(sums: Self::Sums, weights: Self::Weights, x: i32) -> Self::Sums {
        unsafe {
            let x = _mm_cvtepi8_epi16(_mm_set1_epi32(x));
            std::array::from_fn(|i| _mm_add_epi32(sums[i], _mm_madd_epi16(weights[i], x)))
        }
    }

    #[inline(always)]
    unsafe fn floats(sums: Self::Sums) -> Self::Floats {
        unsafe {
            let [a, b] = sums.map(|sums| _mm_castsi128_ps(sums));
            let even = _mm_castps_si128(_mm_shuffle_ps::<0b10_00_10_00>(a, b));
            let odd = _mm_castps_si128(_mm_shuffle_ps::<0b11_01_11_01>(a, b));
            _mm_cvtepi32_ps(_mm_add_epi32(even, odd))
        }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::Floats {
        unsafe { _mm_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { _mm_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { _mm_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        unsafe { _mm_add_ps(_mm_mul_ps(a, b), c) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Floats {
        unsafe { _mm_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(floats: Self::Floats, to: *mut f32) {
        unsafe { _mm_storeu_ps(to, floats) }
    }
}
