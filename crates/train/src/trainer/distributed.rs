//! What a run does together with other processes, where there are any: each method is the identity where there are none.

use std::collections::BTreeMap;
use std::io;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use ptbr_dataset::BatchSlice;
use ptbr_model::TensorSpec;

use super::{Start, StepReport, Trainer};
use crate::TrainError;
use crate::collective::{CollectiveError, ProcessGroup, owners, reduce_owned, reduce_shared};
use crate::model::Rwkv;
use crate::model::parameters::Path;
use crate::optim::{Flat, GradientSum};

/// Norms of the same gradient that different hardware computes differ by rounding, those of different gradients by much more than this
/// part.
const SAME_NORM: f64 = 1e-3;
/// What rank 0 asks for when it wants no more moments.
const NO_MORE: u64 = u64::MAX;
/// Numbers of a tensor that are sent at a time: 25 MiB.
const PIECE: usize = 25 * (1 << 20) / size_of::<f32>();

/// Takes the elements of a tensor, a piece at a time.
type Sink<'a> = dyn FnMut(&[f32]) -> io::Result<()> + 'a;

/// Which process keeps the optimizer's state of each parameter.
#[derive(Debug)]
pub(super) struct Owners(BTreeMap<String, usize>);

impl Owners {
    /// Shares the parameters `specs` out among `world` processes.
    fn of(specs: &[TensorSpec], world: usize) -> Self {
        let lengths: Vec<usize> = specs
            .iter()
            .map(|spec| spec.num_elements().unwrap_or(0))
            .collect();
        let names = specs.iter().map(|spec| spec.name.clone());
        Self(names.zip(owners(&lengths, world)).collect())
    }

    /// The owner of the parameter called `name`; rank 0 of what is none.
    fn of_parameter(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The owner of a moment, called `<parameter>.m` or `.v`.
    fn of_moment(&self, name: &str) -> usize {
        let parameter = name
            .rsplit_once('.')
            .map_or(name, |(parameter, _)| parameter);
        self.of_parameter(parameter)
    }
}

impl Start {
    /// The micro-batches of a step that fall to this process.
    pub fn batches(&self) -> Result<BatchSlice, TrainError> {
        let place = self.group.place();
        let micro_batches = self.state.config.gradient_accumulation_steps;
        if micro_batches < place.world {
            return Err(CollectiveError::TooManyProcesses {
                world: place.world,
                micro_batches,
            }
            .into());
        }
        Ok(BatchSlice::of_rank(micro_batches, place.rank, place.world)?)
    }

    /// Who keeps which parameter's optimizer state; `None` where everyone keeps all.
    pub fn owners(&self) -> Option<Owners> {
        let group = &self.group;
        group
            .shards_optimizer()
            .then(|| Owners::of(&self.specs, group.place().world))
    }

    /// The parameters whose optimizer state this process keeps.
    pub fn specs_kept_here(&self) -> Vec<TensorSpec> {
        let (owners, rank) = (self.owners(), self.group.place().rank);
        let here = |spec: &&TensorSpec| {
            owners
                .as_ref()
                .is_none_or(|owners| owners.of_parameter(&spec.name) == rank)
        };
        self.specs.iter().filter(here).cloned().collect()
    }
}

impl Trainer {
    /// Makes sure, before the first step, that all processes stand at the same step of the same run.
    pub(super) fn check_agreement_at_start(&self) -> Result<(), TrainError> {
        if !self.group.has_others() {
            return Ok(());
        }
        let state = &self.state;
        let run = format!(
            "{} {} {} {:?} {:?}",
            state.config_sha256, state.data_sha256, state.seed, state.config, self.specs
        );
        // FNV-1a, of which the 53 bits that an f64 holds are enough to tell two runs apart.
        let hash = run.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mine = [state.step as f64, (hash >> 11) as f64];
        let all = self.group.gather_f64(mine)?;
        for (other, theirs) in all.iter().enumerate() {
            let what = if theirs[0] != all[0][0] {
                format!("the step to go on from ({}, not {})", theirs[0], all[0][0])
            } else if theirs[1] != all[0][1] {
                "the model, its data or the hyper-parameters".to_owned()
            } else {
                continue;
            };
            return Err(CollectiveError::Disagreement { other, what }.into());
        }
        Ok(())
    }

