//! Adapter folders in the PEFT layout: ours round-trip, others' are understood or refused with the reason. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use ptbr_model::{
    Adapter, AdapterConfig, AdapterMatch, LoraModule, MemoryTensors, TensorSpec, WeightFormat,
    read_adapter, write_adapter, write_adapter_as, write_safetensors, write_web_rwkv_adapter,
};
use safetensors::tensor::{Dtype, TensorView, serialize};

const RANK: usize = 4;

fn module(target: &str, out_features: usize, in_features: usize) -> LoraModule {
    let values = |count: usize, sign: f32| (0..count).map(|i| sign * i as f32 / 64.0).collect();
    LoraModule {
        target: target.to_owned(),
        in_features,
        out_features,
        a: values(RANK * in_features, 1.0),
        b: values(out_features * RANK, -1.0),
    }
}

fn adapter() -> Adapter {
    Adapter {
        config: AdapterConfig {
            rank: RANK,
            alpha: 8.0,
            rank_stabilized: false,
            base_model: Some("a".repeat(64)),
        },
        model_id: Some("a".repeat(64)),
        modules: vec![
            module("blocks.0.att.key", 32, 32),
            module("blocks.0.ffn.value", 32, 32),
            module("head", 32, 32),
        ],
    }
}

fn config_of(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
}

#[test]
fn round_trip_and_the_names_that_peft_uses() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("adapters/legal");
    write_adapter(&folder, &adapter()).unwrap();
    assert_eq!(read_adapter(&folder).unwrap(), adapter());
    let config = config_of(&folder);
    assert_eq!(config["peft_type"], "LORA");
    assert_eq!(
        (config["r"].as_u64(), config["lora_alpha"].as_f64()),
        (Some(4), Some(8.0))
    );
    assert_eq!(
        config["target_modules"],
        serde_json::json!(["attention.key", "feed_forward.value", "head"])
    );
    assert_eq!(config["base_model_name_or_path"], "a".repeat(64));
    let bytes = fs::read(folder.join("adapter_model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(
        file.tensor("base_model.model.rwkv.blocks.0.attention.key.lora_A.weight")
            .unwrap()
            .shape(),
        [RANK, 32]
    );
    assert_eq!(
        file.tensor("base_model.model.rwkv.blocks.0.feed_forward.value.lora_B.weight")
            .unwrap()
            .shape(),
        [32, RANK]
    );
    assert_eq!(
        file.tensor("base_model.model.head.lora_B.weight")
            .unwrap()
            .shape(),
        [32, RANK]
    );

    // Again, over the one that is there, and without a model id.
    let mut other = adapter();
    other.model_id = None;
    other.config.rank_stabilized = true;
    write_adapter(&folder, &other).unwrap();
    assert_eq!(read_adapter(&folder).unwrap(), other);
    assert_eq!((adapter().config.scale(), other.config.scale()), (2.0, 4.0));
    assert_eq!(
        support::files(folder.parent().unwrap()),
        std::slice::from_ref(&folder),
        "nothing is left beside it"
    );
}

#[test]
fn an_adapter_is_checked_against_the_model() {
    let config = support::config();
    let own = "a".repeat(64);
    assert_eq!(
        adapter().check_against(&config, &own).unwrap(),
        AdapterMatch::SameModel
    );
    let nameless = Adapter {
        model_id: None,
        ..adapter()
    };
    assert_eq!(
        nameless.check_against(&config, &own).unwrap(),
        AdapterMatch::ShapesOnly
    );
    let error = adapter()
        .check_against(&config, &"b".repeat(64))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the adapter was trained on the model aaaaaaaaaaaa…, this is bbbbbbbbbbbb…"
    );
    let wide = Adapter {
        modules: vec![module("blocks.0.ffn.key", 128, 32)],
        ..adapter()
    };
    let error = wide.check_against(&config, &own).unwrap_err().to_string();
    assert!(
        error.contains("`blocks.0.ffn.key` is [128, 32], the model's is [32, 32]"),
        "{error}"
    );
    let deep = Adapter {
        modules: vec![module("blocks.1.att.key", 32, 32)],
        ..adapter()
    };
    let error = deep.check_against(&config, &own).unwrap_err().to_string();
    assert_eq!(
        error,
        "the adapter changes `blocks.1.att.key`, which this model does not have"
    );
}

