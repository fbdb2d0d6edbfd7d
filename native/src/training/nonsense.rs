//! Runs on tokens without meaning: for whoever asks how a step does, not what it learns.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use ptbr_dataset::{MmapDataset, TokenizedDatasetWriter};
use ptbr_model::TrainingConfig;
use ptbr_tokenizer::{BpeTrainer, BpeTrainerConfig};
use ptbr_train::collective::ProcessGroup;
use ptbr_train::{TrainDevice, Trainer, TrainerSetup};

use crate::model_size::named_size;

/// A run of the size `size` with all its files in `folder`.
///
/// # Errors
/// When there is no such size, it does not fit the device, or the folder cannot be written.
pub fn trainer(
    size: &str,
    training: TrainingConfig,
    device: TrainDevice,
    folder: &Path,
) -> Result<Trainer> {
    // The smallest tokenizer there is: its ids are not looked at, but a run belongs to one.
    let mut words = BpeTrainer::new(BpeTrainerConfig {
        vocab_size: 261,
        ..Default::default()
    });
    words.feed("ptbr");
    let tokenizer = words.train(&mut |_, _| {})?;
    let mut model_config = named_size(size)?;
    model_config.max_seq_len = model_config.max_seq_len.max(training.seq_len);
    let path = folder.join("step.bin");
    let mut data =
        TokenizedDatasetWriter::create(&path, model_config.vocab_size, tokenizer.sha256())?;
    let count = training
        .batch_size
        .saturating_mul(training.seq_len.saturating_add(1))
        .saturating_add(1);
    let vocab = model_config.vocab_size as u64;
    // Spread over the whole vocabulary, so that every row of the embedding has its turn.
    let tokens: Vec<u16> = (0..count as u64)
        .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16) % vocab)
        .filter_map(|id| u16::try_from(id).ok())
        .collect();
    data.push_document(&tokens)?;
    data.finish()?;
    Ok(Trainer::new(TrainerSetup {
        model_config,
        training,
        tokenizer_json: tokenizer.to_json(),
        data: Arc::new(MmapDataset::open(&path)?),
        val: None,
        output_dir: folder.join("run"),
        device,
        group: ProcessGroup::solo(),
    })?)
}
