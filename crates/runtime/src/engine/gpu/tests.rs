//! The engine against the CPU's. Needs a GPU adapter; a software one will do (`apt-get install mesa-vulkan-drivers libvulkan1`).

use super::{AdapterChoice, GpuError, GpuOptions, block_on};
use crate::testing::Numbers;
use crate::{Model, RuntimeError, Session};
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

/// The same model, on the CPU and on a GPU.
fn pair(model: &dyn Fn() -> Arc<Model>, options: GpuOptions) -> [Arc<Model>; 2] {
    let (cpu, gpu) = (model(), model());
    block_on(gpu.open_gpu(options)).unwrap();
    [cpu, gpu]
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
        let options = GpuOptions {
            subgroups,
            ..OPTIONS
        };
        let [cpu, gpu] = pair(&|| random_model(257, 96, 2, 160), options);
        println!("{:?} {:?}", gpu.gpu_name(), gpu.gpu_dispatches());
        for len in [1usize, 3, 40, 255, 256, 257, 1000] {
            let tokens: Vec<u16> = (0..len).map(|i| (i * 31 % 257) as u16).collect();
            let mut expected = Session::new(Arc::clone(&cpu));
            expected.prefill(&tokens).unwrap();
            for chunk in [1000, 64, 7] {
                let mut session = Session::new(Arc::clone(&gpu));
                session.set_chunk_size(chunk);
                let error = worst(
                    session.prefill(&tokens).unwrap(),
                    expected.logits().unwrap(),
                );
                assert!(error < 1e-5, "{len} tokens by {chunk}: {error:e}");
                let mut expected = expected.fork().unwrap();
                let error = worst(session.decode(5).unwrap(), expected.decode(5).unwrap());
                assert!(error < 1e-5, "after {len} tokens by {chunk}: {error:e}");
                let (found, expected) = (session.state().unwrap(), expected.state().unwrap());
                for (f, e) in found.values().iter().zip(expected.values()) {
                    assert!((f - e).abs() <= 1e-4 * e.abs().max(1.0), "{f} {e}");
                }
            }
        }
    }
}

#[test]
fn a_lost_device_is_said_and_recovered_from() {
    let [cpu, gpu] = pair(&|| random_model(257, 64, 2, 128), OPTIONS);
    let tokens: Vec<u16> = (0..1500).map(|i| (i * 31 % 257) as u16).collect();
    let mut session = Session::new(Arc::clone(&gpu));
    session.prefill(&tokens).unwrap();
    session.decode(7).unwrap();
    gpu.lose_gpu();
    let error = session.decode(8).unwrap_err();
    assert!(
        matches!(error, RuntimeError::Gpu(GpuError::Lost { .. })),
        "{error:?}"
    );
    // Still lost: nothing computes there any more, and the session says why.
    assert!(matches!(
        session.decode(8),
        Err(RuntimeError::Gpu(GpuError::Lost { .. }))
    ));
    block_on(gpu.open_gpu(OPTIONS)).unwrap();
    session.recover().unwrap();
    let mut expected = Session::new(cpu);
    expected.prefill(&tokens).unwrap();
    expected.decode(7).unwrap();
    assert_eq!(session.position(), 1501);
    let error = worst(session.decode(8).unwrap(), expected.decode(8).unwrap());
    assert!(error < 1e-5, "{error:e}");
    // And on the CPU when there is no GPU any more.
    gpu.lose_gpu();
    session.decode(9).unwrap_err();
    gpu.use_cpu();
    session.recover().unwrap();
    let error = worst(session.decode(9).unwrap(), expected.decode(9).unwrap());
    assert!(error < 1e-5, "{error:e}");
}

#[test]
fn a_driver_that_computes_wrongly_is_found() {
    // Each of these is a slip that a compiler could make; the model itself is never uploaded.
    let edits: [(&str, super::pipelines::ShaderEdit); 4] = [
        ("exp", |source| {
            source.replace("exp(-abs(a - b))", "exp(-abs(a - b) * 1.1)")
        }),
        ("token shift", |source| {
            source.replace("n == seq.x;", "n == 0u;")
        }),
        ("sigmoid", |source| {
            source.replace("part == 1u)", "part == 2u)")
        }),
        ("tile", |source| {
            source.replace("a3 += wa * x.w;", "a3 += wa * x.z;")
        }),
    ];
    for (name, edit) in edits {
        let model = random_model(64, 32, 1, 32);
        let options = GpuOptions {
            edit: Some(edit),
            ..OPTIONS
        };
        let error = block_on(model.open_gpu(options)).unwrap_err();
        assert!(
            matches!(error, RuntimeError::Gpu(GpuError::WrongAnswer { .. })),
            "{name}: {error:?}"
        );
        // The model goes on with the CPU.
        assert!(model.gpu_name().is_none());
        Session::new(model).prefill(&[1, 2, 3]).unwrap();
    }
}
