//! Writing model files in any number format, tensor by tensor: at no time is more than one of them in memory.

use std::io::{self, Write};
use std::path::Path;

use crate::error::ModelError;
use crate::format::WeightFormat;
use crate::model_file::{DOCUMENT_KEY, ModelFileInfo};
use crate::quantize::QuantizedMatrix;
use crate::safetensors_writer::{ByteSink, write_tensors};
use crate::storage::{DiskStorage, remove_leftovers, replace_file};
use crate::tensor::{TensorSource, TensorSpec};

/// A tensor that has just been written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenTensor {
    /// Its official name.
    pub name: String,
    /// The format it was given.
    pub format: WeightFormat,
    /// Its elements.
    pub elements: usize,
    /// Bytes of its values and scales.
    pub bytes: usize,
    /// Root of (sum of squared errors / sum of squares); 0 for f32.
    pub relative_error: f64,
}

/// Writes a model file atomically, its matrices in the formats that `info` names. `model` lists the f32 tensors in the order of [`ArchConfig::tensor_specs`](crate::ArchConfig::tensor_specs).
pub fn write_model_file(
    path: &Path,
    info: &ModelFileInfo,
    model: &dyn TensorSource,
) -> Result<(), ModelError> {
    write_model_file_with(path, info, model, &mut |_| ())
}

/// The same; `on_tensor` hears of each tensor in the order of the file. What a killed process left of writing it is removed first.
pub fn write_model_file_with(
    path: &Path,
    info: &ModelFileInfo,
    model: &dyn TensorSource,
    on_tensor: &mut dyn FnMut(&WrittenTensor),
) -> Result<(), ModelError> {
    remove_leftovers(path);
    let mut writer = ModelWriter::new(info, model, on_tensor);
    let written = replace_file(&DiskStorage, path, &mut |out| writer.write(out));
    writer.explain(path, written)
}

/// Writes the bytes of a model file to `out`; `label` names it in messages.
pub fn write_model(
    label: &str,
    out: &mut dyn Write,
    info: &ModelFileInfo,
    model: &dyn TensorSource,
) -> Result<(), ModelError> {
    let mut on_tensor = |_: &WrittenTensor| ();
    let mut writer = ModelWriter::new(info, model, &mut on_tensor);
    let written = writer.write(out);
    writer.explain(Path::new(label), written)
}

/// The bytes of the model file that [`write_model_file_with`] would write.
pub fn model_file_bytes(
    info: &ModelFileInfo,
    model: &dyn TensorSource,
) -> Result<Vec<u8>, ModelError> {
    let mut bytes = Vec::new();
    write_model("the model in memory", &mut bytes, info, model)?;
    Ok(bytes)
}

struct ModelWriter<'a> {
    info: &'a ModelFileInfo,
    model: &'a dyn TensorSource,
    on_tensor: &'a mut dyn FnMut(&WrittenTensor),
    /// Why writing stopped, where it was not the disk.
    failure: Option<ModelError>,
}

/// What a stored tensor holds of the model's.
enum Part<'a> {
    Values(&'a TensorSpec),
    /// The scales of the matrix before it.
    Scales,
}

impl<'a> ModelWriter<'a> {
    fn new(
        info: &'a ModelFileInfo,
        model: &'a dyn TensorSource,
        on_tensor: &'a mut dyn FnMut(&WrittenTensor),
    ) -> Self {
        Self {
            info,
            model,
            on_tensor,
            failure: None,
        }
    }

    fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let document = serde_json::to_string(self.info)?;
        let metadata = [("format", "pt"), (DOCUMENT_KEY, document.as_str())];
        let plan = self.info.plan();
        let specs = self.model.specs();
        let (mut tensors, mut parts) = (Vec::new(), Vec::new());
        for spec in &specs {
            let (values, scales) = plan.stored(spec).ok_or_else(|| {
                invalid(format!(
                    "the tensor `{}` of shape {:?} cannot be written as {}",
                    spec.name,
                    spec.shape,
                    plan.format_of(spec)
                ))
            })?;
            tensors.push(values);
            parts.push(Part::Values(spec));
            if let Some(scales) = scales {
                tensors.push(scales);
                parts.push(Part::Scales);
            }
        }
        // The scales of the matrix whose values were written last.
        let mut scales = Vec::new();
        write_tensors(
            &tensors,
            &metadata,
            out,
            &mut |index, sink| match parts[index] {
                Part::Values(spec) => {
                    scales = self.write_values(spec, plan.format_of(spec), sink)?;
                    Ok(())
                }
                Part::Scales => sink(bytemuck::cast_slice(&scales)),
            },
        )
        .map(drop)
    }

    /// Writes the values of a tensor and returns its scales.
    fn write_values(
        &mut self,
        spec: &TensorSpec,
        format: WeightFormat,
        sink: &mut ByteSink<'_>,
    ) -> io::Result<Vec<u32>> {
        let mut written = WrittenTensor {
            name: spec.name.clone(),
            format,
            elements: spec.num_elements().unwrap_or(0),
            bytes: 0,
            relative_error: 0.0,
        };
        let mut scales = Vec::new();
        if format == WeightFormat::F32 {
            self.model.write_f32(&spec.name, &mut |piece| {
                written.bytes = written.bytes.saturating_add(piece.len().saturating_mul(4));
                sink(bytemuck::cast_slice(piece))
            })?;
        } else {
            let cols = spec.shape.last().copied().unwrap_or(0);
            let (model, failure) = (self.model, &mut self.failure);
            whole(model, spec, &mut |values| {
                let matrix = QuantizedMatrix::new(values, cols, format).map_err(|source| {
                    *failure = Some(ModelError::Quantize {
                        name: spec.name.clone(),
                        format,
                        source: source.clone(),
                    });
                    io::Error::other(source)
                })?;
                written.bytes = matrix.data().num_bytes();
                written.relative_error = matrix.relative_error(values);
                sink(bytemuck::cast_slice(matrix.values()))?;
                scales = matrix.into_scales();
                Ok(())
            })?;
        }
        (self.on_tensor)(&written);
        Ok(scales)
    }

    fn explain(self, path: &Path, written: io::Result<()>) -> Result<(), ModelError> {
        written.map_err(|source| {
            self.failure.unwrap_or_else(|| ModelError::Io {
                path: path.to_owned(),
                source,
            })
        })
    }
}

/// Passes all elements of a tensor to `visit` at once: those that the source hands out whole where they lie, others gathered first.
fn whole(
    source: &dyn TensorSource,
    spec: &TensorSpec,
    visit: &mut dyn FnMut(&[f32]) -> io::Result<()>,
) -> io::Result<()> {
    let expected = spec.num_elements().unwrap_or(usize::MAX);
    let wrong = |given: usize| {
        invalid(format!(
            "the tensor `{}` of shape {:?} was given {given} elements",
            spec.name, spec.shape
        ))
    };
    let (mut gathered, mut visited) = (Vec::new(), false);
    source.write_f32(&spec.name, &mut |piece| {
        if gathered.is_empty() && !visited && piece.len() == expected {
            visited = true;
            return visit(piece);
        }
        let given = if visited { expected } else { gathered.len() };
        match given.checked_add(piece.len()) {
            Some(total) if total <= expected => gathered.extend_from_slice(piece),
            _ => return Err(wrong(given.saturating_add(piece.len()))),
        }
        Ok(())
    })?;
    match visited {
        true => Ok(()),
        false if gathered.len() == expected => visit(&gathered),
        false => Err(wrong(gathered.len())),
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
