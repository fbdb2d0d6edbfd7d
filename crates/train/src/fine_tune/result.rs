//! What a fine-tuning run leaves: the parameters of its best checkpoint as an adapter, as the values of a state, or merged into the
//! base.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ptbr_model::{
    Adapter, AdapterConfig, DomainFineTuneConfig, FineTuneCheckpoint, FineTuneMethod, LoraModule,
    ModelSource, TensorSource, TensorSpec, Verify, checkpoint_name, find_fine_tune_checkpoint,
    open_fine_tune_checkpoint,
};

use super::BaseModel;
use super::trained::{Trained, kind, trained_specs};
use crate::TrainError;
use crate::model::LayerState;
use crate::model::parameters::f32_values;

/// The trained parameters of a run, at the lowest validation loss where it was validated and at its last step where it was not.
#[derive(Debug)]
pub struct FineTuned {
    tuning: DomainFineTuneConfig,
    model_id: String,
    step: u64,
    best_eval: Option<f64>,
    specs: Vec<TensorSpec>,
    values: BTreeMap<String, Vec<f32>>,
}

impl FineTuned {
    /// The result of the run in `output_dir`, which was tuned from `base`.
    pub fn open(output_dir: &Path, base: &BaseModel) -> Result<Self, TrainError> {
        let newest = find_fine_tune_checkpoint(output_dir, Verify::WithoutOptimizer)?.checkpoint;
        let checkpoint = match newest.state.best_eval_step {
            Some(step) if step != newest.state.step => open_fine_tune_checkpoint(
                &output_dir.join(checkpoint_name(step)),
                Verify::WithoutOptimizer,
            )?,
            _ => newest,
        };
        Self::of(&checkpoint, base)
    }

    fn of(checkpoint: &FineTuneCheckpoint, base: &BaseModel) -> Result<Self, TrainError> {
        let model_id = base.source.model_id().to_owned();
        if checkpoint.base_model_id != model_id {
            return Err(TrainError::OtherBase {
                path: checkpoint.path.clone(),
                expected: checkpoint.base_model_id.clone(),
                found: model_id,
            });
        }
        let tuning = checkpoint.tuning.config.clone();
        let specs = trained_specs(&tuning, &base.config)?;
        checkpoint.trained.check_layout(&specs)?;
        let mut values = BTreeMap::new();
        for spec in &specs {
            let elements = checkpoint.trained.tensor(&spec.name)?.to_vec();
            values.insert(spec.name.clone(), elements);
        }
        Ok(Self {
            tuning,
            model_id,
            step: checkpoint.state.step,
            best_eval: checkpoint.state.best_eval,
            specs,
            values,
        })
    }

    /// The step that it is from.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Validation loss of that step, nats per token; `None` without validation.
    pub fn validation_loss(&self) -> Option<f64> {
        self.best_eval
    }

    /// Numbers trained.
    pub fn num_parameters(&self) -> usize {
        self.values.values().map(Vec::len).sum()
    }

    /// Whether it is a low-rank change of matrices and nothing more: what an adapter folder can hold.
    pub fn is_adapter(&self) -> bool {
        let vectors = self.tuning.train_time || self.tuning.train_norms;
        self.tuning.method == FineTuneMethod::Lora && !vectors
    }

    /// The low-rank changes as an adapter; without the vectors that were trained along.
    pub fn adapter(&self) -> Adapter {
        let mut modules: Vec<LoraModule> = Vec::new();
        for spec in &self.specs {
            let Trained::A(target) = kind(&spec.name) else {
                continue;
            };
            let part = |part: &str| self.value(&format!("{target}.lora.{part}")).to_vec();
            let (a, b) = (part("a"), part("b"));
            modules.push(LoraModule {
                target: target.to_owned(),
                in_features: a.len() / self.tuning.rank,
                out_features: b.len() / self.tuning.rank,
                a,
                b,
            });
        }
        modules.sort_by(|a, b| a.target.cmp(&b.target));
        Adapter {
            config: AdapterConfig {
                rank: self.tuning.rank,
                alpha: self.tuning.alpha,
                rank_stabilized: false,
                base_model: Some(self.model_id.clone()),
            },
            model_id: Some(self.model_id.clone()),
            modules,
        }
    }

    /// A trained state's values, layer after layer: the inputs of time mixing and channel mixing, then WKV's aa, bb, pp; `None` for an
    /// adapter.
    pub fn state_values(&self) -> Option<Vec<f32>> {
        if self.tuning.method != FineTuneMethod::State {
            return None;
        }
        let layers = self.specs.len() / LayerState::PARTS.len();
        let mut values = Vec::new();
        for layer in 0..layers {
            let part = |part: &str| self.value(&format!("blocks.{layer}.state.{part}"));
            values.extend_from_slice(part("att_x"));
            values.extend_from_slice(part("ffn_x"));
            values.extend_from_slice(part("aa"));
            values.extend(std::iter::repeat_n(1.0, part("aa").len()));
            values.extend_from_slice(part("pp"));
        }
        Some(values)
    }

    /// The base's tensors in f32 with the trained parameters in them: `W + scale · B·A` and the trained vectors.
    pub fn merged<'a>(&'a self, base: &'a BaseModel) -> MergedModel<'a> {
        MergedModel {
            tuned: self,
            source: &base.source,
            specs: base.config.tensor_specs(),
        }
    }

    fn value(&self, name: &str) -> &[f32] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }
}

/// See [`FineTuned::merged`].
#[derive(Debug)]
pub struct MergedModel<'a> {
    tuned: &'a FineTuned,
    source: &'a Arc<ModelSource>,
    specs: Vec<TensorSpec>,
}

impl TensorSource for MergedModel<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs.clone()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(vector) = self.tuned.values.get(name) {
            return sink(vector);
        }
        let spec = self.specs.iter().find(|spec| spec.name == name);
        let spec = spec.ok_or(io::ErrorKind::NotFound)?;
        let mut weights = f32_values(self.source, spec).map_err(io::Error::other)?;
        let target = name.strip_suffix(".weight").unwrap_or(name);
        let factor = |part: &str| self.tuned.values.get(&format!("{target}.lora.{part}"));
        if let (Some(a), Some(b)) = (factor("a"), factor("b")) {
            add_product(&mut weights, a, b, &self.tuned.tuning);
        }
        sink(&weights)
    }
}

/// Adds scale · B·A to W, each row summed in f64 and rounded once.
fn add_product(weights: &mut [f32], a: &[f32], b: &[f32], tuning: &DomainFineTuneConfig) {
    let (rank, scale) = (tuning.rank, f64::from(tuning.scale() as f32));
    let inputs = a.len() / rank;
    let mut sums = vec![0.0f64; inputs];
    for (row, b) in weights.chunks_exact_mut(inputs).zip(b.chunks_exact(rank)) {
        for (sum, &weight) in sums.iter_mut().zip(row.iter()) {
            *sum = f64::from(weight);
        }
        for (&b, a) in b.iter().zip(a.chunks_exact(inputs)) {
            let factor = scale * f64::from(b);
            for (sum, &a) in sums.iter_mut().zip(a) {
                *sum += factor * f64::from(a);
            }
        }
        for (weight, &sum) in row.iter_mut().zip(&sums) {
            *weight = sum as f32;
        }
    }
}
