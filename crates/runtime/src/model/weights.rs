//! Where the numbers of a model lie.

use crate::RuntimeError;
#[cfg(feature = "gpu")]
use ptbr_model::TensorSpec;
use ptbr_model::{
    MatrixData, ModelError, ModelSource, SkippedCheckpoint, TensorFile, WeightFormat,
};
use std::ops::Range;

/// The file that holds a model's tensors; matrices are used where they lie in it.
pub(crate) struct Weights(Holder);

enum Holder {
    Source(ModelSource),
    File(TensorFile),
}

/// A matrix `[rows, cols]` of a model, for [`Weights::matrix`].
pub(crate) struct Matrix {
    pub rows: usize,
    pub cols: usize,
    format: WeightFormat,
    values: Place,
    scales: Place,
}

/// Where numbers lie.
enum Place {
    /// Bytes of the file that are aligned as the format's elements.
    InFile(Range<usize>),
    /// A copy, where the file did not align them.
    Copied(Vec<u32>),
}

impl Weights {
    pub(crate) fn from_source(source: ModelSource) -> Self {
        Self(Holder::Source(source))
    }

    pub(crate) fn from_file(file: TensorFile) -> Self {
        Self(Holder::File(file))
    }

    fn file(&self) -> &TensorFile {
        match &self.0 {
            Holder::Source(source) => source.tensors(),
            Holder::File(file) => file,
        }
    }

    /// Damaged checkpoints that were passed over to get here.
    pub(crate) fn skipped(&self) -> &[SkippedCheckpoint] {
        match &self.0 {
            Holder::Source(source) => source.skipped(),
            Holder::File(_) => &[],
        }
    }

    /// A small tensor, copied.
    pub(crate) fn vector(&self, name: &str) -> Result<Vec<f32>, RuntimeError> {
        Ok(self.file().tensor(name).map_err(ModelError::from)?.to_vec())
    }

    /// A matrix of `cols` columns, for [`Weights::matrix`].
    pub(crate) fn locate(&self, name: &str, cols: usize) -> Result<Matrix, RuntimeError> {
        let matrix = self.file().matrix(name).map_err(ModelError::from)?;
        let (values, scales) = match matrix {
            MatrixData::F32(values) => (self.place(values), Place::InFile(0..0)),
            MatrixData::F16(values) => (self.place(values), Place::InFile(0..0)),
            MatrixData::Int8 { values, scales }
            | MatrixData::Fp8 { values, scales }
            | MatrixData::Int4 { values, scales } => (self.place(values), self.place(scales)),
        };
        Ok(Matrix {
            rows: matrix.len() / cols,
            cols,
            format: matrix.format(),
            values,
            scales,
        })
    }

    /// A tensor as f32, whatever its format.
    #[cfg(feature = "gpu")]
    pub(crate) fn dequantized(&self, spec: &TensorSpec) -> Result<Vec<f32>, RuntimeError> {
        if let Ok(values) = self.vector(&spec.name) {
            return Ok(values);
        }
        let matrix = self.file().matrix(&spec.name).map_err(ModelError::from)?;
        let mut values = vec![0.0; matrix.len()];
        matrix.dequantize(0, &mut values);
        Ok(values)
    }

    /// The numbers of a matrix found by [`Weights::locate`].
    pub(crate) fn matrix<'a>(&'a self, matrix: &'a Matrix) -> MatrixData<'a> {
        let values = self.bytes(&matrix.values);
        let scales = bytemuck::cast_slice(self.bytes(&matrix.scales));
        match matrix.format {
            WeightFormat::F32 => MatrixData::F32(bytemuck::cast_slice(values)),
            WeightFormat::F16 => MatrixData::F16(bytemuck::cast_slice(values)),
            WeightFormat::Int8 => MatrixData::Int8 {
                values: bytemuck::cast_slice(values),
                scales,
            },
            WeightFormat::Fp8 => MatrixData::Fp8 {
                values: bytemuck::cast_slice(values),
                scales,
            },
            WeightFormat::Int4 => MatrixData::Int4 {
                values: bytemuck::cast_slice(values),
                scales,
            },
        }
    }

    fn place<T: bytemuck::Pod>(&self, numbers: &[T]) -> Place {
        let (file, bytes): (&[u8], &[u8]) = (self.file().bytes(), bytemuck::cast_slice(numbers));
        let start = bytes.as_ptr().addr().wrapping_sub(file.as_ptr().addr());
        // A copy made for alignment lies elsewhere.
        match start.checked_add(bytes.len()) {
            Some(end) if end <= file.len() => Place::InFile(start..end),
            _ => {
                let mut copy = vec![0u32; bytes.len().div_ceil(4)];
                bytemuck::cast_slice_mut(&mut copy)[..bytes.len()].copy_from_slice(bytes);
                Place::Copied(copy)
            }
        }
    }

    fn bytes<'a>(&'a self, place: &'a Place) -> &'a [u8] {
        match place {
            Place::InFile(range) => &self.file().bytes()[range.clone()],
            Place::Copied(words) => bytemuck::cast_slice(words),
        }
    }
}
