//! Models out to other tools' formats and back: the same numbers. And weights that are no RWKV-4 model, refused by what they are. Needs nothing.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use ptbr_model::{
    ArchConfig, ExportContents, ExportError, ExportFormat, ExportTokenizer, ForeignModel,
    MemoryTensors, ModelCard, RwkvConfig, TensorSource, TensorSpec, TrainState, WeightFormat,
    export_model, model_id, write_safetensors,
};
use serde_json::{Value, json};

const ID: &str = "686039dff4bb205dbdcae1ab9cfca96b7e59db318dc97519a74c661e039ecf52";

/// Two layers, so that the one with `ln0` and one without are there.
fn config() -> RwkvConfig {
    RwkvConfig {
        d_ffn: 96,
        dropout: 0.0,
        layer_norm_eps: 1e-4,
        ..RwkvConfig::new(48, 32, 2, 64)
    }
}

fn model() -> MemoryTensors {
    support::tensors(&config().tensor_specs(), 7)
}

fn export(path: &Path, format: ExportFormat, dtype: WeightFormat) -> Result<(), ExportError> {
    export_of(&model(), path, format, dtype)
}

fn export_of(
    model: &dyn TensorSource,
    path: &Path,
    format: ExportFormat,
    dtype: WeightFormat,
) -> Result<(), ExportError> {
    let special = |id: u16, text: &str| (id, text.to_owned());
    let state = TrainState {
        step: 40,
        tokens_seen: 1_000_000,
        best_eval: Some(2.0),
        best_eval_step: Some(30),
        ..TrainState::default()
    };
    let contents = ExportContents {
        config: &ArchConfig::Rwkv4(config()),
        model,
        tokenizer: Some(ExportTokenizer {
            json: "{\"version\":\"1.0\"}",
            bos: special(2, "[BOS]"),
            eos: special(3, "[EOS]"),
            pad: special(0, "[PAD]"),
            unk: special(1, "[UNK]"),
        }),
        card: ModelCard {
            name: "sabiá",
            license: Some("cc-by-sa-4.0"),
            data: Some("Textos\n<script>"),
            model_id: ID,
            training: Some(&state),
        },
    };
    export_model(path, format, dtype, &contents)
}

fn values(model: &dyn TensorSource, name: &str) -> Vec<f32> {
    let mut values = Vec::new();
    let mut sink = |piece: &[f32]| {
        values.extend_from_slice(piece);
        Ok(())
    };
    model.write_f32(name, &mut sink).unwrap();
    values
}

/// The model after a detour through f16; what transformers keeps in f32 when `wide`.
fn rounded(wide: bool) -> MemoryTensors {
    let original = model();
    let mut rounded = MemoryTensors::new();
    for spec in original.specs() {
        let exact =
            wide && (spec.name.ends_with("time_decay") || spec.name.ends_with("time_first"));
        let round = |x: f32| if exact { x } else { f16::from_f32(x).to_f32() };
        let values = values(&original, &spec.name).into_iter().map(round);
        rounded.push(spec, values.collect());
    }
    rounded
}

fn same(found: &ForeignModel, expected: &MemoryTensors) {
    assert_eq!(model_id(found).unwrap(), model_id(expected).unwrap());
}

#[test]
fn rwkv_and_transformers_there_and_back() {
    let root = tempfile::tempdir().unwrap();
    for (dtype, official, transformers) in [
        (WeightFormat::F32, model(), model()),
        (WeightFormat::F16, rounded(false), rounded(true)),
    ] {
        let path = |name: &str| root.path().join(format!("{name}-{dtype}"));
        for file in [path("model").with_extension("st"), path("folder")] {
            export(&file, ExportFormat::Rwkv, dtype).unwrap();
            let weights = match file.is_dir() {
                true => file.join("model.safetensors"),
                false => file,
            };
            let back = ForeignModel::open_rwkv(&weights, 64).unwrap();
            same(&back, &official);
            assert_eq!(back.dtypes(), [dtype.name().to_uppercase()]);
        }
        let folder = path("hf");
        export(&folder, ExportFormat::Hf, dtype).unwrap();
        let back = ForeignModel::open_hf(&folder).unwrap();
        same(&back, &transformers);
        assert_eq!(back.config(), &ArchConfig::Rwkv4(config()));
        assert_eq!(back.tokenizer_json(), Some("{\"version\":\"1.0\"}"));
    }
}

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

