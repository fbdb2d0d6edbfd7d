//! Writing safetensors: one pass over a [`TensorSource`], no second copy, the same bytes for the same content.
//!
//! The layout is that of the format's description: header length (u64, little-endian), JSON header padded with spaces to a multiple of 8, then the data of all tensors without gaps. Here the
//! header lists tensors in the source's order and data follows in that order.

use std::io::{self, BufWriter, Write};

use crate::model_id::ModelIdHasher;
use crate::plan::StoredTensor;
use crate::tensor::TensorSource;

/// Readers of the format refuse longer headers.
const MAX_HEADER_BYTES: usize = 100_000_000;

/// Takes the bytes of a tensor's data, piece after piece.
pub(crate) type ByteSink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Writes every tensor of `source` as f32 with `metadata` (`__metadata__`, in the given order) and returns the number of bytes. `hasher`, when given, sees the tensors as they pass.
///
/// Fails when `out` fails, when the source does, and when the source gives another number of elements than the shape holds.
pub fn write_safetensors(
    source: &dyn TensorSource,
    metadata: &[(&str, &str)],
    out: &mut dyn Write,
    mut hasher: Option<&mut ModelIdHasher>,
) -> io::Result<u64> {
    let specs = source.specs();
    let tensors: Vec<StoredTensor> = specs.iter().map(StoredTensor::f32).collect();
    write_tensors(&tensors, metadata, out, &mut |index, sink| {
        let spec = &specs[index];
        if let Some(hasher) = hasher.as_deref_mut() {
            hasher.begin(spec);
        }
        source.write_f32(&spec.name, &mut |piece| {
            sink(bytemuck::cast_slice(piece))?;
            if let Some(hasher) = hasher.as_deref_mut() {
                hasher.elements(piece);
            }
            Ok(())
        })
    })
}

/// Writes `tensors` with `metadata` and returns the number of bytes. `content(index, sink)` is called for each tensor in order and passes the bytes of its data to the sink; a number of
/// bytes that is not the tensor's is an error.
pub(crate) fn write_tensors(
    tensors: &[StoredTensor],
    metadata: &[(&str, &str)],
    out: &mut dyn Write,
    content: &mut dyn FnMut(usize, &mut ByteSink<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    let header = header(tensors, metadata)?;
    // Sources may give one row at a time; the buffer joins them into writes worth a system call.
    let mut out = BufWriter::with_capacity(1 << 20, out);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    let mut total = 8 + header.len() as u64;
    for (index, tensor) in tensors.iter().enumerate() {
        let expected = tensor.num_bytes().ok_or_else(|| too_large(tensor))?;
        let mut written = 0usize;
        content(index, &mut |piece| {
            written = written.saturating_add(piece.len());
            if written > expected {
                return Err(wrong_count(tensor, written));
            }
            out.write_all(piece)
        })?;
        if written != expected {
            return Err(wrong_count(tensor, written));
        }
        total += written as u64;
    }
    out.flush()?;
    Ok(total)
}

/// Bytes of the file that [`write_safetensors`] would write, or `None` when they do not fit in 64 bits.
pub(crate) fn safetensors_len(source: &dyn TensorSource) -> Option<u64> {
    let specs = source.specs();
    // A little more than the header needs: the caller asks whether the disk has room.
    let names: u64 = specs.iter().map(|spec| spec.name.len() as u64 + 160).sum();
    specs.iter().try_fold(names + 1024, |sum, spec| {
        sum.checked_add(spec.num_bytes()? as u64)
    })
}

fn header(tensors: &[StoredTensor], metadata: &[(&str, &str)]) -> io::Result<String> {
    let mut json = String::from("{");
    if !metadata.is_empty() {
        json.push_str("\"__metadata__\":{");
        for (i, (key, value)) in metadata.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            json.push_str(&format!(
                "{comma}{}:{}",
                serde_json::to_string(key)?,
                serde_json::to_string(value)?
            ));
        }
        json.push_str("},");
    }
    let mut offset = 0usize;
    for (i, tensor) in tensors.iter().enumerate() {
        let end = tensor
            .num_bytes()
            .and_then(|bytes| offset.checked_add(bytes))
            .ok_or_else(|| too_large(tensor))?;
        let comma = if i == 0 { "" } else { "," };
        let name = serde_json::to_string(&tensor.name)?;
        let dtype = serde_json::to_string(&tensor.dtype)?;
        let shape = serde_json::to_string(&tensor.shape)?;
        json.push_str(&format!(
            "{comma}{name}:{{\"dtype\":{dtype},\"shape\":{shape},\"data_offsets\":[{offset},{end}]}}"
        ));
        offset = end;
    }
    json.push('}');
    while !json.len().is_multiple_of(8) {
        json.push(' ');
    }
    if json.len() > MAX_HEADER_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{} bytes of tensor names and metadata: the format allows 100 MB",
                json.len()
            ),
        ));
    }
    Ok(json)
}

