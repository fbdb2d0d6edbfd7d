//! Weights of other tools in: numbers of every format, folders of several files, and what is no RWKV-4 model, refused by what it is. Needs nothing.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use half::bf16;
use ptbr_model::{
    ExportFormat, ForeignModel, MemoryTensors, TensorSource, TensorSpec, WeightFormat,
    write_safetensors,
};
use serde_json::{Value, json};
use support::exchange::{export, model, values, with};

/// A safetensors file whose numbers are bf16.
fn bf16_file(model: &MemoryTensors) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for spec in model.specs() {
        let start = data.len();
        let numbers = values(model, &spec.name);
        data.extend(
            numbers
                .iter()
                .flat_map(|x| bf16::from_f32(*x).to_le_bytes()),
        );
        header.insert(
            spec.name,
            json!({"dtype": "BF16", "shape": spec.shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), &data].concat()
}

#[test]
fn bf16_is_read_to_its_precision() {
    let original = model();
    let back = ForeignModel::from_rwkv_bytes("m", bf16_file(&original), 64).unwrap();
    assert_eq!(back.dtypes(), ["BF16"]);
    for spec in original.specs() {
        let expected = values(&original, &spec.name);
        let expected: Vec<f32> = expected
            .iter()
            .map(|x| bf16::from_f32(*x).to_f32())
            .collect();
        assert_eq!(values(&back, &spec.name), expected, "{}", spec.name);
    }
}

#[test]
fn a_transformers_folder_may_be_in_several_files_and_have_a_tied_head() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("hf");
    export(&folder, ExportFormat::Hf, WeightFormat::F32).unwrap();
    let whole = fs::read(folder.join("model.safetensors")).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let mut tensors: Vec<_> = whole.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors.retain(|(name, _)| name != "head.weight");
    let (first, second) = tensors.split_at(11);
    let mut index = serde_json::Map::new();
    for (number, part) in [first, second].into_iter().enumerate() {
        let name = format!("model-{number}.safetensors");
        let views = part.iter().map(|(name, view)| (name.as_str(), view));
        fs::write(
            folder.join(&name),
            safetensors::serialize(views, None).unwrap(),
        )
        .unwrap();
        index.extend(
            part.iter()
                .map(|(tensor, _)| (tensor.clone(), name.clone().into())),
        );
    }
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let index_path = folder.join("model.safetensors.index.json");
    let write_index = |index: &serde_json::Map<String, Value>| {
        fs::write(&index_path, json!({ "weight_map": index }).to_string()).unwrap();
    };
    write_index(&index);
    let open = || ForeignModel::open_hf(&folder);
    let error = open().unwrap_err().to_string();
    assert!(error.contains("42 tensors, and there are 41"), "{error}");

    let config_path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&config_path).unwrap()).unwrap();
    config["tie_word_embeddings"] = true.into();
    fs::write(&config_path, config.to_string()).unwrap();
    let tied = open().unwrap();
    assert_eq!(values(&tied, "head.weight"), values(&model(), "emb.weight"));

    for elsewhere in ["../model-0.safetensors", "/etc/passwd", "a/b", "..", ""] {
        let mut bad = index.clone();
        bad.insert("rwkv.ln_out.bias".to_owned(), elsewhere.into());
        write_index(&bad);
        let error = open().unwrap_err().to_string();
        assert!(
            error.contains("is not the name of a file in this folder"),
            "{error}"
        );
    }
    fs::remove_file(&index_path).unwrap();
    assert!(open().unwrap_err().to_string().contains("it holds neither"));
}