    /// Adds up the gradients of all processes' micro-batches; where the optimizer's state is sharded, those of the parameters whose state is
    /// kept here.
    pub(super) fn reduce(&self, gradients: &mut GradientSum) -> Result<(), TrainError> {
        let group = &self.group;
        if !group.has_others() {
            return Ok(());
        }
        match &self.owners {
            None => reduce_shared(group, gradients)?,
            Some(owners) => {
                let owner_of = |name: &str| owners.of_parameter(name);
                reduce_owned(group, gradients, &owner_of)?;
            }
        }
        Ok(())
    }

    /// The loss and the norm of the gradient of the whole step, the same bits on all processes, from what this one found: its part of the
    /// loss, and the norm of the reduced gradients that it holds.
    pub(super) fn of_all(&self, loss: f64, norm: f64) -> Result<(f64, f64), TrainError> {
        if !self.group.has_others() {
            return Ok((loss, norm));
        }
        let all = self.group.gather_f64([loss, norm])?;
        let loss = all.iter().map(|[loss, _]| loss).sum();
        let norm = match &self.owners {
            // Everyone holds all of it; other hardware may round otherwise.
            None => all[0][1],
            Some(_) => all.iter().map(|[_, norm]| norm * norm).sum::<f64>().sqrt(),
        };
        Ok((loss, norm))
    }

