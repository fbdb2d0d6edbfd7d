//! From the trainer's state to checkpoint folders and back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use ptbr_model::{
    ArchConfig, CheckpointContents, DiskStorage, FineTuneContents, RwkvConfig, TensorError,
    TensorFile, TensorSource, TensorSpec, TrainingConfig, checkpoint_name, prune_checkpoints,
    save_checkpoint, save_fine_tune_checkpoint,
};

use super::Trainer;
use super::lanes::Lanes;
use super::start::Start;
use crate::TrainError;
use crate::model::Rwkv;
use crate::model::init::split_layer;
use crate::model::parameters::{NamedTensors, build};
use crate::ops::host::is_host;
use crate::optim::{AdamW, Flat, Moments};

/// Adam's moments as `<name>.m` and `<name>.v`, Muon's momentum as `<name>.m`; zeros for a parameter that no gradient has reached yet. And
/// the carried states, as `blocks.<i>.carried`.
struct OptimizerTensors<'a> {
    trainer: &'a Trainer,
    specs: Vec<TensorSpec>,
}

impl<'a> OptimizerTensors<'a> {
    /// What the next step of `trainer` needs besides the weights.
    fn of(trainer: &'a Trainer) -> Self {
        Self {
            specs: trainer.state.config.optimizer_specs(&trainer.specs),
            trainer,
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
        let index = self.specs.iter().position(|spec| spec.name == name);
        match index {
            Some(index) if self.trainer.owners.is_some() => {
                self.trainer.fetch_moments(index, &self.specs[index], sink)
            }
            Some(index) => self.trainer.read_moments(&self.specs[index], sink),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("the optimizer has no tensor called `{name}`"),
            )),
        }
    }
}

impl Trainer {
    /// Writes a checkpoint of this moment and removes those that are no longer kept; returns its folder. Where several processes share
    /// the run all of them call this, one writes, and none goes on before it has.
    pub fn save(&mut self) -> Result<PathBuf, TrainError> {
        let group = Arc::clone(&self.group);
        group.while_busy(|| {
            let path = self.folder.join(checkpoint_name(self.state.step));
            match &self.lock {
                Some(lock) => {
                    self.write_checkpoint(lock.path())?;
                    self.end_serving_moments()?;
                }
                None => self.serve_moments()?,
            }
            group.barrier()?;
            Ok(path)
        })
    }

    /// Passes what `spec` names of the optimizer's state, or of the carried states, on to `sink`, from this process.
    pub(super) fn read_moments(
        &self,
        spec: &TensorSpec,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let name = spec.name.as_str();
        let (parameter, part) = name.rsplit_once('.').unwrap_or((name, ""));
        if let (Some(lanes), "carried") = (&self.lanes, part) {
            return lanes.write(split_layer(name).0, sink);
        }
        let momentum = self.optimizer.muon.momentum(parameter);
        match (self.optimizer.moments(parameter), momentum, part) {
            (Some(moments), _, "m") => moments.m.read(sink),
            (Some(moments), _, _) => moments.v.read(sink),
            (None, Some(momentum), _) => momentum.read(sink),
            (None, None, _) => sink(&vec![0.0; spec.num_elements().unwrap_or(0)]),
        }
    }

    fn write_checkpoint(&self, folder: &Path) -> Result<(), TrainError> {
        let state = &self.state;
        let trained = NamedTensors::of(&self.model, self.specs.clone());
        let optimizer = OptimizerTensors::of(self);
        if self.state.is_beside_a_base() {
            let contents = FineTuneContents {
                trained: &trained,
                optimizer: &optimizer,
                state,
            };
            save_fine_tune_checkpoint(folder, &contents)?;
        } else {
            let contents = CheckpointContents {
                config: &ArchConfig::Rwkv4(self.config.clone()),
                tokenizer_json: Some(&self.tokenizer_json),
                model: &trained,
                optimizer: Some(&optimizer),
                state,
            };
            save_checkpoint(folder, &contents)?;
        }
        prune_checkpoints(
            &DiskStorage,
            folder,
            &state.config.checkpoints(),
            state.best_eval_step,
        )?;
        Ok(())
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
    training: &TrainingConfig,
    device: &Device,
) -> Result<AdamW, TensorError> {
    let mut optimizer = AdamW::default();
    let Some(file) = moments else {
        return Ok(optimizer);
    };
    let device = device.clone().inner();
    for spec in specs {
        let read = |part: &str| Ok(file.tensor(&format!("{}.{part}", spec.name))?.to_vec());
        let (rank, m): (_, Vec<f32>) = (spec.shape.len(), read("m")?);
        if training.optimizer.orthogonalises(&spec.name, rank) {
            let momentum = Flat::from_values(m, &device, is_host(&device));
            optimizer.muon.restore(spec.name.clone(), momentum);
            continue;
        }
        let packed = training.moments.packs(rank, m.len() as u64);
        let moments = Moments::from_values(m, read("v")?, &device, packed);
        optimizer.restore(spec.name.clone(), moments);
    }
    Ok(optimizer)
}

/// The lanes of a run, with the states of its checkpoint, whose optimizer file is `file`.
pub(super) fn load_lanes(
    file: Option<&TensorFile>,
    start: &Start,
    device: &Device,
) -> Result<Option<Lanes>, TensorError> {
    let training = &start.state.config;
    let mut lanes = Lanes::new(training, &start.config, device);
    if let (Some(lanes), Some(file)) = (&mut lanes, file) {
        lanes.restore(file, &training.carried_specs(&start.specs))?;
    }
    Ok(lanes)
}
