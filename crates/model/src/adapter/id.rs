//! The adapter id: SHA-256 over what an adapter computes, by which states and caches name the adapter they belong to.

use sha2::{Digest, Sha256};

use super::Adapter;
use crate::digest::hex;

/// Says what is hashed, so that no other file's digest can be mistaken for an adapter id.
const DOMAIN: &[u8] = b"ptbr-slm adapter id 1\n";

impl Adapter {
    /// Id of the adapter: 64 hexadecimal digits. The same for every folder that changes a model in the same way: names, dtypes on disk and the model id do not enter.
    ///
    /// Hashed are rank (u64), scale (f32), and for every module, sorted by target: length of the target (u32), target, `in_features` and `out_features` (u64 each), A, B (f32);
    /// all little-endian.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        hash.update((self.config.rank as u64).to_le_bytes());
        hash.update(self.config.scale().to_le_bytes());
        let mut modules: Vec<_> = self.modules.iter().collect();
        modules.sort_by(|a, b| a.target.cmp(&b.target));
        for module in modules {
            hash.update((module.target.len() as u32).to_le_bytes());
            hash.update(module.target.as_bytes());
            hash.update((module.in_features as u64).to_le_bytes());
            hash.update((module.out_features as u64).to_le_bytes());
            hash.update(bytemuck::cast_slice::<f32, u8>(&module.a));
            hash.update(bytemuck::cast_slice::<f32, u8>(&module.b));
        }
        hex(&hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{AdapterConfig, LoraModule};
    use crate::digest::sha256;

    fn adapter() -> Adapter {
        Adapter {
            config: AdapterConfig {
                rank: 1,
                alpha: 2.0,
                rank_stabilized: false,
                base_model: None,
            },
            model_id: None,
            modules: vec![LoraModule {
                target: "head".to_owned(),
                in_features: 1,
                out_features: 2,
                a: vec![0.5],
                b: vec![1.0, -0.0],
            }],
        }
    }

    #[test]
    fn the_documented_bytes_are_hashed() {
        let mut bytes = b"ptbr-slm adapter id 1\n".to_vec();
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(2.0f32.to_le_bytes());
        bytes.extend([4, 0, 0, 0]);
        bytes.extend(b"head");
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        for value in [0.5f32, 1.0, -0.0] {
            bytes.extend(value.to_le_bytes());
        }
        assert_eq!(adapter().id(), hex(&sha256(&bytes)));
    }

    #[test]
    fn what_it_computes_matters_and_where_it_comes_from_does_not() {
        let id = adapter().id();
        let mut other = adapter();
        other.model_id = Some("a".repeat(64));
        other.config.base_model = Some("x/y".to_owned());
        // The same scale: 2 / √1.
        other.config.rank_stabilized = true;
        assert_eq!(other.id(), id);
        let mut scaled = adapter();
        scaled.config.alpha = 3.0;
        let mut changed = adapter();
        changed.modules[0].b[1] = 0.0;
        for different in [scaled, changed] {
            assert_ne!(different.id(), id);
        }
    }
}