#[test]
fn half_precision_adapters_of_other_tools_are_widened() {
    let root = tempfile::tempdir().unwrap();
    let exact = [0.5f32, -2.0, 1.5, 0.25];
    for dtype in [Dtype::F16, Dtype::BF16] {
        let bits = |x: &f32| {
            if dtype == Dtype::F16 {
                f16::from_f32(*x).to_bits()
            } else {
                bf16::from_f32(*x).to_bits()
            }
        };
        let data: Vec<u8> = exact.iter().flat_map(|x| bits(x).to_le_bytes()).collect();
        let a = TensorView::new(dtype, vec![1, 4], &data).unwrap();
        let b = TensorView::new(dtype, vec![4, 1], &data).unwrap();
        let prefix = "base_model.model.rwkv.blocks.2.attention.receptance";
        let bytes = serialize(
            [
                (format!("{prefix}.lora_A.weight"), a),
                (format!("{prefix}.lora_B.weight"), b),
            ],
            None,
        )
        .unwrap();
        fs::write(root.path().join("adapter_model.safetensors"), bytes).unwrap();
        let config = r#"{"peft_type":"LORA","r":1,"lora_alpha":16,"target_modules":"all-linear","base_model_name_or_path":"x/y","loftq_config":{},"use_dora":false,"rank_pattern":{}}"#;
        fs::write(root.path().join("adapter_config.json"), config).unwrap();
        let adapter = read_adapter(root.path()).unwrap();
        assert_eq!(adapter.model_id, None);
        assert_eq!(adapter.modules[0].target, "blocks.2.att.receptance");
        assert_eq!(adapter.modules[0].a, exact);
        assert_eq!(adapter.config.scale(), 16.0);
    }
}

#[test]
fn configurations_that_mean_something_else_are_refused() {
    let root = tempfile::tempdir().unwrap();
    write_adapter(root.path(), &adapter()).unwrap();
    let path = root.path().join("adapter_config.json");
    let good = config_of(root.path());
    let error = |key: &str, value: serde_json::Value| {
        let mut config = good.clone();
        config[key] = value;
        fs::write(&path, config.to_string()).unwrap();
        let message = read_adapter(root.path()).unwrap_err().to_string();
        assert!(message.contains("adapter_config.json"), "{message}");
        message
    };
    assert!(error("peft_type", "IA3".into()).contains("`peft_type` is IA3"));
    assert!(error("r", 0.into()).contains("`r` is 0"));
    assert!(error("r", u64::MAX.into()).contains("`r` is 18446744073709551615"));
    assert!(error("lora_alpha", (-1).into()).contains("`lora_alpha` is -1"));
    assert!(error("lora_alpha", 1e300.into()).contains("fit into an f32"));
    assert!(error("bias", "all".into()).contains("`bias`"));
    assert!(error("fan_in_fan_out", true.into()).contains("`fan_in_fan_out`"));
    assert!(error("modules_to_save", serde_json::json!(["head"])).contains("`modules_to_save`"));
    assert!(error("use_dora", true.into()).contains("`use_dora`"));
    assert!(error("rank_pattern", serde_json::json!({ "head": 2 })).contains("`rank_pattern`"));
    assert!(error("alpha_pattern", serde_json::json!({ "head": 2 })).contains("`alpha_pattern`"));
    fs::write(&path, "").unwrap();
    assert!(
        read_adapter(root.path())
            .unwrap_err()
            .to_string()
            .contains("EOF")
    );
    fs::write(&path, " ".repeat(2 << 20)).unwrap();
    assert!(
        read_adapter(root.path())
            .unwrap_err()
            .to_string()
            .contains("too many for an adapter's configuration")
    );
    fs::remove_file(&path).unwrap();
    assert!(
        read_adapter(root.path())
            .unwrap_err()
            .to_string()
            .starts_with("cannot read ")
    );
}

#[test]
fn tensors_that_are_no_adapter_are_refused() {
    let root = tempfile::tempdir().unwrap();
    write_adapter(root.path(), &adapter()).unwrap();
    let error = |tensors: &[(&str, &[usize], f32)], metadata: &[(&str, &str)]| {
        let mut source = MemoryTensors::new();
        for (name, shape, value) in tensors {
            source.push(
                TensorSpec::new(*name, *shape),
                vec![*value; shape.iter().product()],
            );
        }
        let mut bytes = Vec::new();
        write_safetensors(&source, metadata, &mut bytes, None).unwrap();
        fs::write(root.path().join("adapter_model.safetensors"), bytes).unwrap();
        let message = read_adapter(root.path()).unwrap_err().to_string();
        assert!(message.contains("adapter_model.safetensors"), "{message}");
        message
    };
    let (a, b) = (
        "base_model.model.head.lora_A.weight",
        "base_model.model.head.lora_B.weight",
    );
    assert!(error(&[], &[]).contains("it holds no tensors"));
    assert!(error(&[(a, &[4, 32], 0.0)], &[]).contains("`head` has only one of lora_A and lora_B"));
    assert!(
        error(&[(a, &[4, 32], 0.0), (b, &[32, 3], 0.0)], &[])
            .contains("`head` has the ranks 4 and 3, the configuration says 4")
    );
    assert!(
        error(&[(a, &[4, 32, 1], 0.0), (b, &[32, 4], 0.0)], &[])
            .contains("is not made of two matrices")
    );
    assert!(
        error(
            &[("base_model.model.lm_head.lora_A.weight", &[4, 32], 0.0)],
            &[]
        )
        .contains("is no part of a LoRA adapter")
    );
    assert!(
        error(&[("head.weight", &[4, 32], 0.0)], &[])
            .contains("`head.weight` is no part of a LoRA adapter")
    );
    assert!(
        error(&[(a, &[4, 32], f32::NAN), (b, &[32, 4], 0.0)], &[])
            .contains("holds NaN at element 0")
    );
    assert!(
        error(
            &[(a, &[4, 32], 0.0), (b, &[32, 4], 0.0)],
            &[("ptbr-slm", "{}")]
        )
        .contains("holds no model id")
    );
    assert!(
        error(
            &[(a, &[4, 32], 0.0), (b, &[32, 4], 0.0)],
            &[("ptbr-slm", "{")]
        )
        .contains("cannot be read")
    );
}

