//! `.pth` files: what PyTorch wrote is read to the bit, and a pickle that wants more than tensors is refused by name. Needs nothing: the files are fixtures, how they were made is in
//! `tests/peers/README.md`.
#![allow(clippy::unwrap_used)]

#[path = "support/pth.rs"]
mod pth_file;
mod support;

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use ptbr_model::{ForeignModel, ImportError};
use pth_file::{archive, dictionary, entries, global, int, pth, tensor, text, tuple};
use support::exchange::values;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn open(name: &str) -> ForeignModel {
    ForeignModel::open_rwkv(&fixture(name), 64).unwrap()
}

fn refusal(bytes: Vec<u8>) -> String {
    match ForeignModel::from_rwkv_bytes("x.pth", bytes, 64) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_pytorch_wrote_is_read_to_the_bit() {
    // The same numbers, written by the safetensors package.
    let reference = open("tiny-float32.safetensors");
    let config = reference.config();
    assert_eq!(config.num_parameters(), 9_696);
    for (name, dtype, round) in [
        ("tiny-float32.pth", "F32", (|x| x) as fn(f32) -> f32),
        ("tiny-module-1.13.pth", "F32", |x| x),
        ("tiny-float16.pth", "F16", |x| f16::from_f32(x).to_f32()),
        ("tiny-bfloat16.pth", "BF16", |x| bf16::from_f32(x).to_f32()),
    ] {
        let model = open(name);
        assert_eq!(model.config(), config, "{name}");
        assert_eq!(model.dtypes(), [dtype], "{name}");
        for spec in config.tensor_specs() {
            let expected: Vec<u32> = values(&reference, &spec.name)
                .into_iter()
                .map(|x| round(x).to_bits())
                .collect();
            let found = values(&model, &spec.name);
            let found: Vec<u32> = found.into_iter().map(f32::to_bits).collect();
            assert_eq!(found, expected, "{name}: {}", spec.name);
        }
    }
}

#[test]
fn the_files_of_an_archive_may_come_in_any_order() {
    let bytes = std::fs::read(fixture("tiny-float32.pth")).unwrap();
    let mut parts = entries(&bytes);
    parts.reverse();
    let model = ForeignModel::from_rwkv_bytes("x", archive(&parts), 64).unwrap();
    let original = open("tiny-float32.pth");
    assert_eq!(
        values(&model, "head.weight"),
        values(&original, "head.weight")
    );
}

/// A dictionary whose one value is what `value` pushes.
fn with_value(value: Vec<u8>) -> Vec<u8> {
    pth(&dictionary(&[text("emb.weight"), value]), &[])
}

#[test]
fn a_pickle_with_a_foreign_global_is_refused_by_its_name() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("collections", "defaultdict"),
        ("torch.storage", "_load_from_bytes"),
    ] {
        let call = [global(module, name), tuple(&[text("id")]), b"R".to_vec()].concat();
        let message = refusal(with_value(call));
        assert!(
            message.contains(&format!("the global `{module}.{name}`")),
            "{message}"
        );
        assert!(message.contains("at byte 19"), "{message}");
    }
}

#[test]
fn a_pickle_with_a_foreign_opcode_is_refused_by_its_name() {
    for (code, name) in [
        (b"i".as_slice(), "INST"),
        (b"o", "OBJ"),
        (b"\x81", "NEWOBJ"),
        (b"\x92", "NEWOBJ_EX"),
        (b"\x93", "STACK_GLOBAL"),
        (b"\x82\x01", "EXT1"),
        (b"\x8e", "BINBYTES8"),
        (b"2", "DUP"),
        (b"]", "EMPTY_LIST"),
    ] {
        let message = refusal(with_value(code.to_vec()));
        assert!(
            message.contains(&format!("the opcode {name} ")),
            "{message}"
        );
    }
    assert!(refusal(with_value(vec![0xff])).contains("0xff is no opcode"));
}

#[test]
fn pickles_that_make_no_sense_are_explained() {
    let storage = ("FloatStorage", "0", 4);
    let good = || tensor(storage, 0, &[2, 2], &[2, 1]);
    let ordered = global("collections", "OrderedDict");
    for (pickle, reason) in [
        (
            b"\x80\x02".to_vec(),
            "it ends in the middle of an instruction",
        ),
        (b"\x80\x04.".to_vec(), "protocol 4"),
        (b"\x80\x02.".to_vec(), "a value is missing"),
        (b"\x80\x02u".to_vec(), "a mark is missing"),
        (b"\x80\x02N.".to_vec(), "no dictionary of tensors"),
        (b"\x80\x02K\x01K\x02s.".to_vec(), "a value is missing"),
        (b"\x80\x02h\x07.".to_vec(), "never put away"),
        (b"\x80\x02}(X\xff\xff\xff\xff".to_vec(), "in the middle"),
        (b"\x80\x02}(X\x01\0\0\0\xff".to_vec(), "not UTF-8"),
        (b"\x80\x02\x8a\x09123456789.".to_vec(), "more than 64 bits"),
        (b"\x80\x02Q.".to_vec(), "a value is missing"),
        (b"\x80\x02NQ.".to_vec(), "names no storage"),
        (b"\x80\x02NNR.".to_vec(), "something else than a global"),
        (b"\x80\x02NNb.".to_vec(), "something else than a dictionary"),
        (b"\x80\x02}(K\x01u.".to_vec(), "a key without a value"),
        (
            [b"\x80\x02c".to_vec(), vec![b'x'; 400]].concat(),
            "does not end",
        ),
        (dictionary(&[text("w"), int(3)]), "`w` is not a tensor"),
        (dictionary(&[int(1), good()]), "a key that is no text"),
        (
            dictionary(&[text("w"), ordered.clone(), b"K\x01\x85R".to_vec()]),
            "other arguments than its own",
        ),
        (
            dictionary(&[text("w"), tensor(storage, -1, &[1], &[1])]),
            "not a few numbers",
        ),
        (
            dictionary(&[text("w"), tensor(storage, 0, &[1; 9], &[1; 9])]),
            "not a few numbers",
        ),
        (
            dictionary(&[text("w"), tensor(("StringStorage", "0", 4), 0, &[1], &[1])]),
            "the global `torch.StringStorage`",
        ),
    ] {
        let message = refusal(pth(&pickle, &[("0", vec![0; 16])]));
        assert!(message.contains(reason), "{reason}: {message}");
    }
    // A list of instructions without end holds a bounded number of values.
    let message = refusal(pth(&vec![b')'; 2 << 20], &[]));
    assert!(
        message.contains("more than 1048576 instructions"),
        "{message}"
    );
}

