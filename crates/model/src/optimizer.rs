//! Which optimizer moves which tensor, and what besides the weights a checkpoint holds for the next step.

use serde::{Deserialize, Serialize};

use crate::tensor::TensorSpec;
use crate::training::TrainingConfig;

/// What turns gradients into changes of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// AdamW (Loshchilov & Hutter 2019) for every tensor.
    #[default]
    AdamW,
    /// Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for embedding, head and vectors.
    Muon,
}

impl Optimizer {
    /// Whether the tensor `name` with `rank` dimensions moves by orthogonalised momentum.
    pub fn orthogonalises(self, name: &str, rank: usize) -> bool {
        self == Self::Muon && rank == 2 && name.starts_with("blocks.")
    }
}

/// Rows of a carried state for each lane: the two shifted inputs and aa, bb, pp.
pub const CARRIED_ROWS: usize = 5;

impl TrainingConfig {
    /// Names and shapes in `optimizer.safetensors` of a run that trains the tensors `trained`: `<name>.m`, the mean of the gradient or
    /// Muon's momentum; `<name>.v`, the mean of its square, where AdamW moves the tensor; and with
    /// [`carry_state`](TrainingConfig::carry_state) `blocks.<i>.carried`, `[accumulation steps, 5 · batch size, C]`, what the next
    /// windows of each lane begin with.
    pub fn optimizer_specs(&self, trained: &[TensorSpec]) -> Vec<TensorSpec> {
        let moments = trained.iter().flat_map(|spec| {
            let parts: &[&str] = match self.optimizer.orthogonalises(&spec.name, spec.shape.len()) {
                true => &["m"],
                false => &["m", "v"],
            };
            parts
                .iter()
                .map(|part| TensorSpec::new(format!("{}.{part}", spec.name), spec.shape.clone()))
        });
        moments.chain(self.carried_specs(trained)).collect()
    }

    /// Names and shapes of the carried states; none unless the run carries states.
    pub fn carried_specs(&self, trained: &[TensorSpec]) -> Vec<TensorSpec> {
        let lanes = (
            self.gradient_accumulation_steps,
            CARRIED_ROWS.saturating_mul(self.batch_size),
        );
        let of_layer = |spec: &TensorSpec| {
            let layer = spec.name.strip_suffix(".ln1.weight")?;
            let shape = vec![lanes.0, lanes.1, *spec.shape.first()?];
            Some(TensorSpec::new(format!("{layer}.carried"), shape))
        };
        let layers = trained.iter().filter(|_| self.carry_state);
        layers.filter_map(of_layer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RwkvConfig;

    #[test]
    fn a_checkpoint_holds_what_the_next_step_needs_and_no_more() {
        let trained = RwkvConfig::new(512, 64, 2, 32).tensor_specs();
        let adamw = TrainingConfig::default();
        assert_eq!(adamw.optimizer_specs(&trained).len(), 2 * trained.len());
        let muon = TrainingConfig {
            optimizer: Optimizer::Muon,
            carry_state: true,
            batch_size: 3,
            gradient_accumulation_steps: 4,
            ..adamw
        };
        let specs = muon.optimizer_specs(&trained);
        let find = |name: &str| specs.iter().find(|spec| spec.name == name);
        // Seven matrices a block.
        assert_eq!(specs.len(), 2 * trained.len() - 2 * 7 + 2);
        assert!(find("blocks.1.att.key.weight.m").is_some());
        assert!(find("blocks.1.att.key.weight.v").is_none());
        assert!(find("head.weight.v").is_some() && find("emb.weight.v").is_some());
        assert!(
            find("blocks.0.att.time_mix_k.v").is_some(),
            "a vector of rank 3"
        );
        assert_eq!(find("blocks.1.carried").unwrap().shape, [4, 15, 64]);
    }
}
