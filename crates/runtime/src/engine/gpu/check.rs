//! Does this GPU compute what it should? A small model is run on it and on the CPU before the real one is uploaded.
//!
//! Drivers are wrong silently: the same text comes out of a browser as noise on one phone and as prose on the next. The check runs every kernel that the model will use (each
//! number format, one vector, a few, many) with the sizes that are easy to get wrong: a width that is no multiple of 64, two sequences of different lengths.

use super::GpuError;
use super::device::Device;
use super::step::GpuEngine;
use crate::engine::cpu::Work;
use crate::engine::{Executor, Part, StateSlot, Wanted};
use crate::{Model, RuntimeError};
use ptbr_model::{
    ArchConfig, MemoryTensors, ModelFileInfo, QuantizationPlan, RwkvConfig, WeightFormat,
    model_file_bytes,
};
use std::sync::Arc;

/// Largest difference of a logit, relative to the largest logit. Rounding of sums in f32 gives 1e-6.
const ALLOWED: f32 = 1e-4;

/// Runs the known question in every format given.
pub(super) async fn known_answer(
    device: &Arc<Device>,
    formats: &[WeightFormat],
) -> Result<(), GpuError> {
    for &format in formats {
        let error = error_of(device, format).await?;
        if error.is_nan() || error > ALLOWED {
            return Err(GpuError::WrongAnswer {
                adapter: device.name.clone(),
                error,
                allowed: ALLOWED,
            });
        }
    }
    Ok(())
}

/// The largest difference from the CPU's logits, relative to the largest logit.
pub(super) async fn error_of(device: &Arc<Device>, format: WeightFormat) -> Result<f32, GpuError> {
    let broken = |error: &dyn std::fmt::Display| GpuError::Refused {
        adapter: device.name.clone(),
        message: format!("the model of the known question: {error}"),
    };
    let (exact, stored) = model(format).map_err(|error| broken(&error))?;
    let (weights, layers) = stored.parts();
    let engine = Arc::new(GpuEngine::new(Arc::clone(device), weights, layers).await?);
    // Prefill of two sequences together, then one token of both (few vectors), then one of the first.
    let texts: [Vec<u16>; 2] = [13, 5].map(|len| (0..len).map(|i| i * 29 % 67).collect());
    let steps: [[&[u16]; 2]; 3] = [[&texts[0], &texts[1]], [&[7], &[8]], [&[9], &[]]];
    let mut executor = Executor::Gpu(engine, Work::default());
    let mut slots = [0, 1].map(|_| StateSlot::Cpu(exact.state_spec().initial()));
    let mut found = Vec::new();
    let mut logits = Vec::new();
    for step in steps {
        for slot in &mut slots {
            executor.adopt(slot).await.map_err(|e| broken(&e))?;
        }
        let mut parts: Vec<Part<'_>> = slots
            .iter_mut()
            .zip(step)
            .filter(|(_, tokens)| !tokens.is_empty())
            .map(|(slot, tokens)| Part {
                slot,
                tokens,
                adapter: None,
                wanted: Wanted::Last,
            })
            .collect();
        match executor.step(&stored, &mut parts, &mut logits).await {
            Ok(()) => found.extend_from_slice(&logits),
            Err(RuntimeError::Gpu(error)) => return Err(error),
            Err(error) => return Err(broken(&error)),
        }
    }
    let mut expected = Vec::new();
    let mut sessions = [
        crate::Session::new(Arc::clone(&exact)),
        crate::Session::new(exact),
    ];
    for step in steps {
        for (session, tokens) in sessions.iter_mut().zip(step) {
            if !tokens.is_empty() {
                expected.extend_from_slice(session.prefill(tokens).map_err(|e| broken(&e))?);
            }
        }
    }
    let largest = expected.iter().fold(1e-30f32, |max, x| max.max(x.abs()));
    Ok(found.iter().zip(&expected).fold(0.0, |worst: f32, (f, e)| {
        // A NaN must win.
        let error = (f - e).abs() / largest;
        if error.is_nan() {
            f32::INFINITY
        } else {
            worst.max(error)
        }
    }))
}

/// The model of the question: with exactly the weights that `format` holds, and stored in it.
fn model(format: WeightFormat) -> Result<(Arc<Model>, Arc<Model>), RuntimeError> {
    let config = RwkvConfig {
        d_ffn: 160,
        ..RwkvConfig::new(67, 96, 2, 64)
    };
    let mut tensors = MemoryTensors::new();
    // A fixed sequence (splitmix64); ranges as in trained models.
    let mut seed = 0x5ca1_ab1e_u64;
    let mut uniform = |low: f32, high: f32| {
        seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        low + (high - low) * (((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32)
    };
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
        tensors.push(spec, (0..count).map(|_| uniform(low, high)).collect());
    }
    let specs = config.tensor_specs();
    let config = ArchConfig::Rwkv4(config);
    if format == WeightFormat::F32 {
        let exact = Model::from_tensors(config, &tensors, None)?;
        return Ok((Arc::clone(&exact), exact));
    }
    let plan = QuantizationPlan::uniform(format);
    // The id is nobody's: the model never leaves this function's callers.
    let info = ModelFileInfo::quantized(&plan, config.clone(), None, "0".repeat(64));
    let bytes = model_file_bytes(&info, &tensors)?;
    let stored = Model::from_bytes("the known question", bytes)?;
    // The CPU's own products round activations where weights are integers; the question is what these weights give exactly.
    let (weights, _) = stored.parts();
    let mut exact = MemoryTensors::new();
    for spec in specs {
        let values = weights.dequantized(&spec)?;
        exact.push(spec, values);
    }
    Ok((Model::from_tensors(config, &exact, None)?, stored))
}
