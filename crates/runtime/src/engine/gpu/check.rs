//! Does this GPU compute what it should? A small model is run on it and on the CPU before the real one is uploaded.
//!
//! Drivers are wrong silently: the same text comes out of a browser as noise on one phone and as prose on the next. The check runs every kernel that the model will use (each
//! number format, one vector, a few, many, adapters, drawing) with the sizes that are easy to get wrong: a width that is no multiple of 64, sequences of different lengths.

use super::GpuError;
use super::device::Device;
use super::pipelines::Sums;
use super::step::GpuEngine;
use crate::{Batch, Model, RuntimeError, Sampler, SamplerConfig, Session};
use ptbr_model::{
    Adapter, AdapterConfig, ArchConfig, LoraModule, MemoryTensors, ModelFileInfo, QuantizationPlan,
    RwkvConfig, WeightFormat, model_file_bytes,
};
use std::sync::Arc;

/// Largest difference of a logit, relative to the largest logit. Rounding of sums in f32 gives 1e-6.
const ALLOWED: f32 = 1e-4;

/// The same where inputs are rounded to bytes: two sides that differ in the last bit of an input round it to neighbouring bytes now and then, which moves the logits by some 1e-4.
const ALLOWED_DOTS: f32 = 5e-3;

/// What `format` is allowed on this device.
fn allowed(device: &Device, format: WeightFormat) -> f32 {
    if Sums::of(device, format) == Sums::Dots {
        ALLOWED_DOTS
    } else {
        ALLOWED
    }
}

/// Runs the known question in every format given.
pub(super) async fn known_answer(
    device: &Arc<Device>,
    formats: &[WeightFormat],
) -> Result<(), GpuError> {
    for &format in formats {
        let (error, allowed) = (error_of(device, format).await?, allowed(device, format));
        if error.is_nan() || error > allowed {
            return Err(GpuError::WrongAnswer {
                adapter: device.name.clone(),
                error,
                allowed,
            });
        }
    }
    Ok(())
}

/// The largest difference from the CPU's logits, relative to the largest logit; infinite when the GPU's sampler draws another token from the same logits.
pub(super) async fn error_of(device: &Arc<Device>, format: WeightFormat) -> Result<f32, GpuError> {
    let broken = |error: RuntimeError| match error {
        RuntimeError::Gpu(error) => error,
        error => GpuError::Refused {
            adapter: device.name.clone(),
            message: format!("the model of the known question: {error}"),
        },
    };
    let rounds_inputs = Sums::of(device, format) == Sums::Dots;
    let (exact, stored) = model(format, rounds_inputs).map_err(broken)?;
    let (weights, layers) = stored.parts();
    let engine = GpuEngine::new(Arc::clone(device), weights, layers);
    stored.set_engine(engine.await.map_err(broken)?);
    let found = answers(&stored).await.map_err(broken)?;
    let expected = answers(&exact).await.map_err(broken)?;
    let largest = expected.iter().fold(1e-30f32, |max, x| max.max(x.abs()));
    let is_right = found.len() == expected.len() && draws_rightly(&stored).await.map_err(broken)?;
    let start = if is_right { 0.0 } else { f32::INFINITY };
    Ok(found
        .iter()
        .zip(&expected)
        .fold(start, |worst: f32, (f, e)| {
            // A NaN must win.
            let error = (f - e).abs() / largest;
            if error.is_nan() {
                f32::INFINITY
            } else {
                worst.max(error)
            }
        }))
}

/// Logits of three texts wherever the model computes: read together (many vectors), then a token of each (a few), then one of the first (one). The last text has an adapter.
async fn answers(model: &Arc<Model>) -> Result<Vec<f32>, RuntimeError> {
    let adapter = model.add_adapter(adapter(model))?;
    let mut batch = Batch::new(Arc::clone(model));
    let mut ids = Vec::new();
    for (len, adapter) in [(13, None), (5, None), (4, Some(&adapter))] {
        let mut session = Session::new(Arc::clone(model));
        session.set_adapter(adapter)?;
        let id = batch.join(session)?;
        batch.feed(id, &(0..len).map(|i| i * 29 % VOCAB).collect::<Vec<u16>>())?;
        ids.push(id);
    }
    let mut all = Vec::new();
    for token in 7..9 {
        while batch.waiting() > 0 {
            batch.step_async().await?;
        }
        for &id in &ids {
            all.extend_from_slice(batch.session(id).and_then(Session::logits).unwrap_or(&[]));
            batch.feed(id, &[token])?;
        }
    }
    if let Some(mut session) = batch.leave(ids[0]) {
        all.extend_from_slice(session.decode_async(9).await?);
    }
    Ok(all)
}

