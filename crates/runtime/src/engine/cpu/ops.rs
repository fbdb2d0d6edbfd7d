//! What happens to activations between the products, row by row (a row is a token's vector).

use super::parallel::for_chunks;

/// Elements from which threads pay: below, waking one takes longer than the work.
const PARALLEL_ELEMENTS: usize = 1 << 16;

/// Elements that one thread takes at a time where rows do not matter.
const SLICE: usize = 1 << 14;

/// Whether work on `elements` elements should be split.
pub(super) fn pays(elements: usize) -> bool {
    elements >= PARALLEL_ELEMENTS
}

/// `out = (x − mean) / sqrt(variance + eps) · weight + bias` for each row; x, out `[tokens, C]`. The variance is the biased one.
pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let c = weight.len();
    for_chunks(pays(x.len()), out, c, |row, out| {
        let x = &x[row * c..(row + 1) * c];
        let mean = sum(x, |x| x) / c as f32;
        let variance = sum(x, |x| (x - mean) * (x - mean)) / c as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for (((out, x), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = (x - mean) * scale * w + b;
        }
    });
}

/// `x ← σ(x)`.
pub(super) fn sigmoid(x: &mut [f32]) {
    for_chunks(pays(x.len()), x, SLICE, |_, x| {
        ptbr_kernels::cpu::sigmoid(x)
    });
}

/// `x ← max(0, x)²`.
pub(super) fn relu_squared(x: &mut [f32]) {
    for_chunks(pays(x.len()), x, SLICE, |_, x| {
        for x in x {
            let positive = x.max(0.0);
            *x = positive * positive;
        }
    });
}

/// `x ← x · y`.
pub(super) fn multiply(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x *= y;
    }
}

/// `x ← x + y`.
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Elements of a row that are summed in registers.
const BLOCK: usize = 32;

/// `y_t ← y_t + Σ_i f_{t,i} · v_i`, in the order of i; y `[tokens, C]`, factors `[tokens, rank]`, vectors `[rank, C]`.
pub(super) fn add_combination(y: &mut [f32], factors: &[f32], vectors: &[f32], rank: usize) {
    let c = vectors.len() / rank;
    for_chunks(pays(y.len()), y, c, |row, y| {
        let factors = &factors[row * rank..(row + 1) * rank];
        let (blocks, tail) = y.as_chunks_mut::<BLOCK>();
        let end = blocks.len() * BLOCK;
        for (index, block) in blocks.iter_mut().enumerate() {
            let mut sums = *block;
            for (factor, vector) in factors.iter().zip(vectors.chunks_exact(c)) {
                let vector = &vector[index * BLOCK..(index + 1) * BLOCK];
                for (sum, v) in sums.iter_mut().zip(vector) {
                    *sum += factor * v;
                }
            }
            *block = sums;
        }
        for (factor, vector) in factors.iter().zip(vectors.chunks_exact(c)) {
            for (y, v) in tail.iter_mut().zip(&vector[end..]) {
                *y += factor * v;
            }
        }
    });
}

/// `x ← x + r · y`.
pub(super) fn add_product(x: &mut [f32], r: &[f32], y: &[f32]) {
    for ((x, r), y) in x.iter_mut().zip(r).zip(y) {
        *x += r * y;
    }
}

/// Sum over a row in sixteen running sums: a fixed order that vector instructions can follow.
fn sum(x: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let (steps, tail) = x.as_chunks::<16>();
    for step in steps {
        for (sum, &x) in sums.iter_mut().zip(step) {
            *sum += term(x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(tail) {
        *sum += term(x);
    }
    sums.iter().sum()
}
