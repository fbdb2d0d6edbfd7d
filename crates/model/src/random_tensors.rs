//! Random weights of the scale that trained models have, made as they are read: for measuring and testing sizes that nobody has trained.

use std::io;

use crate::arch::ArchConfig;
use crate::tensor::{TensorSource, TensorSpec};

/// Elements that are handed over at a time.
const PIECE: usize = 1 << 16;

/// The tensors of a configuration, uniformly random; a tensor's numbers depend on the seed and its name alone. Nothing is held in memory.
///
/// Matrices keep the variance of what they multiply, norms are around 1, decays go from short to long: activations and logits are about as large as those of a trained
/// model.
#[derive(Debug, Clone)]
pub struct RandomTensors {
    specs: Vec<TensorSpec>,
    seed: u64,
}

impl RandomTensors {
    /// The tensors of `config`, which has been validated.
    pub fn new(config: &ArchConfig, seed: u64) -> Self {
        Self {
            specs: config.tensor_specs(),
            seed,
        }
    }
}

impl TensorSource for RandomTensors {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs.clone()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let spec = self.specs.iter().find(|spec| spec.name == name);
        let spec = spec.ok_or(io::ErrorKind::NotFound)?;
        let (low, high) = range(spec);
        let mut state = name
            .bytes()
            .fold(self.seed, |state, byte| mix(state ^ u64::from(byte)));
        let mut left = spec.num_elements().ok_or(io::ErrorKind::InvalidInput)?;
        let mut piece = vec![0.0; left.min(PIECE)];
        while left > 0 {
            let piece = &mut piece[..left.min(PIECE)];
            for value in piece.iter_mut() {
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let unit = (mix(state) >> 40) as f32 / (1u64 << 24) as f32;
                *value = low + (high - low) * unit;
            }
            sink(piece)?;
            left -= piece.len();
        }
        Ok(())
    }
}

/// Between which numbers a tensor's elements are.
fn range(spec: &TensorSpec) -> (f32, f32) {
    if let &[_, cols] = spec.shape.as_slice() {
        if spec.name == "emb.weight" {
            return (-1.0, 1.0);
        }
        let bound = (3.0 / cols as f32).sqrt();
        return (-bound, bound);
    }
    let last = spec.name.rsplit('.').next().unwrap_or_default();
    match last {
        "weight" => (0.5, 1.5),
        "bias" => (-0.3, 0.3),
        "time_decay" => (-5.0, 3.0),
        "time_first" => (-2.0, 1.0),
        _ => (0.0, 1.0),
    }
}

/// The output function of splitmix64.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::preset;

    fn tensor(source: &RandomTensors, name: &str) -> Vec<f32> {
        let mut values = Vec::new();
        let mut sink = |piece: &[f32]| {
            values.extend_from_slice(piece);
            Ok(())
        };
        source.write_f32(name, &mut sink).unwrap();
        values
    }

    #[test]
    fn a_tensor_is_a_function_of_seed_and_name_and_has_the_scale_of_its_kind() {
        let config = ArchConfig::Rwkv4(preset("nano").unwrap());
        let source = RandomTensors::new(&config, 1);
        for spec in source.specs() {
            let values = tensor(&source, &spec.name);
            assert_eq!(Some(values.len()), spec.num_elements(), "{}", spec.name);
            assert_eq!(values, tensor(&source, &spec.name));
            let (low, high) = range(&spec);
            assert!(
                values.iter().all(|x| (low..=high).contains(x)),
                "{}",
                spec.name
            );
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            let off = (mean - (low + high) / 2.0).abs() / (high - low);
            assert!(
                off < 2.0 / (values.len() as f32).sqrt(),
                "{}: {mean}",
                spec.name
            );
        }
        let key = tensor(&source, "blocks.0.att.key.weight");
        assert_ne!(key, tensor(&source, "blocks.1.att.key.weight"));
        let other = RandomTensors::new(&config, 2);
        assert_ne!(key, tensor(&other, "blocks.0.att.key.weight"));
        let missing = source.write_f32("head", &mut |_| Ok(())).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
