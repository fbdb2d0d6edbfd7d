//! One row times one token in 512-bit registers: sixteen groups at a time, then eight, then what is left.
//!
//! Safety of every block: the caller has AVX-512F and VNNI, AVX2, FMA and F16C, and as many groups as a function takes, the input always filled up.
#![allow(clippy::undocumented_unsafe_blocks, reason = "said above, once")]

use super::Format;
use super::avx512::Avx512Vnni;
use super::decode::{Groups, RowSum};
use super::lanes::Lanes;
use std::arch::x86_64::*;

impl RowSum for Avx512Vnni {
    #[inline(always)]
    unsafe fn sum<const INT4: bool>(mut row: Groups, groups: usize) -> f32 {
        let format = if INT4 { Format::Int4 } else { Format::Int8 };
        let mut sum = 0.0;
        for _ in 0..groups / 16 {
            let [first, second] = unsafe { sixteen::<INT4>(row) };
            sum += first;
            sum += second;
            row = row.skip(format, 16);
        }
        if groups % 16 >= 8 {
            sum += unsafe { eight::<INT4, true>(row, 8) };
            row = row.skip(format, 8);
        }
        if !groups.is_multiple_of(8) {
            sum += unsafe { eight::<INT4, false>(row, groups % 8) };
        }
        sum
    }
}

/// The two blocks of sixteen groups.
#[inline(always)]
unsafe fn sixteen<const INT4: bool>(row: Groups) -> [f32; 2] {
    unsafe {
        let input_scales = _mm512_loadu_ps(row.input_scales);
        let parts = if INT4 {
            // In 128-bit lane l, sum j: group 4j + l.
            let dots = add_quads([
                int4_four::<true>(row, 0, 0),
                int4_four::<true>(row, 1, 0),
                int4_four::<true>(row, 2, 0),
                int4_four::<true>(row, 3, 0),
            ]);
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let dots = _mm512_cvtepi32_ps(_mm512_permutexvar_epi32(order, dots));
            let [scales, minima] = Avx512Vnni::halves(_mm512_loadu_si512(row.scales.cast()));
            let parts = _mm512_mul_ps(dots, _mm512_mul_ps(scales, input_scales));
            _mm512_fmadd_ps(minima, _mm512_loadu_ps(row.scaled_sums), parts)
        } else {
            // In 128-bit lane l, sum j: group 2j, its halves in lanes 0 and 1; group 2j + 1 in lanes 2 and 3.
            let low = add_quads([
                int8_pair::<true>(row, 0, 0),
                int8_pair::<true>(row, 1, 0),
                int8_pair::<true>(row, 2, 0),
                int8_pair::<true>(row, 3, 0),
            ]);
            let high = add_quads([
                int8_pair::<true>(row, 4, 0),
                int8_pair::<true>(row, 5, 0),
                int8_pair::<true>(row, 6, 0),
                int8_pair::<true>(row, 7, 0),
            ]);
            // Now lanes 0 and 2 are the even groups in order, 1 and 3 the odd ones.
            let dots = _mm512_add_epi32(
                _mm512_shuffle_i32x4::<0b10_00_10_00>(low, high),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(low, high),
            );
            let order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
            let dots = _mm512_permutexvar_epi32(order, dots);
            let dots = _mm512_add_epi32(dots, _mm512_loadu_si512(row.biases.cast()));
            let scales = _mm512_cvtph_ps(_mm256_loadu_si256(row.scales.cast()));
            let scales = _mm512_mul_ps(scales, input_scales);
            _mm512_mul_ps(_mm512_cvtepi32_ps(dots), scales)
        };
        let pairs = _mm512_add_ps(parts, _mm512_shuffle_f32x4::<0b10_11_00_01>(parts, parts));
        let total = _mm512_add_ps(pairs, _mm512_permute_ps::<0b01_01_01_01>(pairs));
        let total = _mm512_add_ps(total, _mm512_permute_ps::<0b10_10_10_10>(pairs));
        let total = _mm512_add_ps(total, _mm512_permute_ps::<0b11_11_11_11>(pairs));
        [
            _mm512_cvtss_f32(total),
            _mm_cvtss_f32(_mm512_extractf32x4_ps::<2>(total)),
        ]
    }
}

