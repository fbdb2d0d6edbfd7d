//! Muon: momentum whose singular values are all made one, for the matrices of the blocks.
//!
//! Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks" (kellerjordan.github.io/posts/muon):
//! ```text
//! M ← μ M + (1 - μ) G      U = μ M + (1 - μ) G      O = NS₅(U)      W ← W - η s O - η λ W
//! ```
//! with μ = 0.95 and NS₅ five steps of a Newton–Schulz iteration, which brings the singular values of U to between 0.7 and 1.2 and leaves
//! its singular vectors: the nearest orthogonal matrix, nearly, for the price of fifteen matrix products.
//!
//! The factor s = 0.2 √(max(rows, columns)) is that of Liu et al. 2025 ("Muon is Scalable for LLM Training", arXiv 2502.16982, section 2.2): the elements of
//! O have the root mean square 1/√(max(rows, columns)), those of AdamW's changes one of 0.2 to 0.4. With it a learning rate and a weight
//! decay found for AdamW do for Muon, and one `--learning-rate` serves both halves of the model.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::flat::Flat;
use crate::ops::gemm::{Matrix, matmul};
use crate::ops::host::elements;

/// Decay of the momentum.
const MOMENTUM: f32 = 0.95;

/// Coefficients of a step X ← aX + (bA + cA²)X with A = XXᵀ: chosen by Jordan et al. for the steepest slope at 0, so that small singular
/// values rise quickest; they end near 1, not at it.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Steps of the iteration.
const ITERATIONS: usize = 5;

/// Against a division by zero where the gradient is nothing.
const EPSILON: f32 = 1e-7;

/// Elements that a thread takes at a time.
const BLOCK: usize = 1 << 14;

/// The optimizer's state: the momentum of each matrix, by name.
#[derive(Debug, Clone, Default)]
pub struct Muon {
    momentum: BTreeMap<String, Flat>,
}

/// One update of one matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct MuonStep {
    /// Rows and columns.
    pub shape: [usize; 2],
    pub learning_rate: f64,
    pub weight_decay: f64,
    /// The gradient is multiplied by this first.
    pub gradient_scale: f64,
}

impl MuonStep {
    /// η s.
    fn rate(&self) -> f32 {
        let larger = self.shape[0].max(self.shape[1]);
        (self.learning_rate * 0.2 * (larger as f64).sqrt()) as f32
    }

    /// η λ.
    fn decay(&self) -> f32 {
        (self.learning_rate * self.weight_decay) as f32
    }

    fn host(&self, p: &mut FlexTensor, m: &mut FlexTensor, g: &FlexTensor) {
        let scale = self.gradient_scale as f32;
        let m = m.storage_mut::<f32>();
        let mut update = vec![0.0f32; m.len()];
        let moved = m.par_chunks_mut(BLOCK).zip(update.par_chunks_mut(BLOCK));
        moved
            .zip(elements(g).par_chunks(BLOCK))
            .for_each(|((m, u), g)| {
                for ((m, u), g) in m.iter_mut().zip(u).zip(g) {
                    let g = (1.0 - MOMENTUM) * scale * g;
                    *m = MOMENTUM * *m + g;
                    *u = MOMENTUM * *m + g;
                }
            });
        orthogonalise(&mut update, self.shape);
        let (rate, decay) = (self.rate(), self.decay());
        let parameter = p.storage_mut::<f32>();
        let changed = parameter
            .par_chunks_mut(BLOCK)
            .zip(update.par_chunks(BLOCK));
        changed.for_each(|(p, u)| {
            for (p, u) in p.iter_mut().zip(u) {
                *p -= rate * u + decay * *p;
            }
        });
    }

    fn device(&self, p: Tensor<1>, m: Tensor<1>, g: Tensor<1>) -> [Tensor<1>; 2] {
        let g = g * ((1.0 - MOMENTUM) * self.gradient_scale as f32);
        let m = m * MOMENTUM + g.clone();
        let update = orthogonalised((m.clone() * MOMENTUM + g).reshape(self.shape));
        let change = update.reshape([-1]) * self.rate() + p.clone() * self.decay();
        [p - change, m]
    }
}

impl Muon {
    /// The momentum of a matrix; `None` before its first update.
    pub fn momentum(&self, name: &str) -> Option<&Flat> {
        self.momentum.get(name)
    }

    /// Puts the momentum of a checkpoint in place.
    pub fn restore(&mut self, name: String, momentum: Flat) {
        self.momentum.insert(name, momentum);
    }

