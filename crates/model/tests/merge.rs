//! Adapters merged into weights and joined into one, against the sum in f64. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used)]

mod support;

use ptbr_model::{
    Adapter, AdapterConfig, ArchConfig, LoraModule, MergedWeights, ModelFileInfo, ModelSource,
    QuantizationPlan, TensorSource, WeightFormat, WeightedAdapter, model_file_bytes, model_id,
};
use support::{config, tensors};

/// Values from -1 to 1 that depend on `seed`.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(step).take(count).collect()
}

fn adapter(arch: &ArchConfig, rank: usize, alpha: f64, targets: &[&str], seed: u32) -> Adapter {
    let specs = arch.tensor_specs();
    let modules = targets.iter().map(|target| {
        let spec = specs
            .iter()
            .find(|spec| spec.name == format!("{target}.weight"))
            .unwrap();
        LoraModule {
            target: (*target).to_owned(),
            in_features: spec.shape[1],
            out_features: spec.shape[0],
            a: noise(rank * spec.shape[1], seed),
            b: noise(rank * spec.shape[0], seed + 1),
        }
    });
    Adapter {
        config: AdapterConfig {
            rank,
            alpha,
            rank_stabilized: false,
            base_model: None,
        },
        model_id: None,
        modules: modules.collect(),
    }
}

/// Ranks, scales and targets differ; one matrix is changed by both.
fn parts(arch: &ArchConfig) -> [WeightedAdapter; 2] {
    [
        WeightedAdapter {
            adapter: adapter(arch, 3, 6.0, &["blocks.0.att.key", "head"], 1),
            weight: 0.7,
        },
        WeightedAdapter {
            adapter: adapter(arch, 5, 2.5, &["blocks.0.att.key", "blocks.0.ffn.value"], 9),
            weight: -0.3,
        },
    ]
}

/// `Σ weight · alpha / rank · B·A`, element by element.
fn change(parts: &[WeightedAdapter], target: &str, row: usize, column: usize) -> f64 {
    let mut sum = 0.0;
    for part in parts {
        let rank = part.adapter.config.rank;
        let Some(module) = part.adapter.modules.iter().find(|m| m.target == target) else {
            continue;
        };
        let factor = part.weight * part.adapter.config.alpha / rank as f64;
        for inner in 0..rank {
            let b = f64::from(module.b[row * rank + inner]);
            sum += factor * b * f64::from(module.a[inner * module.in_features + column]);
        }
    }
    sum
}

fn model(format: WeightFormat) -> ModelSource {
    let weights = tensors(&config().tensor_specs(), 3);
    let plan = QuantizationPlan::uniform(format);
    let id = model_id(&weights).unwrap();
    let info = ModelFileInfo::quantized(&plan, config(), None, id);
    ModelSource::from_bytes("memory", model_file_bytes(&info, &weights).unwrap()).unwrap()
}

#[test]
fn merged_weights_are_the_sum() {
    let (model, parts) = (model(WeightFormat::F32), parts(&config()));
    let merged = MergedWeights::new(&model, &parts).unwrap();
    assert_eq!(merged.num_changed(), 3);
    assert_ne!(model_id(&merged).unwrap(), model.model_id());
    for spec in merged.specs() {
        let mut values = Vec::new();
        merged
            .write_f32(&spec.name, &mut |piece| {
                values.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        let before = model.tensor(&spec.name).unwrap();
        assert_eq!(values.len(), before.len(), "{}", spec.name);
        let target = spec.name.trim_end_matches(".weight");
        let width = spec.shape.last().copied().unwrap();
        for (index, (after, before)) in values.iter().zip(before).enumerate() {
            let sum = f64::from(*before) + change(&parts, target, index / width, index % width);
            // Rounded once; the scale is an f32.
            let tolerance = 2e-7 * sum.abs().max(1.0);
            assert!(
                (f64::from(*after) - sum).abs() <= tolerance,
                "{}[{index}]: {after}, {sum}",
                spec.name
            );
        }
    }
    // Nothing of anything is the model itself.
    let nothing = parts.map(|part| WeightedAdapter {
        weight: 0.0,
        ..part
    });
    let merged = MergedWeights::new(&model, &nothing).unwrap();
    assert_eq!(model_id(&merged).unwrap(), model.model_id());
}

#[test]
fn a_joined_adapter_does_what_its_parts_do() {
    let parts = parts(&config());
    let joined = Adapter::joined(&parts).unwrap();
    assert_eq!((joined.config.rank, joined.config.scale()), (8, 1.0));
    let targets: Vec<&str> = joined.modules.iter().map(|m| m.target.as_str()).collect();
    assert_eq!(targets, ["blocks.0.att.key", "blocks.0.ffn.value", "head"]);
    joined.check_against(&config(), "").unwrap();
    let alone = [WeightedAdapter {
        adapter: joined,
        weight: 1.0,
    }];
    for module in &alone[0].adapter.modules {
        for row in 0..module.out_features {
            for column in 0..module.in_features {
                let expected = change(&parts, &module.target, row, column);
                let found = change(&alone, &module.target, row, column);
                // A sum of eight products whose factors were rounded once.
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }
}

#[test]
fn what_cannot_be_merged_is_named() {
    let arch = config();
    let with = |change: &dyn Fn(&mut [WeightedAdapter; 2])| {
        let mut parts = parts(&arch);
        change(&mut parts);
        Adapter::joined(&parts).unwrap_err().to_string()
    };
    assert!(
        Adapter::joined(&[])
            .unwrap_err()
            .to_string()
            .contains("ranks is 0")
    );
    let message = with(&|parts| parts[1].weight = f64::NAN);
    assert!(message.contains("weight of one is NaN"), "{message}");
    let message = with(&|parts| parts[1].weight = 1e300);
    assert!(message.contains("use smaller weights"), "{message}");
    let message = with(&|parts| {
        parts[0].adapter.model_id = Some("a".repeat(64));
        parts[1].adapter.model_id = Some("b".repeat(64));
    });
    assert!(
        message.contains("was trained on the model bbbb"),
        "{message}"
    );
    let message = with(&|parts| {
        parts[1].adapter.modules[0].in_features = 16;
        parts[1].adapter.modules[0].a.truncate(80);
    });
    assert!(message.contains("[32, 16]"), "{message}");

    let quantized = model(WeightFormat::Int8);
    let message = MergedWeights::new(&quantized, &parts(&arch))
        .unwrap_err()
        .to_string();
    assert!(message.contains("in int8"), "{message}");
    let mut stranger = parts(&arch);
    stranger[1].adapter.model_id = Some("b".repeat(64));
    let message = MergedWeights::new(&model(WeightFormat::F32), &stranger)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("was trained on the model bbbb"),
        "{message}"
    );
}
