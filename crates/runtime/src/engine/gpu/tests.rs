//! The engine against the CPU's. Needs a GPU adapter; a software one will do (`apt-get install mesa-vulkan-drivers libvulkan1`).

use super::step::{GpuEngine, GpuPart, Wanted};
use super::{AdapterChoice, GpuOptions, block_on};
use crate::testing::Numbers;
use crate::{Model, Session};
use ptbr_model::{ArchConfig, MemoryTensors, RwkvConfig};
use std::sync::Arc;

const OPTIONS: GpuOptions = GpuOptions {
    choice: AdapterChoice::Any,
    subgroups: true,
    edit: None,
};

fn random_model(vocab: usize, d_model: usize, layers: usize, d_ffn: usize) -> Arc<Model> {
    let config = RwkvConfig {
        d_ffn,
        ..RwkvConfig::new(vocab, d_model, layers, 128)
    };
    let mut numbers = Numbers::new(d_model as u64);
    let mut tensors = MemoryTensors::new();
    for spec in config.tensor_specs() {
        let count = spec.num_elements().unwrap();
        let (offset, scale) = match spec.name.rsplit_once('.') {
            Some((norm, "weight")) if norm.contains("ln") => (1.0, 0.5),
            Some((_, "bias")) => (0.0, 0.3),
            Some((_, "time_decay")) => (-1.0, 4.0),
            Some((_, "time_first")) => (-0.5, 1.5),
            Some((_, mix)) if mix.starts_with("time_mix") => (0.5, 0.5),
            Some(("emb", _)) => (0.0, 1.0),
            _ => (0.0, (3.0 / spec.shape[1] as f32).sqrt()),
        };
        let values = numbers.vector(count, scale);
        tensors.push(spec, values.into_iter().map(|x| x + offset).collect());
    }
    Model::from_tensors(ArchConfig::Rwkv4(config), &tensors, None).unwrap()
}

fn engine(model: &Model, options: GpuOptions) -> GpuEngine {
    let initial = model.initial_state().values().to_vec();
    block_on(GpuEngine::open(
        options,
        model.weights(),
        model.layers(),
        initial,
    ))
    .unwrap()
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    found
        .iter()
        .zip(expected)
        .map(|(f, e)| (f - e).abs() / largest)
        .fold(0.0, f32::max)
}

#[test]
fn logits_are_those_of_the_cpu() {
    for subgroups in [true, false] {
        let model = random_model(257, 96, 2, 160);
        let engine = engine(
            &model,
            GpuOptions {
                subgroups,
                ..OPTIONS
            },
        );
        println!("{} {:?}", engine.name(), engine.dispatches());
        for len in [1usize, 3, 40, 200] {
            let tokens: Vec<u16> = (0..len).map(|i| (i * 31 % 257) as u16).collect();
            let mut session = Session::new(Arc::clone(&model));
            let mut slot = block_on(engine.new_slot()).unwrap();
            let mut logits = Vec::new();
            let mut step = |tokens: &[u16]| {
                let part = GpuPart {
                    slot: &mut slot,
                    tokens,
                    adapter: None,
                    wanted: Wanted::Last,
                };
                block_on(engine.step(&mut [part], &mut logits)).unwrap();
                logits.clone()
            };
            let error = worst(&step(&tokens), session.prefill(&tokens).unwrap());
            assert!(error < 1e-4, "{len} tokens: {error:e}");
            let error = worst(&step(&[5]), session.decode(5).unwrap());
            assert!(error < 1e-4, "after {len} tokens: {error:e}");
            println!("{len}: {error:e}");
        }
    }
}