    /// The matrix `name` after an update by `gradient`; `zeros` makes its first momentum.
    pub(super) fn update(
        &mut self,
        name: &str,
        parameter: Flat,
        gradient: Flat,
        step: MuonStep,
        zeros: impl FnOnce() -> Flat,
    ) -> Flat {
        let momentum = self.momentum.remove(name).unwrap_or_else(zeros);
        let (parameter, momentum) = match (parameter, momentum, gradient) {
            (Flat::Host(mut p), Flat::Host(mut m), Flat::Host(g)) => {
                step.host(&mut p, &mut m, &g);
                (Flat::Host(p), Flat::Host(m))
            }
            (Flat::Device(p), Flat::Device(m), Flat::Device(g)) => {
                let [p, m] = step.device(p, m, g);
                (Flat::Device(p), Flat::Device(m))
            }
            _ => unreachable!("a parameter, its gradient and its momentum live on one device"),
        };
        self.momentum.insert(name.to_owned(), momentum);
        parameter
    }
}

/// NS₅ of `matrix` `[rows, columns]` in place. Sums have a fixed order, whatever the number of threads.
fn orthogonalise(matrix: &mut [f32], [rows, cols]: [usize; 2]) {
    let [a, b, c] = COEFFICIENTS;
    let squares = matrix
        .par_chunks(BLOCK)
        .map(|block| block.iter().map(|x| f64::from(*x) * f64::from(*x)).sum());
    let norm = squares.collect::<Vec<f64>>().iter().sum::<f64>().sqrt();
    let scale = 1.0 / (norm as f32 + EPSILON);
    matrix.iter_mut().for_each(|x| *x *= scale);
    // The square matrices have the smaller side: for a tall X the same iteration acts from the right, X(bA + cA²) with A = XᵀX.
    let (tall, side) = (rows > cols, rows.min(cols));
    let (mut gram, mut polynomial) = (vec![0.0; side * side], vec![0.0; side * side]);
    let mut product = vec![0.0; matrix.len()];
    for _ in 0..ITERATIONS {
        let x = Matrix::new(matrix, rows, cols);
        match tall {
            true => matmul(&mut gram, x.transposed(), x, false),
            false => matmul(&mut gram, x, x.transposed(), false),
        }
        let square = Matrix::new(&gram, side, side);
        matmul(&mut polynomial, square, square, false);
        for (p, g) in polynomial.iter_mut().zip(&gram) {
            *p = b * g + c * *p;
        }
        let polynomial = Matrix::new(&polynomial, side, side);
        match tall {
            true => matmul(&mut product, x, polynomial, false),
            false => matmul(&mut product, polynomial, x, false),
        }
        for (x, p) in matrix.iter_mut().zip(&product) {
            *x = a * *x + p;
        }
    }
}

