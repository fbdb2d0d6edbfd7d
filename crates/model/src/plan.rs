//! Which number format each matrix of a model has, and what tensors a file of that model therefore consists of.

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde::Serialize;
use thiserror::Error;

use crate::arch::ArchConfig;
use crate::format::{GROUP, WeightFormat};
use crate::tensor::TensorSpec;

/// What the scales of a matrix are called in a file: its own name and this.
pub(crate) const SCALES: &str = ".scales";

/// A number format for a model's matrices, and the matrices that have another one. Vectors are f32 always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizationPlan {
    format: WeightFormat,
    exceptions: BTreeMap<String, WeightFormat>,
}

/// A pattern of matrix names that names none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{pattern}` names no matrix of the model; name a kind ({kinds}), a part (`att`, `ffn`, `blocks.0`) or a whole tensor (`blocks.0.att.key.weight`)"
)]
pub struct PatternError {
    /// What was given.
    pub pattern: String,
    /// The kinds of matrices that there are, separated by commas.
    pub kinds: String,
}

/// All matrices of one kind, or all vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KindSize {
    /// As [`matrix_kind`] calls it, or `vectors`.
    pub kind: String,
    /// The formats that occur.
    pub formats: Vec<WeightFormat>,
    /// Elements.
    pub parameters: u64,
    /// Bytes of values and scales.
    pub bytes: u64,
}

impl KindSize {
    fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            formats: Vec::new(),
            parameters: 0,
            bytes: 0,
        }
    }
}

/// What [`KindSize`] calls everything that is no matrix.
const VECTORS: &str = "vectors";

impl QuantizationPlan {
    /// Every matrix in `format`.
    pub fn uniform(format: WeightFormat) -> Self {
        Self {
            format,
            exceptions: BTreeMap::new(),
        }
    }

    /// A plan from its parts; entries that equal `format` are no exceptions.
    pub fn new(format: WeightFormat, exceptions: BTreeMap<String, WeightFormat>) -> Self {
        let mut plan = Self { format, exceptions };
        plan.exceptions.retain(|_, exception| *exception != format);
        plan
    }

    /// The format of the matrices that are no exceptions.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Names of the matrices that have another format, with it.
    pub fn exceptions(&self) -> &BTreeMap<String, WeightFormat> {
        &self.exceptions
    }

