//! The engine against the CPU's. Needs a GPU adapter; a software one will do (`apt-get install mesa-vulkan-drivers libvulkan1`).

mod dots;
mod drawing;
mod sharing;

use super::{AdapterChoice, GpuError, GpuOptions, GpuSettings, block_on};
use crate::testing::Numbers;
use crate::{Batch, LoadedAdapter, Model, RuntimeError, Session};
use ptbr_model::{
    Adapter, AdapterConfig, ArchConfig, LoraModule, MemoryTensors, RwkvConfig, WeightFormat,
};
use std::sync::Arc;

const OPTIONS: GpuOptions = GpuOptions {
    settings: GpuSettings {
        adapter: AdapterChoice::Any,
        integer_dots: false,
        browser_subgroups: false,
    },
    subgroups: true,
    max_binding: 128 << 20,
    edit: None,
};

fn random_tensors(
    vocab: usize,
    d_model: usize,
    layers: usize,
    d_ffn: usize,
) -> (ArchConfig, MemoryTensors) {
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
    (ArchConfig::Rwkv4(config), tensors)
}

fn random_model(vocab: usize, d_model: usize, layers: usize, d_ffn: usize) -> Arc<Model> {
    let (config, tensors) = random_tensors(vocab, d_model, layers, d_ffn);
    Model::from_tensors(config, &tensors, None).unwrap()
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
        .map(|(f, e)| {
            assert!(f.is_finite(), "{f}");
            (f - e).abs() / largest
        })
        .fold(0.0, f32::max)
}

