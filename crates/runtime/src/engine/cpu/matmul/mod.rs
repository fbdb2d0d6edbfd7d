//! Matrix products: rows of weights times one token (decode) or many (prefill).
//!
//! `y[t, o] = Σ_i W[o, i] · x[t, i]`, W row-major `[rows, cols]`, x `[tokens, cols]`, y `[tokens, rows]`.
//!
//! Every output element is summed in one fixed order, whatever the number of tokens, rows or threads: lane `i % 16` of sixteen running sums takes element `i`,
//! and the sixteen are added in the order of [`reduce`]. So a token gets the same bits alone as in a chunk of a thousand, and AVX2 gives those of AVX-512.
//!
//! A tile (4 rows × 6 tokens on AVX-512) keeps its sums in registers. Inputs are packed first, one tile's tokens side by side step by step: one stream of memory
//! where rows 12,288 bytes apart would all fall into the same cache set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
mod portable;
#[cfg(test)]
mod tests;

use super::parallel;
pub use isa::Isa;
use isa::Kind;
use ptbr_model::MatrixData;

/// Running sums per output element, and elements in a packed step.
const LANES: usize = 16;

/// Rows that a thread takes at a time: their weights stay in its second-level cache while the tokens pass.
const PANEL: usize = 32;

/// Products of fewer multiply-adds than this run on the calling thread: waking another costs some 5 µs, which is what one thread needs for about as many.
const PARALLEL_WORK: usize = 1 << 17;

/// Tokens' inputs in the order that tiles read: by tile of tokens, then by step of sixteen elements, then by token; the last step is filled up with zeros.
#[derive(Default)]
pub(crate) struct Packed {
    data: Vec<f32>,
}

/// One matrix product.
pub(crate) struct Product<'a> {
    /// `[rows, cols]`, `rows = output.len() / tokens`, `cols = input.len() / tokens`.
    pub weights: MatrixData<'a>,
    /// `[tokens, cols]`.
    pub input: &'a [f32],
    /// `[tokens, rows]`.
    pub output: &'a mut [f32],
    /// Tokens, at least one.
    pub tokens: usize,
}

/// Memory that a product needs; kept between calls, so that decoding allocates nothing.
#[derive(Default)]
pub(crate) struct Workspace {
    packed: Packed,
    panels: Vec<f32>,
}

/// Computes `product`, on several threads when it is large.
pub(crate) fn matmul(isa: Isa, product: Product<'_>, workspace: &mut Workspace) {
    let Product {
        weights,
        input,
        output,
        tokens,
    } = product;
    let MatrixData::F32(weights) = weights else {
        unimplemented!("products of quantized weights");
    };
    let (rows, cols) = (output.len() / tokens, input.len() / tokens);
    assert!(
        weights.len() == rows * cols
            && output.len() == rows * tokens
            && input.len() == cols * tokens,
        "shapes of a product disagree"
    );
    let packed = &mut workspace.packed;
    packed.fill(isa, input, cols);
    let packed = &*packed;
    let split = weights.len().saturating_mul(tokens) >= PARALLEL_WORK;
    let panel = |index: usize, out: &mut [f32]| {
        let panel_rows = out.len() / tokens;
        let first = index * PANEL * cols;
        compute_panel(
            isa,
            &weights[first..first + panel_rows * cols],
            cols,
            packed,
            tokens,
            out,
        );
    };
    if tokens == 1 {
        parallel::for_chunks(split, output, PANEL, panel);
        return;
    }
    // A panel's rows are columns of the output, which threads cannot share; each writes its own block, and the blocks are then put in place.
    workspace.panels.resize(rows * tokens, 0.0);
    parallel::for_chunks(split, &mut workspace.panels, PANEL * tokens, panel);
    let panels = &workspace.panels;
    parallel::for_chunks(split, output, rows, |token, out| {
        for (out, panel) in out.chunks_mut(PANEL).zip(panels.chunks(PANEL * tokens)) {
            let width = out.len();
            out.copy_from_slice(&panel[token * width..(token + 1) * width]);
        }
    });
}

/// Rows of one panel for every token; `output` is `[tokens, rows of the panel]`.
fn compute_panel(
    isa: Isa,
    weights: &[f32],
    cols: usize,
    packed: &Packed,
    tokens: usize,
    output: &mut [f32],
) {
    let stride = output.len() / tokens;
    let steps = cols.div_ceil(LANES);
    let mut first = 0;
    while first < tokens {
        let tile_tokens = isa.tile_tokens().min(tokens - first);
        let input = &packed.data[first * steps * LANES..(first + tile_tokens) * steps * LANES];
        for (row, weights) in (0..stride).step_by(4).zip(weights.chunks(4 * cols)) {
            Tile {
                weights,
                rows: weights.len() / cols,
                cols,
                input,
                tokens: tile_tokens,
                output: &mut output[first * stride + row..],
                stride,
            }
            .compute(isa);
        }
        first += tile_tokens;
    }
}

/// A few rows times a few tokens.
struct Tile<'a> {
    /// `[rows, cols]`.
    weights: &'a [f32],
    /// One to four.
    rows: usize,
    cols: usize,
    /// Packed, `[ceil(cols / 16), tokens, 16]`.
    input: &'a [f32],
    /// One to [`Isa::tile_tokens`].
    tokens: usize,
    /// Element `(token, row)` is at `token * stride + row`.
    output: &'a mut [f32],
    stride: usize,
}

impl Tile<'_> {
    fn compute(self, isa: Isa) {
        self.check(isa);
        match isa.0 {
            Kind::Portable => portable::tile(self),
            // SAFETY: an `Isa` exists only where its instructions do, and `check` has passed.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::tile(self) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512::tile(self) },
        }
    }

    /// What the vector versions' pointers rely on; some nanoseconds for a tile of thousands.
    fn check(&self, isa: Isa) {
        assert!(
            (1..=4).contains(&self.rows) && (1..=isa.tile_tokens()).contains(&self.tokens),
            "a tile is too large"
        );
        assert_eq!(
            self.weights.len(),
            self.rows * self.cols,
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
    fn fill(&mut self, isa: Isa, input: &[f32], cols: usize) {
        let steps = cols.div_ceil(LANES);
        self.data.clear();
        self.data.resize(input.len() / cols * steps * LANES, 0.0);
        let group = isa.tile_tokens();
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
fn reduce(sums: &[f32; LANES]) -> f32 {
    let mut sums = *sums;
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
    }
    sums[0]
}
