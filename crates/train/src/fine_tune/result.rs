//! What a fine-tuning run leaves: the parameters of its best checkpoint as an adapter, as the values of a state, or merged into the
//! base.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ptbr_model::{
    Adapter, AdapterConfig, AdapterError, DomainFineTuneConfig, FineTuneCheckpoint, FineTuneMethod,
    LoraModule, MergedWeights, TensorSource, TensorSpec, Verify, WeightedAdapter, checkpoint_name,
    find_fine_tune_checkpoint, open_fine_tune_checkpoint,
};

use super::BaseModel;
use super::trained::{LORA_B, Trained, kind, trained_specs};
use crate::TrainError;

/// The trained parameters of a run, at the lowest validation loss where it was validated and at its last step where it was not.
#[derive(Debug)]
pub struct FineTuned {
    tuning: DomainFineTuneConfig,
    step: u64,
    best_eval: Option<f64>,
    layers: usize,
    /// Of an adapter: one. Of a state: none.
    adapters: Vec<WeightedAdapter>,
    /// Every trained parameter.
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
        let adapters = match tuning.method {
            FineTuneMethod::State => Vec::new(),
            FineTuneMethod::Lora => vec![WeightedAdapter {
                adapter: adapter_of(&tuning, model_id, &specs, &values),
                weight: 1.0,
            }],
        };
        Ok(Self {
            tuning,
            step: checkpoint.state.step,
            best_eval: checkpoint.state.best_eval,
            layers: base.config.n_layers,
            adapters,
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

    /// The low-rank changes; without the vectors that were trained along, and `None` for a state.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapters.first().map(|one| &one.adapter)
    }

    /// A trained state's values, layer after layer: the inputs of time mixing and channel mixing, then WKV's aa, bb, pp; `None` for an
    /// adapter.
    pub fn state_values(&self) -> Option<Vec<f32>> {
        if self.tuning.method != FineTuneMethod::State {
            return None;
        }
        let mut values = Vec::new();
        for layer in 0..self.layers {
            let part = |part: &str| self.value(&format!("blocks.{layer}.state.{part}"));
            values.extend_from_slice(part("att_x"));
            values.extend_from_slice(part("ffn_x"));
            values.extend_from_slice(part("aa"));
            values.extend(std::iter::repeat_n(1.0, part("aa").len()));
            values.extend_from_slice(part("pp"));
        }
        Some(values)
    }

    /// The base's tensors with the trained parameters in them: `W + scale · B·A` and the trained vectors.
    ///
    /// Fails when the base is rounded: merging would round it again.
    pub fn merged<'a>(&'a self, base: &'a BaseModel) -> Result<MergedModel<'a>, AdapterError> {
        Ok(MergedModel {
            matrices: MergedWeights::new(&base.source, &self.adapters)?,
            vectors: &self.values,
        })
    }

    fn value(&self, name: &str) -> &[f32] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }
}

fn adapter_of(
    tuning: &DomainFineTuneConfig,
    model_id: String,
    specs: &[TensorSpec],
    values: &BTreeMap<String, Vec<f32>>,
) -> Adapter {
    let factor = |name: &str| values.get(name).cloned().unwrap_or_default();
    let mut modules: Vec<LoraModule> = specs
        .iter()
        .filter_map(|spec| {
            let Trained::A(target) = kind(&spec.name) else {
                return None;
            };
            let (a, b) = (factor(&spec.name), factor(&format!("{target}{LORA_B}")));
            Some(LoraModule {
                target: target.to_owned(),
                in_features: a.len() / tuning.rank,
                out_features: b.len() / tuning.rank,
                a,
                b,
            })
        })
        .collect();
    modules.sort_by(|a, b| a.target.cmp(&b.target));
    Adapter {
        config: AdapterConfig {
            rank: tuning.rank,
            alpha: tuning.alpha,
            rank_stabilized: false,
            base_model: Some(model_id.clone()),
        },
        model_id: Some(model_id),
        modules,
    }
}

/// See [`FineTuned::merged`].
#[derive(Debug)]
pub struct MergedModel<'a> {
    matrices: MergedWeights<'a>,
    vectors: &'a BTreeMap<String, Vec<f32>>,
}

impl TensorSource for MergedModel<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.matrices.specs()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.vectors.get(name) {
            Some(vector) => sink(vector),
            None => self.matrices.write_f32(name, sink),
        }
    }
}
