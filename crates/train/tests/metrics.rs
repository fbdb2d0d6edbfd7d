//! What a run writes down: TensorBoard's events, and validation by source. Needs nothing.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{data, trainer, training};
use ptbr_dataset::{MmapDataset, TokenizedDatasetWriter};
use ptbr_model::TrainingConfig;
use ptbr_tokenizer::Tokenizer;
use ptbr_train::{
    ResumeOverrides, SourceReport, TrainDevice, TrainError, TrainObserver, Trainer,
    ValidationSource,
};

/// A field of a protocol buffer: its number, and its value by kind.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, by the encoding's definition (protobuf.dev/programming-guides/encoding).
fn fields(mut data: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(data: &mut &[u8]) -> u64 {
        let length = data
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .expect("an end")
            + 1;
        let (bytes, rest) = data.split_at(length);
        *data = rest;
        let part = |(i, byte): (usize, &u8)| u64::from(byte & 0x7f) << (7 * i);
        bytes.iter().enumerate().map(part).sum()
    }
    let mut out = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let length = match key & 7 {
            0 => {
                out.push((key >> 3, Field::Number(varint(&mut data))));
                continue;
            }
            1 => 8,
            2 => varint(&mut data) as usize,
            5 => 4,
            kind => panic!("kind {kind}"),
        };
        let (bytes, rest) = data.split_at(length);
        data = rest;
        out.push((key >> 3, Field::Bytes(bytes)));
    }
    out
}

/// CRC-32C bit by bit, from its polynomial, and the mask of the record format.
fn masked_crc(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Every record of a file, its checksums checked.
fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let mut out = Vec::new();
    while !file.is_empty() {
        let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
        assert_eq!(masked_crc(&file[..8]), word(&file[8..12]));
        let data = &file[12..12 + length];
        assert_eq!(masked_crc(data), word(&file[12 + length..16 + length]));
        out.push(data.to_vec());
        file = &file[16 + length..];
    }
    out
}

/// What TensorBoard would show of a folder: files in the order of their names, and what a start makes void removed.
fn scalars(folder: &Path) -> BTreeMap<String, BTreeMap<u64, f32>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("events.out.tfevents."))
        .collect();
    paths.sort();
    let mut shown: BTreeMap<String, BTreeMap<u64, f32>> = BTreeMap::new();
    for path in paths {
        for (i, record) in records(&fs::read(path).expect("a file")).iter().enumerate() {
            let mut step = 0;
            for (number, field) in fields(record) {
                match (number, field) {
                    (1, Field::Bytes(time)) => assert_eq!(time.len(), 8),
                    (2, Field::Number(at)) => step = at,
                    (3, Field::Bytes(version)) => {
                        assert_eq!((i, version), (0, &b"brain.Event:2"[..]))
                    }
                    (7, Field::Bytes(start)) => {
                        assert_eq!((i, start), (1, &[8, 1][..]));
                        shown
                            .values_mut()
                            .for_each(|tag| tag.retain(|at, _| *at < step));
                    }
                    (5, Field::Bytes(summary)) => {
                        for (_, value) in fields(summary) {
                            let Field::Bytes(value) = value else {
                                panic!("a value")
                            };
                            let parts = fields(value);
                            let [(1, Field::Bytes(tag)), (2, Field::Bytes(number))] =
                                parts.as_slice()
                            else {
                                panic!("a tag and a number")
                            };
                            let tag = String::from_utf8(tag.to_vec()).expect("text");
                            let number =
                                f32::from_le_bytes((*number).try_into().expect("four bytes"));
                            shown.entry(tag).or_default().insert(step, number);
                        }
                    }
                    (number, _) => panic!("field {number}"),
                }
            }
        }
    }
    shown
}

/// The rows of a kind of metrics.jsonl: step and the value of a key.
fn rows(folder: &Path, kind: &str, key: &str) -> BTreeMap<u64, f32> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).expect("metrics");
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line"))
        .filter(|row| row["kind"] == kind)
        .map(|row| {
            let step = row["step"].as_u64().expect("a step");
            (step, row[key].as_f64().expect("a number") as f32)
        })
        .collect()
}

/// The same steps, and the same numbers but for the last bit, which reading decimal digits may cost.
fn same(tag: &str, a: &BTreeMap<u64, f32>, b: &BTreeMap<u64, f32>) {
    assert!(a.keys().eq(b.keys()), "{tag}: {a:?}, {b:?}");
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b.abs();
    assert!(a.values().zip(b.values()).all(close), "{tag}: {a:?}, {b:?}");
}

fn judged(max_steps: u64) -> TrainingConfig {
    TrainingConfig {
        eval_every: 2,
        eval_tokens: 256,
        ..training(max_steps)
    }
}

