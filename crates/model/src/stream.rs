//! A model file that is read tensor by tensor, from wherever its bytes are: memory need never hold more of it than its largest tensor.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::Metadata;
use sha2::{Digest, Sha256};

use crate::arch::ArchConfig;
use crate::digest::hex;
use crate::error::{ModelError, TensorError};
use crate::format::WeightFormat;
use crate::model_file::ModelFileInfo;
use crate::model_id::ModelIdHasher;
use crate::plan::{QuantizationPlan, scales_name};
use crate::tensor::TensorSpec;
use crate::tensor_index::TensorIndex;

/// Bytes of the length before the header.
const LENGTH: usize = 8;

/// Longest header that is read, as in the `safetensors` crate.
const MAX_HEADER: usize = 100_000_000;

/// Bytes that can be read at any place, again and again, and stay the same: a file on a page, a file on a disk.
pub trait ReadAt {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `into` with the bytes from `offset` on. Fails when there are not as many.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// Bytes in memory.
impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(into.len())?))
            .and_then(|range| self.get(range))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(range);
        Ok(())
    }
}

/// A model file whose tensors stay where they are until they are [read](ModelStream::read). All of it has been checked: that every tensor of the configuration is there, has its shape and is
/// finite.
pub struct ModelStream {
    index: TensorIndex,
    info: ModelFileInfo,
    plan: QuantizationPlan,
    sha256: String,
    reader: Box<dyn ReadAt + Send + Sync>,
}

/// A tensor for [`ModelStream::read`].
#[derive(Debug, Clone)]
pub struct TensorLocation {
    start: u64,
    len: usize,
}

impl TensorLocation {
    /// Bytes.
    pub fn num_bytes(&self) -> usize {
        self.len
    }
}

impl ModelStream {
    /// Reads the header, then every tensor once, one at a time, to check it; `label` names the file in messages.
    ///
    /// Where `sha256` is given, the file's must be this. Fails as [`ModelSource::from_bytes`](crate::ModelSource::from_bytes) does.
    pub fn open(
        label: &str,
        reader: Box<dyn ReadAt + Send + Sync>,
        sha256: Option<&str>,
    ) -> Result<Self, ModelError> {
        let (header, mut index) = header(label, &*reader)?;
        let info = ModelFileInfo::read(&index)?;
        index.drop_metadata();
        let (specs, plan) = (info.config.tensor_specs(), info.plan());
        index.check_model(&specs, &plan)?;
        let mut stream = Self {
            index,
            info,
            plan,
            sha256: String::new(),
            reader,
        };
        stream.sha256 = stream.check_tensors(&header)?;
        drop(header);
        if let Some(expected) = sha256.filter(|expected| *expected != stream.sha256) {
            return Err(ModelError::Digest {
                file: label.to_owned(),
                expected: expected.to_owned(),
                found: stream.sha256,
            });
        }
        stream.check_id(&specs)?;
        Ok(stream)
    }

    /// Checks the numbers in the order of the file, so that the same pass gives its SHA-256.
    fn check_tensors(&self, header: &[u8]) -> Result<String, ModelError> {
        let mut entries: Vec<_> = self.index.entries().collect();
        entries.sort_by_key(|(_, entry)| entry.start);
        let mut hasher = Sha256::new_with_prefix(header);
        for (name, entry) in entries {
            let words = self.read(&TensorLocation {
                start: entry.start as u64,
                len: entry.len(),
            })?;
            let bytes = &bytemuck::cast_slice(&words)[..entry.len()];
            hasher.update(bytes);
            self.index.check_finite(name, bytes)?;
        }
        Ok(hex(&hasher.finalize()))
    }

    /// The id is that of the f32 weights: from rounded ones it cannot be computed again.
    fn check_id(&self, specs: &[TensorSpec]) -> Result<(), ModelError> {
        if self.plan != QuantizationPlan::uniform(WeightFormat::F32) {
            return Ok(());
        }
        let mut hasher = ModelIdHasher::new();
        for spec in specs {
            hasher.begin(spec);
            hasher.elements(bytemuck::cast_slice(&self.read(&self.locate(&spec.name)?)?));
        }
        let found = hasher.finish();
        if found == self.info.model_id {
            return Ok(());
        }
        Err(ModelError::ModelId {
            file: self.label().to_owned(),
            expected: self.info.model_id.clone(),
            found,
        })
    }

    /// The file's name as it appears in messages.
    pub fn label(&self) -> &str {
        self.index.label()
    }

    /// SHA-256 of the file: 64 hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Bytes of the file.
    pub fn num_bytes(&self) -> u64 {
        self.reader.len()
    }

