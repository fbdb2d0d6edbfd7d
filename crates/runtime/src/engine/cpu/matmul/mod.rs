//! Matrix products: rows of weights times one token (decode) or many (prefill).
//!
//! `y[t, o] = Σ_i W[o, i] · x[t, i]`, W row-major `[rows, cols]`, x `[tokens, cols]`, y `[tokens, rows]`.
//!
//! Two families, after what is multiplied:
//! - [`float`]: f32, f16 and fp8 weights, widened to f32 (exactly) where they are used;
//! - [`integer`]: int8 and int4 weights times activations that are quantized to 8 bits, 32 at a time.
//!
//! In both, every output element is summed in one fixed order, whatever the number of tokens, rows or threads: a token gets the same bits alone as in a chunk of
//! a thousand, and instruction sets that fuse multiplication and addition agree with each other.

mod float;
mod integer;
mod isa;
#[cfg(test)]
mod tests;

use super::parallel;
pub use isa::Isa;
use ptbr_model::MatrixData;

/// Rows that a thread takes at a time: their weights stay in its second-level cache while the tokens pass.
const PANEL: usize = 32;

/// Products of fewer multiply-adds than this run on the calling thread: waking another costs some 5 µs, which is what one thread needs for about as many.
const PARALLEL_WORK: usize = 1 << 17;

/// One matrix product.
pub(crate) struct Product<'a> {
    /// `[rows, cols]`, `rows = output.len() / tokens`, `cols = input.len() / tokens`; `cols` is a multiple of `GROUP`, with f32 weights any number.
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
    packed: float::Packed,
    activations: integer::Activations,
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
    let (rows, cols) = (output.len() / tokens, input.len() / tokens);
    assert!(
        weights.len() == rows * cols
            && output.len() == rows * tokens
            && input.len() == cols * tokens,
        "shapes of a product disagree"
    );
    let Workspace {
        packed,
        activations,
        panels,
    } = workspace;
    let split = weights.len().saturating_mul(tokens) >= PARALLEL_WORK;
    match weights {
        MatrixData::F32(_) | MatrixData::F16(_) | MatrixData::Fp8 { .. } => {
            packed.fill(isa, input, cols);
            let packed = &*packed;
            for_panels(split, output, tokens, panels, |first, out| {
                float::panel(isa, weights, first, packed, tokens, out);
            });
        }
        MatrixData::Int8 { .. } | MatrixData::Int4 { .. } => {
            activations.fill(isa, input, cols, split);
            let (weights, activations) = (integer::Rows::new(weights, cols), &*activations);
            for_panels(split, output, tokens, panels, |first, out| {
                integer::panel(isa, weights, first, activations, tokens, out);
            });
        }
    }
}

/// Calls `compute(first row, out)` for each panel of rows, `out` being the panel's `[tokens, rows of the panel]` of `output [tokens, rows]`.
fn for_panels(
    split: bool,
    output: &mut [f32],
    tokens: usize,
    panels: &mut Vec<f32>,
    compute: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    if tokens == 1 {
        return parallel::for_chunks(split, output, PANEL, |index, out| {
            compute(index * PANEL, out);
        });
    }
    // A panel's rows are columns of the output, which threads cannot share; each writes its own block, and the blocks are then put in place.
    panels.resize(output.len(), 0.0);
    parallel::for_chunks(split, panels, PANEL * tokens, |index, out| {
        compute(index * PANEL, out);
    });
    let rows = output.len() / tokens;
    parallel::for_chunks(split, output, rows, |token, out| {
        for (out, panel) in out.chunks_mut(PANEL).zip(panels.chunks(PANEL * tokens)) {
            let width = out.len();
            out.copy_from_slice(&panel[token * width..(token + 1) * width]);
        }
    });
}
