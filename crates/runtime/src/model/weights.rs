//! Where the numbers of a model lie.

use crate::RuntimeError;
#[cfg(feature = "gpu")]
use ptbr_model::TensorSpec;
use ptbr_model::{
    MatrixData, ModelError, ModelSource, ModelStream, SkippedCheckpoint, TensorError, TensorFile,
    TensorLocation, WeightFormat,
};
use std::ops::Range;
use std::sync::OnceLock;

/// What holds a model's tensors. Of a file that is mapped or in memory, matrices are used where they lie; of one that is read from elsewhere, they are read one at a time, and kept only
/// when the CPU is to compute with them.
pub(crate) struct Weights(Holder);

enum Holder {
    Source(ModelSource),
    File(TensorFile),
    Stream(ModelStream),
}

/// A matrix `[rows, cols]` of a model, for [`Weights::matrix`].
pub(crate) struct Matrix {
    pub rows: usize,
    pub cols: usize,
    pub format: WeightFormat,
    values: Place,
    scales: Place,
}

/// Where numbers lie.
enum Place {
    /// Bytes of the file that are aligned as the format's elements.
    InFile(Range<usize>),
    /// A copy, where the file did not align them.
    Copied(Vec<u32>),
    /// To be read, and once they are kept, here.
    Streamed(TensorLocation, OnceLock<Vec<u32>>),
}

/// Bytes of a matrix, in memory for as long as this lives.
#[cfg(feature = "gpu")]
pub(crate) enum Loaded<'a> {
    Here(&'a [u8]),
    /// Read for this, and how many of the bytes count.
    Read(Vec<u32>, usize),
}

#[cfg(feature = "gpu")]
impl Loaded<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Here(bytes) => bytes,
            Self::Read(words, len) => &bytemuck::cast_slice(words)[..*len],
        }
    }
}

impl Weights {
    pub(crate) fn from_source(source: ModelSource) -> Self {
        Self(Holder::Source(source))
    }

    pub(crate) fn from_file(file: TensorFile) -> Self {
        Self(Holder::File(file))
    }

    pub(crate) fn from_stream(stream: ModelStream) -> Self {
        Self(Holder::Stream(stream))
    }

    /// The file whose matrices lie in memory, or the one that is read.
    fn file(&self) -> Result<&TensorFile, &ModelStream> {
        match &self.0 {
            Holder::Source(source) => Ok(source.tensors()),
            Holder::File(file) => Ok(file),
            Holder::Stream(stream) => Err(stream),
        }
    }

