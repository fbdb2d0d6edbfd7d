//! Reading safetensors: the file is mapped, the `safetensors` crate checks its header, and tensors are handed out as slices of the map.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::error::TensorError;
use crate::format::{MatrixData, WeightFormat};
use crate::plan::{QuantizationPlan, StoredTensor, scales_name};
use crate::tensor::{TensorSource, TensorSpec};
use crate::tensor_index::{Entry, TensorIndex};

/// A checked safetensors file. Tensors are not copied, except those at an address that is not a multiple of their element's size.
#[derive(Debug)]
pub struct TensorFile {
    index: TensorIndex,
    bytes: Bytes,
    /// Aligned copies of the tensors that are not aligned in the file; files written here have none.
    realigned: BTreeMap<String, Vec<u32>>,
}

#[derive(Debug)]
pub(crate) enum Bytes {
    #[cfg(not(target_arch = "wasm32"))]
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
    Static(&'static [u8]),
}

impl Bytes {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            #[cfg(not(target_arch = "wasm32"))]
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
            Self::Static(bytes) => bytes,
        }
    }
}

impl TensorFile {
    /// Maps and checks a file. It must not be changed while it is open (this project replaces files by renaming, never in place).
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        let metadata = fs::metadata(path).map_err(|error| TensorError::io(path, error))?;
        if !metadata.is_file() {
            return Err(TensorError::io(
                path,
                io::Error::new(io::ErrorKind::InvalidInput, "not a file"),
            ));
        }
        let bytes = File::open(path)
            .and_then(|file| map(&file))
            .map_err(|error| TensorError::io(path, error))?;
        Self::parse(path.display().to_string(), bytes)
    }

    /// The same for a file that is open already, for one without a name perhaps; `label` names it in messages. It may be closed afterwards.
    pub fn from_file(label: impl Into<String>, file: &File) -> Result<Self, TensorError> {
        let label = label.into();
        let bytes = map(file).map_err(|error| TensorError::io(Path::new(&label), error))?;
        Self::parse(label, bytes)
    }

    /// The same file, copied into memory where it is mapped: in large pages where the system has them, which are read faster than a file's.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn into_memory(self) -> Result<Self, TensorError> {
        let Bytes::Mapped(file) = &self.bytes else {
            return Ok(self);
        };
        let copy = copy(file).map_err(|error| TensorError::io(Path::new(self.label()), error))?;
        Ok(Self {
            bytes: Bytes::Mapped(copy),
            ..self
        })
    }

    /// Checks a file that is already in memory; `label` names it in messages.
    pub fn from_bytes(label: impl Into<String>, bytes: Vec<u8>) -> Result<Self, TensorError> {
        Self::parse(label.into(), Bytes::Owned(bytes))
    }

    /// Checks a file that is a part of the program. At an address that is a multiple of 4, as the start of an aligned file is, nothing of it is copied.
    pub fn from_static(
        label: impl Into<String>,
        bytes: &'static [u8],
    ) -> Result<Self, TensorError> {
        Self::parse(label.into(), Bytes::Static(bytes))
    }

    fn parse(label: String, bytes: Bytes) -> Result<Self, TensorError> {
        let slice = bytes.as_slice();
        let format = |message: String| TensorError::Format {
            file: label.clone(),
            message,
        };
        let (header_len, header) =
            SafeTensors::read_metadata(slice).map_err(|error| format(error.to_string()))?;
        let data_start = header_len
            .checked_add(8)
            .ok_or_else(|| format("header length overflows".to_owned()))?;
        let index = TensorIndex::new(label.clone(), data_start, slice.len(), &header)?;
        let mut realigned = BTreeMap::new();
        for (name, entry) in index.entries() {
            let data = &slice[entry.start..entry.end];
            let alignment = match entry.dtype {
                Dtype::F32 | Dtype::U32 => 4,
                Dtype::F16 => 2,
                _ => continue,
            };
            if !data.as_ptr().addr().is_multiple_of(alignment) {
                let mut copy = vec![0u32; data.len().div_ceil(4)];
                bytemuck::cast_slice_mut(&mut copy)[..data.len()].copy_from_slice(data);
                realigned.insert(name.to_owned(), copy);
            }
        }
        Ok(Self {
            index,
            bytes,
            realigned,
        })
    }

    /// The file's name as it appears in messages.
    pub fn label(&self) -> &str {
        self.index.label()
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// A value of the header's `__metadata__`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.index.metadata(key)
    }

    /// Number of tensors.
    pub fn num_tensors(&self) -> usize {
        self.index.len()
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.entries().map(|(name, _)| name)
    }

    /// Dimensions of a tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize], TensorError> {
        Ok(&self.index.entry(name)?.shape)
    }

    /// Number format of a tensor.
    pub fn dtype(&self, name: &str) -> Result<Dtype, TensorError> {
        Ok(self.index.entry(name)?.dtype)
    }

    /// The bytes of a tensor of any number format.
    pub fn raw(&self, name: &str) -> Result<&[u8], TensorError> {
        let entry = self.index.entry(name)?;
        Ok(&self.bytes.as_slice()[entry.start..entry.end])
    }

    /// The elements of an f32 tensor, row-major.
    pub fn tensor(&self, name: &str) -> Result<&[f32], TensorError> {
        if let Some(format) = self.index.quantized(name) {
            return Err(TensorError::Quantized {
                file: self.label().to_owned(),
                name: name.to_owned(),
                format,
            });
        }
        self.elements(name, Dtype::F32)
    }

    /// A matrix by its official name, in whatever number format it has. Quantized ones are known once the whole file has been checked against its configuration, as
    /// [`ModelSource`](crate::ModelSource) does.
    pub fn matrix(&self, name: &str) -> Result<MatrixData<'_>, TensorError> {
        let words = |name: &str| self.elements(name, Dtype::U32);
        Ok(match self.index.quantized(name) {
            None | Some(WeightFormat::F32) => MatrixData::F32(self.tensor(name)?),
            Some(WeightFormat::F16) => MatrixData::F16(self.elements(name, Dtype::F16)?),
            Some(format) => {
                let (values, scales) = (words(name)?, words(&scales_name(name))?);
                match format {
                    WeightFormat::Int4 => MatrixData::Int4 { values, scales },
                    WeightFormat::Fp8 => MatrixData::Fp8 { values, scales },
                    _ => MatrixData::Int8 { values, scales },
                }
            }
        })
    }

    /// Checks that the file holds exactly `specs`, each f32 and of its shape.
    pub fn check_layout(&self, specs: &[TensorSpec]) -> Result<(), TensorError> {
        let tensors: Vec<StoredTensor> = specs.iter().map(StoredTensor::f32).collect();
        self.index.check_tensors(&tensors)
    }

    /// Checks that the file holds exactly the tensors of a model whose matrices have the formats of `plan`; from then on [`matrix`](Self::matrix) knows them.
    pub(crate) fn check_model(
        &mut self,
        specs: &[TensorSpec],
        plan: &QuantizationPlan,
    ) -> Result<(), TensorError> {
        self.index.check_model(specs, plan)
    }

    /// Checks that no number is NaN or infinite, by its bits. Any bits of an int8 or int4 value are a number: of those matrices the scales alone are read.
    pub fn check_finite(&self) -> Result<(), TensorError> {
        for (name, entry) in self.index.entries() {
            self.index.check_finite(name, self.aligned(name, entry))?;
        }
        Ok(())
    }

    /// What the header says.
    pub(crate) fn index(&self) -> &TensorIndex {
        &self.index
    }

    /// The tensors `specs` of this file as a source, in that order.
    pub fn in_order<'a>(&'a self, specs: &'a [TensorSpec]) -> impl TensorSource + 'a {
        Ordered { file: self, specs }
    }

    /// The elements of a tensor of the number format `dtype`, whose elements are `T`.
    fn elements<T: bytemuck::Pod>(&self, name: &str, dtype: Dtype) -> Result<&[T], TensorError> {
        let entry = self.index.entry_of(name, dtype)?;
        bytemuck::try_cast_slice(self.aligned(name, entry)).map_err(|error| TensorError::Format {
            file: self.label().to_owned(),
            message: error.to_string(),
        })
    }

    /// The bytes of a tensor, at an address that suits its elements.
    fn aligned(&self, name: &str, entry: &Entry) -> &[u8] {
        match self.realigned.get(name) {
            Some(copy) => &bytemuck::cast_slice(copy)[..entry.len()],
            None => &self.bytes.as_slice()[entry.start..entry.end],
        }
    }
}

