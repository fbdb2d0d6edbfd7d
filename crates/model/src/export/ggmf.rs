//! The file of rwkv.cpp: `ggmf`, version 101 (its `docs/FILE_FORMAT.md`). Numbers are in the machine's byte order, which is little-endian wherever this project runs.
//!
//! Six i32 of header (magic, version, vocabulary, width, layers, number format of the matrices), then for every tensor three i32 (dimensions, length of the name, number
//! format), its dimensions as i32, fastest first, its name and its data. Everything but matrices is f32; `time_decay` is stored as -exp of itself, which saves the runtime doing so.

use std::io::{self, BufWriter, Write};

use super::weights::write_elements;
use crate::format::WeightFormat;
use crate::rwkv4::RwkvConfig;
use crate::tensor::{TensorSource, TensorSpec};

const MAGIC: i32 = 0x6767_6d66;
const VERSION: i32 = 101;

/// Writes the file with matrices as f32 or f16.
pub(super) fn write(
    out: &mut dyn Write,
    config: &RwkvConfig,
    model: &dyn TensorSource,
    dtype: WeightFormat,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let numbers = |out: &mut dyn Write, numbers: &[i32]| -> io::Result<()> {
        numbers
            .iter()
            .try_for_each(|n| out.write_all(&n.to_le_bytes()))
    };
    numbers(
        &mut out,
        &[
            MAGIC,
            VERSION,
            int(config.vocab_size)?,
            int(config.d_model)?,
            int(config.n_layers)?,
            code(dtype),
        ],
    )?;
    for spec in model.specs() {
        let format = match spec.is_matrix() {
            true => dtype,
            false => WeightFormat::F32,
        };
        let shape = shape(&spec);
        numbers(
            &mut out,
            &[int(shape.len())?, int(spec.name.len())?, code(format)],
        )?;
        for dim in shape.iter().rev() {
            numbers(&mut out, &[int(*dim)?])?;
        }
        out.write_all(spec.name.as_bytes())?;
        if spec.name.ends_with(".time_decay") {
            model.write_f32(&spec.name, &mut |piece| {
                let decay: Vec<f32> = piece.iter().map(|raw| -raw.exp()).collect();
                out.write_all(bytemuck::cast_slice(&decay))
            })?;
        } else {
            write_elements(model, &spec, format, &mut |bytes| out.write_all(bytes))?;
        }
    }
    out.flush()
}

/// Vectors of time mixing lose their dimensions of one element.
fn shape(spec: &TensorSpec) -> Vec<usize> {
    match spec.is_matrix() {
        true => spec.shape.clone(),
        false => spec.shape.iter().copied().filter(|dim| *dim != 1).collect(),
    }
}

fn code(format: WeightFormat) -> i32 {
    i32::from(format == WeightFormat::F16)
}

fn int(number: usize) -> io::Result<i32> {
    i32::try_from(number).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
