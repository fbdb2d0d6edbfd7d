//! Steps whose result is thrown away: to look for a learning rate, to measure speed.

use std::sync::Arc;

use ptbr_dataset::{DataLoader, LoaderConfig};
use ptbr_model::{GradScaler, TrainState};

use super::lanes::Lanes;
use super::{Pace, StepReport, Trainer};
use crate::TrainError;
use crate::model::Rwkv;
use crate::optim::AdamW;

/// A trainer that takes steps from one and the same start. Nothing is written, and when it is dropped the trainer is what it was, bit for
/// bit.
pub struct Rehearsal<'a> {
    trainer: &'a mut Trainer,
    start: Start,
    loader: DataLoader,
    pace: Pace,
}

/// What steps change. Clones share memory until one of them is written to.
struct Start {
    model: Rwkv,
    optimizer: AdamW,
    state: TrainState,
    scaler: Option<GradScaler>,
    lanes: Option<Lanes>,
}

impl Trainer {
    /// Steps that this trainer will not have taken.
    ///
    /// # Errors
    /// When the data is too short for one batch.
    pub fn rehearse(&mut self) -> Result<Rehearsal<'_>, TrainError> {
        Ok(Rehearsal {
            start: Start {
                model: self.model.clone(),
                optimizer: self.optimizer.clone(),
                state: self.state.clone(),
                scaler: self.scaler,
                lanes: self.lanes.clone(),
            },
            loader: self.loader()?,
            pace: Pace::start(self.state.elapsed_seconds),
            trainer: self,
        })
    }

    /// The micro-batches from the next one on.
    pub(super) fn loader(&self) -> Result<DataLoader, TrainError> {
        let training = &self.state.config;
        let config = LoaderConfig {
            batch_size: training.batch_size,
            seq_len: training.seq_len,
            seed: self.state.seed,
            start: self.state.batches_seen,
        };
        let data = Arc::clone(&self.data);
        Ok(match training.carry_state {
            true => DataLoader::lanes(data, config, training.gradient_accumulation_steps)?,
            false => DataLoader::sliced(data, config, self.batches.clone())?,
        })
    }
}

impl Rehearsal<'_> {
    /// Takes a step at `learning_rate`, whatever the schedule says.
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(&mut self, learning_rate: f64) -> Result<StepReport, TrainError> {
        let config = &mut self.trainer.state.config;
        (config.learning_rate, config.min_lr_ratio) = (learning_rate, 1.0);
        config.warmup_steps = 0;
        let (loader, pace) = (&mut self.loader, &mut self.pace);
        self.trainer.guarded(|trainer| trainer.step(loader, pace))
    }

    /// Goes back to the first step: the same weights, the same batches.
    ///
    /// # Errors
    /// As [`Trainer::rehearse`].
    pub fn again(&mut self) -> Result<(), TrainError> {
        self.put_back();
        self.loader = self.trainer.loader()?;
        self.pace = Pace::start(self.trainer.state.elapsed_seconds);
        Ok(())
    }

    fn put_back(&mut self) {
        self.trainer.model = self.start.model.clone();
        self.trainer.optimizer = self.start.optimizer.clone();
        self.trainer.state = self.start.state.clone();
        self.trainer.scaler = self.start.scaler;
        self.trainer.lanes = self.start.lanes.clone();
    }
}

impl Drop for Rehearsal<'_> {
    fn drop(&mut self) {
        self.put_back();
    }
}