    /// Gives `format` to every matrix of the model whose name contains `pattern` as whole parts between dots: `head`, `att.key`, `ffn`, `blocks.0`. Returns how many there are.
    pub fn keep(
        &mut self,
        config: &ArchConfig,
        pattern: &str,
        format: WeightFormat,
    ) -> Result<usize, PatternError> {
        let matrices = config.matrix_names();
        let mut kept = 0;
        for name in &matrices {
            if !contains_parts(name, pattern) {
                continue;
            }
            kept += 1;
            if format == self.format {
                self.exceptions.remove(name);
            } else {
                self.exceptions.insert(name.clone(), format);
            }
        }
        if kept == 0 {
            let mut kinds: Vec<&str> = Vec::new();
            for kind in matrices.iter().map(|name| matrix_kind(name)) {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            return Err(PatternError {
                pattern: pattern.to_owned(),
                kinds: kinds.join(", "),
            });
        }
        Ok(kept)
    }

    /// The format of a tensor: f32 for every vector.
    pub fn format_of(&self, spec: &TensorSpec) -> WeightFormat {
        if !spec.is_matrix() {
            return WeightFormat::F32;
        }
        self.exceptions
            .get(&spec.name)
            .copied()
            .unwrap_or(self.format)
    }

    /// Bytes of a model's tensors in a file, without its header; `u64::MAX` when one of them does not fit in this machine's memory.
    pub fn num_bytes(&self, config: &ArchConfig) -> u64 {
        let kinds = self.by_kind(config);
        kinds
            .iter()
            .fold(0, |sum, kind| sum.saturating_add(kind.bytes))
    }

    /// Parameters and bytes of each kind of matrix in the order in which they occur, all vectors last.
    pub fn by_kind(&self, config: &ArchConfig) -> Vec<KindSize> {
        let mut kinds: Vec<KindSize> = Vec::new();
        let mut vectors = KindSize::new(VECTORS);
        for spec in config.tensor_specs() {
            let kind = matrix_kind(&spec.name);
            let size = if !spec.is_matrix() {
                &mut vectors
            } else {
                let known = kinds.iter().position(|size| size.kind == kind);
                let index = known.unwrap_or_else(|| {
                    kinds.push(KindSize::new(kind));
                    kinds.len() - 1
                });
                &mut kinds[index]
            };
            let format = self.format_of(&spec);
            if !size.formats.contains(&format) {
                size.formats.push(format);
            }
            let elements = spec.num_elements();
            let bytes = elements.and_then(|elements| {
                let scales = format.scale_words(elements).checked_mul(4)?;
                format.value_bytes(elements)?.checked_add(scales)
            });
            let number = |n: Option<usize>| n.map_or(u64::MAX, |n| n as u64);
            size.parameters = size.parameters.saturating_add(number(elements));
            size.bytes = size.bytes.saturating_add(number(bytes));
        }
        kinds.push(vectors);
        kinds
    }

    /// The tensors of a file that hold the tensor `spec`: its values, and its scales where the format has them. `None` when they do not fit in memory's addresses.
    pub(crate) fn stored(&self, spec: &TensorSpec) -> Option<(StoredTensor, Option<StoredTensor>)> {
        let format = self.format_of(spec);
        let elements = spec.num_elements()?;
        // What fits as f32 fits in every format.
        spec.num_bytes()?;
        let tensor = |name: String, dtype, shape| StoredTensor { name, dtype, shape };
        let [rows, cols] = match (format, spec.shape.as_slice()) {
            (WeightFormat::F32 | WeightFormat::F16, shape) => {
                let dtype = if format == WeightFormat::F32 {
                    Dtype::F32
                } else {
                    Dtype::F16
                };
                return Some((tensor(spec.name.clone(), dtype, shape.to_vec()), None));
            }
            (_, &[rows, cols]) => [rows, cols],
            _ => return None,
        };
        let words = match format {
            WeightFormat::Int4 => cols / 8,
            _ => cols / 4,
        };
        let scales = match format {
            WeightFormat::Int4 => vec![rows, cols / GROUP],
            _ => vec![format.scale_words(elements)],
        };
        Some((
            tensor(spec.name.clone(), Dtype::U32, vec![rows, words]),
            Some(tensor(scales_name(&spec.name), Dtype::U32, scales)),
        ))
    }
}

/// A tensor as a file holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredTensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

impl StoredTensor {
    /// An f32 tensor.
    pub fn f32(spec: &TensorSpec) -> Self {
        Self {
            name: spec.name.clone(),
            dtype: Dtype::F32,
            shape: spec.shape.clone(),
        }
    }

    /// Bytes of its data; `None` when they do not fit in memory's addresses.
    pub fn num_bytes(&self) -> Option<usize> {
        self.shape
            .iter()
            .try_fold(1usize, |product, dim| product.checked_mul(*dim))?
            .checked_mul(self.element_bytes())
    }

