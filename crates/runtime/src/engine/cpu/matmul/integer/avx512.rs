//! Sixteen rows in 512-bit registers, with dot products of bytes (VNNI).

use super::decode;
use super::kernel::{Panel, compute};
use super::lanes::Lanes;
use std::arch::x86_64::*;

pub(super) struct Avx512Vnni;

/// Computes a panel.
///
/// # Safety
/// The machine must have AVX-512F, AVX-512 VNNI, AVX2, FMA and F16C.
#[target_feature(enable = "avx512f,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn panel(panel: Panel<'_>) {
    // SAFETY: passed on.
    unsafe {
        if panel.tokens == 1 {
            decode::compute::<Avx512Vnni>(panel);
        } else {
            compute::<Avx512Vnni>(panel);
        }
    }
}

// SAFETY of every block: the caller of a `Lanes` function has the instructions; pointers are as the trait asks.
#[allow(clippy::undocumented_unsafe_blocks, reason = "said above, once")]
impl Lanes for Avx512Vnni {
    const ROWS: usize = 16;
    const TOKENS: usize = 8;
    const UNSIGNED: bool = true;
    type Bytes = __m512i;
    type Weights = __m512i;
    type Sums = __m512i;
    type Floats = __m512;

    #[inline(always)]
    unsafe fn columns(from: *const u8, stride: usize) -> [Self::Bytes; 4] {
        unsafe {
            let row = |index: usize| _mm_loadu_si128(from.add(index * stride).cast());
            // 128-bit lane l of register j is row 4l + j.
            let rows = |j: usize| {
                let low = _mm512_castsi128_si512(row(j));
                let low = _mm512_inserti32x4::<1>(low, row(4 + j));
                let low = _mm512_inserti32x4::<2>(low, row(8 + j));
                _mm512_inserti32x4::<3>(low, row(12 + j))
            };
            let [a, b, c, d] = [rows(0), rows(1), rows(2), rows(3)];
            // A transposition of 4 × 4 words in every lane.
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            let (ef, gh) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ef, gh),
                _mm512_unpackhi_epi64(ef, gh),
            ]
        }
    }

    #[inline(always)]
    unsafe fn flip(bytes: Self::Bytes) -> Self::Bytes {
        unsafe { _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn nibbles(bytes: Self::Bytes) -> [Self::Bytes; 2] {
        unsafe {
            let mask = _mm512_set1_epi8(15);
            [
                _mm512_and_si512(bytes, mask),
                _mm512_and_si512(_mm512_srli_epi32::<4>(bytes), mask),
            ]
        }
    }

    #[inline(always)]
    unsafe fn halves(bytes: Self::Bytes) -> [Self::Floats; 2] {
        unsafe {
            let high = _mm512_srli_epi32::<16>(bytes);
            [bytes, high].map(|half| _mm512_cvtph_ps(_mm512_cvtepi32_epi16(half)))
        }
    }

    #[inline(always)]
    unsafe fn weights(bytes: Self::Bytes) -> Self::Weights {
        bytes
    }

    #[inline(always)]
    unsafe fn sums(bias: i32) -> Self::Sums {
        unsafe { _mm512_set1_epi32(bias) }
    }

    #[inline(always)]
    unsafe fn dot(sums: Self::Sums, weights: Self::Weights, x: i32) -> Self::Sums {
        unsafe { _mm512_dpbusd_epi32(sums, weights, _mm512_set1_epi32(x)) }
    }

    #[inline(always)]
    unsafe fn floats(sums: Self::Sums) -> Self::Floats {
        unsafe { _mm512_cvtepi32_ps(sums) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::Floats {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Floats {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(floats: Self::Floats, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, floats) }
    }
}
