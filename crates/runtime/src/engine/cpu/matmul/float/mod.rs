//! Weights as f32: f32 itself, and f16 and fp8, whose values widen to f32 without rounding. The product is that of the widened weights.
//!
//! Every output element is summed in one order: lane `i % 16` of sixteen running sums takes element `i`, and the sixteen are added in the order of [`reduce`].
//!
//! A tile (4 rows × 6 tokens on AVX-512) keeps its sums in registers. Inputs are packed first, one tile's tokens side by side step by step: one stream of memory
//! where rows 12,288 bytes apart would all fall into the same cache set. Where there are vector instructions for it, a single tile of tokens widens weights on
//! their way into registers; more tokens than that use a panel's weights again and again, and widen it once into memory that stays in a cache.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::isa::Isa;
#[cfg(target_arch = "x86_64")]
use super::isa::Kind;
pub(super) use portable::half;
use ptbr_model::{GROUP, MatrixData};
use std::cell::RefCell;
use std::ops::Range;

/// Running sums per output element, and elements in a packed step.
pub(super) const LANES: usize = 16;

thread_local! {
    /// Memory for the panel that a thread is at; kept, so that decoding allocates nothing.
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch {
            scales: Vec::new(),
            widened: Vec::new(),
        })
    };
}

struct Scratch {
    /// Scales of fp8 as f32, `[rows, cols / 32]`.
    scales: Vec<f32>,
    /// Weights as f32, `[rows, cols]`.
    widened: Vec<f32>,
}

/// Tokens' inputs in the order that tiles read: by tile of tokens, then by step of sixteen elements, then by token; the last step is filled up with zeros.
#[derive(Default)]
pub(super) struct Packed {
    data: Vec<f32>,
    cols: usize,
}

/// Some rows of weights.
#[derive(Clone, Copy)]
enum Rows<'a> {
    /// `[rows, cols]`
    F32(&'a [f32]),
    /// `[rows, cols]`, bits of f16
    F16(&'a [u16]),
    /// `[rows, cols]` and `[rows, cols / 32]`
    Fp8 { values: &'a [u8], scales: &'a [f32] },
}

impl<'a> Rows<'a> {
    /// Rows of `weights` that are its elements `range`; `scales` is memory for theirs.
    fn new(weights: MatrixData<'a>, range: Range<usize>, scales: &'a mut Vec<f32>) -> Self {
        match weights {
            MatrixData::F32(values) => Self::F32(&values[range]),
            MatrixData::F16(values) => Self::F16(&values[range]),
            MatrixData::Fp8 {
                values,
                scales: words,
            } => {
                let halves: &[u16] = bytemuck::cast_slice(words);
                let halves = &halves[range.start / GROUP..range.end / GROUP];
                scales.clear();
                scales.extend(halves.iter().map(|&bits| half(bits)));
                let values: &[u8] = bytemuck::cast_slice(values);
                Self::Fp8 {
                    values: &values[range],
                    scales,
                }
            }
            MatrixData::Int8 { .. } | MatrixData::Int4 { .. } => {
                unreachable!("integers are multiplied as integers")
            }
        }
    }

    /// `count` rows of `cols` elements from row `first` on.
    fn slice(self, first: usize, count: usize, cols: usize) -> Self {
        let range = first * cols..(first + count) * cols;
        match self {
            Self::F32(values) => Self::F32(&values[range]),
            Self::F16(values) => Self::F16(&values[range]),
            Self::Fp8 { values, scales } => Self::Fp8 {
                scales: &scales[range.start / GROUP..range.end / GROUP],
                values: &values[range],
            },
        }
    }

    /// Whether these are exactly `elements` elements, whole groups where the format has them, each with its scale.
    fn holds(self, elements: usize, cols: usize) -> bool {
        match self {
            Self::F32(values) => values.len() == elements,
            Self::F16(values) => values.len() == elements && cols.is_multiple_of(GROUP),
            Self::Fp8 { values, scales } => {
                values.len() == elements
                    && scales.len() == elements / GROUP
                    && cols.is_multiple_of(GROUP)
            }
        }
    }
}

/// Rows of one panel, from row `first` of `weights` on, for every token; `output` is `[tokens, rows of the panel]`.
pub(super) fn panel(
    isa: Isa,
    weights: MatrixData<'_>,
    first: usize,
    packed: &Packed,
    tokens: usize,
    output: &mut [f32],
) {
    let (rows, cols) = (output.len() / tokens, packed.cols);
    let range = first * cols..(first + rows) * cols;
    SCRATCH.with_borrow_mut(|Scratch { scales, widened }| {
        let weights = Rows::new(weights, range, scales);
        let direct = widens_in_registers(isa) && tokens <= tile_tokens(isa);
        if direct || matches!(weights, Rows::F32(_)) {
            return tiles(isa, weights, packed, tokens, output);
        }
        widened.resize(rows * cols, 0.0);
        widen(isa, weights, cols, widened);
        tiles(isa, Rows::F32(widened), packed, tokens, output);
    });
}

fn tiles(isa: Isa, weights: Rows<'_>, packed: &Packed, tokens: usize, output: &mut [f32]) {
    let (stride, cols) = (output.len() / tokens, packed.cols);
    let steps = cols.div_ceil(LANES);
    let mut first = 0;
    while first < tokens {
        let tokens = tile_tokens(isa).min(tokens - first);
        let input = &packed.data[first * steps * LANES..(first + tokens) * steps * LANES];
        for row in (0..stride).step_by(4) {
            let rows = (stride - row).min(4);
            Tile {
                weights: weights.slice(row, rows, cols),
                rows,
                cols,
                input,
                tokens,
                output: &mut output[first * stride + row..],
                stride,
            }
            .compute(isa);
        }
        first += tokens;
    }
}

/// Most tokens of one tile: as many accumulators as the registers hold beside four rows of weights (or one row, where there are 16 small registers).
fn tile_tokens(isa: Isa) -> usize {
    match isa.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::AvxVnni => 3,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 | Kind::Avx512Vnni => 6,
        _ => 2,
    }
}

