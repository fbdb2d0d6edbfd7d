//! What a new run, a resumed one and a fine-tuning run have in common before their first step: data checked, folder locked, weights on
//! the device.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use ptbr_dataset::MmapDataset;
use ptbr_model::{
    GradScaler, OutputLock, Precision, RwkvConfig, TensorSpec, TrainState, clean_leftovers, hex,
};
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};

use super::lanes::Lanes;
use super::{Trainer, ValidationSource};
use crate::collective::ProcessGroup;
use crate::device::Selected;
use crate::model::Rwkv;
use crate::optim::AdamW;
use crate::{Evaluator, TrainError};

/// A run before its weights.
pub(super) struct Start {
    /// Sizes of the model.
    pub config: RwkvConfig,
    /// What is trained.
    pub specs: Vec<TensorSpec>,
    /// Where the run stands; the fields that name its data are filled in here.
    pub state: TrainState,
    pub selected: Selected,
    pub tokenizer_json: String,
    /// The processes that share the run.
    pub group: Arc<ProcessGroup>,
}

impl Start {
    /// The run's device, with autodiff.
    pub fn autodiff(&self) -> Device {
        self.selected.device.clone().autodiff()
    }

    /// A new run on `data`.
    pub fn begin(
        mut self,
        data: Arc<MmapDataset>,
        val: Option<Arc<MmapDataset>>,
        output_dir: &Path,
        weights: impl FnOnce(&Self) -> Result<Rwkv, TrainError>,
    ) -> Result<Trainer, TrainError> {
        if self.state.config.precision != self.precision() {
            return Err(TrainError::HalfOnCpu);
        }
        let tokenizer = self.tokenizer()?;
        self.state = TrainState {
            seed: self.state.config.seed,
            data_sha256: hex(&data.data_sha256()),
            tokenizer_sha256: hex(&tokenizer.sha256()),
            data_path: data.path().display().to_string(),
            val_path: val.as_ref().map(|v| v.path().display().to_string()),
            raw_data: data.header().is_none(),
            ..self.state
        };
        self.trainer(&tokenizer, (data, val), output_dir, |start| {
            let lanes = Lanes::new(&start.state.config, &start.config, &start.autodiff());
            Ok((weights(start)?, AdamW::default(), lanes))
        })
    }

    /// The run of a checkpoint, on the data that its state names, up to `max_steps`.
    pub fn go_on(
        mut self,
        output_dir: &Path,
        max_steps: Option<u64>,
        weights: impl FnOnce(&Self) -> Result<(Rwkv, AdamW, Option<Lanes>), TrainError>,
    ) -> Result<Trainer, TrainError> {
        let state = &mut self.state;
        if let Some(max_steps) = max_steps {
            state.config.max_steps = max_steps;
        }
        if state.step >= state.config.max_steps {
            return Err(TrainError::Finished {
                step: state.step,
                max_steps: state.config.max_steps,
            });
        }
        let raw = state.raw_data;
        let open = |path: &str| -> Result<Arc<MmapDataset>, TrainError> {
            let path = Path::new(path);
            Ok(Arc::new(if raw {
                MmapDataset::open_raw(path)?
            } else {
                MmapDataset::open(path)?
            }))
        };
        let data = open(&state.data_path)?;
        if hex(&data.data_sha256()) != state.data_sha256 {
            return Err(TrainError::OtherData {
                path: data.path().to_owned(),
            });
        }
        let val = state.val_path.as_deref().map(open).transpose()?;
        let sources = std::mem::take(&mut state.val_sources);
        let tokenizer = self.tokenizer()?;
        let mut trainer = self.trainer(&tokenizer, (data, val), output_dir, weights)?;
        let open = |file| ValidationSource::open(file, raw);
        let sources: Result<Vec<_>, _> = sources.iter().map(open).collect();
        trainer.judge_by_source(sources?)?;
        Ok(trainer)
    }

    /// What products are computed in: f16 is for GPUs. On the CPU it would cost the conversions and gain nothing.
    fn precision(&self) -> Precision {
        match self.selected.adapter {
            Some(_) => self.state.config.precision,
            None => Precision::F32,
        }
    }

