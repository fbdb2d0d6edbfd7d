//! From the trainer's state to checkpoint folders and back.

use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use ptbr_model::{
    ArchConfig, Checkpoint, CheckpointContents, DiskStorage, RwkvConfig, TensorError, TensorFile,
    TensorSource, TensorSpec, TrainState, prune_checkpoints, save_checkpoint,
};

use crate::TrainError;
use crate::model::Rwkv;
use crate::model::parameters::{NamedTensors, build};
use crate::ops::host::is_host;
use crate::optim::{AdamW, Flat, Moments};

/// Adam's moments as `<name>.m` and `<name>.v`; zeros for a parameter that no gradient has reached yet.
struct OptimizerTensors<'a> {
    optimizer: &'a AdamW,
    specs: Vec<TensorSpec>,
}

/// The specs of the moments of `config`'s tensors.
fn moment_specs(config: &RwkvConfig) -> Vec<TensorSpec> {
    let both = |spec: TensorSpec| {
        ["m", "v"].map(|part| TensorSpec::new(format!("{}.{part}", spec.name), spec.shape.clone()))
    };
    config.tensor_specs().into_iter().flat_map(both).collect()
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

/// Writes a checkpoint and removes those that are no longer kept.
pub(super) fn save(
    folder: &Path,
    config: &RwkvConfig,
    tokenizer_json: &str,
    model: &Rwkv,
    optimizer: &AdamW,
    state: &TrainState,
) -> Result<PathBuf, TrainError> {
    let arch = ArchConfig::Rwkv4(config.clone());
    let path = save_checkpoint(
        folder,
        &CheckpointContents {
            config: &arch,
            tokenizer_json: Some(tokenizer_json),
            model: &NamedTensors::of(model, config),
            optimizer: Some(&OptimizerTensors {
                optimizer,
                specs: moment_specs(config),
            }),
            state,
        },
    )?;
    prune_checkpoints(
        &DiskStorage,
        folder,
        &state.config.checkpoints(),
        state.best_eval_step,
    )?;
    Ok(path)
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

/// The optimizer of a checkpoint; a fresh one when it has none.
pub(super) fn load_optimizer(
    checkpoint: &Checkpoint,
    config: &RwkvConfig,
    device: &Device,
) -> Result<AdamW, TensorError> {
    let mut optimizer = AdamW::default();
    let Some(file) = &checkpoint.optimizer else {
        return Ok(optimizer);
    };
    let (device, host) = (device.clone().inner(), is_host(device));
    for spec in config.tensor_specs() {
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
        optimizer.restore(spec.name, moments);
    }
    Ok(optimizer)
}