fn wrong_count(tensor: &StoredTensor, bytes: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "the tensor `{}` of shape {:?} was given {} elements",
            tensor.name,
            tensor.shape,
            bytes / tensor.element_bytes()
        ),
    )
}

fn too_large(tensor: &StoredTensor) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "the tensor `{}` of shape {:?} does not fit in memory",
            tensor.name, tensor.shape
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{MemoryTensors, TensorSpec};

    fn two() -> MemoryTensors {
        let mut tensors = MemoryTensors::new();
        tensors.push(TensorSpec::new("b", [2, 1]), vec![1.0, -2.5]);
        tensors.push(TensorSpec::new("a", [1]), vec![f32::MIN_POSITIVE]);
        tensors
    }

    fn bytes(source: &dyn TensorSource, metadata: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        let length = write_safetensors(source, metadata, &mut out, None).unwrap();
        assert_eq!(length, out.len() as u64);
        out
    }

    #[test]
    fn layout_byte_by_byte() {
        let bytes = bytes(&two(), &[("format", "pt")]);
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
        let padded = header.len().next_multiple_of(8);
        assert_eq!(bytes[..8], (padded as u64).to_le_bytes());
        assert_eq!(
            std::str::from_utf8(&bytes[8..8 + padded])
                .unwrap()
                .trim_end(),
            header
        );
        let data: Vec<u8> = [1.0f32, -2.5, f32::MIN_POSITIVE]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        assert_eq!(bytes[8 + padded..], data);
    }

    #[test]
    fn the_safetensors_crate_reads_it() {
        let bytes = bytes(&two(), &[("quote \" and \n", "\u{1F989}")]);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("b").unwrap().shape(), [2, 1]);
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(
            metadata.metadata().as_ref().unwrap()["quote \" and \n"],
            "\u{1F989}"
        );
        assert!(bytes.len() as u64 <= safetensors_len(&two()).unwrap());
    }

    #[test]
    fn every_number_format_has_its_bytes() {
        use safetensors::Dtype;
        let tensor = |name: &str, dtype| StoredTensor {
            name: name.to_owned(),
            dtype,
            shape: vec![2],
        };
        let tensors = [tensor("h", Dtype::F16), tensor("w", Dtype::U32)];
        let mut out = Vec::new();
        let write = |index: usize, sink: &mut ByteSink<'_>| {
            sink(&[1, 2, 3, 4, 5, 6, 7, 8][..4 + 4 * index])
        };
        write_tensors(&tensors, &[], &mut out, &mut { write }).unwrap();
        let file = safetensors::SafeTensors::deserialize(&out).unwrap();
        let read = file.tensor("h").unwrap();
        assert_eq!((read.dtype(), read.data()), (Dtype::F16, &[1, 2, 3, 4][..]));
        let read = file.tensor("w").unwrap();
        assert_eq!((read.dtype(), read.data().len()), (Dtype::U32, 8));
        let short = write_tensors(&tensors[1..], &[], &mut io::sink(), &mut { write });
        assert_eq!(
            short.unwrap_err().to_string(),
            "the tensor `w` of shape [2] was given 1 elements"
        );
    }

    #[test]
    fn a_wrong_number_of_elements_is_an_error() {
        for values in [vec![1.0], vec![1.0, 2.0, 3.0]] {
            let mut tensors = MemoryTensors::new();
            tensors.push(TensorSpec::new("x", [2]), values.clone());
            let error = write_safetensors(&tensors, &[], &mut io::sink(), None)
                .unwrap_err()
                .to_string();
            assert_eq!(
                error,
                format!(
                    "the tensor `x` of shape [2] was given {} elements",
                    values.len()
                )
            );
        }
        let mut huge = MemoryTensors::new();
        huge.push(TensorSpec::new("x", [usize::MAX, 2]), vec![]);
        assert!(
            write_safetensors(&huge, &[], &mut io::sink(), None)
                .unwrap_err()
                .to_string()
                .contains("does not fit")
        );
    }
}
