//! Matrices with orthonormal rows or columns, as large as a head of 32,000 × 2,048, in products rather than in reflections.

use rayon::prelude::*;

use crate::ops::dropout::mix64;
use crate::ops::gemm::{Matrix, matmul};

/// A standard normal number as a pure function of (key, index): Box–Muller on two hashed uniforms.
fn normal(key: u64, index: u64) -> f64 {
    let uniform =
        |salt: u64| (mix64(key ^ mix64(2 * index + salt)) >> 11) as f64 / (1u64 << 53) as f64;
    (-2.0 * (1.0 - uniform(0)).ln()).sqrt() * (std::f64::consts::TAU * uniform(1)).cos()
}

/// A random `[rows, cols]` matrix, uniform among those whose shorter side is orthonormal, times `gain`.
///
/// Q = A R⁻¹ with RᵀR = AᵀA for a Gaussian A (the QR decomposition with a positive diagonal, which makes Q uniform). One pass leaves
/// an error of the squared condition number times the rounding of f64: nothing for a matrix twice as long as wide (a condition
/// number of 6 at most), too much for a square one, which takes a second pass.
pub fn orthogonal(rows: usize, cols: usize, gain: f64, key: u64) -> Vec<f32> {
    let (tall, wide) = (rows.max(cols), rows.min(cols));
    let mut a: Vec<f64> = (0..tall * wide)
        .into_par_iter()
        .map(|i| normal(key, i as u64))
        .collect();
    let passes = if tall >= 2 * wide { 1 } else { 2 };
    for _ in 0..passes {
        orthonormalize(&mut a, tall, wide);
    }
    let mut out = vec![0.0f32; rows * cols];
    out.par_chunks_mut(cols).enumerate().for_each(|(i, row)| {
        for (j, value) in row.iter_mut().enumerate() {
            let at = if rows >= cols {
                i * wide + j
            } else {
                j * wide + i
            };
            *value = (gain * a[at]) as f32;
        }
    });
    out
}

/// Replaces the columns of A `[m, n]`, m ≥ n, by an orthonormal basis of what they span.
fn orthonormalize(a: &mut Vec<f64>, m: usize, n: usize) {
    let mut gram = vec![0.0; n * n];
    matmul(
        &mut gram,
        Matrix::new(a, m, n).transposed(),
        Matrix::new(a, m, n),
        false,
    );
    let lower = cholesky(gram, n);
    let inverse = invert_lower(&lower, n);
    let mut q = vec![0.0; m * n];
    matmul(
        &mut q,
        Matrix::new(a, m, n),
        Matrix::new(&inverse, n, n).transposed(),
        false,
    );
    *a = q;
}

/// Rows and columns in a block of the factorisation.
const BLOCK: usize = 64;

/// L with L Lᵀ = `a` `[n, n]`, by blocks so that most of the work is one product a block row.
fn cholesky(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        // The block column minus what earlier columns explain.
        let width = end - start;
        if start > 0 {
            let left = left_rows(&a, n, start, n);
            let mut product = vec![0.0; (n - start) * width];
            let left = Matrix::new(&left, n - start, start);
            let top = left_rows(&a, n, start, end);
            matmul(
                &mut product,
                left,
                Matrix::new(&top, width, start).transposed(),
                false,
            );
            for i in start..n {
                for j in start..end {
                    a[i * n + j] -= product[(i - start) * width + (j - start)];
                }
            }
        }
        for j in start..end {
            let pivot: f64 =
                a[j * n + j] - (start..j).map(|l| a[j * n + l] * a[j * n + l]).sum::<f64>();
            let pivot = pivot.max(f64::MIN_POSITIVE).sqrt();
            a[j * n + j] = pivot;
            let row: Vec<f64> = a[j * n + start..j * n + j].to_vec();
            let (_, below) = a.split_at_mut((j + 1) * n);
            below.par_chunks_mut(n).for_each(|other| {
                let sum: f64 = row.iter().zip(&other[start..]).map(|(x, y)| x * y).sum();
                other[j] = (other[j] - sum) / pivot;
            });
        }
    }
    for i in 0..n {
        a[i * n + i + 1..(i + 1) * n].fill(0.0);
    }
    a
}

/// Rows `start..end` of the first `start` columns of `a` `[n, n]`.
fn left_rows(a: &[f64], n: usize, start: usize, end: usize) -> Vec<f64> {
    (start..end)
        .flat_map(|i| a[i * n..i * n + start].iter().copied())
        .collect()
}

/// L⁻¹ of a lower triangular `[n, n]` matrix, one column a task.
fn invert_lower(lower: &[f64], n: usize) -> Vec<f64> {
    // Row j of the transposed inverse is column j of the inverse, and contiguous.
    let mut transposed = vec![0.0; n * n];
    transposed
        .par_chunks_mut(n)
        .enumerate()
        .for_each(|(j, column)| {
            column[j] = 1.0 / lower[j * n + j];
            for i in j + 1..n {
                let sum: f64 = lower[i * n + j..i * n + i]
                    .iter()
                    .zip(&column[j..i])
                    .map(|(l, x)| l * x)
                    .sum();
                column[i] = -sum / lower[i * n + i];
            }
        });
    let mut inverse = vec![0.0; n * n];
    inverse.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
        for (j, value) in row.iter_mut().enumerate() {
            *value = transposed[j * n + i];
        }
    });
    inverse
}

/// `count` numbers uniform in ±`scale`, a pure function of `key`.
pub fn uniform(count: usize, scale: f64, key: u64) -> Vec<f32> {
    (0..count as u64)
        .into_par_iter()
        .map(|i| {
            let unit = (mix64(key ^ mix64(i)) >> 11) as f64 / (1u64 << 53) as f64;
            ((2.0 * unit - 1.0) * scale) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_side_is_orthonormal() {
        for (rows, cols) in [(1, 1), (64, 64), (200, 130), (130, 200), (65, 300)] {
            let gain = 0.5;
            let q = orthogonal(rows, cols, gain, 7);
            let at = |i: usize, j: usize| f64::from(q[i * cols + j]);
            let (short, long) = (rows.min(cols), rows.max(cols));
            for a in 0..short {
                for b in 0..short {
                    let dot: f64 = (0..long)
                        .map(|l| {
                            if rows >= cols {
                                at(l, a) * at(l, b)
                            } else {
                                at(a, l) * at(b, l)
                            }
                        })
                        .sum();
                    let expected = if a == b { gain * gain } else { 0.0 };
                    assert!(
                        (dot - expected).abs() < 1e-6,
                        "{rows}×{cols} ({a}, {b}): {dot}"
                    );
                }
            }
        }
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let values: Vec<f64> = (0..200_000).map(|i| normal(3, i)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance =
            values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64;
        assert!(
            mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02,
            "{mean} {variance}"
        );
    }
}
