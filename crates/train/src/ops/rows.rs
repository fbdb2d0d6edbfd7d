//! Loops over the rows of a matrix in blocks of a fixed size, so that sums do not depend on the number of threads.

use rayon::prelude::*;

/// Rows in a block. Small enough that a batch of 512 rows keeps several threads busy, large enough to pay for starting one.
pub const BLOCK_ROWS: usize = 32;

/// Calls `body(first_row, rows of out)` for each block of rows of `out` (`[N, width]`).
pub fn for_row_blocks(out: &mut [f32], width: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    out.par_chunks_mut(BLOCK_ROWS * width.max(1))
        .enumerate()
        .for_each(|(block, rows)| body(block * BLOCK_ROWS, rows));
}

/// Like [`for_row_blocks`], and adds up a vector of `sums` numbers over all blocks in the order of the blocks.
pub fn for_row_blocks_summing(
    out: &mut [f32],
    width: usize,
    sums: usize,
    body: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    let partial: Vec<Vec<f32>> = out
        .par_chunks_mut(BLOCK_ROWS * width.max(1))
        .enumerate()
        .map(|(block, rows)| {
            let mut sum = vec![0.0; sums];
            body(block * BLOCK_ROWS, rows, &mut sum);
            sum
        })
        .collect();
    let mut total = vec![0.0; sums];
    for sum in partial {
        for (t, s) in total.iter_mut().zip(sum) {
            *t += s;
        }
    }
    total
}

/// Elements in a block of an element-wise loop.
const BLOCK_ELEMENTS: usize = 1 << 14;

/// Calls `body(first_element, elements of out)` for each block of `out`.
pub fn for_element_blocks(out: &mut [f32], body: impl Fn(usize, &mut [f32]) + Sync) {
    if out.len() <= BLOCK_ELEMENTS {
        return body(0, out);
    }
    out.par_chunks_mut(BLOCK_ELEMENTS)
        .enumerate()
        .for_each(|(block, elements)| body(block * BLOCK_ELEMENTS, elements));
}
