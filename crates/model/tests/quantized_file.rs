//! Model files in every number format: what is written is read, and what is wrong with one is said. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io;

use ptbr_model::{
    MatrixData, MemoryTensors, ModelFileInfo, ModelSource, QuantizationPlan, QuantizedMatrix,
    TensorFile, TensorSource, TensorSpec, WeightFormat, model_file_bytes, model_id,
    write_model_file, write_model_file_with,
};
use support::Run;

fn info(run: &Run, plan: &QuantizationPlan) -> ModelFileInfo {
    ModelFileInfo::quantized(
        plan,
        run.config.clone(),
        Some(run.tokenizer.clone()),
        model_id(&run.model).unwrap(),
    )
}

fn bytes(run: &Run, plan: &QuantizationPlan) -> Vec<u8> {
    model_file_bytes(&info(run, plan), &run.model).unwrap()
}

/// Every format, and one file that has them all.
fn plans(run: &Run) -> Vec<QuantizationPlan> {
    let mut plans: Vec<QuantizationPlan> = WeightFormat::ALL
        .into_iter()
        .map(QuantizationPlan::uniform)
        .collect();
    let mut mixed = QuantizationPlan::uniform(WeightFormat::Int4);
    for (pattern, format) in [
        ("head", WeightFormat::F16),
        ("att.key", WeightFormat::F32),
        ("att.value", WeightFormat::Int8),
        ("ffn.key", WeightFormat::Fp8),
    ] {
        mixed.keep(&run.config, pattern, format).unwrap();
    }
    plans.push(mixed);
    plans
}

fn dequantized(matrix: MatrixData<'_>) -> Vec<f32> {
    let mut out = vec![0.0; matrix.len()];
    matrix.dequantize(0, &mut out);
    out
}

/// The header's length, and the header.
fn header(file: &[u8]) -> (usize, serde_json::Value) {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (
        8 + length,
        serde_json::from_slice(&file[8..8 + length]).unwrap(),
    )
}

/// Where a tensor's data lies in a file.
fn data_of(file: &[u8], name: &str) -> std::ops::Range<usize> {
    let (start, header) = header(file);
    let offset = |i: usize| start + header[name]["data_offsets"][i].as_u64().unwrap() as usize;
    offset(0)..offset(1)
}

#[test]
fn every_format_is_read_as_it_was_rounded() {
    let run = Run::at(1);
    for plan in plans(&run) {
        let bytes = bytes(&run, &plan);
        let data = bytes.len() - header(&bytes).0;
        assert_eq!(data as u64, plan.num_bytes(&run.config));
        let source = ModelSource::from_bytes("m", bytes).unwrap();
        assert_eq!(source.plan(), &plan);
        assert_eq!(source.model_id(), model_id(&run.model).unwrap());
        assert_eq!(source.tokenizer_json(), Some(run.tokenizer.as_str()));
        for spec in run.config.tensor_specs() {
            let original = run.model.get(&spec.name).unwrap();
            let format = plan.format_of(&spec);
            if format == WeightFormat::F32 {
                assert_eq!(source.tensor(&spec.name).unwrap(), original);
                continue;
            }
            let matrix = source.matrix(&spec.name).unwrap();
            assert_eq!((matrix.format(), matrix.len()), (format, original.len()));
            let rounded = QuantizedMatrix::new(original, spec.shape[1], format).unwrap();
            assert_eq!(
                dequantized(matrix),
                dequantized(rounded.data()),
                "{}",
                spec.name
            );
            assert!(rounded.relative_error(original) < 0.07);
            let message = source.tensor(&spec.name).unwrap_err().to_string();
            assert!(
                message.contains(&format!("`{}` is stored as {format}", spec.name)),
                "{message}"
            );
        }
    }
}

