//! The tensors of other projects' files, whatever the file and the number format: names, shapes, and their numbers as f32.

use std::io;
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;

use super::ImportError;
use super::pth::PthFile;
use crate::error::TensorError;
use crate::finite::first_not_finite_f32;
use crate::tensor_file::TensorFile;

/// Elements that are converted at a time.
const PIECE: usize = 1 << 14;

/// A file of weights, its header checked.
#[derive(Debug)]
pub(super) enum WeightFile {
    Safetensors(TensorFile),
    Pth(PthFile),
}

/// One tensor of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight<'a> {
    pub dtype: Dtype,
    pub shape: &'a [usize],
    raw: &'a [u8],
}

impl WeightFile {
    /// Opens a file; the first bytes tell which kind it is.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let mut first = [0; 2];
        let read = std::fs::File::open(path)
            .and_then(|mut file| io::Read::read_exact(&mut file, &mut first));
        match read {
            Ok(()) if is_pth(path.extension(), &first) => Ok(Self::Pth(PthFile::open(path)?)),
            // Of a file that is too short or not there, safetensors says what is wrong.
            _ => Ok(Self::Safetensors(TensorFile::open(path)?)),
        }
    }

    /// Checks a file that is already in memory; `label` names it in messages.
    pub fn from_bytes(label: &str, bytes: Vec<u8>) -> Result<Self, ImportError> {
        if is_pth(Path::new(label).extension(), &bytes) {
            return Ok(Self::Pth(PthFile::from_bytes(label, bytes)?));
        }
        Ok(Self::Safetensors(TensorFile::from_bytes(label, bytes)?))
    }

    /// The file's name as it appears in messages.
    pub fn label(&self) -> &str {
        match self {
            Self::Safetensors(file) => file.label(),
            Self::Pth(file) => file.label(),
        }
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Safetensors(file) => Box::new(file.names()),
            Self::Pth(file) => Box::new(file.tensors().keys().map(String::as_str)),
        }
    }

    /// One tensor.
    pub fn tensor(&self, name: &str) -> Result<Weight<'_>, TensorError> {
        match self {
            Self::Safetensors(file) => Ok(Weight {
                dtype: file.dtype(name)?,
                shape: file.shape(name)?,
                raw: file.raw(name)?,
            }),
            Self::Pth(file) => match file.tensors().get(name) {
                Some(entry) => Ok(Weight {
                    dtype: entry.dtype,
                    shape: &entry.shape,
                    raw: file.raw(entry),
                }),
                None => Err(TensorError::Missing {
                    file: file.label().to_owned(),
                    name: name.to_owned(),
                }),
            },
        }
    }

    /// Checks that a tensor holds floats, none of them NaN or infinite.
    pub fn check(&self, name: &str) -> Result<(), TensorError> {
        let tensor = self.tensor(name)?;
        if !matches!(tensor.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(TensorError::Dtype {
                file: self.label().to_owned(),
                name: name.to_owned(),
                found: format!("{:?}", tensor.dtype),
                expected: "F32, F16 or BF16".to_owned(),
            });
        }
        let (mut before, mut bad) = (0, None);
        let searched = tensor.write_f32(&mut |piece| {
            if let Some(index) = first_not_finite_f32(piece) {
                bad = Some((before + index, piece[index]));
                return Err(io::ErrorKind::InvalidData.into());
            }
            before += piece.len();
            Ok(())
        });
        match bad {
            Some((index, value)) => Err(TensorError::NotFinite {
                file: self.label().to_owned(),
                name: name.to_owned(),
                index,
                value,
            }),
            None => searched.map_err(|error| TensorError::io(Path::new(self.label()), error)),
        }
    }
}

/// A `.pth` file that is no zip archive is told from safetensors by its name: of the two only that one can say what is wrong.
fn is_pth(extension: Option<&std::ffi::OsStr>, bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK")
        || extension
            .is_some_and(|extension| ["pth", "pt", "bin"].iter().any(|pth| extension == *pth))
}

impl Weight<'_> {
    /// Passes the elements to `sink` in pieces, row-major; f16 and bf16 are a part of f32, so nothing is rounded. Tensors that [`WeightFile::check`] refuses have no elements.
    pub fn write_f32(&self, sink: &mut dyn FnMut(&[f32]) -> io::Result<()>) -> io::Result<()> {
        match self.dtype {
            Dtype::F32 => pieces(self.raw, f32::from_le_bytes, sink),
            Dtype::F16 => pieces(self.raw, |bytes| f16::from_le_bytes(bytes).to_f32(), sink),
            Dtype::BF16 => pieces(self.raw, |bytes| bf16::from_le_bytes(bytes).to_f32(), sink),
            _ => Ok(()),
        }
    }
}

fn pieces<const N: usize>(
    raw: &[u8],
    element: impl Fn([u8; N]) -> f32,
    sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
) -> io::Result<()> {
    let elements = raw.as_chunks::<N>().0;
    let mut piece = Vec::with_capacity(elements.len().min(PIECE));
    for part in elements.chunks(PIECE) {
        piece.clear();
        piece.extend(part.iter().map(|bytes| element(*bytes)));
        sink(&piece)?;
    }
    Ok(())
}
