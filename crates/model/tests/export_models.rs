//! Models out to other tools' formats, number by number, and back. Needs nothing.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use half::f16;
use ptbr_model::{
    ArchConfig, ExportError, ExportFormat, ForeignModel, MemoryTensors, TensorSource, WeightFormat,
    model_id,
};
use support::exchange::{ID, config, export, export_of, model, values, with};

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