    /// Bytes of an element.
    pub fn element_bytes(&self) -> usize {
        self.dtype.bitsize() / 8
    }
}

/// Where the scales of a matrix are.
pub(crate) fn scales_name(matrix: &str) -> String {
    format!("{matrix}{SCALES}")
}

/// What a matrix is in every layer: `att.key` for `blocks.3.att.key.weight`.
pub fn matrix_kind(name: &str) -> &str {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    match name
        .strip_prefix("blocks.")
        .and_then(|rest| rest.split_once('.'))
    {
        Some((_, kind)) => kind,
        None => name,
    }
}

/// Whether `pattern` is a run of whole parts of `name` between dots.
pub(crate) fn contains_parts(name: &str, pattern: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let wanted: Vec<&str> = pattern.split('.').collect();
    parts.windows(wanted.len()).any(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rwkv4::RwkvConfig;

    fn config() -> ArchConfig {
        ArchConfig::Rwkv4(RwkvConfig::new(257, 96, 12, 16))
    }

    #[test]
    fn patterns_are_whole_parts_of_names() {
        let kept = |pattern: &str| {
            let mut plan = QuantizationPlan::uniform(WeightFormat::Int4);
            let count = plan.keep(&config(), pattern, WeightFormat::F16)?;
            assert_eq!(count, plan.exceptions().len());
            Ok::<_, PatternError>(count)
        };
        assert_eq!(kept("head"), Ok(1));
        assert_eq!(kept("att.key"), Ok(12));
        assert_eq!(kept("key"), Ok(24));
        assert_eq!(kept("blocks.1"), Ok(7), "not blocks.10 and blocks.11");
        assert_eq!(kept("blocks.11.ffn.value.weight"), Ok(1));
        assert_eq!(kept("weight"), Ok(2 + 12 * 7));
        for pattern in ["", "hea", "ln1", "att.key.x", "blocks.12", "time_mix_k"] {
            let message = kept(pattern).unwrap_err().to_string();
            assert!(
                message.contains("emb, att.key, att.value, att.receptance, att.output, ffn.key, ffn.receptance, ffn.value, head"),
                "{message}"
            );
        }
        let mut plan = QuantizationPlan::uniform(WeightFormat::Int4);
        plan.keep(&config(), "head", WeightFormat::F16).unwrap();
        plan.keep(&config(), "head", WeightFormat::Int4).unwrap();
        assert_eq!(plan, QuantizationPlan::uniform(WeightFormat::Int4));
    }

    #[test]
    fn sizes_follow_the_formats() {
        let config = config();
        let matrices: usize = 2 * 257 * 96 + 12 * (5 * 96 * 96 + 2 * 96 * 384);
        let vectors = config.num_parameters() as usize - matrices;
        for (format, bits) in [
            (WeightFormat::F32, 32.0),
            (WeightFormat::F16, 16.0),
            (WeightFormat::Int8, 8.5),
            (WeightFormat::Fp8, 8.5),
            (WeightFormat::Int4, 5.0),
        ] {
            let bytes = QuantizationPlan::uniform(format).num_bytes(&config);
            let exact = vectors as f64 * 4.0 + matrices as f64 * bits / 8.0;
            // An odd number of groups (257 rows of three) leaves half a word of scales empty.
            assert!(
                (bytes as f64 - exact).abs() <= 4.0,
                "{format}: {bytes}, {exact}"
            );
        }
    }

    #[test]
    fn kinds_are_summed_over_the_layers() {
        let mut plan = QuantizationPlan::uniform(WeightFormat::Int4);
        plan.keep(&config(), "blocks.0.ffn", WeightFormat::F16)
            .unwrap();
        let kinds = plan.by_kind(&config());
        assert_eq!(kinds.len(), 10);
        let kind = |name: &str| kinds.iter().find(|kind| kind.kind == name).unwrap();
        assert_eq!(kind("emb").parameters, 257 * 96);
        assert_eq!(kind("att.output").parameters, 12 * 96 * 96);
        assert_eq!(kind("att.output").bytes, 12 * 96 * 96 * 5 / 8);
        assert_eq!(
            kind("ffn.value").formats,
            [WeightFormat::F16, WeightFormat::Int4]
        );
        assert_eq!(kind("vectors").formats, [WeightFormat::F32]);
        let parameters: u64 = kinds.iter().map(|kind| kind.parameters).sum();
        assert_eq!(parameters, config().num_parameters());
    }

    #[test]
    fn stored_tensors_are_those_of_the_format_table() {
        let spec = TensorSpec::new("m.weight", [3, 96]);
        let stored = |format| QuantizationPlan::uniform(format).stored(&spec).unwrap();
        let (values, scales) = stored(WeightFormat::F16);
        assert_eq!((values.dtype, values.shape), (Dtype::F16, vec![3, 96]));
        assert_eq!(scales, None);
        let (values, scales) = stored(WeightFormat::Fp8);
        assert_eq!((values.dtype, values.shape), (Dtype::U32, vec![3, 24]));
        let scales = scales.unwrap();
        assert_eq!(scales.name, "m.weight.scales");
        assert_eq!(scales.shape, [5], "nine scales, two to a word");
        let (values, scales) = stored(WeightFormat::Int4);
        assert_eq!(values.shape, [3, 12]);
        assert_eq!(scales.unwrap().shape, [3, 3]);
        let vector = TensorSpec::new("v", [1, 1, 96]);
        let (values, scales) = QuantizationPlan::uniform(WeightFormat::Int4)
            .stored(&vector)
            .unwrap();
        assert_eq!((values.dtype, scales), (Dtype::F32, None));
        let huge = TensorSpec::new("h", [usize::MAX / 64, 64]);
        assert_eq!(
            QuantizationPlan::uniform(WeightFormat::Int4).stored(&huge),
            None
        );
    }
}
