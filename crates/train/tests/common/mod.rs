//! Small runs on made-up text, shared by the tests of the trainer.

// Every test program uses a part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ptbr_dataset::{MmapDataset, TokenizedDatasetWriter};
use ptbr_model::{
    ArchConfig, DomainFineTuneConfig, FineTuneMethod, ModelFileInfo, QuantizationPlan,
    RandomTensors, RwkvConfig, TrainingConfig, WeightFormat, model_id, write_model_file,
};
use ptbr_tokenizer::{BpeTokenizer, BpeTrainer, BpeTrainerConfig, Tokenizer};
use ptbr_train::collective::ProcessGroup;
use ptbr_train::device::{self, Adapter};
use ptbr_train::fine_tune::BaseModel;
use ptbr_train::model::Windows;
use ptbr_train::{
    FineTuneSetup, StepReport, TrainDevice, TrainError, TrainObserver, Trainer, TrainerSetup,
};

/// Sentences with a pattern that a small model learns within a few steps.
pub fn text() -> String {
    let subjects = ["O gato", "A menina", "O rio", "Uma ave", "O velho"];
    let verbs = ["dorme", "corre", "canta", "espera"];
    let places = ["na serra", "no quintal", "perto da ponte", "em casa"];
    (0..4000)
        .map(|i| {
            format!(
                "{} {} {}.\n",
                subjects[i * 7 % 5],
                verbs[i * 5 % 4],
                places[(i / 3) % 4]
            )
        })
        .collect()
}

/// A tokenizer and a token file of [`text`] in `folder`.
pub fn data(folder: &Path) -> (BpeTokenizer, Arc<MmapDataset>) {
    let text = text();
    let mut trainer = BpeTrainer::new(BpeTrainerConfig {
        vocab_size: 300,
        ..BpeTrainerConfig::default()
    });
    trainer.feed(&text);
    let tokenizer = trainer.train(&mut |_, _| {}).expect("a tokenizer");
    let path = folder.join("train.bin");
    let mut writer =
        TokenizedDatasetWriter::create(&path, tokenizer.vocab_size(), tokenizer.sha256())
            .expect("a writer");
    writer
        .push_document(&tokenizer.encode(&text))
        .expect("tokens");
    writer.finish().expect("a token file");
    let data = Arc::new(MmapDataset::open(&path).expect("a dataset"));
    (tokenizer, data)
}

/// A model small enough for a test.
pub fn model_config(tokenizer: &BpeTokenizer) -> RwkvConfig {
    RwkvConfig::new(tokenizer.vocab_size(), 64, 2, 32)
}

/// Hyper-parameters of a run of `max_steps` steps.
pub fn training(max_steps: u64) -> TrainingConfig {
    TrainingConfig {
        max_steps,
        batch_size: 4,
        seq_len: 32,
        gradient_accumulation_steps: 2,
        learning_rate: 3e-3,
        warmup_steps: 2,
        save_every: 0,
        eval_every: 0,
        log_every: 0,
        ..TrainingConfig::default()
    }
}

/// The adapter that `TrainDevice::Gpu` takes.
pub fn adapter() -> Adapter {
    let adapter = device::adapters().into_iter().next().expect(
        "there is no GPU adapter; a software one is enough: apt-get install mesa-vulkan-drivers libvulkan1",
    );
    println!("adapter: {} ({})", adapter.name, adapter.backend);
    adapter
}

/// A new run.
pub fn trainer(
    folder: &Path,
    output: &str,
    training: TrainingConfig,
    device: TrainDevice,
) -> Trainer {
    try_trainer(folder, output, training, device).unwrap_or_else(|error| panic!("{error}"))
}

/// A new run, or why there is none.
pub fn try_trainer(
    folder: &Path,
    output: &str,
    training: TrainingConfig,
    device: TrainDevice,
) -> Result<Trainer, TrainError> {
    let (tokenizer, data) = data(folder);
    Trainer::new(TrainerSetup {
        model_config: model_config(&tokenizer),
        training,
        tokenizer_json: tokenizer.to_json(),
        val: Some(Arc::clone(&data)),
        data,
        output_dir: folder.join(output),
        device,
        group: ProcessGroup::solo(),
    })
}

/// Keeps every report.
#[derive(Default)]
pub struct Recorder {
    /// One a step.
    pub steps: Vec<StepReport>,
}