    /// Reads matrices and keeps them, unless they are in memory anyway.
    pub(crate) fn hold<'a>(
        &self,
        matrices: impl Iterator<Item = &'a Matrix>,
    ) -> Result<(), RuntimeError> {
        let Err(stream) = self.file() else {
            return Ok(());
        };
        for matrix in matrices {
            for place in [&matrix.values, &matrix.scales] {
                if let Place::Streamed(tensor, kept) = place
                    && kept.get().is_none()
                {
                    // Another thread may have been faster with the same numbers.
                    let _ = kept.set(stream.read(tensor).map_err(ModelError::from)?);
                }
            }
        }
        Ok(())
    }

    /// Whether a matrix is in memory. Of those that are read, [`hold`](Weights::hold) ends with the head.
    pub(crate) fn is_held(&self, matrix: &Matrix) -> bool {
        match &matrix.values {
            Place::Streamed(_, kept) => kept.get().is_some(),
            Place::InFile(_) | Place::Copied(_) => true,
        }
    }

    /// Damaged checkpoints that were passed over to get here.
    pub(crate) fn skipped(&self) -> &[SkippedCheckpoint] {
        match &self.0 {
            Holder::Source(source) => source.skipped(),
            Holder::File(_) | Holder::Stream(_) => &[],
        }
    }

    /// A small tensor, copied.
    pub(crate) fn vector(&self, name: &str) -> Result<Vec<f32>, RuntimeError> {
        match self.file() {
            Ok(file) => Ok(file.tensor(name).map_err(ModelError::from)?.to_vec()),
            Err(stream) => {
                let tensor = stream.locate(name).map_err(ModelError::from)?;
                let words = stream.read(&tensor).map_err(ModelError::from)?;
                Ok(bytemuck::cast_vec(words))
            }
        }
    }

    /// A matrix of `cols` columns, for [`Weights::matrix`].
    pub(crate) fn locate(&self, name: &str, cols: usize) -> Result<Matrix, RuntimeError> {
        let file = match self.file() {
            Ok(file) => file,
            Err(stream) => return Ok(locate(stream, name, cols).map_err(ModelError::from)?),
        };
        let matrix = file.matrix(name).map_err(ModelError::from)?;
        let (values, scales) = match matrix {
            MatrixData::F32(values) => (place(file, values), Place::InFile(0..0)),
            MatrixData::F16(values) => (place(file, values), Place::InFile(0..0)),
            MatrixData::Int8 { values, scales }
            | MatrixData::Fp8 { values, scales }
            | MatrixData::Int4 { values, scales } => (place(file, values), place(file, scales)),
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
        let cols = spec.shape.last().copied().unwrap_or(1);
        let matrix = self.locate(&spec.name, cols)?;
        self.hold(std::iter::once(&matrix))?;
        let matrix = self.matrix(&matrix);
        let mut values = vec![0.0; matrix.len()];
        matrix.dequantize(0, &mut values);
        Ok(values)
    }

    /// The numbers of a matrix found by [`Weights::locate`], which are mapped or [held](Weights::hold).
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

    fn bytes<'a>(&'a self, place: &'a Place) -> &'a [u8] {
        match (place, self.file()) {
            (Place::InFile(range), Ok(file)) => &file.bytes()[range.clone()],
            // A matrix of a stream without scales: nothing, at an address that suits words.
            (Place::InFile(_), Err(_)) => bytemuck::cast_slice(&[0u32; 0]),
            (Place::Copied(words), _) => bytemuck::cast_slice(words),
            (Place::Streamed(tensor, kept), _) => kept.get().map_or(&[], |words| {
                &bytemuck::cast_slice(words)[..tensor.num_bytes()]
            }),
        }
    }

    /// The values of a matrix, wherever they are: what had to be read is given back with the result.
    #[cfg(feature = "gpu")]
    pub(crate) fn load_values<'a>(
        &'a self,
        matrix: &'a Matrix,
    ) -> Result<Loaded<'a>, RuntimeError> {
        self.load(&matrix.values)
    }

    /// The same for its scales; none where the format has none.
    #[cfg(feature = "gpu")]
    pub(crate) fn load_scales<'a>(
        &'a self,
        matrix: &'a Matrix,
    ) -> Result<Loaded<'a>, RuntimeError> {
        self.load(&matrix.scales)
    }

    #[cfg(feature = "gpu")]
    fn load<'a>(&'a self, place: &'a Place) -> Result<Loaded<'a>, RuntimeError> {
        match (place, self.file()) {
            (Place::Streamed(tensor, kept), Err(stream)) if kept.get().is_none() => {
                let words = stream.read(tensor).map_err(ModelError::from)?;
                Ok(Loaded::Read(words, tensor.num_bytes()))
            }
            _ => Ok(Loaded::Here(self.bytes(place))),
        }
    }
}

/// Where numbers of a file in memory lie.
fn place<T: bytemuck::Pod>(file: &TensorFile, numbers: &[T]) -> Place {
    let (file, bytes): (&[u8], &[u8]) = (file.bytes(), bytemuck::cast_slice(numbers));
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

/// A matrix that is read when it is needed.
fn locate(stream: &ModelStream, name: &str, cols: usize) -> Result<Matrix, TensorError> {
    let (format, scales) = stream.matrix(name)?;
    Ok(Matrix {
        rows: stream.shape(name)?.first().copied().unwrap_or(0),
        cols,
        format,
        values: Place::Streamed(stream.locate(name)?, OnceLock::new()),
        scales: match scales {
            Some(scales) => Place::Streamed(scales, OnceLock::new()),
            None => Place::InFile(0..0),
        },
    })
}