/// The model with one tensor changed, or taken out.
fn with(
    name: &str,
    change: impl Fn(TensorSpec, Vec<f32>) -> Option<(TensorSpec, Vec<f32>)>,
) -> MemoryTensors {
    let original = model();
    let mut changed = MemoryTensors::new();
    for spec in original.specs() {
        let numbers = values(&original, &spec.name);
        let tensor = match spec.name == name {
            true => change(spec, numbers),
            false => Some((spec, numbers)),
        };
        if let Some((spec, numbers)) = tensor {
            changed.push(spec, numbers);
        }
    }
    changed
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

#[test]
fn ggmf_number_by_number() {
    let root = tempfile::tempdir().unwrap();
    let original = model();
    for (dtype, code) in [(WeightFormat::F32, 0), (WeightFormat::F16, 1)] {
        let path = root.path().join(format!("{dtype}.bin"));
        export(&path, ExportFormat::RwkvCpp, dtype).unwrap();
        let bytes = fs::read(&path).unwrap();
        let mut rest = bytes.as_slice();
        let int = |rest: &mut &[u8]| {
            let (number, behind) = rest.split_first_chunk().unwrap();
            *rest = behind;
            i32::from_le_bytes(*number)
        };
        let header: Vec<i32> = (0..6).map(|_| int(&mut rest)).collect();
        assert_eq!(header, [0x6767_6d66, 101, 48, 32, 2, code]);
        for spec in original.specs() {
            let [dims, name_len, kind] = [int(&mut rest), int(&mut rest), int(&mut rest)];
            let mut shape: Vec<usize> = (0..dims).map(|_| int(&mut rest) as usize).collect();
            shape.reverse();
            let (name, behind) = rest.split_at(name_len as usize);
            assert_eq!(std::str::from_utf8(name).unwrap(), spec.name);
            let expected_shape = if spec.is_matrix() {
                &spec.shape[..]
            } else {
                &[32]
            };
            assert_eq!(shape, expected_shape, "{}", spec.name);
            assert_eq!(
                kind,
                if spec.is_matrix() { code } else { 0 },
                "{}",
                spec.name
            );
            let element = if kind == 1 { 2 } else { 4 };
            let count: usize = shape.iter().product();
            let (data, behind) = behind.split_at(count * element);
            rest = behind;
            let numbers = values(&original, &spec.name);
            for (index, number) in numbers.into_iter().enumerate() {
                let data = &data[index * element..][..element];
                let expected = match spec.name.ends_with("time_decay") {
                    true => -number.exp(),
                    false => number,
                };
                match kind {
                    1 => assert_eq!(data, f16::from_f32(expected).to_le_bytes()),
                    _ => assert_eq!(data, expected.to_le_bytes()),
                }
            }
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn a_folder_has_a_tokenizer_and_a_card() {
    let root = tempfile::tempdir().unwrap();
    for (format, weights) in [
        (ExportFormat::Rwkv, "model.safetensors"),
        (ExportFormat::Hf, "model.safetensors"),
        (ExportFormat::RwkvCpp, "model.bin"),
        (ExportFormat::Onnx, "model.onnx"),
    ] {
        let folder = root.path().join(format!("{format:?}"));
        export(&folder, format, WeightFormat::F16).unwrap();
        assert!(folder.join(weights).metadata().unwrap().len() > 20_000);
        assert!(folder.join("tokenizer.json").is_file());
        let card = fs::read_to_string(folder.join("README.md")).unwrap();
        for part in [
            "language:\n- pt\nlicense: cc-by-sa-4.0\n",
            "# sabiá\n",
            "| parameters | 26432 |",
            "| numbers | f16 |",
            ID,
            // One line, and nothing that a page would take for markup.
            "- Data: Textos ‹script›\n",
            "- Licence of the weights: cc-by-sa-4.0\n",
            "- 40 optimizer steps, 1000000 tokens\n",
            "2.0000 nats per token (perplexity 7.39), at step 30\n",
            "## How to run",
        ] {
            assert!(card.contains(part), "{format:?} lacks {part}:\n{card}");
        }
        // What is there is not replaced.
        let again = export(&folder, format, WeightFormat::F16).unwrap_err();
        assert!(matches!(again, ExportError::Exists { .. }));
    }
    let names: Vec<_> = fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 4, "nothing temporary is left: {names:?}");
}

#[test]
fn what_cannot_be_exported_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let large = with("head.weight", |spec, mut x| {
        x[5] = 65_520.0;
        Some((spec, x))
    });
    for name in ["m.st", "folder"] {
        let path = root.path().join(name);
        let error = export_of(&large, &path, ExportFormat::Rwkv, WeightFormat::F16);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("`head.weight` holds 65520, which f16 cannot"),
            "{error}"
        );
        export_of(&large, &path, ExportFormat::Rwkv, WeightFormat::F32).unwrap();
    }
    let wrong = |name: &str, format, dtype| {
        let error = export(&root.path().join(name), format, dtype);
        error.unwrap_err().to_string()
    };
    assert!(
        wrong("m.bin", ExportFormat::Rwkv, WeightFormat::F16)
            .contains("ends in .safetensors or .st")
    );
    assert!(
        wrong("m.safetensors", ExportFormat::Hf, WeightFormat::F32)
            .contains("this format is a folder")
    );
    assert!(wrong("m", ExportFormat::Hf, WeightFormat::Int8).contains("not as int8"));
    let left: Vec<_> = fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
