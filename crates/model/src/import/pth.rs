//! A `.pth` file: a zip archive with one pickle that describes tensors and one entry of raw numbers for each storage.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;

use super::ImportError;
use super::pickle::{self, PickledTensor};
use super::zip;
use crate::tensor_file::{Bytes, map};
use crate::tensor_index::Entry;

/// A checked `.pth` file. Its tensors are ranges of the mapped file.
#[derive(Debug)]
pub(super) struct PthFile {
    label: String,
    bytes: Bytes,
    tensors: BTreeMap<String, Entry>,
}

impl PthFile {
    /// Maps and checks a file.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let bytes = File::open(path)
            .and_then(|file| map(&file))
            .map_err(ImportError::io(path))?;
        Self::parse(path.display().to_string(), bytes)
    }

    /// Checks a file that is already in memory; `label` names it in messages.
    pub fn from_bytes(label: &str, bytes: Vec<u8>) -> Result<Self, ImportError> {
        Self::parse(label.to_owned(), Bytes::Owned(bytes))
    }

    fn parse(label: String, bytes: Bytes) -> Result<Self, ImportError> {
        let tensors = tensors(&label, bytes.as_slice())?;
        Ok(Self {
            label,
            bytes,
            tensors,
        })
    }

    /// The file's name as it appears in messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, Entry> {
        &self.tensors
    }

    /// The bytes of a tensor.
    pub fn raw(&self, entry: &Entry) -> &[u8] {
        &self.bytes.as_slice()[entry.start..entry.end]
    }
}

/// Where the tensors of the archive `bytes` lie.
fn tensors(label: &str, bytes: &[u8]) -> Result<BTreeMap<String, Entry>, ImportError> {
    let archive = |reason: String| ImportError::Archive {
        file: label.to_owned(),
        reason,
    };
    if !bytes.starts_with(b"PK") {
        let old = "it is not a zip archive; PyTorch before 1.6 wrote another format: load it with torch.load and save it with torch.save";
        return Err(archive(old.to_owned()));
    }
    let entries = zip::entries(bytes).map_err(archive)?;
    let mut pickles = entries.keys().filter_map(|name| {
        let folder = name.strip_suffix("/data.pkl")?;
        (!folder.contains('/')).then_some(folder)
    });
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        return Err(archive("it holds no data.pkl, or several".to_owned()));
    };
    let entry = |name: &str| entries.get(format!("{folder}/{name}").as_str()).cloned();
    let contents = |range: Range<usize>| &bytes[range];
    let byte_order = entry("byteorder").map(contents);
    if byte_order.is_some_and(|order| order != b"little") {
        return Err(archive("it was written by a big-endian machine".to_owned()));
    }
    let pickle = entry("data.pkl").map(contents).unwrap_or_default();
    let pickled = pickle::tensors(pickle).map_err(|refused| ImportError::Pickle {
        file: label.to_owned(),
        offset: refused.offset,
        reason: refused.reason,
    })?;
    let mut tensors = BTreeMap::new();
    for tensor in pickled {
        let storage = entry(&format!("data/{}", tensor.storage));
        let located = storage
            .ok_or_else(|| {
                format!(
                    "lies in the storage `{}`, which is not there",
                    tensor.storage
                )
            })
            .and_then(|storage| locate(&tensor, storage))
            .map_err(|reason| ImportError::PthTensor {
                file: label.to_owned(),
                name: tensor.name.to_owned(),
                reason,
            })?;
        if tensors.insert(tensor.name.to_owned(), located).is_some() {
            return Err(archive(format!(
                "the tensor `{}` occurs twice",
                tensor.name
            )));
        }
    }
    Ok(tensors)
}

/// Where a tensor lies of which `storage` is the storage's range in the file.
fn locate(tensor: &PickledTensor<'_>, storage: Range<usize>) -> Result<Entry, String> {
    let too_large = || "is larger than its storage".to_owned();
    let element = element_bytes(tensor.dtype);
    let storage_bytes = tensor.storage_len.checked_mul(element);
    if storage_bytes != u64::try_from(storage.len()).ok() {
        return Err(format!(
            "has a storage of {} elements in {} bytes",
            tensor.storage_len,
            storage.len()
        ));
    }
    let count = tensor
        .shape
        .iter()
        .try_fold(1u64, |n, dim| n.checked_mul(*dim));
    let count = count.ok_or_else(too_large)?;
    if !is_contiguous(&tensor.shape, &tensor.strides) {
        return Err(format!(
            "of shape {:?} has the strides {:?}; save it after .contiguous()",
            tensor.shape, tensor.strides
        ));
    }
    let end = tensor.first.checked_add(count).ok_or_else(too_large)?;
    if end > tensor.storage_len {
        return Err(too_large());
    }
    // Neither product is larger than the storage's bytes, which are in memory.
    let byte = |elements: u64| storage.start + (elements * element) as usize;
    Ok(Entry {
        dtype: tensor.dtype,
        shape: tensor.shape.iter().map(|&dim| dim as usize).collect(),
        start: byte(tensor.first),
        end: byte(end),
    })
}

/// Whether elements lie row after row without gaps. The stride of a dimension of one element means nothing.
fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1u64;
    shape.len() == strides.len()
        && shape.iter().zip(strides).rev().all(|(&dim, &stride)| {
            let fits = dim <= 1 || stride == expected;
            expected = expected.saturating_mul(dim);
            fits
        })
}

fn element_bytes(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F64 | Dtype::I64 => 8,
        Dtype::F32 | Dtype::I32 => 4,
        Dtype::F16 | Dtype::BF16 | Dtype::I16 => 2,
        // I8, U8, BOOL: the others that a pickle can name.
        _ => 1,
    }
}