/// The same in tensor operations: what other devices run.
fn orthogonalised(x: Tensor<2>) -> Tensor<2> {
    let [a, b, c] = COEFFICIENTS;
    let [rows, cols] = x.dims();
    let norm = x.clone().square().sum().sqrt() + EPSILON;
    let mut x = x / norm.reshape([1, 1]);
    for _ in 0..ITERATIONS {
        let transposed = x.clone().transpose();
        let tall = rows > cols;
        let gram = match tall {
            true => transposed.matmul(x.clone()),
            false => x.clone().matmul(transposed),
        };
        let polynomial = gram.clone() * b + gram.clone().matmul(gram) * c;
        let product = match tall {
            true => x.clone().matmul(polynomial),
            false => polynomial.matmul(x.clone()),
        };
        x = x * a + product;
    }
    x
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::ops::dropout::mix64;

    /// A matrix of numbers in ±1, its columns shrinking so that singular values differ by a factor of a hundred.
    fn matrix(rows: usize, cols: usize) -> Vec<f32> {
        let value = |i: u64| (mix64(i ^ 77) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        let shrink = |col: usize| 10f32.powf(-2.0 * col as f32 / cols as f32);
        (0..rows * cols)
            .map(|i| value(i as u64) * shrink(i % cols))
            .collect()
    }

    /// The iteration in f64, straight from its formula, always from the left.
    fn reference(matrix: &[f32], [rows, cols]: [usize; 2]) -> Vec<f64> {
        let product = |a: &[f64], b: &[f64], (m, k, n): (usize, usize, usize)| {
            let mut out = vec![0.0; m * n];
            for i in 0..m {
                for l in 0..k {
                    for j in 0..n {
                        out[i * n + j] += a[i * k + l] * b[l * n + j];
                    }
                }
            }
            out
        };
        let transposed = |a: &[f64], m: usize, n: usize| -> Vec<f64> {
            (0..m * n).map(|i| a[i % m * n + i / m]).collect()
        };
        let mut x: Vec<f64> = matrix.iter().map(|x| f64::from(*x)).collect();
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt() + 1e-7;
        x.iter_mut().for_each(|x| *x /= norm);
        for _ in 0..5 {
            let gram = product(&x, &transposed(&x, rows, cols), (rows, cols, rows));
            let square = product(&gram, &gram, (rows, rows, rows));
            let polynomial: Vec<f64> = gram
                .iter()
                .zip(&square)
                .map(|(g, s)| -4.7750 * g + 2.0315 * s)
                .collect();
            let moved = product(&polynomial, &x, (rows, rows, cols));
            x.iter_mut()
                .zip(moved)
                .for_each(|(x, m)| *x = 3.4445 * *x + m);
        }
        x
    }

    fn largest_difference(a: &[f32], b: &[f64]) -> f64 {
        assert_eq!(a.len(), b.len());
        let pairs = a.iter().zip(b);
        pairs.fold(0.0, |m: f64, (a, b)| m.max((f64::from(*a) - b).abs()))
    }

    #[test]
    fn both_forms_are_the_published_iteration() {
        for shape in [[24, 24], [16, 50], [50, 16], [1, 7]] {
            let values = matrix(shape[0], shape[1]);
            let expected = reference(&values, shape);
            let mut fused = values.clone();
            orthogonalise(&mut fused, shape);
            let data = TensorData::new(values, shape);
            let composed = orthogonalised(Tensor::from_data(data, &Device::flex())).into_data();
            let composed: Vec<f32> = composed.try_into_vec().expect("f32 elements");
            for (what, found) in [("fused", &fused), ("composed", &composed)] {
                let difference = largest_difference(found, &expected);
                assert!(difference < 2e-4, "{what} {shape:?}: {difference}");
            }
        }
    }

    /// Without a decomposition: the rows of the result are nearly orthonormal, so U Uᵀ is nearly 1, in every direction that the gradient
    /// has. The published coefficients promise singular values between 0.7 and 1.2.
    #[test]
    fn singular_values_come_out_near_one() {
        let (rows, cols) = (32, 96);
        // Rows in place of columns shrink: of the small singular values, too, all must rise.
        let mut values = matrix(cols, rows);
        let transposed: Vec<f32> = (0..rows * cols)
            .map(|i| values[i % cols * rows + i / cols])
            .collect();
        values = transposed;
        let ratio = |values: &[f32]| {
            let norms = values.chunks_exact(cols).map(|row| {
                row.iter()
                    .map(|x| f64::from(*x) * f64::from(*x))
                    .sum::<f64>()
            });
            let norms: Vec<f64> = norms.collect();
            let (least, most) = (
                norms.iter().copied().fold(f64::MAX, f64::min),
                norms.iter().copied().fold(0.0, f64::max),
            );
            (least.sqrt(), most.sqrt())
        };
        let before = ratio(&values);
        assert!(before.1 > 50.0 * before.0, "{before:?}");
        orthogonalise(&mut values, [rows, cols]);
        // For any unit vector y, |Uᵀy| is between the least and the largest singular value.
        let mut seen = (f64::MAX, 0.0f64);
        for trial in 0..200u64 {
            let y: Vec<f64> = (0..rows as u64)
                .map(|i| (mix64(trial << 20 | i) >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
                .collect();
            let norm = y.iter().map(|x| x * x).sum::<f64>().sqrt();
            let mut image = vec![0.0; cols];
            for (row, weight) in values.chunks_exact(cols).zip(&y) {
                image
                    .iter_mut()
                    .zip(row)
                    .for_each(|(i, x)| *i += weight / norm * f64::from(*x));
            }
            let length = image.iter().map(|x| x * x).sum::<f64>().sqrt();
            seen = (seen.0.min(length), seen.1.max(length));
        }
        let after = ratio(&values);
        println!("rows {before:?} → {after:?}; along 200 directions {seen:?}");
        assert!(after.0 > 0.6 && after.1 < 1.3, "{after:?}");
        assert!(seen.0 > 0.6 && seen.1 < 1.3, "{seen:?}");
    }

    #[test]
    fn a_gradient_of_nothing_changes_nothing() {
        let mut zeros = vec![0.0; 12];
        orthogonalise(&mut zeros, [3, 4]);
        assert_eq!(zeros, [0.0; 12]);
    }
}