#[test]
fn files_on_disk_and_in_memory_are_the_same_bytes_and_need_no_alignment() {
    let root = tempfile::tempdir().unwrap();
    let run = Run::at(1);
    for (number, plan) in plans(&run).iter().enumerate() {
        let path = root.path().join(format!("{number}.safetensors"));
        let mut seen = Vec::new();
        write_model_file_with(&path, &info(&run, plan), &run.model, &mut |tensor| {
            seen.push(tensor.clone())
        })
        .unwrap();
        let bytes = bytes(&run, plan);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let specs = run.config.tensor_specs();
        assert_eq!(seen.len(), specs.len());
        for (written, spec) in seen.iter().zip(&specs) {
            assert_eq!(written.name, spec.name);
            assert_eq!(written.format, plan.format_of(spec));
            assert_eq!(Some(written.elements), spec.num_elements());
            assert_eq!(
                written.relative_error > 0.0,
                written.format != WeightFormat::F32
            );
        }
        let total: usize = seen.iter().map(|written| written.bytes).sum();
        assert_eq!(total as u64, plan.num_bytes(&run.config));

        let original = ModelSource::open(&path).unwrap();
        for pad in 1..4 {
            let (start, _) = header(&bytes);
            let mut moved = ((start - 8 + pad) as u64).to_le_bytes().to_vec();
            moved.extend(&bytes[8..start]);
            moved.extend(std::iter::repeat_n(b' ', pad));
            moved.extend(&bytes[start..]);
            let moved = ModelSource::from_bytes("moved", moved).unwrap();
            for name in run.config.matrix_names() {
                assert_eq!(
                    dequantized(moved.matrix(&name).unwrap()),
                    dequantized(original.matrix(&name).unwrap())
                );
            }
        }
    }
}

#[test]
fn the_document_names_exceptions_and_f32_files_are_as_they_were() {
    let run = Run::at(1);
    let document = |plan: &QuantizationPlan| {
        let (_, header) = header(&bytes(&run, plan));
        let text = header["__metadata__"]["ptbr-slm"].as_str().unwrap();
        serde_json::from_str::<serde_json::Value>(text).unwrap()
    };
    let f32 = document(&QuantizationPlan::uniform(WeightFormat::F32));
    let keys: Vec<&String> = f32.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["format", "config", "tokenizer", "model_id"]);
    let mut plan = QuantizationPlan::uniform(WeightFormat::Int8);
    plan.keep(&run.config, "head", WeightFormat::F16).unwrap();
    let mixed = document(&plan);
    assert_eq!(mixed["format"], "int8");
    assert_eq!(
        mixed["exceptions"],
        serde_json::json!({ "head.weight": "f16" })
    );
}

