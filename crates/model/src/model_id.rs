//! The model id: SHA-256 over a model's f32 tensors, by which adapters, states and quantized files name the model they belong to.

use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::tensor::{TensorSource, TensorSpec};

/// Says what is hashed, so that no other file's digest can be mistaken for a model id.
const DOMAIN: &[u8] = b"ptbr-slm model id 1\n";

/// Hashes tensors as they pass: for each one [`begin`](Self::begin), then its [`elements`](Self::elements) in any number of pieces.
///
/// Hashed are, for every tensor in canonical order: length of the name (u32), name, number of dimensions (u32), dimensions (u64 each), elements (f32); all little-endian.
#[derive(Debug, Clone)]
pub struct ModelIdHasher(Sha256);

impl Default for ModelIdHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl ModelIdHasher {
    /// No tensor yet.
    pub fn new() -> Self {
        Self(Sha256::new_with_prefix(DOMAIN))
    }

    /// The next tensor.
    pub fn begin(&mut self, spec: &TensorSpec) {
        self.0.update((spec.name.len() as u32).to_le_bytes());
        self.0.update(spec.name.as_bytes());
        self.0.update((spec.shape.len() as u32).to_le_bytes());
        for dim in &spec.shape {
            self.0.update((*dim as u64).to_le_bytes());
        }
    }

    /// Further elements of the current tensor, row-major.
    pub fn elements(&mut self, values: &[f32]) {
        self.0.update(bytemuck::cast_slice::<f32, u8>(values));
    }

    /// The id: 64 hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// The id of the model whose tensors `source` lists in canonical order. Fails only when the source does.
pub fn model_id(source: &dyn TensorSource) -> std::io::Result<String> {
    let mut hasher = ModelIdHasher::new();
    for spec in source.specs() {
        hasher.begin(&spec);
        source.write_f32(&spec.name, &mut |piece| {
            hasher.elements(piece);
            Ok(())
        })?;
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256;
    use crate::tensor::MemoryTensors;

    fn one(name: &str, shape: &[usize], values: &[f32]) -> MemoryTensors {
        let mut tensors = MemoryTensors::new();
        tensors.push(TensorSpec::new(name, shape), values.to_vec());
        tensors
    }

    #[test]
    fn the_documented_bytes_are_hashed() {
        let mut bytes = b"ptbr-slm model id 1\n".to_vec();
        bytes.extend([2, 0, 0, 0, b'a', b'b', 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(1.5f32.to_le_bytes());
        bytes.extend((-0.0f32).to_le_bytes());
        assert_eq!(
            model_id(&one("ab", &[2], &[1.5, -0.0])).unwrap(),
            hex(&sha256(&bytes))
        );
    }

    #[test]
    fn name_shape_and_every_bit_matter_and_pieces_do_not() {
        let base = model_id(&one("a", &[2, 3], &[0.0; 6])).unwrap();
        assert_ne!(base, model_id(&one("b", &[2, 3], &[0.0; 6])).unwrap());
        assert_ne!(base, model_id(&one("a", &[3, 2], &[0.0; 6])).unwrap());
        assert_ne!(
            base,
            model_id(&one("a", &[2, 3], &[0.0, 0.0, 0.0, 0.0, 0.0, -0.0])).unwrap()
        );
        let mut hasher = ModelIdHasher::new();
        hasher.begin(&TensorSpec::new("a", [2, 3]));
        for _ in 0..6 {
            hasher.elements(&[0.0]);
        }
        assert_eq!(hasher.finish(), base);
    }
}
