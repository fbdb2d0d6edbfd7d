//! A matrix in pieces that threads take one by one. Where a piece ends does not depend on how many threads there are, and so neither do bytes nor sums.

use crate::format::{GROUP, WeightFormat};

/// Groups of a piece: half a millisecond of int8, five of int4. Even, because two scales of int8 and fp8 share a word.
const PIECE: usize = 512;

/// Some groups of a matrix, and where they go.
struct Piece<'a> {
    groups: &'a [[f32; GROUP]],
    values: &'a mut [u32],
    scales: &'a mut [u32],
}

/// Calls `round(groups, values, scales)` for all groups of a matrix and returns the words of its values and scales; both are zeros before.
pub(super) fn round(
    format: WeightFormat,
    groups: &[[f32; GROUP]],
    round: impl Fn(&[[f32; GROUP]], &mut [u32], &mut [u32]) + Sync + Send,
) -> (Vec<u32>, Vec<u32>) {
    let value_words = |groups: usize| format.value_bytes(groups * GROUP).unwrap_or(0) / 4;
    let scale_words = |groups: usize| format.scale_words(groups * GROUP);
    let mut values = vec![0; value_words(groups.len())];
    let mut scales = vec![0; scale_words(groups.len())];
    let (mut values_left, mut scales_left) = (values.as_mut_slice(), scales.as_mut_slice());
    let pieces: Vec<Piece<'_>> = groups
        .chunks(PIECE)
        .map(|groups| Piece {
            values: values_left
                .split_off_mut(..value_words(groups.len()))
                .unwrap_or_default(),
            scales: scales_left
                .split_off_mut(..scale_words(groups.len()))
                .unwrap_or_default(),
            groups,
        })
        .collect();
    map(pieces, |piece| {
        round(piece.groups, piece.values, piece.scales);
    });
    (values, scales)
}

/// `sum(index of the first group, groups)` of every piece, added in their order.
pub(super) fn add_up(
    groups: &[[f32; GROUP]],
    sum: impl Fn(usize, &[[f32; GROUP]]) -> [f64; 2] + Sync + Send,
) -> [f64; 2] {
    let pieces = groups.chunks(PIECE).enumerate().collect();
    map(pieces, |(index, groups)| sum(index * PIECE, groups))
        .into_iter()
        .fold([0.0; 2], |[a, b], [x, y]| [a + x, b + y])
}

#[cfg(not(target_arch = "wasm32"))]
fn map<T: Send, R: Send>(pieces: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    use rayon::prelude::*;
    pieces.into_par_iter().map(work).collect()
}

/// A browser has one thread.
#[cfg(target_arch = "wasm32")]
fn map<T, R>(pieces: Vec<T>, work: impl Fn(T) -> R) -> Vec<R> {
    pieces.into_iter().map(work).collect()
}