#[test]
fn what_is_wrong_with_a_quantized_file_is_said() {
    let run = Run::at(1);
    let refused = |bytes: Vec<u8>| ModelSource::from_bytes("m", bytes).unwrap_err().to_string();
    let with = |format: WeightFormat, tensor: &str, at: usize, new: &[u8]| {
        let mut bytes = bytes(&run, &QuantizationPlan::uniform(format));
        let start = data_of(&bytes, tensor).start + at;
        bytes[start..start + new.len()].copy_from_slice(new);
        bytes
    };
    let nan = f32::NAN.to_le_bytes();
    for format in WeightFormat::ALL {
        assert!(
            refused(with(format, "ln_out.bias", 4, &nan))
                .contains("`ln_out.bias` holds NaN at element 1")
        );
    }
    for format in [WeightFormat::Int8, WeightFormat::Fp8, WeightFormat::Int4] {
        let infinite = with(format, "head.weight.scales", 6, &[0x00, 0xfc]);
        assert!(
            refused(infinite).contains("`head.weight.scales` holds -inf at element 3"),
            "{format}"
        );
    }
    assert!(
        refused(with(WeightFormat::F16, "emb.weight", 10, &[0x01, 0x7c]))
            .contains("`emb.weight` holds NaN at element 5")
    );
    for byte in [0x7f, 0xff] {
        assert!(
            refused(with(WeightFormat::Fp8, "emb.weight", 5, &[byte]))
                .contains("`emb.weight` holds NaN at element 5")
        );
    }
    // Any bits are a number there: -128 is never written, and read as what it says.
    let lowest = with(WeightFormat::Int8, "emb.weight", 0, &[0x80]);
    let source = ModelSource::from_bytes("m", lowest).unwrap();
    let MatrixData::Int8 { scales, .. } = source.matrix("emb.weight").unwrap() else {
        panic!("not int8");
    };
    let scale = ptbr_model::half_of(scales, 0);
    assert_eq!(
        dequantized(source.matrix("emb.weight").unwrap())[0],
        -128.0 * scale
    );

    let edited = |from: &str, to: &str| {
        let bytes = bytes(&run, &QuantizationPlan::uniform(WeightFormat::Int8));
        let (start, _) = header(&bytes);
        let text = std::str::from_utf8(&bytes[8..start]).unwrap();
        assert!(text.contains(from), "{text}");
        let text = text.trim_end().replace(from, to);
        let mut edited = (text.len() as u64).to_le_bytes().to_vec();
        edited.extend(text.as_bytes());
        edited.extend(&bytes[start..]);
        refused(edited)
    };
    let id = edited(&model_id(&run.model).unwrap(), "not an id");
    assert!(id.contains("its model id is not a SHA-256"), "{id}");
    let as_f32 = edited(r#"{\"format\":\"int8\""#, r#"{\"format\":\"f32\""#);
    assert!(
        as_f32.contains("`emb.weight` is U32, expected F32"),
        "{as_f32}"
    );
    let as_int4 = edited(r#"{\"format\":\"int8\""#, r#"{\"format\":\"int4\""#);
    assert!(
        as_int4.contains("`emb.weight` has the shape [32, 8], the configuration asks for [32, 4]"),
        "{as_int4}"
    );
    let unknown = edited(
        r#"{\"format\":\"int8\""#,
        r#"{\"format\":\"int8\",\"exceptions\":{\"ln_out.bias\":\"f16\"}"#,
    );
    assert!(
        unknown.contains("gives a format to `ln_out.bias`, which is no matrix"),
        "{unknown}"
    );
    let renamed = edited("\"head.weight.scales\"", "\"head.weight.scaled\"");
    assert!(
        renamed.contains("`head.weight.scales` is missing"),
        "{renamed}"
    );
}

#[test]
fn values_that_do_not_fit_are_named_and_nothing_is_written() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("m.safetensors");
    let mut run = Run::at(1);
    run.model.get_mut("blocks.0.ffn.value.weight").unwrap()[77] = 7e4;
    let plan = QuantizationPlan::uniform(WeightFormat::F16);
    let message = write_model_file(&path, &info(&run, &plan), &run.model)
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("the matrix `blocks.0.ffn.value.weight` cannot be written as f16: element 77 is 70000, and f16 ends at 65504"),
        "{message}"
    );
    assert!(support::files(root.path()).is_empty());
    // One tensor in a wider format is the way out.
    let mut plan = plan;
    plan.keep(&run.config, "ffn.value", WeightFormat::Int8)
        .unwrap();
    write_model_file(&path, &info(&run, &plan), &run.model).unwrap();
    ModelSource::open(&path).unwrap();
}

/// Gives its tensors one row at a time, or one element too many.
struct Rows<'a> {
    tensors: &'a MemoryTensors,
    extra: usize,
}

impl TensorSource for Rows<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.tensors.specs()
    }

    fn write_f32(
        &self,
        name: &str,
        sink: &mut dyn FnMut(&[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let values = self.tensors.get(name).unwrap();
        values.chunks(7).try_for_each(&mut *sink)?;
        sink(&values[..self.extra])
    }
}

#[test]
fn sources_may_stream_in_pieces_of_any_length() {
    let run = Run::at(1);
    let plan = QuantizationPlan::uniform(WeightFormat::Fp8);
    let write = |extra: usize| {
        let source = Rows {
            tensors: &run.model,
            extra,
        };
        model_file_bytes(&info(&run, &plan), &source)
    };
    assert_eq!(write(0).unwrap(), bytes(&run, &plan));
    let message = write(1).unwrap_err().to_string();
    assert!(
        message.contains("`emb.weight` of shape [32, 32] was given 1025 elements"),
        "{message}"
    );
}

#[test]
fn a_plain_tensor_file_has_only_f32_matrices() {
    let run = Run::at(1);
    let int8 = bytes(&run, &QuantizationPlan::uniform(WeightFormat::Int8));
    let file = TensorFile::from_bytes("m", int8).unwrap();
    let message = file.matrix("emb.weight").unwrap_err().to_string();
    assert!(
        message.contains("`emb.weight` is U32, expected F32"),
        "{message}"
    );
    let exceptions = BTreeMap::from([("emb.weight".to_owned(), WeightFormat::Int4)]);
    let plan = QuantizationPlan::new(WeightFormat::Int4, exceptions);
    assert!(
        plan.exceptions().is_empty(),
        "what equals the rest is no exception"
    );
}
