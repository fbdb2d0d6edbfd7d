//! A frozen matrix in the form that its file has: products with it, without an f32 copy of it.
//!
//! Rounded weights are turned into f32 a tile of rows at a time, each tile multiplied and forgotten: a quantized base stays as small
//! in memory as on disk. Weights in f32 are multiplied where the file is mapped.

use std::sync::Arc;

use ptbr_model::{MatrixData, ModelSource, TensorError};
use rayon::prelude::*;

use super::gemm::{Columns, Matrix, matmul, matmul_into};

/// Elements of a tile: 1 MiB in f32, which a second-level cache holds while it is multiplied.
const TILE_ELEMENTS: usize = 1 << 18;

/// A matrix `[rows, cols]` of an opened model; copies share it.
#[derive(Debug, Clone)]
pub struct StoredMatrix {
    source: Arc<ModelSource>,
    name: Arc<str>,
    rows: usize,
    cols: usize,
}

impl StoredMatrix {
    /// The matrix of `source` with this official name.
    pub fn new(source: &Arc<ModelSource>, name: &str) -> Result<Self, TensorError> {
        let elements = source.matrix(name)?.len();
        // Rows are known from the shape of every format's values; columns follow from the number of elements.
        let rows = source.tensors().shape(name)?.first().copied().unwrap_or(0);
        Ok(Self {
            source: Arc::clone(source),
            name: name.into(),
            rows,
            cols: elements.checked_div(rows).unwrap_or(0),
        })
    }

    /// `[rows, cols]`, which is `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// All elements in f32, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        self.read_rows(0, &mut values);
        values
    }

    /// The rows from `first` on as f32, as many as `out` holds.
    pub fn read_rows(&self, first: usize, out: &mut [f32]) {
        let (data, cols) = (self.data(), self.cols);
        out.par_chunks_mut(cols.max(1))
            .with_min_len(16)
            .enumerate()
            .for_each(|(row, out)| data.dequantize((first + row) * cols, out));
    }

    /// `out = x Wᵀ`: x `[n, cols]`, out `[n, rows]`.
    pub fn product(&self, x: Matrix<'_, f32>, n: usize, out: &mut [f32]) {
        if let MatrixData::F32(values) = self.data() {
            let weight = Matrix::new(values, self.rows, self.cols);
            return matmul(out, x, weight.transposed(), false);
        }
        self.for_tiles(|first, rows, tile| {
            let tile = Matrix::new(tile, rows, self.cols);
            let out = Columns::of(out, n, self.rows, first, rows);
            matmul_into(out, x, tile.transposed(), false);
        });
    }

    /// `out = dy W`: dy `[n, rows]`, out `[n, cols]`. The order of the sums is fixed: tile after tile.
    pub fn gradient(&self, dy: Matrix<'_, f32>, out: &mut [f32]) {
        if let MatrixData::F32(values) = self.data() {
            return matmul(out, dy, Matrix::new(values, self.rows, self.cols), false);
        }
        self.for_tiles(|first, rows, tile| {
            let tile = Matrix::new(tile, rows, self.cols);
            matmul(out, dy.columns(first, rows), tile, first > 0);
        });
    }

    /// Calls `body(first row, rows, elements)` for one tile of rows after another.
    fn for_tiles(&self, mut body: impl FnMut(usize, usize, &[f32])) {
        let tile_rows = (TILE_ELEMENTS / self.cols.max(1)).clamp(1, self.rows.max(1));
        let mut tile = vec![0.0; tile_rows * self.cols];
        for first in (0..self.rows).step_by(tile_rows) {
            let rows = tile_rows.min(self.rows - first);
            let tile = &mut tile[..rows * self.cols];
            self.read_rows(first, tile);
            body(first, rows, tile);
        }
    }

    /// The matrix was found when this was made, in a file that does not change while it is open.
    fn data(&self) -> MatrixData<'_> {
        match self.source.matrix(&self.name) {
            Ok(data) => data,
            Err(error) => panic!("a matrix of an opened model is gone: {error}"),
        }
    }
}
