//! Where the numbers of a model lie.

use crate::RuntimeError;
use ptbr_model::{ModelError, ModelSource, SkippedCheckpoint, TensorFile};
use std::ops::Range;

/// The file that holds a model's tensors; matrices are used where they lie in it.
pub(crate) struct Weights(Holder);

enum Holder {
    Source(ModelSource),
    File(TensorFile),
}

/// A large tensor.
pub(crate) enum Matrix {
    /// Bytes of the file that are aligned as f32.
    InFile(Range<usize>),
    /// A copy, where the file did not align it.
    Copied(Vec<f32>),
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

    /// A large tensor, for [`Weights::matrix`].
    pub(crate) fn locate(&self, name: &str) -> Result<Matrix, RuntimeError> {
        let file = self.file().bytes();
        let values = self.file().tensor(name).map_err(ModelError::from)?;
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let start = bytes.as_ptr().addr().wrapping_sub(file.as_ptr().addr());
        // A copy made for alignment lies elsewhere.
        let inside = start
            .checked_add(bytes.len())
            .is_some_and(|end| end <= file.len());
        Ok(if inside {
            Matrix::InFile(start..start + bytes.len())
        } else {
            Matrix::Copied(values.to_vec())
        })
    }

    /// The elements of a tensor found by [`Weights::locate`], row-major.
    pub(crate) fn matrix<'a>(&'a self, matrix: &'a Matrix) -> &'a [f32] {
        match matrix {
            Matrix::InFile(range) => bytemuck::cast_slice(&self.file().bytes()[range.clone()]),
            Matrix::Copied(values) => values,
        }
    }
}
