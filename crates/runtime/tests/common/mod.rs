//! Small random models of realistic scale, and a tokenizer trained on a paragraph.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

pub mod accuracy;
pub mod adapter_files;

use ptbr_model::{
    Adapter, AdapterConfig, ArchConfig, LoraModule, MemoryTensors, ModelFileInfo, QuantizationPlan,
    RwkvConfig, TensorSource, WeightFormat, model_file_bytes,
};
use ptbr_runtime::Model;
use ptbr_tokenizer::{BpeTokenizer, BpeTrainer, BpeTrainerConfig};
use std::sync::Arc;

/// Reproducible noise (splitmix64).
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1u64 << 24) as f32)
    }

    pub fn tokens(&mut self, count: usize, vocab_size: usize) -> Vec<u16> {
        (0..count)
            .map(|_| (self.next() % vocab_size as u64) as u16)
            .collect()
    }
}

pub fn config(vocab_size: usize, d_model: usize, n_layers: usize, d_ffn: usize) -> RwkvConfig {
    RwkvConfig {
        d_ffn,
        ..RwkvConfig::new(vocab_size, d_model, n_layers, 128)
    }
}

/// Every tensor random, of the size that trained models have: logits of about 1, decays from short to long.
pub fn random_tensors(config: &RwkvConfig, seed: u64) -> MemoryTensors {
    let mut noise = Noise(seed);
    let mut tensors = MemoryTensors::new();
    for spec in config.tensor_specs() {
        let (low, high) = match spec.name.rsplit_once('.') {
            Some((norm, "weight")) if norm.contains("ln") => (0.5, 1.5),
            Some((_, "bias")) => (-0.3, 0.3),
            Some((_, "time_decay")) => (-5.0, 3.0),
            Some((_, "time_first")) => (-2.0, 1.0),
            Some((_, mix)) if mix.starts_with("time_mix") => (0.0, 1.0),
            Some(("emb", _)) => (-1.0, 1.0),
            _ => {
                let bound = (3.0 / spec.shape[1] as f32).sqrt();
                (-bound, bound)
            }
        };
        let count = spec.num_elements().unwrap();
        tensors.push(spec, (0..count).map(|_| noise.uniform(low, high)).collect());
    }
    tensors
}

pub fn random_model(config: &RwkvConfig, seed: u64) -> Arc<Model> {
    Model::from_tensors(
        ArchConfig::Rwkv4(config.clone()),
        &random_tensors(config, seed),
        None,
    )
    .unwrap()
}

/// The model file of [`random_tensors`] with the matrices in a number format.
pub fn model_file_in(config: &RwkvConfig, seed: u64, format: WeightFormat) -> Vec<u8> {
    let tensors = random_tensors(config, seed);
    let plan = QuantizationPlan::uniform(format);
    let id = model_id(&tensors);
    let info = ModelFileInfo::quantized(&plan, ArchConfig::Rwkv4(config.clone()), None, id);
    model_file_bytes(&info, &tensors).unwrap()
}

pub fn model_in(config: &RwkvConfig, seed: u64, format: WeightFormat) -> Arc<Model> {
    Model::from_bytes(format.name(), model_file_in(config, seed, format)).unwrap()
}

/// An adapter of every matrix that can have one, or of those whose name contains one of `parts`; its change is a good part of what the matrix itself computes.
pub fn random_adapter(config: &RwkvConfig, rank: usize, parts: &[&str], seed: u64) -> Adapter {
    let mut noise = Noise(seed);
    let mut modules = Vec::new();
    for spec in config.tensor_specs() {
        let Some(target) = spec.name.strip_suffix(".weight") else {
            continue;
        };
        let is_matrix = target == "head" || target.contains(".att.") || target.contains(".ffn.");
        if !is_matrix || !(parts.is_empty() || parts.iter().any(|part| target.contains(part))) {
            continue;
        }
        let (out_features, in_features) = (spec.shape[0], spec.shape[1]);
        let mut values = |count: usize, width: usize| {
            let bound = (1.5 / width as f32).sqrt();
            (0..count).map(|_| noise.uniform(-bound, bound)).collect()
        };
        modules.push(LoraModule {
            target: target.to_owned(),
            in_features,
            out_features,
            a: values(rank * in_features, in_features),
            b: values(out_features * rank, rank),
        });
    }
    modules.sort_by(|a, b| a.target.cmp(&b.target));
    Adapter {
        config: AdapterConfig {
            rank,
            alpha: rank as f64 * 0.75,
            rank_stabilized: false,
            base_model: None,
        },
        model_id: None,
        modules,
    }
}

pub const PARAGRAPH: &str = "O sertanejo é, antes de tudo, um forte. Não tem o raquitismo exaustivo dos mestiços neurastênicos do litoral. A sua \
    aparência, entretanto, ao primeiro lance de vista, revela o contrário. Falta-lhe a plástica impecável, o desempeno, a estrutura corretíssima das \
    organizações atléticas.";

/// At most 300 tokens.
pub fn tokenizer() -> BpeTokenizer {
    let mut trainer = BpeTrainer::new(BpeTrainerConfig {
        vocab_size: 300,
        ..Default::default()
    });
    trainer.feed(PARAGRAPH);
    trainer.train(&mut |_, _| {}).unwrap()
}

/// A model whose logits never change: `logit(id)` for every token.
pub fn constant_model(vocab_size: usize, logit: impl Fn(usize) -> f32) -> Arc<Model> {
    let config = config(vocab_size, 32, 1, 32);
    let mut tensors = random_tensors(&config, 5);
    // The last layer norm gives a one and 31 zeros, and the first column of the head is the logits.
    tensors.get_mut("ln_out.weight").unwrap().fill(0.0);
    let bias = tensors.get_mut("ln_out.bias").unwrap();
    bias.fill(0.0);
    bias[0] = 1.0;
    let head = tensors.get_mut("head.weight").unwrap();
    (0..vocab_size).for_each(|id| head[id * 32] = logit(id));
    Model::from_tensors(ArchConfig::Rwkv4(config), &tensors, Some(tokenizer())).unwrap()
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

pub fn model_id(tensors: &dyn TensorSource) -> String {
    ptbr_model::model_id(tensors).unwrap()
}
