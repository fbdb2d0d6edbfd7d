//! The tile in plain Rust: the oracle of the others, and what runs where there is neither AVX2 nor AVX-512.
//!
//! Sixteen running sums per output element, as in the vector versions. It multiplies and adds in two roundings, because a fused multiply-add without the
//! instruction is a library call; so it agrees with the vector versions to rounding, not to the bit.

use super::{LANES, Tile, reduce};

/// Computes a tile; see [`Tile`].
pub(super) fn tile(tile: Tile<'_>) {
    match tile.tokens {
        1 => tokens::<1>(tile),
        _ => tokens::<2>(tile),
    }
}

fn tokens<const N: usize>(tile: Tile<'_>) {
    let full = tile.cols / LANES;
    for row in 0..tile.rows {
        let weights = &tile.weights[row * tile.cols..(row + 1) * tile.cols];
        let mut sums = [[0.0f32; LANES]; N];
        let (steps, tail) = weights.as_chunks::<LANES>();
        for (step, input) in steps.iter().zip(tile.input.chunks_exact(N * LANES)) {
            accumulate(&mut sums, step, input);
        }
        if !tail.is_empty() {
            let mut step = [0.0; LANES];
            step[..tail.len()].copy_from_slice(tail);
            accumulate(
                &mut sums,
                &step,
                &tile.input[full * N * LANES..(full + 1) * N * LANES],
            );
        }
        for (token, sum) in sums.iter().enumerate() {
            tile.output[token * tile.stride + row] = reduce(sum);
        }
    }
}

#[inline(always)]
fn accumulate<const N: usize>(sums: &mut [[f32; LANES]; N], weights: &[f32; LANES], input: &[f32]) {
    for (sum, input) in sums.iter_mut().zip(input.chunks_exact(LANES)) {
        for ((sum, w), x) in sum.iter_mut().zip(weights).zip(input) {
            *sum += w * x;
        }
    }
}