    /// The model's configuration.
    pub fn config(&self) -> &ArchConfig {
        &self.info.config
    }

    /// The number formats of its matrices.
    pub fn plan(&self) -> &QuantizationPlan {
        &self.plan
    }

    /// `tokenizer.json`, where the model carries one, for the one caller who needs it: it may be larger than any tensor.
    pub fn take_tokenizer_json(&mut self) -> Option<String> {
        self.info.tokenizer.take()
    }

    /// Id of the f32 weights: 64 hexadecimal digits.
    pub fn model_id(&self) -> &str {
        &self.info.model_id
    }

    /// Bytes of the largest tensor.
    pub fn largest_tensor(&self) -> usize {
        let lengths = self.index.entries().map(|(_, entry)| entry.len());
        lengths.max().unwrap_or(0)
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        let lengths = self.index.entries().map(|(_, entry)| entry.len() as u64);
        lengths.sum()
    }

    /// Where a tensor lies, for [`ModelStream::read`]: one of the configuration by its official name, or a matrix's values.
    pub fn locate(&self, name: &str) -> Result<TensorLocation, TensorError> {
        let entry = self.index.entry(name)?;
        Ok(TensorLocation {
            start: entry.start as u64,
            len: entry.len(),
        })
    }

    /// A matrix's number format, and where its scales lie, if it has any.
    pub fn matrix(
        &self,
        name: &str,
    ) -> Result<(WeightFormat, Option<TensorLocation>), TensorError> {
        let format = self.index.quantized(name).unwrap_or(WeightFormat::F32);
        let scales = match format {
            WeightFormat::F32 | WeightFormat::F16 => None,
            _ => Some(self.locate(&scales_name(name))?),
        };
        Ok((format, scales))
    }

    /// Dimensions of a tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize], TensorError> {
        Ok(&self.index.entry(name)?.shape)
    }

    /// A tensor's bytes, in words because its elements want that alignment; the last one may be filled up with zeros.
    pub fn read(&self, tensor: &TensorLocation) -> Result<Vec<u32>, TensorError> {
        let len = tensor.len.div_ceil(4);
        let mut words: Vec<u32> = Vec::new();
        // In a browser, memory that is not there is an everyday error.
        words.try_reserve_exact(len).map_err(|_| {
            TensorError::io(Path::new(self.label()), io::ErrorKind::OutOfMemory.into())
        })?;
        words.resize(len, 0);
        let bytes = &mut bytemuck::cast_slice_mut(&mut words)[..tensor.len];
        read(self.label(), &*self.reader, tensor.start, bytes)?;
        Ok(words)
    }
}

/// Everything before the tensors, and what it says.
fn header(label: &str, reader: &dyn ReadAt) -> Result<(Vec<u8>, TensorIndex), TensorError> {
    let format = |message: String| TensorError::Format {
        file: label.to_owned(),
        message,
    };
    let file_len = usize::try_from(reader.len())
        .map_err(|_| format(format!("{} bytes are too many here", reader.len())))?;
    let mut length = [0; LENGTH];
    if file_len < LENGTH {
        return Err(format("it is too short for a header".to_owned()));
    }
    read(label, reader, 0, &mut length)?;
    let data_start = usize::try_from(u64::from_le_bytes(length))
        .ok()
        .filter(|length| *length <= MAX_HEADER)
        .and_then(|length| length.checked_add(LENGTH))
        .filter(|start| *start <= file_len)
        .ok_or_else(|| format("its header is longer than the file, or than any".to_owned()))?;
    let mut header = vec![0; data_start];
    read(label, reader, 0, &mut header)?;
    let parsed: Metadata =
        serde_json::from_slice(&header[LENGTH..]).map_err(|error| format(error.to_string()))?;
    // Their order has been checked, and that there is nothing between them.
    let data_len = parsed.data_len();
    if data_start.checked_add(data_len) != Some(file_len) {
        return Err(format(format!(
            "it has {file_len} bytes, and its header speaks of {data_len} after the first {data_start}"
        )));
    }
    let index = TensorIndex::new(label.to_owned(), data_start, file_len, &parsed)?;
    Ok((header, index))
}

fn read(label: &str, reader: &dyn ReadAt, at: u64, into: &mut [u8]) -> Result<(), TensorError> {
    reader
        .read_at(at, into)
        .map_err(|error| TensorError::io(Path::new(label), error))
}

impl fmt::Debug for ModelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelStream")
            .field("path", &PathBuf::from(self.label()))
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}