/// Whether the GPU draws from its logits what the CPU draws from them: with a penalty, top-k and top-p, at several positions.
async fn draws_rightly(model: &Arc<Model>) -> Result<bool, RuntimeError> {
    let mut sampler = Sampler::new(SamplerConfig {
        temperature: 1.5,
        top_k: 40,
        top_p: 0.95,
        repetition_penalty: 1.3,
        repetition_window: 6,
        seed: 4,
    })?;
    let mut session = Session::new(Arc::clone(model));
    let mut history = vec![1, 2, 3];
    session.prefill_async(&history).await?;
    for token in [7, 30, 7, 66] {
        let before = session.state_async().await?;
        history.push(token);
        let logits = session.decode_async(token).await?.to_vec();
        let expected = sampler.sample(&logits, &history, before.position() + 1)?;
        session.set_state(&before)?;
        let drawn = session
            .write_ahead(token, &sampler, &history, usize::from(VOCAB), 1)
            .await?;
        session.commit_ahead();
        if drawn != Some(vec![expected]) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A change of every matrix but the head.
fn adapter(model: &Model) -> Adapter {
    let rank = 5;
    let mut noise = Noise(0x10_4a);
    let matrices = model
        .config()
        .tensor_specs()
        .into_iter()
        .filter(|spec| spec.shape.len() == 2 && spec.name.starts_with("blocks."));
    let modules = matrices
        .map(|spec| LoraModule {
            target: spec.name.trim_end_matches(".weight").to_owned(),
            in_features: spec.shape[1],
            out_features: spec.shape[0],
            a: noise.vector(rank * spec.shape[1], -0.2, 0.2),
            b: noise.vector(rank * spec.shape[0], -0.2, 0.2),
        })
        .collect();
    Adapter {
        config: AdapterConfig {
            rank,
            alpha: 4.0,
            rank_stabilized: false,
            base_model: None,
        },
        model_id: None,
        modules,
    }
}

/// A fixed sequence (splitmix64).
struct Noise(u64);

impl Noise {
    fn vector(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        let mut uniform = || {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            low + (high - low) * (((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32)
        };
        (0..len).map(|_| uniform()).collect()
    }
}

/// Tokens of the model of the question.
const VOCAB: u16 = 67;

/// The model of the question: as the CPU is to compute it, and stored in `format`. With `rounds_inputs` they are the same; without, the CPU gets exactly the weights that `format` holds as f32,
/// because its own products round inputs where weights are integers.
fn model(
    format: WeightFormat,
    rounds_inputs: bool,
) -> Result<(Arc<Model>, Arc<Model>), RuntimeError> {
    let config = RwkvConfig {
        d_ffn: 160,
        ..RwkvConfig::new(usize::from(VOCAB), 96, 2, 64)
    };
    let mut tensors = MemoryTensors::new();
    // Ranges as in trained models.
    let mut noise = Noise(0x5ca1_ab1e);
    for spec in config.tensor_specs() {
        let (low, high) = match spec.name.rsplit_once('.') {
            Some((norm, "weight")) if norm.contains("ln") => (0.5, 1.5),
            Some((_, "bias")) => (-0.3, 0.3),
            Some((_, "time_decay")) => (-5.0, 3.0),
            Some((_, "time_first")) => (-2.0, 1.0),
            Some((_, mix)) if mix.starts_with("time_mix") => (0.0, 1.0),
            _ => (-0.2, 0.2),
        };
        let count = spec.num_elements().unwrap_or(0);
        tensors.push(spec, noise.vector(count, low, high));
    }
    let specs = config.tensor_specs();
    let config = ArchConfig::Rwkv4(config);
    if format == WeightFormat::F32 {
        // Two, because one of them will be on the GPU.
        let exact = Model::from_tensors(config.clone(), &tensors, None)?;
        return Ok((exact, Model::from_tensors(config, &tensors, None)?));
    }
    let plan = QuantizationPlan::uniform(format);
    // The id is nobody's: the model never leaves this function's callers.
    let info = ModelFileInfo::quantized(&plan, config.clone(), None, "0".repeat(64));
    let bytes = model_file_bytes(&info, &tensors)?;
    let stored = Model::from_bytes("the known question", bytes.clone())?;
    if rounds_inputs {
        return Ok((Model::from_bytes("the known question", bytes)?, stored));
    }
    let (weights, _) = stored.parts();
    let mut exact = MemoryTensors::new();
    for spec in specs {
        let values = weights.dequantized(&spec)?;
        exact.push(spec, values);
    }
    Ok((Model::from_tensors(config, &exact, None)?, stored))
}
