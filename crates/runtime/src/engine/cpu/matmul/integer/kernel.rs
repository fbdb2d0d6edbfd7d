//! The kernel: for each few rows, block by block along the columns, for each few tokens.
//!
//! Everything here is inlined into one function for each instruction set, which enables its instructions.

use super::activations::{ActivationGroup, Activations, RowInput};
use super::block::{BLOCK_GROUPS, Block, GROUP_WORDS, MAX_ROWS, Stage};
use super::lanes::Lanes;
use super::{Format, Rows, tiles};

/// Groups of a block are added in pairs: each to the one half a block behind.
const PAIRS: usize = BLOCK_GROUPS / 2;

/// Some rows times all tokens.
pub(super) struct Panel<'a> {
    pub(super) weights: Rows<'a>,
    /// Row of the matrix.
    pub(super) first: usize,
    pub(super) activations: &'a [ActivationGroup],
    /// The same of a single token.
    pub(super) row_input: RowInput<'a>,
    pub(super) tokens: usize,
    /// `[tokens, rows]`
    pub(super) output: &'a mut [f32],
}

impl<'a> Panel<'a> {
    /// The `output.len() / tokens` rows from `first` on.
    pub(super) fn new(
        weights: Rows<'a>,
        first: usize,
        activations: &'a Activations,
        tokens: usize,
        output: &'a mut [f32],
    ) -> Self {
        let rows = output.len() / tokens;
        assert!(
            first + rows <= weights.count() && rows * tokens == output.len(),
            "a panel's rows"
        );
        assert_eq!(
            activations.groups.len(),
            tokens * weights.groups,
            "a panel's input"
        );
        Self {
            weights,
            first,
            activations: &activations.groups,
            row_input: activations.row_input(),
            tokens,
            output,
        }
    }
}

/// Computes a panel.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(super) unsafe fn compute<L: Lanes>(panel: Panel<'_>) {
    match panel.weights.format {
        // SAFETY: passed on.
        Format::Int8 => unsafe { compute_format::<L, false>(panel) },
        // SAFETY: passed on.
        Format::Int4 => unsafe { compute_format::<L, true>(panel) },
    }
}

/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn compute_format<L: Lanes, const MINIMA: bool>(panel: Panel<'_>) {
    let Panel {
        weights,
        first,
        activations,
        tokens,
        output,
        ..
    } = panel;
    let (stride, groups) = (output.len() / tokens, weights.groups);
    // SAFETY: passed on, here and below.
    let mut block = unsafe { Block::<L>::new() };
    let mut stage = Stage::new();
    for row in (0..stride).step_by(L::ROWS) {
        let rows = L::ROWS.min(stride - row);
        for group in (0..groups).step_by(BLOCK_GROUPS) {
            let width = BLOCK_GROUPS.min(groups - group);
            // SAFETY: passed on.
            unsafe { block.fill(&weights, rows, first + row, group, &mut stage) };
            for (token, count) in tiles(tokens, L::TOKENS) {
                let tile = Tile {
                    x: &activations[token * groups + group * count..][..width * count],
                    output: &mut output[token * stride + row..],
                    stride,
                    rows,
                    begins: group == 0,
                };
                // SAFETY: passed on.
                unsafe {
                    match count {
                        1 => tile.compute::<L, MINIMA, 1>(&block),
                        2 => tile.compute::<L, MINIMA, 2>(&block),
                        4 => tile.compute::<L, MINIMA, 4>(&block),
                        _ => tile.compute::<L, MINIMA, 8>(&block),
                    }
                }
            }
        }
    }
}

/// A block times a few tokens.
struct Tile<'a> {
    /// `[groups, tokens]`
    x: &'a [ActivationGroup],
    /// The sums so far; element `(token, row)` is at `token * stride + row`.
    output: &'a mut [f32],
    stride: usize,
    /// Rows that are not filled up.
    rows: usize,
    /// Whether these are the first groups: then there are no sums so far.
    begins: bool,
}

impl Tile<'_> {
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    unsafe fn compute<L: Lanes, const MINIMA: bool, const N: usize>(self, block: &Block<L>) {
        let (groups, _) = self.x.as_chunks::<N>();
        // SAFETY: passed on.
        let mut total = [unsafe { L::splat(0.0) }; N];
        for index in 0..PAIRS.min(groups.len()) {
            // SAFETY: passed on.
            let mut pair = unsafe { group::<L, MINIMA, N>(&groups[index], block, index) };
            // A group that is not there would be a zero.
            if let Some(x) = groups.get(index + PAIRS) {
                // SAFETY: passed on.
                let other = unsafe { group::<L, MINIMA, N>(x, block, index + PAIRS) };
                // SAFETY: passed on.
                pair = unsafe { add::<L, N>(pair, other) };
            }
            total = match index {
                0 => pair,
                // SAFETY: passed on.
                _ => unsafe { add::<L, N>(total, pair) },
            };
        }
        for (total, row) in total.into_iter().zip(self.output.chunks_mut(self.stride)) {
            let row = &mut row[..self.rows];
            // SAFETY: passed on.
            unsafe {
                let before = if self.begins {
                    L::splat(0.0)
                } else {
                    load::<L>(row)
                };
                store::<L>(L::add(before, total), row);
            }
        }
    }
}

/// What group `index` of a block adds to the outputs of N tokens.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn group<L: Lanes, const MINIMA: bool, const N: usize>(
    x: &[ActivationGroup; N],
    block: &Block<L>,
    index: usize,
) -> [L::Floats; N] {
    let values = &block.values[index * GROUP_WORDS..][..GROUP_WORDS];
    let (scale, minimum) = (block.scales[index], block.minima[index]);
    // SAFETY: passed on.
    unsafe {
        let mut dots = x.each_ref().map(|x| {
            let biased = L::UNSIGNED && !MINIMA;
            L::sums(if biased { x.bias } else { 0 })
        });
        for (word, &bytes) in values.iter().enumerate() {
            let weights = L::weights(bytes);
            for (dot, x) in dots.iter_mut().zip(x) {
                *dot = L::dot(*dot, weights, x.words[word]);
            }
        }
        std::array::from_fn(|token| {
            let x = &x[token];
            let product = L::mul(L::floats(dots[token]), L::mul(scale, L::splat(x.scale)));
            if MINIMA {
                L::fma(minimum, L::splat(x.scaled_sum), product)
            } else {
                product
            }
        })
    }
}

/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn add<L: Lanes, const N: usize>(a: [L::Floats; N], b: [L::Floats; N]) -> [L::Floats; N] {
    // SAFETY: passed on.
    std::array::from_fn(|token| unsafe { L::add(a[token], b[token]) })
}

/// Up to [`Lanes::ROWS`] floats.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn load<L: Lanes>(from: &[f32]) -> L::Floats {
    let mut full = [0.0; MAX_ROWS];
    let from = if from.len() == L::ROWS {
        from
    } else {
        full[..from.len()].copy_from_slice(from);
        &full[..L::ROWS]
    };
    // SAFETY: passed on; `from` has as many as are read.
    unsafe { L::load(from.as_ptr()) }
}

/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn store<L: Lanes>(floats: L::Floats, to: &mut [f32]) {
    if to.len() == L::ROWS {
        // SAFETY: passed on; `to` has as many as are written.
        return unsafe { L::store(floats, to.as_mut_ptr()) };
    }
    let mut full = [0.0; MAX_ROWS];
    // SAFETY: passed on; no instruction set has more than `MAX_ROWS` rows.
    unsafe { L::store(floats, full.as_mut_ptr()) };
    to.copy_from_slice(&full[..to.len()]);
}