#[test]
fn an_adapter_in_memory_is_read_as_its_folder_is() {
    let root = tempfile::tempdir().unwrap();
    write_adapter(root.path(), &adapter()).unwrap();
    let read = |name: &str| fs::read(root.path().join(name)).unwrap();
    let (config, tensors) = (
        read("adapter_config.json"),
        read("adapter_model.safetensors"),
    );
    let embedded = Adapter::from_bytes("embedded", &config, tensors.clone()).unwrap();
    assert_eq!(embedded, adapter());
    let error = |config: &[u8], tensors: &[u8]| {
        Adapter::from_bytes("embedded", config, tensors.to_vec())
            .unwrap_err()
            .to_string()
    };
    assert!(error(b"{", &tensors).starts_with("embedded"));
    assert!(error(&config, &tensors[..50]).starts_with("embedded"));
}

#[test]
fn half_precision_folders_hold_the_rounded_values() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("half");
    // Values of k / 64 are exact in f16.
    write_adapter_as(&folder, &adapter(), WeightFormat::F16).unwrap();
    assert_eq!(read_adapter(&folder).unwrap(), adapter());
    let bytes = fs::read(folder.join("adapter_model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert!(file.iter().all(|(_, tensor)| tensor.dtype() == Dtype::F16));
    write_adapter_as(&folder, &adapter(), WeightFormat::F32).unwrap();
    assert_eq!(read_adapter(&folder).unwrap(), adapter());

    let mut large = adapter();
    large.modules[0].a[7] = 70_000.0;
    let refused = |adapter: &Adapter, format| {
        let error = write_adapter_as(&folder, adapter, format).unwrap_err();
        assert_eq!(
            read_adapter(&folder).unwrap(),
            self::adapter(),
            "untouched by the error"
        );
        error.to_string()
    };
    assert!(refused(&large, WeightFormat::F16).contains("holds 70000, which f16 cannot"));
    assert!(refused(&adapter(), WeightFormat::Int8).contains("not in int8"));
}

/// What web-rwkv computes when it loads the file with the blend factor: `factor / rank · lora.1 · lora.0ᵀ`.
#[test]
fn web_rwkv_blends_what_the_adapter_adds() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("legal.st");
    let mut own = adapter();
    own.modules.pop();
    own.config.rank_stabilized = true;
    let factor = write_web_rwkv_adapter(&path, &own).unwrap();
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.names().len(), 4);
    for module in &own.modules {
        let tensor = |half: &str, features: usize| {
            let tensor = file
                .tensor(&format!("{}.lora.{half}", module.target))
                .unwrap();
            assert_eq!(
                (tensor.dtype(), tensor.shape()),
                (Dtype::F16, &[features, RANK][..])
            );
            tensor
                .data()
                .chunks(2)
                .map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32())
                .collect::<Vec<f32>>()
        };
        let (x, y) = (
            tensor("0", module.in_features),
            tensor("1", module.out_features),
        );
        for (row, y) in y.chunks(RANK).enumerate() {
            for (column, x) in x.chunks(RANK).enumerate() {
                let blended: f32 =
                    factor / RANK as f32 * y.iter().zip(x).map(|(y, x)| y * x).sum::<f32>();
                let b = &module.b[row * RANK..][..RANK];
                let added: f32 = own.config.scale()
                    * (0..RANK)
                        .map(|r| b[r] * module.a[r * module.in_features + column])
                        .sum::<f32>();
                assert_eq!(blended, added, "{} {row} {column}", module.target);
            }
        }
    }
    let error = write_web_rwkv_adapter(&path, &adapter())
        .unwrap_err()
        .to_string();
    assert!(error.contains("this one changes `head`"), "{error}");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("x");
    let error = |adapter: Adapter| write_adapter(&folder, &adapter).unwrap_err().to_string();
    assert!(
        error(Adapter {
            modules: vec![],
            ..adapter()
        })
        .contains("with 0 targets")
    );
    assert!(
        error(Adapter {
            modules: vec![module("emb", 32, 32)],
            ..adapter()
        })
        .contains("`emb`")
    );
    assert!(
        error(Adapter {
            modules: vec![module("head", 32, 32), module("head", 32, 32)],
            ..adapter()
        })
        .contains("occurs twice")
    );
    let mut short = adapter();
    short.modules[0].a.pop();
    assert!(error(short).contains("which are not its dimensions"));
    assert!(support::files(root.path()).is_empty());
    fs::write(&folder, "a file").unwrap();
    let below = write_adapter(&folder.join("y"), &adapter())
        .unwrap_err()
        .to_string();
    assert!(below.starts_with("cannot create "), "{below}");
}
