//! What the header of a safetensors file says: which tensors there are, what they are, and where in the file they lie. It holds none of their numbers.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::error::TensorError;
use crate::finite::{first_nan_e4m3, first_not_finite_f16, first_not_finite_f32};
use crate::format::WeightFormat;
use crate::plan::{QuantizationPlan, SCALES, StoredTensor};
use crate::tensor::TensorSpec;

/// The checked header of a file.
#[derive(Debug)]
pub(crate) struct TensorIndex {
    label: String,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
    /// Matrices that are quantized, once [`TensorIndex::check_model`] has found them as they should be.
    quantized: BTreeMap<String, WeightFormat>,
}

/// One tensor.
#[derive(Debug)]
pub(crate) struct Entry {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// First byte in the file.
    pub start: usize,
    /// The byte behind the last.
    pub end: usize,
}

impl Entry {
    /// Bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }
}

impl TensorIndex {
    /// From a header that the `safetensors` crate has parsed, of a file of `file_len` bytes whose tensors begin at `data_start`.
    pub fn new(
        label: String,
        data_start: usize,
        file_len: usize,
        header: &Metadata,
    ) -> Result<Self, TensorError> {
        let mut entries = BTreeMap::new();
        for (name, info) in header.tensors() {
            let range = info
                .data_offsets
                .0
                .checked_add(data_start)
                .zip(info.data_offsets.1.checked_add(data_start));
            let Some((start, end)) = range.filter(|(start, end)| start <= end && *end <= file_len)
            else {
                return Err(TensorError::Format {
                    file: label,
                    message: format!("the tensor `{name}` lies outside the file"),
                });
            };
            entries.insert(
                name,
                Entry {
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    start,
                    end,
                },
            );
        }
        let metadata = header
            .metadata()
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Ok(Self {
            label,
            entries,
            metadata,
            quantized: BTreeMap::new(),
        })
    }

    /// The file's name as it appears in messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// A value of the header's `__metadata__`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Forgets the metadata: a tokenizer in it may be larger than all that is kept of a small model.
    pub fn drop_metadata(&mut self) {
        self.metadata = BTreeMap::new();
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The tensors, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// One tensor.
    pub fn entry(&self, name: &str) -> Result<&Entry, TensorError> {
        self.entries.get(name).ok_or_else(|| TensorError::Missing {
            file: self.label.clone(),
            name: name.to_owned(),
        })
    }

    /// One tensor of the number format `dtype`.
    pub fn entry_of(&self, name: &str, dtype: Dtype) -> Result<&Entry, TensorError> {
        let entry = self.entry(name)?;
        if entry.dtype != dtype {
            return Err(TensorError::Dtype {
                file: self.label.clone(),
                name: name.to_owned(),
                found: format!("{:?}", entry.dtype),
                expected: format!("{dtype:?}"),
            });
        }
        Ok(entry)
    }

    /// The number format of a matrix that is not f32.
    pub fn quantized(&self, name: &str) -> Option<WeightFormat> {
        self.quantized.get(name).copied()
    }

    /// Checks that the file holds exactly the tensors of a model whose matrices have the formats of `plan`; from then on [`quantized`](Self::quantized) knows them.
    pub fn check_model(
        &mut self,
        specs: &[TensorSpec],
        plan: &QuantizationPlan,
    ) -> Result<(), TensorError> {
        let mut tensors = Vec::new();
        for spec in specs {
            let (values, scales) = plan.stored(spec).ok_or_else(|| TensorError::Format {
                file: self.label.clone(),
                message: format!(
                    "the tensor `{}` of shape {:?} does not fit in memory",
                    spec.name, spec.shape
                ),
            })?;
            tensors.push(values);
            tensors.extend(scales);
        }
        self.check_tensors(&tensors)?;
        self.quantized = specs
            .iter()
            .map(|spec| (spec.name.clone(), plan.format_of(spec)))
            .filter(|(_, format)| *format != WeightFormat::F32)
            .collect();
        Ok(())
    }

    /// Checks that the file holds exactly these.
    pub fn check_tensors(&self, tensors: &[StoredTensor]) -> Result<(), TensorError> {
        for tensor in tensors {
            let entry = self.entry_of(&tensor.name, tensor.dtype)?;
            if entry.shape != tensor.shape {
                return Err(TensorError::Shape {
                    file: self.label.clone(),
                    name: tensor.name.clone(),
                    found: entry.shape.clone(),
                    expected: tensor.shape.clone(),
                });
            }
        }
        if self.entries.len() != tensors.len() {
            let known: BTreeSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            let mut names = self.entries.keys();
            if let Some(name) = names.find(|name| !known.contains(name.as_str())) {
                return Err(TensorError::Unexpected {
                    file: self.label.clone(),
                    name: name.clone(),
                });
            }
        }
        Ok(())
    }

    /// Checks that none of a tensor's numbers, given as its aligned bytes, is NaN or infinite. Any bits of an int8 or int4 value are a number: of those matrices the scales alone are looked
    /// at.
    pub fn check_finite(&self, name: &str, bytes: &[u8]) -> Result<(), TensorError> {
        let is_scales = || {
            name.strip_suffix(SCALES)
                .is_some_and(|matrix| self.quantized.contains_key(matrix))
        };
        let half = |index, bits: &[u16]| (index, half::f16::from_bits(bits[index]).to_f32());
        let bad = match self.entry(name)?.dtype {
            Dtype::F32 => {
                let values: &[f32] = self.cast(bytes)?;
                first_not_finite_f32(values).map(|index| (index, values[index]))
            }
            Dtype::F16 => {
                let bits = self.cast(bytes)?;
                first_not_finite_f16(bits).map(|index| half(index, bits))
            }
            _ if self.quantized(name) == Some(WeightFormat::Fp8) => {
                first_nan_e4m3(bytes).map(|index| (index, f32::NAN))
            }
            Dtype::U32 if is_scales() => {
                let bits = self.cast(bytes)?;
                first_not_finite_f16(bits).map(|index| half(index, bits))
            }
            _ => None,
        };
        match bad {
            None => Ok(()),
            Some((index, value)) => Err(TensorError::NotFinite {
                file: self.label.clone(),
                name: name.to_owned(),
                index,
                value,
            }),
        }
    }

    fn cast<'a, T: bytemuck::Pod>(&self, bytes: &'a [u8]) -> Result<&'a [T], TensorError> {
        bytemuck::try_cast_slice(bytes).map_err(|error| TensorError::Format {
            file: self.label.clone(),
            message: error.to_string(),
        })
    }
}
