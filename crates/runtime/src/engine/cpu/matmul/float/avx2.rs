//! The tile in 256-bit registers: sixteen running sums are two registers, 2 rows × 3 tokens are 12 of 16. One vector meets one row after the other.
#![allow(
    clippy::needless_range_loop,
    reason = "rows and tokens index a block of registers, which iterators would hide"
)]

use super::{LANES, Rows, Tile};
use ptbr_model::GROUP;
use std::arch::x86_64::*;

/// Rows of weights as sixteen f32 at a time.
trait Load: Copy {
    /// Elements `16 · step` to `16 · step + 15` of row `row`; `rest` says how many of them there are, the others are zeros.
    ///
    /// # Safety
    /// AVX2 and F16C, and the elements are the row's. Formats other than f32 read all sixteen: their rows are whole groups.
    unsafe fn load(self, row: usize, step: usize, rest: usize) -> Pair;
}

#[derive(Clone, Copy)]
struct F32 {
    values: *const f32,
    cols: usize,
}

#[derive(Clone, Copy)]
struct F16 {
    values: *const u16,
    cols: usize,
}

#[derive(Clone, Copy)]
struct Fp8 {
    values: *const u8,
    scales: *const f32,
    cols: usize,
}

impl Load for F32 {
    #[inline(always)]
    unsafe fn load(self, row: usize, step: usize, rest: usize) -> Pair {
        // SAFETY: the caller's promise; of an incomplete step `rest` elements are copied into a buffer of sixteen, which is then loaded.
        unsafe {
            let at = self.values.add(row * self.cols + step * LANES);
            if rest == LANES {
                return load(at);
            }
            let mut last = [0.0f32; LANES];
            std::ptr::copy_nonoverlapping(at, last.as_mut_ptr(), rest);
            load(last.as_ptr())
        }
    }
}

impl Load for F16 {
    #[inline(always)]
    unsafe fn load(self, row: usize, step: usize, _rest: usize) -> Pair {
        // SAFETY: the caller's promise.
        unsafe {
            let at = self.values.add(row * self.cols + step * LANES);
            widen_halves(_mm256_loadu_si256(at.cast()))
        }
    }
}

impl Load for Fp8 {
    #[inline(always)]
    unsafe fn load(self, row: usize, step: usize, _rest: usize) -> Pair {
        // SAFETY: the caller's promise; the group of sixteen elements that are the row's has a scale.
        unsafe {
            let at = row * self.cols + step * LANES;
            let bytes = _mm_loadu_si128(self.values.add(at).cast());
            // E4M3 as an f16 whose exponent is 8 too small: the sign extended, then seven up, puts the sign at the top and the other bits in their places.
            let halves = _mm256_and_si256(
                _mm256_slli_epi16::<7>(_mm256_cvtepi8_epi16(bytes)),
                _mm256_set1_epi16(0xbf80_u16 as i16),
            );
            let scale = _mm256_set1_ps(self.scales.add(at / GROUP).read() * 256.0);
            let (low, high) = widen_halves(halves);
            (_mm256_mul_ps(low, scale), _mm256_mul_ps(high, scale))
        }
    }
}

/// # Safety
/// AVX2 and F16C.
#[inline(always)]
unsafe fn widen_halves(halves: __m256i) -> Pair {
    // SAFETY: the caller's promise.
    unsafe {
        (
            _mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
            _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)),
        )
    }
}

/// Computes a tile; see [`Tile`].
///
/// # Safety
/// The machine must have AVX2, FMA and F16C, and the tile must have passed [`Tile::check`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn tile(tile: Tile<'_>) {
    let cols = tile.cols;
    // SAFETY: the caller's promises are passed on unchanged; `check` saw to it that the weights are `rows · cols` elements with their scales.
    unsafe {
        match tile.weights {
            Rows::F32(values) => {
                let values = values.as_ptr();
                tokens(tile, F32 { values, cols });
            }
            Rows::F16(values) => {
                let values = values.as_ptr();
                tokens(tile, F16 { values, cols });
            }
            Rows::Fp8 { values, scales } => {
                let (values, scales) = (values.as_ptr(), scales.as_ptr());
                let weights = Fp8 {
                    values,
                    scales,
                    cols,
                };
                tokens(tile, weights);
            }
        }
    }
}

/// Writes f16 or fp8 weights as f32.
///
/// # Safety
/// The machine must have AVX2 and F16C, and the weights must be `out.len()` elements in whole groups, with their scales.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn widen(weights: Rows<'_>, out: &mut [f32]) {
    let (steps, out) = (out.len() / LANES, out.as_mut_ptr());
    // Rows follow each other, so that all of them are as one row.
    match weights {
        Rows::F32(values) => {
            // SAFETY: as many elements by the caller's promise; `out` is another slice.
            unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), out, values.len()) };
        }
        Rows::F16(values) => {
            let (values, cols) = (values.as_ptr(), 0);
            for step in 0..steps {
                // SAFETY: sixteen elements from `16 · step` on are within both by the caller's promise.
                unsafe {
                    let (low, high) = F16 { values, cols }.load(0, step, LANES);
                    _mm256_storeu_ps(out.add(step * LANES), low);
                    _mm256_storeu_ps(out.add(step * LANES + 8), high);
                }
            }
        }
        Rows::Fp8 { values, scales } => {
            let (values, scales, cols) = (values.as_ptr(), scales.as_ptr(), 0);
            for step in 0..steps {
                // SAFETY: as above.
                unsafe {
                    let weights = Fp8 {
                        values,
                        scales,
                        cols,
                    };
                    let (low, high) = weights.load(0, step, LANES);
                    _mm256_storeu_ps(out.add(step * LANES), low);
                    _mm256_storeu_ps(out.add(step * LANES + 8), high);
                }
            }
        }
    }
}

