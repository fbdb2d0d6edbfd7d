//! The tile in 512-bit registers: 4 rows × 6 tokens are 24 sums, 4 registers of weights and one of input, of 32.
#![allow(
    clippy::needless_range_loop,
    reason = "rows and tokens index a block of registers, which iterators would hide"
)]

use super::{LANES, Rows, Tile};
use ptbr_model::GROUP;
use std::arch::x86_64::*;

/// Rows of weights as sixteen f32 at a time.
trait Load: Copy {
    /// Elements `16 · step` to `16 · step + 15` of row `row`, those under `mask`.
    ///
    /// # Safety
    /// AVX-512F and AVX2, and the elements under the mask are the row's. Formats other than f32 read all sixteen: their rows are whole groups.
    unsafe fn load(self, row: usize, step: usize, mask: __mmask16) -> __m512;

    /// Asks for the weights that one vector will meet some rows after these; nothing where the machine's own prefetching is enough.
    #[inline(always)]
    fn ask_ahead(self, _row: usize, _step: usize) {}
}

/// Bytes of fp8 between the weights that are multiplied and those that are asked for: memory answers in 100 ns and more, in which a thread should have read 2 KB. f32 and f16, of which there
/// is less to compute for each byte, are slower with it.
const BYTES_AHEAD: usize = 12 << 10;

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
    unsafe fn load(self, row: usize, step: usize, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise; lanes outside the mask are not read.
        unsafe { _mm512_maskz_loadu_ps(mask, self.values.add(row * self.cols + step * LANES)) }
    }
}

impl Load for F16 {
    #[inline(always)]
    unsafe fn load(self, row: usize, step: usize, _mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let at = self.values.add(row * self.cols + step * LANES);
            _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()))
        }
    }
}

impl Load for Fp8 {
    #[inline(always)]
    fn ask_ahead(self, row: usize, step: usize) {
        // Once for each line of 64 bytes.
        if step.is_multiple_of(64 / LANES) {
            let ahead = row * self.cols + step * LANES + BYTES_AHEAD;
            // Behind the last row it asks for something else, or for nothing: this is no access.
            let ahead: *const i8 = self.values.wrapping_add(ahead).cast();
            // SAFETY: every x86-64 machine has the instruction.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
        }
    }

    #[inline(always)]
    unsafe fn load(self, row: usize, step: usize, _mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise; the group of sixteen elements that are the row's has a scale.
        unsafe {
            let at = row * self.cols + step * LANES;
            let bytes = _mm_loadu_si128(self.values.add(at).cast());
            // E4M3 as an f16 whose exponent is 8 too small: the sign extended, then seven up, puts the sign at the top and the other bits in their places.
            let halves = _mm256_and_si256(
                _mm256_slli_epi16::<7>(_mm256_cvtepi8_epi16(bytes)),
                _mm256_set1_epi16(0xbf80_u16 as i16),
            );
            let scale = _mm512_set1_ps(self.scales.add(at / GROUP).read() * 256.0);
            _mm512_mul_ps(_mm512_cvtph_ps(halves), scale)
        }
    }
}

/// Computes a tile; see [`Tile`].
///
/// # Safety
/// The machine must have AVX-512F, and the tile must have passed [`Tile::check`].
#[target_feature(enable = "avx512f,avx2")]
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
/// The machine must have AVX-512F and AVX2, and the weights must be `out.len()` elements in whole groups, with their scales.
#[target_feature(enable = "avx512f,avx2")]
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
                    let wide = F16 { values, cols }.load(0, step, !0);
                    _mm512_storeu_ps(out.add(step * LANES), wide);
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
                    _mm512_storeu_ps(out.add(step * LANES), weights.load(0, step, !0));
                }
            }
        }
    }
}

/// # Safety
/// As [`tile`]; `weights` are the tile's.
#[target_feature(enable = "avx512f,avx2")]
unsafe fn tokens(tile: Tile<'_>, weights: impl Load) {
    // SAFETY: the caller's promises are passed on unchanged; `check` saw to it that rows are 1 to 4 and tokens 1 to 6.
    unsafe {
        match tile.tokens {
            1 => rows::<1>(tile, weights),
            2 => rows::<2>(tile, weights),
            3 => rows::<3>(tile, weights),
            4 => rows::<4>(tile, weights),
            5 => rows::<5>(tile, weights),
            _ => rows::<6>(tile, weights),
        }
    }
}

/// # Safety
/// As [`tokens`], with `tile.tokens == N`.
#[target_feature(enable = "avx512f,avx2")]
unsafe fn rows<const N: usize>(tile: Tile<'_>, weights: impl Load) {
    // One vector: rows one after the other, a single stream of memory. Four at once read f16 from memory a quarter slower; with more vectors they are read for all of them.
    if tile.rows == 4 && N > 1 {
        // SAFETY: passed on; there are four rows.
        let sums = unsafe { sums::<4, N, _>(weights, 0, tile.cols, tile.input.as_ptr()) };
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
            let [sums] = unsafe { sums::<1, N, _>(weights, row, tile.cols, tile.input.as_ptr()) };
            for (token, &sum) in sums.iter().enumerate() {
                tile.output[token * tile.stride + row] = reduce4(sum, sum, sum, sum)[0];
            }
        }
    }
}

/// # Safety
/// AVX-512F and AVX2; `weights` has `R` rows of `cols` from `first` on, `input` points to `ceil(cols / 16) * N * 16` elements.
#[target_feature(enable = "avx512f,avx2")]
unsafe fn sums<const R: usize, const N: usize, L: Load>(
    weights: L,
    first: usize,
    cols: usize,
    input: *const f32,
) -> [[__m512; N]; R] {
    let mut sums = [[_mm512_setzero_ps(); N]; R];
    let full = cols / LANES;
    let tail: __mmask16 = ((1u32 << (cols % LANES)) - 1) as __mmask16;
    for step in 0..full + usize::from(tail != 0) {
        let mask = if step < full { !0 } else { tail };
        let mut w = [_mm512_setzero_ps(); R];
        if N == 1 {
            weights.ask_ahead(first, step);
        }
        for (row, w) in w.iter_mut().enumerate() {
            // SAFETY: the lanes under the mask lie in row `row` by the caller's promise; the others are not read.
            *w = unsafe { weights.load(first + row, step, mask) };
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
#[target_feature(enable = "avx512f,avx2")]
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