/// One block of eight groups; without `FULL` of `left`.
#[inline(always)]
unsafe fn eight<const INT4: bool, const FULL: bool>(row: Groups, left: usize) -> f32 {
    unsafe {
        let input_scales = _mm256_loadu_ps(row.input_scales);
        let parts = if INT4 {
            let a = int4_four::<FULL>(row, 0, left);
            let b = int4_four::<FULL>(row, 1, left);
            let sums = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let swapped = _mm512_shuffle_epi32::<0b01_00_11_10>(sums);
            // In 128-bit lane l: groups l and 4 + l.
            let dots = _mm512_add_epi32(sums, swapped);
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
            let dots = _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, dots));
            let words = load_words::<FULL>(row.scales, left);
            let [scales, minima] = Avx512Vnni::halves(words).map(|x| _mm512_castps512_ps256(x));
            let scales = _mm256_mul_ps(scales, input_scales);
            let parts = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales);
            _mm256_fmadd_ps(minima, _mm256_loadu_ps(row.scaled_sums), parts)
        } else {
            let quads = add_quads([
                int8_pair::<FULL>(row, 0, left),
                int8_pair::<FULL>(row, 1, left),
                int8_pair::<FULL>(row, 2, left),
                int8_pair::<FULL>(row, 3, left),
            ]);
            let (low, high) = (
                _mm512_castsi512_si256(quads),
                _mm512_extracti64x4_epi64::<1>(quads),
            );
            // Even groups, then odd ones.
            let dots = _mm256_add_epi32(
                _mm256_permute2x128_si256::<0x20>(low, high),
                _mm256_permute2x128_si256::<0x31>(low, high),
            );
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let dots = _mm256_permutevar8x32_epi32(dots, order);
            let dots = _mm256_add_epi32(dots, _mm256_loadu_si256(row.biases.cast()));
            let scales = if FULL {
                _mm_loadu_si128(row.scales.cast())
            } else {
                let mut halves = [0u16; 8];
                row.scales
                    .copy_to_nonoverlapping(halves.as_mut_ptr().cast(), 2 * left);
                _mm_loadu_si128(halves.as_ptr().cast())
            };
            let scales = _mm256_mul_ps(_mm256_cvtph_ps(scales), input_scales);
            _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales)
        };
        super::avx2::add_block(parts)
    }
}

/// Groups 2j and 2j + 1 of int8, eight sums each.
#[inline(always)]
unsafe fn int8_pair<const FULL: bool>(row: Groups, j: usize, left: usize) -> __m512i {
    unsafe {
        let from = row.values.wrapping_add(j * 64);
        let weights = load_words::<FULL>(from, (left * 8).saturating_sub(j * 16));
        let weights = _mm512_xor_si512(weights, _mm512_set1_epi8(-128));
        let x = _mm512_loadu_si512(row.elements.add(j * 16).cast());
        _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights, x)
    }
}

/// Groups 4j to 4j + 3 of int4, four sums each.
#[inline(always)]
unsafe fn int4_four<const FULL: bool>(row: Groups, j: usize, left: usize) -> __m512i {
    unsafe {
        let from = row.values.wrapping_add(j * 64);
        let weights = load_words::<FULL>(from, (left * 4).saturating_sub(j * 16));
        let [low, high] = Avx512Vnni::nibbles(weights);
        let [firsts, seconds] = row.halves;
        let sums = _mm512_setzero_si512();
        let sums = _mm512_dpbusd_epi32(sums, low, _mm512_loadu_si512(firsts.add(j * 16).cast()));
        _mm512_dpbusd_epi32(sums, high, _mm512_loadu_si512(seconds.add(j * 16).cast()))
    }
}

/// Sixteen words of four bytes; without `FULL` the first `left`, then zeros.
#[inline(always)]
unsafe fn load_words<const FULL: bool>(from: *const u8, left: usize) -> __m512i {
    unsafe {
        if FULL {
            _mm512_loadu_si512(from.cast())
        } else {
            let mask = (1u32 << left.min(16)) - 1;
            _mm512_maskz_loadu_epi32(mask as __mmask16, from.cast())
        }
    }
}

/// In every 128-bit lane the sum of each of the four vectors.
#[inline(always)]
unsafe fn add_quads([a, b, c, d]: [__m512i; 4]) -> __m512i {
    unsafe {
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
    }
}