/// # Safety
/// As [`tile`]; `weights` are the tile's.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tokens(tile: Tile<'_>, weights: impl Load) {
    // SAFETY: the caller's promises are passed on unchanged; `check` saw to it that rows are 1 to 4 and tokens 1 to 3.
    unsafe {
        match tile.tokens {
            1 => rows::<1>(tile, weights),
            2 => rows::<2>(tile, weights),
            _ => rows::<3>(tile, weights),
        }
    }
}

/// # Safety
/// As [`tokens`], with `tile.tokens == N`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows<const N: usize>(tile: Tile<'_>, weights: impl Load) {
    let mut row = 0;
    // One vector: rows one after the other, a single stream of memory, which the machine reads ahead of by itself. Four at once read f16 at little more than half the speed; with more
    // vectors they are read for all of them.
    while N > 1 && row + 2 <= tile.rows {
        // SAFETY: passed on; rows `row` and `row + 1` are the tile's.
        let sums = unsafe { sums::<2, N>(weights, row, tile.cols, tile.input.as_ptr()) };
        for token in 0..N {
            let (a, b) = (half_sum(sums[0][token]), half_sum(sums[1][token]));
            let reduced = transpose_sum(a, b, a, b);
            tile.output[token * tile.stride + row..token * tile.stride + row + 2]
                .copy_from_slice(&reduced[..2]);
        }
        row += 2;
    }
    for row in row..tile.rows {
        // SAFETY: passed on; `row` is one of the tile's rows.
        let [sums] = unsafe { sums::<1, N>(weights, row, tile.cols, tile.input.as_ptr()) };
        for (token, &sum) in sums.iter().enumerate() {
            let sum = half_sum(sum);
            tile.output[token * tile.stride + row] = transpose_sum(sum, sum, sum, sum)[0];
        }
    }
}

/// Lanes 0 to 7 and 8 to 15 of the running sums.
type Pair = (__m256, __m256);

/// # Safety
/// AVX2, FMA and F16C; `weights` has `R` rows of `cols` from `first` on, `input` points to `ceil(cols / 16) * N * 16` elements.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn sums<const R: usize, const N: usize>(
    weights: impl Load,
    first: usize,
    cols: usize,
    input: *const f32,
) -> [[Pair; N]; R] {
    let zero = _mm256_setzero_ps();
    let mut sums = [[(zero, zero); N]; R];
    let full = cols / LANES;
    for step in 0..full {
        // SAFETY: sixteen elements from `step * 16` lie in each row, since `step < cols / 16`.
        unsafe { step_of(&mut sums, weights, first, step, LANES, input) };
    }
    if !cols.is_multiple_of(LANES) {
        // SAFETY: `full` is less than `ceil(cols / 16)`, because there is a rest.
        unsafe { step_of(&mut sums, weights, first, full, cols % LANES, input) };
    }
    sums
}

/// # Safety
/// As [`sums`]; `step` is less than `ceil(cols / 16)` and has `rest` elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn step_of<const R: usize, const N: usize>(
    sums: &mut [[Pair; N]; R],
    weights: impl Load,
    first: usize,
    step: usize,
    rest: usize,
    input: *const f32,
) {
    let zero = _mm256_setzero_ps();
    let mut w = [(zero, zero); R];
    for (row, w) in w.iter_mut().enumerate() {
        // SAFETY: by the caller's promise.
        *w = unsafe { weights.load(first + row, step, rest) };
    }
    // SAFETY: by the caller's promise.
    unsafe { accumulate(sums, &w, input.add(step * N * LANES)) };
}

/// # Safety
/// AVX2 and FMA; `input` points to `N * 16` elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn accumulate<const R: usize, const N: usize>(
    sums: &mut [[Pair; N]; R],
    w: &[Pair; R],
    input: *const f32,
) {
    for token in 0..N {
        // SAFETY: `token` is less than N.
        let (low, high) = unsafe { load(input.add(token * LANES)) };
        for row in 0..R {
            let sum = &mut sums[row][token];
            sum.0 = _mm256_fmadd_ps(w[row].0, low, sum.0);
            sum.1 = _mm256_fmadd_ps(w[row].1, high, sum.1);
        }
    }
}

/// # Safety
/// AVX2; `from` points to sixteen elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load(from: *const f32) -> Pair {
    // SAFETY: by the caller's promise.
    unsafe { (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
}

/// The first two levels of [`super::reduce`]: sixteen sums to four.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn half_sum((low, high): Pair) -> __m128 {
    let half = _mm256_add_ps(low, high);
    _mm_add_ps(
        _mm256_castps256_ps128(half),
        _mm256_extractf128_ps::<1>(half),
    )
}

/// The last two levels of [`super::reduce`] for four elements at once: `(x0 + x2) + (x1 + x3)` of each.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn transpose_sum(a: __m128, b: __m128, c: __m128, d: __m128) -> [f32; 4] {
    let ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
    let cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
    let sum = _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
    let mut out = [0.0f32; 4];
    // SAFETY: `out` holds four elements.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), sum) };
    out
}