impl TrainObserver for Recorder {
    fn on_step(&mut self, report: &StepReport) {
        self.steps.push(*report);
    }
}

/// A model file of random weights in `format`, with the tokenizer of [`data`], for fine-tuning.
pub fn base_file(folder: &Path, format: WeightFormat) -> PathBuf {
    let (tokenizer, _) = data(folder);
    let arch = ArchConfig::Rwkv4(model_config(&tokenizer));
    let weights = RandomTensors::new(&arch, 3);
    let id = model_id(&weights).expect("an id");
    let plan = QuantizationPlan::uniform(format);
    let info = ModelFileInfo::quantized(&plan, arch, Some(tokenizer.to_json()), id);
    let path = folder.join(format!("{format}.safetensors"));
    write_model_file(&path, &info, &weights).expect("a model file");
    path
}

/// A fine-tuning run of `max_steps` steps on [`text`].
pub fn fine_tune(
    folder: &Path,
    output: &str,
    base: &BaseModel,
    tuning: &DomainFineTuneConfig,
    max_steps: u64,
) -> Trainer {
    fine_tune_with(folder, output, base, tuning, tuning_run(tuning, max_steps))
}

/// Hyper-parameters of a fine-tuning run of `max_steps` steps.
pub fn tuning_run(tuning: &DomainFineTuneConfig, max_steps: u64) -> TrainingConfig {
    TrainingConfig {
        learning_rate: tuning.learning_rate,
        dropout: Some(0.0),
        eval_every: 4,
        eval_tokens: 512,
        ..training(max_steps)
    }
}

/// A fine-tuning run on [`text`].
pub fn fine_tune_with(
    folder: &Path,
    output: &str,
    base: &BaseModel,
    tuning: &DomainFineTuneConfig,
    training: TrainingConfig,
) -> Trainer {
    let (tokenizer, data) = data(folder);
    let setup = FineTuneSetup {
        tuning: tuning.clone(),
        training,
        tokenizer_json: tokenizer.to_json(),
        val: Some(Arc::clone(&data)),
        data,
        output_dir: folder.join(output),
        group: ProcessGroup::solo(),
    };
    Trainer::fine_tune(base, setup).unwrap_or_else(|error| panic!("{error}"))
}

/// Low-rank changes of every matrix that can have one.
pub fn all_targets() -> DomainFineTuneConfig {
    DomainFineTuneConfig {
        rank: 3,
        alpha: 6.0,
        targets: ["att", "ffn", "head"].map(str::to_owned).to_vec(),
        learning_rate: 1e-2,
        ..DomainFineTuneConfig::default()
    }
}

/// A trained initial state.
pub fn state_tuning() -> DomainFineTuneConfig {
    DomainFineTuneConfig {
        method: FineTuneMethod::State,
        learning_rate: 1e-1,
        ..DomainFineTuneConfig::default()
    }
}

/// Stops a run after a number of steps.
pub struct StopAfter<'a>(pub u64, pub &'a AtomicBool);

impl TrainObserver for StopAfter<'_> {
    fn on_step(&mut self, report: &StepReport) {
        if report.step == self.0 {
            self.1.store(true, Ordering::SeqCst);
        }
    }
}

/// Windows of tokens that follow no simple rule.
pub fn windows(config: &RwkvConfig, batch: usize, seq_len: usize) -> Windows {
    let token = |i: usize| ((i * i * 31 + i * 17) % config.vocab_size) as u16;
    let (inputs, targets) = (
        (0..batch * seq_len).map(token).collect(),
        (1..=batch * seq_len).map(token).collect(),
    );
    Windows {
        inputs: Arc::new(inputs),
        targets: Arc::new(targets),
        seq_len,
        carry: None,
    }
}

/// A number in ±1 that depends on the name and the place.
pub fn noise_at(name: &str, index: usize) -> f32 {
    let salt = name
        .bytes()
        .fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
    let hash = (salt ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash >> 33) % 2001) as f32 / 1000.0 - 1.0
}

/// Moves the elements of a tensor by up to 0.2: nothing may be zero where every path is to carry a gradient.
pub fn noise(name: &str, values: &mut [f32]) {
    for (i, v) in values.iter_mut().enumerate() {
        *v += 0.2 * noise_at(name, i);
    }
}
