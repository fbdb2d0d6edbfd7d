//! f32 matrix products on slices, and the transposed forms that a linear layer needs.

use gemm::Parallelism;

/// A matrix over a slice: `rows × cols`, element (i, j) at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix `[rows, cols]`.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a matrix of {rows} × {cols}");
        Self {
            data,
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// The columns `first..first + count`.
    pub fn columns(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.cols, "columns of {}", self.cols);
        Self {
            data: &self.data[(first * self.col_stride).min(self.data.len())..],
            cols: count,
            ..self
        }
    }

    /// The same elements seen as the transposed matrix.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// Columns of a row-major matrix that are written to.
pub struct Columns<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a, T> Columns<'a, T> {
    /// The columns `first..first + count` of `data` `[rows, width]`.
    pub fn of(data: &'a mut [T], rows: usize, width: usize, first: usize, count: usize) -> Self {
        assert_eq!(data.len(), rows * width, "a matrix of {rows} × {width}");
        assert!(first + count <= width, "columns of {width}");
        let start = if rows == 0 { 0 } else { first };
        Self {
            data: &mut data[start..],
            rows,
            cols: count,
            row_stride: width,
        }
    }
}

/// Below this many multiplications a product runs on one thread: starting the others costs more.
const PARALLEL_FROM: usize = 1 << 18;

/// `out = a · b`, or `out += a · b` when `accumulate`; `out` is row-major `[a.rows, b.cols]`.
///
/// Every element is summed in the same order whatever the number of threads.
pub fn matmul<T: Float>(out: &mut [T], a: Matrix<'_, T>, b: Matrix<'_, T>, accumulate: bool) {
    let (rows, cols) = (a.rows, b.cols);
    matmul_into(Columns::of(out, rows, cols, 0, cols), a, b, accumulate);
}

/// [`matmul`] into some columns of a larger matrix.
pub fn matmul_into<T: Float>(
    out: Columns<'_, T>,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    accumulate: bool,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(a.cols, b.rows, "inner sizes");
    assert_eq!((out.rows, out.cols), (m, n), "output of {m} × {n}");
    if m == 0 || n == 0 {
        return;
    }
    let parallelism = if m * n * k >= PARALLEL_FROM {
        Parallelism::Rayon(0)
    } else {
        Parallelism::None
    };
    let (row, one) = (out.row_stride as isize, 1isize);
    // SAFETY: `out` is borrowed mutably, and its constructor checked that m rows of `row_stride` elements, less the columns before
    // the first, hold n columns each. The constructors of `Matrix` checked the same of a and b, whose strides are (width, 1) or
    // (1, width), so every access of an m × k and a k × n matrix is in bounds.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data.as_mut_ptr(),
            one,
            row,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// The element types with a product.
pub trait Float: Copy + 'static {
    /// The number one.
    const ONE: Self;
}

impl Float for f32 {
    const ONE: Self = 1.0;
}

impl Float for f64 {
    const ONE: Self = 1.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_either_side_are_those_of_the_whole() {
        let (m, n, k, width) = (3, 4, 5, 9);
        let a: Vec<f64> = (0..m * width).map(|i| (i as f64 * 0.7).sin()).collect();
        let b: Vec<f64> = (0..k * n).map(|i| (i as f64 * 0.3).cos()).collect();
        let mut out = vec![7.0; m * width];
        let left = Matrix::new(&a, m, width).columns(2, k);
        let columns = Columns::of(&mut out, m, width, 3, n);
        matmul_into(columns, left, Matrix::new(&b, k, n), false);
        for i in 0..m {
            for j in 0..width {
                let sum = |j: usize| (0..k).map(|l| a[i * width + 2 + l] * b[l * n + j]).sum();
                let expected: f64 = if (3..3 + n).contains(&j) {
                    sum(j - 3)
                } else {
                    7.0
                };
                assert!((out[i * width + j] - expected).abs() < 1e-12, "({i}, {j})");
            }
        }
    }

    #[test]
    fn transposed_and_accumulated_products_match_the_definition() {
        let (m, n, k) = (5, 7, 3);
        let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.7).sin()).collect();
        let b: Vec<f32> = (0..n * k).map(|i| (i as f32 * 0.3).cos()).collect();
        let mut out = vec![1.0; m * n];
        matmul(
            &mut out,
            Matrix::new(&a, m, k),
            Matrix::new(&b, n, k).transposed(),
            true,
        );
        for i in 0..m {
            for j in 0..n {
                let expected = 1.0 + (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum::<f32>();
                assert!((out[i * n + j] - expected).abs() < 1e-5);
            }
        }
    }
}