#[test]
fn a_config_of_another_model_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("hf");
    export(&folder, ExportFormat::Hf, WeightFormat::F32).unwrap();
    let path = folder.join("config.json");
    let original: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (key, value, reason) in [
        ("model_type", json!("llama"), "\"llama\"; only \"rwkv\""),
        ("model_type", json!("rwkv5"), "\"rwkv5\"; only \"rwkv\""),
        (
            "vocab_size",
            json!(49),
            "`vocab_size` is 49, and in the weights it is 48",
        ),
        ("num_hidden_layers", json!(3), "`num_hidden_layers` is 3"),
        (
            "intermediate_size",
            Value::Null,
            "`intermediate_size` is 128",
        ),
        (
            "attention_hidden_size",
            json!(64),
            "`attention_hidden_size` is 64",
        ),
        ("hidden_size", json!(-1), "invalid value"),
        ("layer_norm_epsilon", json!(0.0), "layer_norm_eps"),
        ("context_length", json!(0), "max_seq_len"),
    ] {
        let mut config = original.clone();
        config[key] = value;
        fs::write(&path, config.to_string()).unwrap();
        let error = ForeignModel::open_hf(&folder).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// What is said of a file with these tensors.
fn refusal(tensors: &MemoryTensors) -> String {
    let mut bytes = Vec::new();
    write_safetensors(tensors, &[], &mut bytes, None).unwrap();
    match ForeignModel::from_rwkv_bytes("x.safetensors", bytes, 64) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn other_versions_are_told_by_their_tensors() {
    for (names, version) in [
        (&["blocks.0.att.ln_x.weight"][..], "RWKV-5"),
        (
            &["blocks.0.att.gate.weight", "blocks.0.att.time_faaaa"],
            "RWKV-5",
        ),
        (
            &["blocks.0.att.ln_x.weight", "blocks.0.att.time_maa_x"],
            "RWKV-6",
        ),
        (&["blocks.0.att.ln_x.weight", "blocks.0.att.r_k"], "RWKV-7"),
    ] {
        let mut tensors = model();
        for name in names {
            tensors.push(TensorSpec::new(*name, [32]), vec![0.0; 32]);
        }
        let message = refusal(&tensors);
        assert!(
            message.contains(&format!("an {version} model")),
            "{message}"
        );
    }
}

#[test]
fn weights_that_are_no_rwkv_4_are_refused_by_what_is_wrong() {
    let without = |name: &str| refusal(&with(name, |_, _| None));
    assert!(without("emb.weight").contains("`emb.weight` is missing"));
    assert!(without("blocks.1.ffn.time_mix_r").contains("have 42 tensors, and there are 41"));
    let mut renamed = with("ln_out.bias", |spec, x| {
        Some((TensorSpec::new("ln_out.bais", spec.shape), x))
    });
    assert!(refusal(&renamed).contains("`ln_out.bias` is missing"));
    renamed = model();
    renamed.push(TensorSpec::new("extra", [1]), vec![0.0]);
    assert!(refusal(&renamed).contains("`extra` does not belong to this model"));
    let reshaped = |name: &str, shape: &[usize]| {
        refusal(&with(name, |spec, x| {
            Some((TensorSpec::new(spec.name, shape), x))
        }))
    };
    assert!(reshaped("emb.weight", &[48 * 32]).contains("a matrix belongs there"));
    assert!(reshaped("blocks.1.ffn.key.weight", &[32, 96]).contains("shape [32, 96]"));
    assert!(
        reshaped("emb.weight", &[32, 48])
            .contains("time mixing is 32 wide and the residual stream 48")
    );
    let infinite = with("head.weight", |spec, mut x| {
        x[40] = f32::INFINITY;
        Some((spec, x))
    });
    assert!(refusal(&infinite).contains("`head.weight` holds inf at element 40"));
    // A name that claims a billion layers lists nothing.
    let many = with("ln_out.bias", |spec, x| {
        Some((
            TensorSpec::new("blocks.18446744073709551614.ln1.bias", spec.shape),
            x,
        ))
    });
    assert!(refusal(&many).contains("tensors, and there are 42"));
    let truncated = b"PK".to_vec();
    assert!(ForeignModel::from_rwkv_bytes("x", truncated, 64).is_err());
    assert!(ForeignModel::from_rwkv_bytes("x", Vec::new(), 64).is_err());
}

#[test]
fn vectors_may_have_dimensions_of_one_element() {
    let flat = with("blocks.1.att.time_mix_k", |spec, x| {
        Some((TensorSpec::new(spec.name, [32]), x))
    });
    let mut bytes = Vec::new();
    write_safetensors(&flat, &[], &mut bytes, None).unwrap();
    let back = ForeignModel::from_rwkv_bytes("x", bytes, 64).unwrap();
    let expected = model();
    let specs = back.specs();
    assert_eq!(specs, expected.specs());
    for spec in specs {
        assert_eq!(values(&back, &spec.name), values(&expected, &spec.name));
    }
}