    /// Gives every process the parameters that the others have updated.
    pub(super) fn share_parameters(&mut self) -> Result<(), TrainError> {
        let Some(owners) = &self.owners else {
            return Ok(());
        };
        let mut share = ShareParameters {
            path: Path::default(),
            group: &self.group,
            owners,
            failed: None,
        };
        let taken = std::mem::replace(&mut self.model, Rwkv::empty());
        self.model = taken.map(&mut share);
        share.failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The seconds since this was last asked that the process waited for others.
    pub(super) fn seconds_waited(&self) -> Option<f64> {
        let group = &self.group;
        group
            .has_others()
            .then(|| group.take_waited().as_secs_f64())
    }

    /// Whether any process was told to stop. Makes sure on the way that all have taken the same step.
    pub(super) fn agree(&self, stop: bool, report: &StepReport) -> Result<bool, TrainError> {
        if !self.group.has_others() {
            return Ok(stop);
        }
        let stop = f64::from(u8::from(stop));
        let mine = [stop, report.step as f64, report.loss, report.grad_norm];
        let all = self.group.gather_f64(mine)?;
        let [_, step, loss, norm] = all[0];
        for (other, theirs) in all.iter().enumerate() {
            let near = (theirs[3] - norm).abs() <= SAME_NORM * norm;
            let what = if theirs[1] != step {
                format!("the step ({}, not {step})", theirs[1])
            } else if theirs[2].to_bits() != loss.to_bits() {
                format!("the loss of step {step} ({}, not {loss})", theirs[2])
            } else if !near && (norm.is_finite() || theirs[3].is_finite()) {
                format!(
                    "the gradient of step {step} (norm {}, not {norm})",
                    theirs[3]
                )
            } else {
                continue;
            };
            return Err(CollectiveError::Disagreement { other, what }.into());
        }
        Ok(all.iter().any(|theirs| theirs[0] > 0.0))
    }

    /// On the process that writes: passes moment tensor `index`, whose owner sends it, on to `sink`.
    pub(super) fn fetch_moments(
        &self,
        index: usize,
        spec: &TensorSpec,
        sink: &mut Sink<'_>,
    ) -> io::Result<()> {
        self.ask(index as u64).map_err(io::Error::other)?;
        self.send_moments(spec, Some(sink))
    }

    /// On the process that writes: lets the others go on.
    pub(super) fn end_serving_moments(&self) -> Result<(), TrainError> {
        if self.owners.is_some() {
            self.ask(NO_MORE)?;
        }
        Ok(())
    }

    /// On the other processes: takes part in sending the moments that the writer asks for, until it asks for no more.
    pub(super) fn serve_moments(&self) -> Result<(), TrainError> {
        if self.owners.is_none() {
            return Ok(());
        }
        let specs = self.state.config.optimizer_specs(&self.specs);
        loop {
            let index = self.ask(NO_MORE)?;
            if index == NO_MORE {
                return Ok(());
            }
            let Some(spec) = specs.get(index as usize) else {
                continue;
            };
            self.send_moments(spec, None)
                .map_err(|source| TrainError::Log {
                    path: self.folder.clone(),
                    source,
                })?;
        }
    }

    /// What rank 0 asks for; the argument counts there only.
    fn ask(&self, index: u64) -> Result<u64, CollectiveError> {
        let bytes = self.group.broadcast(index.to_le_bytes().to_vec(), 0)?;
        Ok(bytes.try_into().map_or(NO_MORE, u64::from_le_bytes))
    }

    /// Sends a moment tensor from its owner to all, piece by piece, where `sink` takes it if there is one.
    fn send_moments(&self, spec: &TensorSpec, mut sink: Option<&mut Sink<'_>>) -> io::Result<()> {
        let owner = self
            .owners
            .as_ref()
            .map_or(0, |owners| owners.of_moment(&spec.name));
        let mut values = Vec::new();
        if owner == self.group.place().rank {
            self.read_moments(spec, &mut |part| {
                values.extend_from_slice(part);
                Ok(())
            })?;
        } else {
            values.resize(spec.num_elements().unwrap_or(0), 0.0);
        }
        for piece in values.chunks(PIECE) {
            let sent = self
                .group
                .broadcast_f32(piece, owner)
                .map_err(io::Error::other)?;
            if let Some(sink) = &mut sink {
                sink(&sent)?;
            }
        }
        Ok(())
    }
}

/// Sends each parameter from the process that updated it to all others, in the order of the model.
struct ShareParameters<'a> {
    path: Path,
    group: &'a ProcessGroup,
    owners: &'a Owners,
    failed: Option<CollectiveError>,
}

impl ShareParameters<'_> {
    /// Sends or receives all elements.
    fn share(&self, parameter: &mut Flat, owner: usize) -> Result<(), CollectiveError> {
        if let Some(elements) = parameter.host_mut() {
            return self.share_values(elements, owner);
        }
        let is_mine = owner == self.group.place().rank;
        let mut values = vec![0.0; parameter.len()];
        if is_mine {
            values = parameter
                .to_values()
                .map_err(|source| CollectiveError::Transport {
                    rank: owner,
                    operation: "share parameters",
                    reason: source.to_string(),
                })?;
        }
        self.share_values(&mut values, owner)?;
        if !is_mine {
            parameter.set_values(values);
        }
        Ok(())
    }

    fn share_values(&self, values: &mut [f32], owner: usize) -> Result<(), CollectiveError> {
        for piece in values.chunks_mut(PIECE) {
            let sent = self.group.broadcast_f32(piece, owner)?;
            piece.copy_from_slice(&sent);
        }
        Ok(())
    }
}

impl ModuleMapper for ShareParameters<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(&owner) = self.owners.0.get(self.path.name()) else {
            return param;
        };
        if self.failed.is_some() {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.dims();
        let mut parameter = Flat::of(tensor.inner());
        self.failed = self.share(&mut parameter, owner).err();
        let tensor = Tensor::from_inner(parameter.into_tensor(shape)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}
