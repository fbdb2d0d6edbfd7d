//! From the trainer's state to checkpoint folders and back.

use std::io;
use std::path::PathBuf;

use burn::tensor::Device;
use ptbr_model::{
    ArchConfig, CheckpointContents, DiskStorage, FineTuneContents, MomentFormat, RwkvConfig,
    TensorError, TensorFile, TensorSource, TensorSpec, prune_checkpoints, save_checkpoint,
    save_fine_tune_checkpoint,
};

use super::Trainer;
use crate::TrainError;
use crate::model::Rwkv;
use crate::model::parameters::{NamedTensors, build};
use crate::optim::{AdamW, Moments};

/// Adam's moments as `<name>.m` and `<name>.v`; zeros for a parameter that no gradient has reached yet.
struct OptimizerTensors<'a> {
    optimizer: &'a AdamW,
    specs: Vec<TensorSpec>,
}

impl<'a> OptimizerTensors<'a> {
    /// The moments of the parameters `specs`.
    fn new(optimizer: &'a AdamW, specs: &[TensorSpec]) -> Self {
        let both = |spec: &TensorSpec| {
            let shape = &spec.shape;
            ["m", "v"].map(|part| TensorSpec::new(format!("{}.{part}", spec.name), shape.clone()))
        };
        Self {
            optimizer,
            specs: specs.iter().flat_map(both).collect(),
        }
    }
}

impl TensorSource for OptimizerTensors<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs.clone()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (parameter, part) = name.rsplit_once('.').unwrap_or((name, ""));
        match (self.optimizer.moments(parameter), part) {
            (Some(moments), "m") => moments.m.read(sink),
            (Some(moments), _) => moments.v.read(sink),
            (None, _) => {
                let spec = self.specs.iter().find(|spec| spec.name == name);
                let zeros = spec.and_then(TensorSpec::num_elements).unwrap_or(0);
                sink(&vec![0.0; zeros])
            }
        }
    }
}

impl Trainer {
    /// Writes a checkpoint of this moment and removes those that are no longer kept; returns its folder.
    pub fn save(&mut self) -> Result<PathBuf, TrainError> {
        let (folder, state) = (self.lock.path(), &self.state);
        let trained = NamedTensors::of(&self.model, self.specs.clone());
        let optimizer = OptimizerTensors::new(&self.optimizer, &self.specs);
        let path = if self.state.is_beside_a_base() {
            let contents = FineTuneContents {
                trained: &trained,
                optimizer: &optimizer,
                state,
            };
            save_fine_tune_checkpoint(folder, &contents)?
        } else {
            let contents = CheckpointContents {
                config: &ArchConfig::Rwkv4(self.config.clone()),
                tokenizer_json: Some(&self.tokenizer_json),
                model: &trained,
                optimizer: Some(&optimizer),
                state,
            };
            save_checkpoint(folder, &contents)?
        };
        prune_checkpoints(
            &DiskStorage,
            folder,
            &state.config.checkpoints(),
            state.best_eval_step,
        )?;
        Ok(path)
    }
}

/// The model of a checkpoint on `device` (with autodiff).
pub fn load_model(
    weights: &TensorFile,
    config: &RwkvConfig,
    device: &Device,
) -> Result<Rwkv, TensorError> {
    build(config, device, &mut |spec| {
        Ok(weights.tensor(&spec.name)?.to_vec())
    })
}

/// The optimizer of a checkpoint's moments of the parameters `specs`, kept in `format`; a fresh one when it has none.
pub(super) fn load_optimizer(
    moments: Option<&TensorFile>,
    specs: &[TensorSpec],
    format: MomentFormat,
    device: &Device,
) -> Result<AdamW, TensorError> {
    let mut optimizer = AdamW::default();
    let Some(file) = moments else {
        return Ok(optimizer);
    };
    let device = device.clone().inner();
    for spec in specs {
        let read = |part: &str| Ok(file.tensor(&format!("{}.{part}", spec.name))?.to_vec());
        let (m, v): (Vec<f32>, _) = (read("m")?, read("v")?);
        let packed = format.packs(spec.shape.len(), m.len() as u64);
        let moments = Moments::from_values(m, v, &device, packed);
        optimizer.restore(spec.name.clone(), moments);
    }
    Ok(optimizer)
}
