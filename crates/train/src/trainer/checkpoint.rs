//! From the trainer's state to checkpoint folders and back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use ptbr_model::{
    ArchConfig, CheckpointContents, DiskStorage, FineTuneContents, RwkvConfig, TensorError,
    TensorFile, TensorSource, TensorSpec, checkpoint_name, prune_checkpoints, save_checkpoint,
    save_fine_tune_checkpoint,
};

use super::Trainer;
use crate::TrainError;
use crate::model::Rwkv;
use crate::model::parameters::{NamedTensors, build};
use crate::ops::host::is_host;
use crate::optim::{AdamW, Flat, Moments};

/// Adam's moments as `<name>.m` and `<name>.v`; zeros for a parameter that no gradient has reached yet.
struct OptimizerTensors<'a> {
    trainer: &'a Trainer,
    specs: Vec<TensorSpec>,
}

impl<'a> OptimizerTensors<'a> {
    /// The moments of the parameters that `trainer` trains.
    fn new(trainer: &'a Trainer) -> Self {
        let both = |spec: &TensorSpec| {
            let shape = &spec.shape;
            ["m", "v"].map(|part| TensorSpec::new(format!("{}.{part}", spec.name), shape.clone()))
        };
        Self {
            specs: trainer.specs.iter().flat_map(both).collect(),
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

    /// Passes the moments that `spec` names on to `sink`, from this process.
    pub(super) fn read_moments(
        &self,
        spec: &TensorSpec,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let name = spec.name.as_str();
        let (parameter, part) = name.rsplit_once('.').unwrap_or((name, ""));
        match (self.optimizer.moments(parameter), part) {
            (Some(moments), "m") => moments.m.read(sink),
            (Some(moments), _) => moments.v.read(sink),
            (None, _) => sink(&vec![0.0; spec.num_elements().unwrap_or(0)]),
        }
    }

    fn write_checkpoint(&self, folder: &Path) -> Result<(), TrainError> {
        let state = &self.state;
        let trained = NamedTensors::of(&self.model, self.specs.clone());
        let optimizer = OptimizerTensors::new(self);
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

/// The optimizer of a checkpoint's moments of the parameters `specs`; a fresh one when it has none.
pub(super) fn load_optimizer(
    moments: Option<&TensorFile>,
    specs: &[TensorSpec],
    device: &Device,
) -> Result<AdamW, TensorError> {
    let mut optimizer = AdamW::default();
    let Some(file) = moments else {
        return Ok(optimizer);
    };
    let (device, host) = (device.clone().inner(), is_host(device));
    for spec in specs {
        let read = |part: &str| -> Result<Flat, TensorError> {
            Ok(Flat::from_values(
                file.tensor(&format!("{}.{part}", spec.name))?.to_vec(),
                &device,
                host,
            ))
        };
        let moments = Moments {
            m: read("m")?,
            v: read("v")?,
        };
        optimizer.restore(spec.name.clone(), moments);
    }
    Ok(optimizer)
}
