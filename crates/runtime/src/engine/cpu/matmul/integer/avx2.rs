//! Eight rows in 256-bit registers: with the 16-bit products of AVX2, or with dot products of bytes (AVX-VNNI).

use super::decode;
use super::kernel::{Panel, compute};
use super::lanes::Lanes;
use std::arch::x86_64::*;

pub(super) struct Avx2;

pub(super) struct AvxVnni;

/// Computes a panel.
///
/// # Safety
/// The machine must have AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn panel(panel: Panel<'_>) {
    // SAFETY: passed on.
    unsafe {
        if panel.tokens == 1 {
            decode::compute::<Avx2>(panel);
        } else {
            compute::<Avx2>(panel);
        }
    }
}

/// Computes a panel.
///
/// # Safety
/// The machine must have AVX2, FMA, F16C and AVX-VNNI.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) unsafe fn panel_vnni(panel: Panel<'_>) {
    // SAFETY: passed on.
    unsafe {
        if panel.tokens == 1 {
            decode::compute::<AvxVnni>(panel);
        } else {
            compute::<AvxVnni>(panel);
        }
    }
}

/// What both have in common.
// SAFETY of every block: the caller of a `Lanes` function has the instructions; pointers are as the trait asks.
macro_rules! common {
    () => {
        type Bytes = __m256i;
        type Sums = __m256i;
        type Floats = __m256;

        #[inline(always)]
        unsafe fn columns(from: *const u8, stride: usize) -> [Self::Bytes; 4] {
            unsafe {
                let row = |index: usize| _mm_loadu_si128(from.add(index * stride).cast());
                // 128-bit lane l of register j is row 4l + j.
                let rows = |j: usize| {
                    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row(j)), row(4 + j))
                };
                let [a, b, c, d] = [rows(0), rows(1), rows(2), rows(3)];
                // A transposition of 4 × 4 words in every lane.
                let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
                let (ef, gh) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
                [
                    _mm256_unpacklo_epi64(ab, cd),
                    _mm256_unpackhi_epi64(ab, cd),
                    _mm256_unpacklo_epi64(ef, gh),
                    _mm256_unpackhi_epi64(ef, gh),
                ]
            }
        }

        #[inline(always)]
        unsafe fn flip(bytes: Self::Bytes) -> Self::Bytes {
            unsafe { _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)) }
        }

        #[inline(always)]
        unsafe fn nibbles(bytes: Self::Bytes) -> [Self::Bytes; 2] {
            unsafe {
                let mask = _mm256_set1_epi8(15);
                [
                    _mm256_and_si256(bytes, mask),
                    _mm256_and_si256(_mm256_srli_epi32::<4>(bytes), mask),
                ]
            }
        }

        #[inline(always)]
        unsafe fn halves(bytes: Self::Bytes) -> [Self::Floats; 2] {
            unsafe {
                // Packing works within 128-bit lanes: low halves of rows 0 to 3, high ones, then rows 4 to 7.
                let low = _mm256_and_si256(bytes, _mm256_set1_epi32(0xffff));
                let packed = _mm256_packus_epi32(low, _mm256_srli_epi32::<16>(bytes));
                let sorted = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
                [
                    _mm256_cvtph_ps(_mm256_castsi256_si128(sorted)),
                    _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(sorted)),
                ]
            }
        }

        #[inline(always)]
        unsafe fn sums(bias: i32) -> Self::Sums {
            unsafe { _mm256_set1_epi32(bias) }
        }

        #[inline(always)]
        unsafe fn floats(sums: Self::Sums) -> Self::Floats {
            unsafe { _mm256_cvtepi32_ps(sums) }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::Floats {
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
            unsafe { _mm256_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
            unsafe { _mm256_mul_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::Floats {
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(floats: Self::Floats, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, floats) }
        }
    };
}

#[allow(clippy::undocumented_unsafe_blocks, reason = "said above, once")]
impl Lanes for Avx2 {
    const ROWS: usize = 8;
    const TOKENS: usize = 4;
    const UNSIGNED: bool = false;
    /// Signed, and their magnitudes.
    type Weights = [__m256i; 2];
    common!();

    #[inline(always)]
    unsafe fn weights(bytes: Self::Bytes) -> Self::Weights {
        unsafe { [bytes, _mm256_abs_epi8(bytes)] }
    }

    #[inline(always)]
    unsafe fn dot(sums: Self::Sums, [weights, magnitudes]: Self::Weights, x: i32) -> Self::Sums {
        unsafe {
            // The instruction multiplies unsigned by signed bytes and saturates the sum of two products; the weight's sign goes to x, which is above -128, and two
            // products are at most 2 · 128 · 127, below 2^15.
            let x = _mm256_sign_epi8(_mm256_set1_epi32(x), weights);
            let pairs = _mm256_maddubs_epi16(magnitudes, x);
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

#[allow(clippy::undocumented_unsafe_blocks, reason = "said above, once")]
impl Lanes for AvxVnni {
    const ROWS: usize = 8;
    const TOKENS: usize = 4;
    const UNSIGNED: bool = true;
    type Weights = __m256i;
    common!();

    #[inline(always)]
    unsafe fn weights(bytes: Self::Bytes) -> Self::Weights {
        bytes
    }

    #[inline(always)]
    unsafe fn dot(sums: Self::Sums, weights: Self::Weights, x: i32) -> Self::Sums {
        unsafe { _mm256_dpbusd_avx_epi32(sums, weights, _mm256_set1_epi32(x)) }
    }
}

/// The sum of a block's eight parts.
///
/// # Safety
/// The machine must have AVX.
#[inline(always)]
pub(super) unsafe fn add_block(parts: __m256) -> f32 {
    // SAFETY: passed on.
    unsafe {
        let low = _mm256_castps256_ps128(parts);
        let pairs = _mm_add_ps(low, _mm256_extractf128_ps::<1>(parts));
        let total = _mm_add_ps(pairs, _mm_permute_ps::<0b01_01_01_01>(pairs));
        let total = _mm_add_ps(total, _mm_permute_ps::<0b10_10_10_10>(pairs));
        let total = _mm_add_ps(total, _mm_permute_ps::<0b11_11_11_11>(pairs));
        _mm_cvtss_f32(total)
    }
}