#[test]
fn tensors_that_are_not_where_they_say_are_named() {
    let storage = ("FloatStorage", "0", 4);
    for (view, reason) in [
        (
            tensor(storage, 1, &[2, 2], &[2, 1]),
            "larger than its storage",
        ),
        (
            tensor(storage, 0, &[i32::MAX; 3], &[1, 1, 1]),
            "larger than its storage",
        ),
        (
            tensor(storage, 0, &[2, 2], &[1, 2]),
            "has the strides [1, 2]",
        ),
        (tensor(storage, 0, &[2, 2], &[1]), "has the strides [1]"),
        (
            tensor(("FloatStorage", "0", 5), 0, &[2], &[1]),
            "a storage of 5 elements in 16 bytes",
        ),
        (
            tensor(("FloatStorage", "7", 4), 0, &[2], &[1]),
            "the storage `7`, which is not there",
        ),
    ] {
        let pickle = dictionary(&[text("emb.weight"), view]);
        let message = refusal(pth(&pickle, &[("0", vec![0; 16])]));
        assert!(message.contains("`emb.weight`"), "{message}");
        assert!(message.contains(reason), "{reason}: {message}");
    }
    // A part of a storage, and a stride that means nothing: fine, and then it is no model.
    let part = tensor(storage, 2, &[1, 2], &[77, 1]);
    let pickle = dictionary(&[text("emb.weight"), part]);
    let message = refusal(pth(&pickle, &[("0", vec![0; 16])]));
    assert!(
        message.contains("`blocks.0.att.key.weight` is missing"),
        "{message}"
    );
}

#[test]
fn archives_that_are_none_are_explained() {
    let whole = std::fs::read(fixture("tiny-float32.pth")).unwrap();
    let cut = whole[..whole.len() - 1].to_vec();
    assert!(refusal(cut).contains("cut short?"));
    // The format before PyTorch 1.6 begins with a pickled number.
    assert!(refusal(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec()).contains("before 1.6"));
    let parts = entries(&whole);
    let without = |suffix: &str| {
        let parts: Vec<_> = parts
            .iter()
            .filter(|(name, _)| !name.ends_with(suffix))
            .cloned()
            .collect();
        refusal(archive(&parts))
    };
    assert!(without("data.pkl").contains("no data.pkl"));
    assert!(without("data/0").contains("the storage `0`, which is not there"));
    let mut twice = parts.clone();
    twice.push(parts[0].clone());
    assert!(refusal(archive(&twice)).contains("occurs twice"));
    let mut big_endian = parts.clone();
    for (name, data) in &mut big_endian {
        if name.ends_with("byteorder") {
            *data = b"big".to_vec();
        }
    }
    assert!(refusal(archive(&big_endian)).contains("big-endian"));
    // Entry 0, method 8 and flag 1 in the directory.
    let changed = |offset: usize, value: u8| {
        let mut bytes = archive(&parts);
        let directory = bytes.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
        bytes[directory + offset] = value;
        refusal(bytes)
    };
    assert!(changed(10, 8).contains("is compressed"));
    assert!(changed(8, 1).contains("is encrypted"));
    assert!(changed(45, 0x7f).contains("lies outside the file"));
    assert!(changed(23, 0x7f).contains("damaged"));
}

#[test]
fn whole_numbers_are_refused_as_weights_by_their_type() {
    let bytes = std::fs::read(fixture("tiny-float16.pth")).unwrap();
    let mut parts = entries(&bytes);
    for (_, data) in &mut parts {
        // Both take two bytes; the name of one ends a letter later.
        if let Some(at) = data.windows(11).position(|at| at == b"HalfStorage") {
            data.splice(at..at + 11, *b"ShortStorage");
        }
    }
    let error = ForeignModel::from_rwkv_bytes("x.pth", archive(&parts), 64).unwrap_err();
    assert!(matches!(error, ImportError::Tensor(_)));
    assert!(
        error
            .to_string()
            .contains("is I16, expected F32, F16 or BF16")
    );
}