struct Ordered<'a> {
    file: &'a TensorFile,
    specs: &'a [TensorSpec],
}

impl TensorSource for Ordered<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs.to_vec()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        sink(
            self.file
                .tensor(name)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
        )
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: the map is read-only and lives as long as the tensors that borrow from it. Another process could still change or cut the file while it is mapped; every writer of this project
    // writes to a new file and renames it, so none does.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::Mapped(map))
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn map(mut file: &File) -> io::Result<Bytes> {
    use std::io::Read;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Bytes::Owned(bytes))
}

/// An anonymous map with these bytes.
#[cfg(not(target_arch = "wasm32"))]
fn copy(bytes: &[u8]) -> io::Result<memmap2::Mmap> {
    let mut copy = memmap2::MmapMut::map_anon(bytes.len())?;
    // Before the first byte is written, or the pages are small already. A system without large pages refuses, which costs speed and nothing else.
    #[cfg(target_os = "linux")]
    let _ = copy.advise(memmap2::Advice::HugePage);
    copy.copy_from_slice(bytes);
    copy.make_read_only()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safetensors_writer::write_safetensors;
    use crate::tensor::MemoryTensors;

    fn sample() -> (Vec<TensorSpec>, Vec<u8>) {
        let mut tensors = MemoryTensors::new();
        tensors.push(TensorSpec::new("w", [2, 2]), vec![1.0, 2.0, 3.0, 4.0]);
        tensors.push(TensorSpec::new("b", [2]), vec![0.5, -0.5]);
        let mut bytes = Vec::new();
        write_safetensors(&tensors, &[("format", "pt")], &mut bytes, None).unwrap();
        (tensors.specs(), bytes)
    }

    #[test]
    fn reads_what_was_written() {
        let (specs, bytes) = sample();
        let file = TensorFile::from_bytes("memory", bytes).unwrap();
        file.check_layout(&specs).unwrap();
        file.check_finite().unwrap();
        assert_eq!(file.tensor("w").unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(file.metadata("format"), Some("pt"));
        assert_eq!(
            crate::model_id::model_id(&file.in_order(&specs))
                .unwrap()
                .len(),
            64
        );
    }

    #[test]
    fn unaligned_tensors_are_copied() {
        // A header of odd length moves the data to an odd address: another writer may leave out the padding.
        let (specs, bytes) = sample();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for pad in 1..4 {
            let mut moved = ((length + pad) as u64).to_le_bytes().to_vec();
            moved.extend(&bytes[8..8 + length]);
            moved.extend(std::iter::repeat_n(b' ', pad));
            moved.extend(&bytes[8 + length..]);
            let file = TensorFile::from_bytes("moved", moved).unwrap();
            file.check_layout(&specs).unwrap();
            assert_eq!(file.tensor("w").unwrap(), [1.0, 2.0, 3.0, 4.0]);
            assert_eq!(file.tensor("b").unwrap(), [0.5, -0.5]);
        }
    }

    #[test]
    fn layout_errors_name_the_tensor() {
        let (specs, bytes) = sample();
        let file = TensorFile::from_bytes("m.safetensors", bytes).unwrap();
        let error = |specs: &[TensorSpec]| file.check_layout(specs).unwrap_err().to_string();
        let mut more = specs.clone();
        more.push(TensorSpec::new("u", [1]));
        assert_eq!(error(&more), "m.safetensors: the tensor `u` is missing");
        assert_eq!(
            error(&specs[1..]),
            "m.safetensors: the tensor `w` does not belong to this model"
        );
        let other = [TensorSpec::new("w", [4]), specs[1].clone()];
        assert_eq!(
            error(&other),
            "m.safetensors: the tensor `w` has the shape [2, 2], the configuration asks for [4]"
        );
    }

    #[test]
    fn values_that_are_no_numbers_are_named() {
        let mut tensors = MemoryTensors::new();
        tensors.push(
            TensorSpec::new("blocks.0.ln1.weight", [2]),
            vec![0.0, f32::NEG_INFINITY],
        );
        let mut bytes = Vec::new();
        write_safetensors(&tensors, &[], &mut bytes, None).unwrap();
        let message = TensorFile::from_bytes("m", bytes)
            .unwrap()
            .check_finite()
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("m: the tensor `blocks.0.ln1.weight` holds -inf at element 1"),
            "{message}"
        );
    }

    #[test]
    fn empty_and_absent_files_are_explained() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let message = TensorFile::open(empty.path()).unwrap_err().to_string();
        assert!(
            message.contains("is not a whole safetensors file"),
            "{message}"
        );
        assert!(
            TensorFile::open(Path::new("no/such/file"))
                .unwrap_err()
                .to_string()
                .starts_with("no/such/file: ")
        );
        assert!(
            TensorFile::open(&std::env::temp_dir())
                .unwrap_err()
                .to_string()
                .contains("not a file")
        );
    }
}
