//! The tile in 256-bit registers: sixteen running sums are two registers, 2 rows × 3 tokens are 12 of 16.
#![allow(
    clippy::needless_range_loop,
    reason = "rows and tokens index a block of registers, which iterators would hide"
)]

use super::{LANES, Tile};
use std::arch::x86_64::*;

/// Computes a tile; see [`Tile`].
///
/// # Safety
/// The machine must have AVX2 and FMA, and the tile must have passed [`Tile::check`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn tile(tile: Tile<'_>) {
    // SAFETY: the caller's promises are passed on unchanged; `check` saw to it that rows are 1 to 4 and tokens 1 to 3.
    unsafe {
        match tile.tokens {
            1 => one_token(tile),
            2 => rows::<2>(tile),
            _ => rows::<3>(tile),
        }
    }
}

/// # Safety
/// As [`tile`], with `tile.tokens == 1`: four rows at once, since there are registers for them.
#[target_feature(enable = "avx2,fma")]
unsafe fn one_token(tile: Tile<'_>) {
    if tile.rows != 4 {
        // SAFETY: passed on.
        return unsafe { rows::<1>(tile) };
    }
    // SAFETY: passed on; there are four rows.
    let sums = unsafe { sums::<4, 1>(tile.weights.as_ptr(), tile.cols, tile.input.as_ptr()) };
    let [a, b, c, d] = sums.map(|[sum]| half_sum(sum));
    tile.output[..4].copy_from_slice(&transpose_sum(a, b, c, d));
}

/// # Safety
/// As [`tile`], with `tile.tokens == N`.
#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const N: usize>(tile: Tile<'_>) {
    let mut row = 0;
    while row + 2 <= tile.rows {
        // SAFETY: passed on; rows `row` and `row + 1` are the tile's.
        let sums = unsafe {
            sums::<2, N>(
                tile.weights.as_ptr().add(row * tile.cols),
                tile.cols,
                tile.input.as_ptr(),
            )
        };
        for token in 0..N {
            let (a, b) = (half_sum(sums[0][token]), half_sum(sums[1][token]));
            let reduced = transpose_sum(a, b, a, b);
            tile.output[token * tile.stride + row..token * tile.stride + row + 2]
                .copy_from_slice(&reduced[..2]);
        }
        row += 2;
    }
    if row < tile.rows {
        // SAFETY: passed on; `row` is one of the tile's rows.
        let [sums] = unsafe {
            sums::<1, N>(
                tile.weights.as_ptr().add(row * tile.cols),
                tile.cols,
                tile.input.as_ptr(),
            )
        };
        for (token, &sum) in sums.iter().enumerate() {
            let sum = half_sum(sum);
            tile.output[token * tile.stride + row] = transpose_sum(sum, sum, sum, sum)[0];
        }
    }
}

/// Lanes 0 to 7 and 8 to 15 of the running sums.
type Pair = (__m256, __m256);

/// # Safety
/// AVX2 and FMA; `weights` points to `R` rows of `cols`, `input` to `ceil(cols / 16) * N * 16` elements.
#[target_feature(enable = "avx2,fma")]
unsafe fn sums<const R: usize, const N: usize>(
    weights: *const f32,
    cols: usize,
    input: *const f32,
) -> [[Pair; N]; R] {
    let zero = _mm256_setzero_ps();
    let mut sums = [[(zero, zero); N]; R];
    let full = cols / LANES;
    for step in 0..full {
        let mut w = [(zero, zero); R];
        for (row, w) in w.iter_mut().enumerate() {
            // SAFETY: sixteen elements from `step * 16` lie in row `row`, since `step < cols / 16`.
            *w = unsafe { load(weights.add(row * cols + step * LANES)) };
        }
        // SAFETY: `step` is less than `ceil(cols / 16)`.
        unsafe { accumulate(&mut sums, &w, input.add(step * N * LANES)) };
    }
    let rest = cols % LANES;
    if rest != 0 {
        let mut w = [(zero, zero); R];
        for (row, w) in w.iter_mut().enumerate() {
            let mut last = [0.0f32; LANES];
            // SAFETY: the last `rest` elements of row `row` are copied into a buffer of sixteen, which is then loaded.
            *w = unsafe {
                std::ptr::copy_nonoverlapping(
                    weights.add(row * cols + full * LANES),
                    last.as_mut_ptr(),
                    rest,
                );
                load(last.as_ptr())
            };
        }
        // SAFETY: `full` is less than `ceil(cols / 16)`, because there is a rest.
        unsafe { accumulate(&mut sums, &w, input.add(full * N * LANES)) };
    }
    sums
}

/// # Safety
/// AVX2 and FMA; `input` points to `N * 16` elements.
#[inline]
#[target_feature(enable = "avx2,fma")]
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
#[target_feature(enable = "avx2,fma")]
unsafe fn load(from: *const f32) -> Pair {
    // SAFETY: by the caller's promise.
    unsafe { (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
}

/// The first two levels of [`super::reduce`]: sixteen sums to four.
#[inline]
#[target_feature(enable = "avx2,fma")]
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