#[test]
fn events_say_what_the_other_files_say_also_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    // Killed at step 7, with its last checkpoint at step 4: what steps 5 to 7 wrote is void.
    let mut first = trainer(
        folder.path(),
        "run",
        TrainingConfig {
            save_every: 4,
            ..judged(7)
        },
        TrainDevice::Cpu,
    );
    first.run(&mut (), &AtomicBool::new(false)).expect("a run");
    drop(first);
    fs::remove_dir_all(run.join("step-000007")).expect("removed");
    let overrides = ResumeOverrides {
        max_steps: Some(9),
        device: TrainDevice::Cpu,
    };
    let mut second = Trainer::resume(&run, overrides).expect("a run");
    assert_eq!(second.state().step, 4);
    second.run(&mut (), &AtomicBool::new(false)).expect("a run");

    let shown = scalars(&run);
    for (tag, kind, key) in [
        ("train/loss", "train", "loss"),
        ("train/learning_rate", "train", "learning_rate"),
        ("train/grad_norm", "train", "grad_norm"),
        ("train/tokens_per_second", "train", "tokens_per_second"),
        ("validation/loss", "validation", "loss"),
        ("validation/bits_per_byte", "validation", "bits_per_byte"),
        ("validation/accuracy", "validation", "accuracy"),
        ("validation/perplexity", "validation", "perplexity"),
    ] {
        same(tag, &shown[tag], &rows(&run, kind, key));
    }
    assert_eq!(
        shown["train/loss"].keys().copied().collect::<Vec<_>>(),
        (1..=9).collect::<Vec<_>>()
    );
    assert_eq!(shown.len(), 8);
}

/// Keeps what is said of sources.
#[derive(Default)]
struct Sources(Vec<SourceReport>);

impl TrainObserver for Sources {
    fn on_source(&mut self, report: &SourceReport) {
        self.0.push(report.clone());
    }
}

#[test]
fn every_evaluation_reports_each_source_also_after_a_resume() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tokenizer, whole) = data(folder.path());
    let source = |name: &str, text: &str| {
        let path = folder.path().join(format!("val-{name}.bin"));
        let mut writer =
            TokenizedDatasetWriter::create(&path, tokenizer.vocab_size(), tokenizer.sha256())
                .expect("a writer");
        writer
            .push_document(&tokenizer.encode(text))
            .expect("tokens");
        writer.finish().expect("a token file");
        ValidationSource {
            name: name.to_owned(),
            data: Arc::new(MmapDataset::open(&path).expect("a dataset")),
        }
    };
    let known = source("known", &"O gato dorme na serra.\n".repeat(40));
    let strange = source("strange", &"xyz, qwv; 123 -- KJH!\n".repeat(40));
    let begin = |name: &str| trainer(folder.path(), name, judged(12), TrainDevice::Cpu);
    let mut run = begin("run");
    run.judge_by_source(vec![known.clone(), strange.clone()])
        .expect("two sources");
    let mut seen = Sources::default();
    run.run(&mut seen, &AtomicBool::new(false)).expect("a run");
    drop(run);
    assert_eq!(seen.0.len(), 12);
    let last = |name: &str| {
        let reports = seen.0.iter().rev();
        reports
            .clone()
            .find(|r| r.source == name)
            .expect("a report")
            .metrics
    };
    assert!(
        last("known").loss < last("strange").loss - 0.5,
        "the model knows one of them"
    );
    let known_rows = rows(&folder.path().join("run"), "validation:known", "loss");
    assert_eq!(known_rows[&12], last("known").loss as f32);
    let csv = fs::read_to_string(folder.path().join("run/metrics.csv")).expect("metrics");
    let header = csv.lines().next().expect("columns").split(',').count();
    assert_eq!(csv.matches(",validation:strange,").count(), 6);
    assert!(csv.lines().all(|line| line.split(',').count() == header));
    let shown = scalars(&folder.path().join("run"));
    same(
        "validation-known/loss",
        &shown["validation-known/loss"],
        &known_rows,
    );

    let overrides = ResumeOverrides {
        max_steps: Some(14),
        device: TrainDevice::Cpu,
    };
    let mut again = Trainer::resume(&folder.path().join("run"), overrides).expect("a run");
    let mut seen = Sources::default();
    again
        .run(&mut seen, &AtomicBool::new(false))
        .expect("a run");
    assert_eq!(
        seen.0
            .iter()
            .map(|r| (r.step, r.source.as_str()))
            .collect::<Vec<_>>(),
        [(14, "known"), (14, "strange")]
    );

    let mut other = begin("other");
    let comma = ValidationSource {
        name: "a,b".to_owned(),
        data: whole,
    };
    for bad in [vec![comma], vec![known.clone(), known]] {
        let error = other.judge_by_source(bad).expect_err("refused");
        assert!(matches!(error, TrainError::SourceName(_)), "{error}");
    }
}