    /// The loss scale of a run in f16: that of its checkpoint, or a new one.
    fn scaler(&self) -> Result<Option<GradScaler>, TrainError> {
        if self.precision() == Precision::F32 {
            return Ok(None);
        }
        let config = self.state.config.grad_scaler;
        Ok(Some(match self.state.loss_scale {
            Some(state) => GradScaler::resume(config, state)?,
            None => GradScaler::new(config)?,
        }))
    }

    fn tokenizer(&self) -> Result<BpeTokenizer, TrainError> {
        Ok(BpeTokenizer::from_json(self.tokenizer_json.as_bytes())?)
    }

    fn trainer(
        mut self,
        tokenizer: &BpeTokenizer,
        (data, val): (Arc<MmapDataset>, Option<Arc<MmapDataset>>),
        output_dir: &Path,
        weights: impl FnOnce(&Self) -> Result<(Rwkv, AdamW, Option<Lanes>), TrainError>,
    ) -> Result<Trainer, TrainError> {
        self.config.validate()?;
        self.state.config.validate()?;
        let checkpointing = &self.state.config.gradient_checkpointing;
        checkpointing.validate(self.config.n_layers)?;
        if self.state.config.carry_state && self.state.fine_tune.is_some() {
            return Err(TrainError::CarriedFineTune);
        }
        if self.state.config.carry_state && self.group.has_others() {
            return Err(TrainError::CarriedByMany);
        }
        for dataset in [Some(&data), val.as_ref()].into_iter().flatten() {
            check_tokens(dataset, &self.config, tokenizer)?;
        }
        let batches = self.batches()?;
        let lock = if self.group.is_writer() {
            let lock = OutputLock::acquire(output_dir)?;
            clean_leftovers(&lock)?;
            Some(lock)
        } else {
            None
        };
        let owners = self.owners();
        let training = &self.state.config;
        self.selected
            .check_buffers(&self.config, training.batch_size, training.seq_len)?;
        let evaluator = Evaluator {
            batch_size: training.batch_size,
            seq_len: training.seq_len,
            max_tokens: training.eval_tokens,
            token_bytes: Arc::new(token_bytes(tokenizer)),
        };
        let sources = Vec::new();
        self.state.device.clone_from(&self.selected.name);
        let (precision, scaler) = (self.precision(), self.scaler()?);
        if let Some(scaler) = &scaler {
            self.state.loss_scale = Some(scaler.state());
        }
        let (model, optimizer, lanes) = weights(&self)?;
        Ok(Trainer {
            model,
            optimizer,
            config: self.config,
            specs: self.specs,
            state: self.state,
            precision,
            scaler,
            lanes,
            tokenizer_json: self.tokenizer_json,
            data,
            val,
            sources,
            evaluator,
            selected: self.selected,
            folder: output_dir.to_owned(),
            lock,
            group: self.group,
            batches,
            owners,
        })
    }
}

/// Refuses tokens that the model does not know, or of another tokenizer than its own, or damaged.
pub(super) fn check_tokens(
    tokens: &MmapDataset,
    config: &RwkvConfig,
    tokenizer: &BpeTokenizer,
) -> Result<(), TrainError> {
    tokens.check_vocabulary(config.vocab_size)?;
    if tokens.header().is_some() {
        tokens.check_tokenizer(&tokenizer.sha256())?;
        // Opening a file checks its sizes and tokens; a run of hours can afford to read it once.
        tokens.verify_payload()?;
    }
    Ok(())
}

/// The number of bytes that every token stands for; special tokens stand for none.
fn token_bytes(tokenizer: &BpeTokenizer) -> Vec<u32> {
    let bytes = |id: usize| {
        u16::try_from(id)
            .ok()
            .and_then(|id| tokenizer.token_bytes(id))
            .map_or(0, |bytes| bytes.len() as u32)
    };
    (0..tokenizer.vocab_size()).map(bytes).collect()
}