fn widens_in_registers(isa: Isa) -> bool {
    match isa.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::AvxVnni | Kind::Avx512 | Kind::Avx512Vnni => true,
        _ => false,
    }
}

/// Writes whole rows of f16 or fp8 weights as f32; both hold as many elements.
fn widen(isa: Isa, weights: Rows<'_>, cols: usize, out: &mut [f32]) {
    assert!(weights.holds(out.len(), cols), "weights to widen");
    match isa.0 {
        // SAFETY: an `Isa` exists only where its instructions do; the lengths have just been checked.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::AvxVnni => unsafe { avx2::widen(weights, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 | Kind::Avx512Vnni => unsafe { avx512::widen(weights, out) },
        _ => portable::widen(weights, out),
    }
}

/// A few rows times a few tokens.
struct Tile<'a> {
    /// `[rows, cols]`; only f32 where weights are not widened in registers.
    weights: Rows<'a>,
    /// One to four.
    rows: usize,
    cols: usize,
    /// Packed, `[ceil(cols / 16), tokens, 16]`.
    input: &'a [f32],
    /// One to [`tile_tokens`].
    tokens: usize,
    /// Element `(token, row)` is at `token * stride + row`.
    output: &'a mut [f32],
    stride: usize,
}

impl Tile<'_> {
    fn compute(self, isa: Isa) {
        self.check(isa);
        match isa.0 {
            // SAFETY: an `Isa` exists only where its instructions do, and `check` has passed.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 | Kind::AvxVnni => unsafe { avx2::tile(self) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 | Kind::Avx512Vnni => unsafe { avx512::tile(self) },
            _ => portable::tile(self),
        }
    }

    /// What the vector versions' pointers rely on; some nanoseconds for a tile of thousands.
    fn check(&self, isa: Isa) {
        assert!(
            (1..=4).contains(&self.rows) && (1..=tile_tokens(isa)).contains(&self.tokens),
            "a tile is too large"
        );
        assert!(
            self.weights.holds(self.rows * self.cols, self.cols),
            "a tile's weights"
        );
        assert_eq!(
            self.input.len(),
            self.cols.div_ceil(LANES) * self.tokens * LANES,
            "a tile's input"
        );
    }
}

impl Packed {
    /// Packs `input [tokens, cols]`.
    pub(super) fn fill(&mut self, isa: Isa, input: &[f32], cols: usize) {
        let steps = cols.div_ceil(LANES);
        self.cols = cols;
        self.data.clear();
        self.data.resize(input.len() / cols * steps * LANES, 0.0);
        let group = tile_tokens(isa);
        for (block, rows) in self
            .data
            .chunks_mut(group * steps * LANES)
            .zip(input.chunks(group * cols))
        {
            let tokens = rows.len() / cols;
            for (token, row) in rows.chunks(cols).enumerate() {
                for (step, part) in row.chunks(LANES).enumerate() {
                    let at = (step * tokens + token) * LANES;
                    block[at..at + part.len()].copy_from_slice(part);
                }
            }
        }
    }
}

/// Adds sixteen running sums: halves, quarters, eighths, then the last two. The vector versions follow this order.
pub(super) fn reduce(sums: &[f32; LANES]) -> f32 {
    let mut sums = *sums;
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
    }
    sums[0]
}
