//! The tile in 512-bit registers: 4 rows × 6 tokens are 24 sums, 4 registers of weights and one of input, of 32.
#![allow(
    clippy::needless_range_loop,
    reason = "rows and tokens index a block of registers, which iterators would hide"
)]

use super::{LANES, Tile};
use std::arch::x86_64::*;

/// Computes a tile; see [`Tile`].
///
/// # Safety
/// The machine must have AVX-512F, and the tile must have passed [`Tile::check`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn tile(tile: Tile<'_>) {
    // SAFETY: the caller's promises are passed on unchanged; `check` saw to it that rows are 1 to 4 and tokens 1 to 6.
    unsafe {
        match tile.tokens {
            1 => rows::<1>(tile),
            2 => rows::<2>(tile),
            3 => rows::<3>(tile),
            4 => rows::<4>(tile),
            5 => rows::<5>(tile),
            _ => rows::<6>(tile),
        }
    }
}

/// # Safety
/// As [`tile`], with `tile.tokens == N`.
#[target_feature(enable = "avx512f")]
unsafe fn rows<const N: usize>(tile: Tile<'_>) {
    if tile.rows == 4 {
        // SAFETY: passed on; there are four rows.
        let sums = unsafe { sums::<4, N>(tile.weights.as_ptr(), tile.cols, tile.input.as_ptr()) };
        for token in 0..N {
            let reduced = reduce4(
                sums[0][token],
                sums[1][token],
                sums[2][token],
                sums[3][token],
            );
            tile.output[token * tile.stride..token * tile.stride + 4].copy_from_slice(&reduced);
        }
    } else {
        for row in 0..tile.rows {
            // SAFETY: passed on; `row` is one of the tile's rows.
            let [sums] = unsafe {
                sums::<1, N>(
                    tile.weights.as_ptr().add(row * tile.cols),
                    tile.cols,
                    tile.input.as_ptr(),
                )
            };
            for (token, &sum) in sums.iter().enumerate() {
                tile.output[token * tile.stride + row] = reduce4(sum, sum, sum, sum)[0];
            }
        }
    }
}

/// # Safety
/// AVX-512F; `weights` points to `R` rows of `cols`, `input` to `ceil(cols / 16) * N * 16` elements.
#[target_feature(enable = "avx512f")]
unsafe fn sums<const R: usize, const N: usize>(
    weights: *const f32,
    cols: usize,
    input: *const f32,
) -> [[__m512; N]; R] {
    let mut sums = [[_mm512_setzero_ps(); N]; R];
    let full = cols / LANES;
    let tail: __mmask16 = ((1u32 << (cols % LANES)) - 1) as __mmask16;
    for step in 0..full + usize::from(tail != 0) {
        let mask = if step < full { !0 } else { tail };
        let mut w = [_mm512_setzero_ps(); R];
        for (row, w) in w.iter_mut().enumerate() {
            // SAFETY: the lanes under the mask lie in row `row` by the caller's promise; the others are not read.
            *w = unsafe { _mm512_maskz_loadu_ps(mask, weights.add(row * cols + step * LANES)) };
        }
        for token in 0..N {
            // SAFETY: `step` is less than `ceil(cols / 16)` and `token` less than N.
            let x = unsafe { _mm512_loadu_ps(input.add((step * N + token) * LANES)) };
            for row in 0..R {
                sums[row][token] = _mm512_fmadd_ps(w[row], x, sums[row][token]);
            }
        }
    }
    sums
}

/// The four horizontal sums, each in the order of [`super::reduce`].
#[target_feature(enable = "avx512f")]
fn reduce4(a: __m512, b: __m512, c: __m512, d: __m512) -> [f32; 4] {
    let [a, b, c, d] = [a, b, c, d].map(|v| {
        let low = _mm512_castps512_ps256(v);
        let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)));
        let half = _mm256_add_ps(low, high);
        _mm_add_ps(
            _mm256_castps256_ps128(half),
            _mm256_extractf128_ps::<1>(half),
        )
    });
    super::avx2::transpose_sum(a, b, c, d)
}
