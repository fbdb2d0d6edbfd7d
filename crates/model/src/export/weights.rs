//! Weights on their way into another tool's file: safetensors under the names and in the number formats that the tool wants.

use std::io::{self, Write};

use half::f16;
use safetensors::Dtype;

use crate::format::WeightFormat;
use crate::plan::StoredTensor;
use crate::safetensors_writer::{ByteSink, write_tensors};
use crate::tensor::{TensorSource, TensorSpec};

/// Readers of other projects look for this before they load weights.
const METADATA: [(&str, &str); 1] = [("format", "pt")];

/// Writes every tensor of `model` as safetensors; `stored` says under which name and in which number format.
pub(super) fn write_safetensors(
    out: &mut dyn Write,
    model: &dyn TensorSource,
    stored: &dyn Fn(&TensorSpec) -> (String, WeightFormat),
) -> io::Result<()> {
    let specs = model.specs();
    let formats: Vec<(String, WeightFormat)> = specs.iter().map(stored).collect();
    let tensors: Vec<StoredTensor> = specs
        .iter()
        .zip(&formats)
        .map(|(spec, (name, format))| StoredTensor {
            name: name.clone(),
            dtype: match format {
                WeightFormat::F16 => Dtype::F16,
                _ => Dtype::F32,
            },
            shape: spec.shape.clone(),
        })
        .collect();
    write_tensors(&tensors, &METADATA, out, &mut |index, sink| {
        write_elements(model, &specs[index], formats[index].1, sink)
    })
    .map(drop)
}

/// Passes the bytes of a tensor to `sink`: little-endian f16 where `format` says so, f32 otherwise. A number that f16 cannot hold is an error that names it.
pub(super) fn write_elements(
    model: &dyn TensorSource,
    spec: &TensorSpec,
    format: WeightFormat,
    sink: &mut ByteSink<'_>,
) -> io::Result<()> {
    if format != WeightFormat::F16 {
        return model.write_f32(&spec.name, &mut |piece| sink(bytemuck::cast_slice(piece)));
    }
    let mut halves = Vec::new();
    model.write_f32(&spec.name, &mut |piece| {
        for piece in piece.chunks(1 << 16) {
            halves.clear();
            halves.extend(piece.iter().map(|value| f16::from_f32(*value).to_bits()));
            if let Some(index) = crate::finite::first_not_finite_f16(&halves) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "the tensor `{}` holds {}, which f16 cannot; export it in f32",
                        spec.name, piece[index]
                    ),
                ));
            }
            sink(bytemuck::cast_slice(&halves))?;
        }
        Ok(())
    })
}