#[test]
fn every_format_gives_what_its_weights_mean() {
    for format in WeightFormat::ALL {
        for subgroups in [true, false] {
            let options = GpuOptions {
                subgroups,
                ..OPTIONS
            };
            let device = block_on(super::device::Device::open(options)).unwrap();
            let error = block_on(super::check::error_of(&Arc::new(device), format)).unwrap();
            println!("{format}, subgroups {subgroups}: {error:e}");
            assert!(error < 1e-5, "{format}, subgroups {subgroups}: {error:e}");
        }
    }
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
fn matrices_larger_than_a_binding_are_split() {
    // Widths that end within a tile; a head whose last piece is a row of groups and a half.
    for max_binding in [60 << 10, 70 << 10, 100 << 10] {
        let options = GpuOptions {
            max_binding,
            ..OPTIONS
        };
        let [cpu, gpu] = pair(&|| random_model(1003, 96, 2, 160), options);
        let whole = 2 * 7 + 3;
        assert!(
            gpu.gpu_dispatches().unwrap()[0] > whole,
            "nothing was split"
        );
        for len in [1usize, 5, 30] {
            let tokens: Vec<u16> = (0..len).map(|i| (i * 331 % 1003) as u16).collect();
            let (mut found, mut expected) = (
                Session::new(Arc::clone(&gpu)),
                Session::new(Arc::clone(&cpu)),
            );
            let error = worst(
                found.prefill(&tokens).unwrap(),
                expected.prefill(&tokens).unwrap(),
            );
            assert!(error < 1e-5, "{max_binding} bytes, {len} tokens: {error:e}");
        }
    }
    // Where not even a state fits it is said.
    let model = random_model(64, 96, 2, 160);
    let options = GpuOptions {
        max_binding: 4 << 10,
        ..OPTIONS
    };
    let error = block_on(model.open_gpu(options)).unwrap_err();
    assert!(
        matches!(error, RuntimeError::Gpu(GpuError::TooLarge { .. })),
        "{error:?}"
    );
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
    let edits: [(&str, super::pipelines::ShaderEdit); 7] = [
        ("exp", |source| {
            source.replace("exp(-abs(a - b))", "exp(-abs(a - b) * 1.1)")
        }),
        ("token shift", |source| {
            source.replace("n == seq.x;", "n == 0u;")
        }),
        ("sigmoid", |source| {
            source.replace("part == 1u)", "part == 2u)")
        }),
        ("adapter", |source| {
            source.replace("bitcast<u32>(total *", "bitcast<u32>(1.01 * total *")
        }),
        ("low rank", |source| {
            source.replace("j < rank", "j + 1u < rank")
        }),
        ("draw", |source| {
            // The halves of a product, exchanged.
            let right = "(a * b, a1 * b1 + (middle >> 16u) + (other >> 16u))";
            source.replace(right, "(a1 * b1 + (middle >> 16u) + (other >> 16u), a * b)")
        }),
        ("tile", |source| {
            source.replace("dot(wi, x[t])", "dot(wi, x[r])")
        }),
    ];
    for (name, edit) in edits {
        let model = random_model(64, 32, 1, 32);
        let options = GpuOptions {
            edit: Some(edit),
            ..OPTIONS
        };
        let result = block_on(model.open_gpu(options));
        assert!(
            matches!(result, Err(RuntimeError::Gpu(GpuError::WrongAnswer { .. }))),
            "{name}: {result:?}"
        );
        // The model goes on with the CPU.
        assert!(model.gpu_name().is_none());
        Session::new(model).prefill(&[1, 2, 3]).unwrap();
    }
}

/// Low-rank changes of the matrices of a layer, some or all of them.
fn adapter(model: &Model, seed: u64, rank: usize, targets: &[&str]) -> Adapter {
    let mut numbers = Numbers::new(seed);
    let modules = model
        .config()
        .tensor_specs()
        .into_iter()
        .filter(|spec| spec.shape.len() == 2)
        .filter(|spec| targets.iter().any(|target| spec.name.contains(target)))
        .map(|spec| LoraModule {
            target: spec.name.trim_end_matches(".weight").to_owned(),
            in_features: spec.shape[1],
            out_features: spec.shape[0],
            a: numbers.vector(rank * spec.shape[1], 0.2),
            b: numbers.vector(rank * spec.shape[0], 0.2),
        })
        .collect();
    Adapter {
        config: AdapterConfig {
            rank,
            alpha: 2.0 * rank as f64,
            rank_stabilized: false,
            base_model: None,
        },
        model_id: Some(model.model_id().to_owned()),
        modules,
    }
}

const ALL: [&str; 2] = [".att.", ".ffn."];

fn adapters(model: &Arc<Model>) -> Vec<Arc<LoadedAdapter>> {
    [
        (1, 4, &ALL[..]),
        (2, 8, &["att.key.weight", "ffn.value.weight"]),
        (3, 1, &["receptance.weight"]),
        (
            4,
            5,
            &["att.output.weight", "att.value.weight", "ffn.key.weight"],
        ),
    ]
    .map(|(seed, rank, targets)| {
        model
            .add_adapter(adapter(model, seed, rank, targets))
            .unwrap()
    })
    .to_vec()
}

#[test]
fn sixteen_sessions_with_four_adapters_get_what_each_gets_alone() {
    let [cpu, gpu] = pair(&|| random_model(257, 96, 2, 160), OPTIONS);
    let [on_cpu, on_gpu] = [&cpu, &gpu].map(adapters);
    let mut batch = Batch::new(Arc::clone(&gpu));
    let mut ids = Vec::new();
    let mut alone = Vec::new();
    for number in 0..16usize {
        let text: Vec<u16> = (0..1 + number * number)
            .map(|i| ((i + number) * 31 % 257) as u16)
            .collect();
        // One in five without.
        let chosen = (number % 5 < 4).then_some(number % 5);
        let session = |model: &Arc<Model>, own: &[Arc<LoadedAdapter>]| {
            let mut session = Session::new(Arc::clone(model));
            session
                .set_adapter(chosen.map(|index| &own[index]))
                .unwrap();
            session
        };
        let id = batch.join(session(&gpu, &on_gpu)).unwrap();
        batch.feed(id, &text).unwrap();
        ids.push(id);
        let mut one = session(&gpu, &on_gpu);
        one.prefill(&text).unwrap();
        let mut exact = session(&cpu, &on_cpu);
        exact.prefill(&text).unwrap();
        alone.push((one, exact));
    }
    for token in 0..4u16 {
        let mut waiting = 16;
        while waiting > 0 {
            waiting -= batch.step().unwrap().len();
        }
        for (id, (one, exact)) in ids.iter().zip(&mut alone) {
            let found = batch.session(*id).unwrap().logits().unwrap();
            let error = worst(found, one.logits().unwrap());
            assert!(error < 1e-5, "{id:?} after {token}: {error:e} from alone");
            let error = worst(found, exact.logits().unwrap());
            assert!(error < 1e-5, "{id:?} after {token}: {error:e} from the CPU");
            one.decode(token).unwrap();
            exact.decode(token).unwrap();
            batch.feed(*id, &[token]).unwrap();
        }
    }
    assert_eq!(gpu.gpu_dispatches(), Some([2 * 7 + 3, 2 * 11 + 3]));
}

#[test]
fn an_adapter_is_switched_between_two_tokens_and_back() {
    let [cpu, gpu] = pair(&|| random_model(257, 96, 2, 160), OPTIONS);
    let own = adapters(&gpu);
    let mut session = Session::new(Arc::clone(&gpu));
    session.prefill(&[1, 2, 3, 4, 5]).unwrap();
    let state = session.state().unwrap();
    let never = session.decode(6).unwrap().to_vec();
    session.set_state(&state).unwrap();
    session.set_adapter(Some(&own[0])).unwrap();
    let switched = session.decode(6).unwrap().to_vec();
    assert!(worst(&switched, &never) > 1e-2);
    session.set_adapter(None).unwrap();
    session.set_state(&state).unwrap();
    assert_eq!(session.decode(6).unwrap(), never);
    // An adapter of another model.
    let other = random_model(257, 96, 1, 160);
    let foreign = other.add_adapter(adapter(&other, 1, 4, &ALL)).unwrap();
    assert!(session.set_adapter(Some(&foreign)).is_err());
    // One that the GPU cannot take is refused, and the session goes on without.
    let head = gpu.add_adapter(adapter(&gpu, 1, 4, &["head"])).unwrap();
    let error = session.set_adapter(Some(&head)).unwrap_err();
    assert!(matches!(error, RuntimeError::Gpu(GpuError::Adapter { .. })));
    let mut expected = Session::new(cpu);
    expected.prefill(&[1, 2, 3, 4, 5, 6]).unwrap();
    let error = worst(session.decode(7).unwrap(), expected.decode(7).unwrap());
    assert!(error < 1e-5, "{error:e}");
}
