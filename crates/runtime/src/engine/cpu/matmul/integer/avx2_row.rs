//! One row times one token in 256-bit registers: eight groups at a time.
//!
//! Safety of every block: the caller has the instructions of the [`super::lanes::Lanes`] that it names, and as many groups as a function takes, the input always filled up.
#![allow(clippy::undocumented_unsafe_blocks, reason = "said above, once")]

use super::Format;
use super::avx2::{Avx2, AvxVnni, add_block};
use super::decode::{Groups, RowSum};
use super::lanes::Lanes;
use ptbr_model::GROUP;
use std::arch::x86_64::*;

/// Groups of a block.
const BLOCK: usize = 8;

/// Products of bytes, added up in fours.
trait Dots: Lanes<Bytes = __m256i, Floats = __m256> {
    /// Of 32 bytes of int8, for which [`Lanes::UNSIGNED`] says whether a bias is to be added.
    unsafe fn int8(weights: __m256i, x: __m256i) -> __m256i;
    /// Of twice 32 bytes from 0 to 15.
    unsafe fn int4(weights: [__m256i; 2], x: [__m256i; 2]) -> __m256i;
}

impl Dots for Avx2 {
    #[inline(always)]
    unsafe fn int8(weights: __m256i, x: __m256i) -> __m256i {
        unsafe {
            // As in `Lanes::dot`.
            let x = _mm256_sign_epi8(x, weights);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), x);
            _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
        }
    }

    #[inline(always)]
    unsafe fn int4([a, b]: [__m256i; 2], x: [__m256i; 2]) -> __m256i {
        unsafe {
            // Four products are at most 4 · 15 · 127, below 2^15.
            let pairs =
                _mm256_add_epi16(_mm256_maddubs_epi16(a, x[0]), _mm256_maddubs_epi16(b, x[1]));
            _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
        }
    }
}

impl Dots for AvxVnni {
    #[inline(always)]
    unsafe fn int8(weights: __m256i, x: __m256i) -> __m256i {
        unsafe { _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), Self::flip(weights), x) }
    }

    #[inline(always)]
    unsafe fn int4([a, b]: [__m256i; 2], x: [__m256i; 2]) -> __m256i {
        unsafe {
            let sums = _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), a, x[0]);
            _mm256_dpbusd_avx_epi32(sums, b, x[1])
        }
    }
}

impl RowSum for Avx2 {
    #[inline(always)]
    unsafe fn sum<const INT4: bool>(row: Groups, groups: usize) -> f32 {
        unsafe { sum::<Self, INT4>(row, groups) }
    }
}

impl RowSum for AvxVnni {
    #[inline(always)]
    unsafe fn sum<const INT4: bool>(row: Groups, groups: usize) -> f32 {
        unsafe { sum::<Self, INT4>(row, groups) }
    }
}

#[inline(always)]
unsafe fn sum<L: Dots, const INT4: bool>(mut row: Groups, groups: usize) -> f32 {
    let format = if INT4 { Format::Int4 } else { Format::Int8 };
    let mut sum = 0.0;
    for _ in 0..groups / BLOCK {
        sum += unsafe { block::<L, INT4>(row) };
        row = row.skip(format, BLOCK);
    }
    let left = groups % BLOCK;
    if left > 0 {
        // Filled up with zeros.
        let mut values = [0u8; BLOCK * GROUP];
        let mut scales = [0u8; BLOCK * 4];
        let rest = unsafe {
            let bytes = left * format.value_bytes();
            row.values
                .copy_to_nonoverlapping(values.as_mut_ptr(), bytes);
            let bytes = left * format.scale_bytes();
            row.scales
                .copy_to_nonoverlapping(scales.as_mut_ptr(), bytes);
            Groups {
                values: values.as_ptr(),
                scales: scales.as_ptr(),
                ..row
            }
        };
        sum += unsafe { block::<L, INT4>(rest) };
    }
    sum
}

/// One block.
#[inline(always)]
unsafe fn block<L: Dots, const INT4: bool>(row: Groups) -> f32 {
    unsafe {
        let input_scales = _mm256_loadu_ps(row.input_scales);
        let parts = if INT4 {
            // In 128-bit lane l, sum j: group 2j + l.
            let dots = add_quads([
                int4_pair::<L>(row, 0),
                int4_pair::<L>(row, 1),
                int4_pair::<L>(row, 2),
                int4_pair::<L>(row, 3),
            ]);
            let dots = _mm256_permutevar8x32_epi32(dots, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
            let [scales, minima] = L::halves(_mm256_loadu_si256(row.scales.cast()));
            let scales = _mm256_mul_ps(scales, input_scales);
            let parts = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales);
            _mm256_fmadd_ps(minima, _mm256_loadu_ps(row.scaled_sums), parts)
        } else {
            // In both 128-bit lanes a half of the sums.
            let low = add_quads([
                int8_group::<L>(row, 0),
                int8_group::<L>(row, 1),
                int8_group::<L>(row, 2),
                int8_group::<L>(row, 3),
            ]);
            let high = add_quads([
                int8_group::<L>(row, 4),
                int8_group::<L>(row, 5),
                int8_group::<L>(row, 6),
                int8_group::<L>(row, 7),
            ]);
            let mut dots = _mm256_add_epi32(
                _mm256_permute2x128_si256::<0x20>(low, high),
                _mm256_permute2x128_si256::<0x31>(low, high),
            );
            if L::UNSIGNED {
                dots = _mm256_add_epi32(dots, _mm256_loadu_si256(row.biases.cast()));
            }
            let scales = _mm256_cvtph_ps(_mm_loadu_si128(row.scales.cast()));
            let scales = _mm256_mul_ps(scales, input_scales);
            _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales)
        };
        add_block(parts)
    }
}

/// Group j of int8, eight sums.
#[inline(always)]
unsafe fn int8_group<L: Dots>(row: Groups, j: usize) -> __m256i {
    unsafe {
        let weights = _mm256_loadu_si256(row.values.add(j * 32).cast());
        L::int8(weights, _mm256_loadu_si256(row.elements.add(j * 8).cast()))
    }
}

/// Groups 2j and 2j + 1 of int4, four sums each.
#[inline(always)]
unsafe fn int4_pair<L: Dots>(row: Groups, j: usize) -> __m256i {
    unsafe {
        let weights = L::nibbles(_mm256_loadu_si256(row.values.add(j * 32).cast()));
        let [first, second] = row.halves;
        let first = _mm256_loadu_si256(first.add(j * 8).cast());
        let second = _mm256_loadu_si256(second.add(j * 8).cast());
        L::int4(weights, [first, second])
    }
}

/// In every 128-bit lane the sum of each of the four vectors.
#[inline(always)]
unsafe fn add_quads([a, b, c, d]: [__m256i; 4]) -> __m256i {
    unsafe {
        let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd))
    }
}
