//! `events.out.tfevents.…`: the metrics as TensorBoard reads them.
//!
//! A file is a row of records: the length of the data as u64, its checksum, the data, its checksum (all little-endian; CRC-32C, rotated and
//! shifted so that the checksum of data that holds checksums stays one: tensorflow/core/lib/io/record_writer.h). The data is a protocol
//! buffer `Event` (tensorflow/core/util/event.proto), of which few fields are needed. A process writes a file of its own; that of a
//! resumed run begins with the note that what older files say of its steps is void.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::observer::{EvaluationReport, SourceReport, StepReport};
use crate::TrainError;

/// The file of one process.
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in `folder` for the steps after `step`.
    pub fn create(folder: &Path, step: u64) -> Result<Self, TrainError> {
        let (path, file) =
            new_file(folder, step).map_err(|(path, source)| TrainError::Log { path, source })?;
        let mut events = Self { path, file };
        events.write(&Event::new(0).bytes(3, b"brain.Event:2"))?;
        if step > 0 {
            // SessionLog { status: START } at the first step that comes again.
            let started = Message::default().int(1, 1);
            events.write(&Event::new(step + 1).bytes(7, &started.0))?;
        }
        Ok(events)
    }

    pub fn step(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let values = [
            ("train/loss", report.loss),
            ("train/learning_rate", report.learning_rate),
            ("train/grad_norm", report.grad_norm),
            ("train/tokens_per_second", report.tokens_per_second),
        ];
        self.scalars(
            report.step,
            values.map(|(tag, value)| (tag.to_owned(), value)),
        )
    }

    pub fn evaluation(&mut self, report: &EvaluationReport) -> Result<(), TrainError> {
        let values = [
            ("validation/loss", report.loss),
            ("validation/perplexity", report.perplexity),
            ("validation/bits_per_byte", report.bits_per_byte),
            ("validation/accuracy", report.accuracy),
        ];
        self.scalars(
            report.step,
            values.map(|(tag, value)| (tag.to_owned(), value)),
        )
    }

    pub fn source(&mut self, report: &SourceReport) -> Result<(), TrainError> {
        let values = [
            ("loss", report.metrics.loss),
            ("bits_per_byte", report.metrics.bits_per_byte),
        ];
        let tag = |name: &str| format!("validation-{}/{name}", report.source);
        self.scalars(report.step, values.map(|(name, value)| (tag(name), value)))
    }

    /// An event of numbers: `Summary { value: [{ tag, simple_value }] }`.
    fn scalars(
        &mut self,
        step: u64,
        values: impl IntoIterator<Item = (String, f64)>,
    ) -> Result<(), TrainError> {
        let summary = values
            .into_iter()
            .fold(Message::default(), |summary, (tag, value)| {
                let value = Message::default()
                    .bytes(1, tag.as_bytes())
                    .float(2, value as f32);
                summary.bytes(1, &value.0)
            });
        self.write(&Event::new(step).bytes(5, &summary.0))
    }

    fn write(&mut self, event: &Message) -> Result<(), TrainError> {
        // One write a record, as with the lines of the other metrics.
        let result = self.file.write_all(&record(&event.0));
        result.map_err(|source| TrainError::Log {
            path: self.path.clone(),
            source,
        })
    }
}

/// A file that was not there, whose name comes after those of older files: readers go by the order of names.
fn new_file(folder: &Path, step: u64) -> Result<(PathBuf, File), (PathBuf, io::Error)> {
    let mut seconds = now() as u64;
    loop {
        let name = format!("events.out.tfevents.{seconds:010}.ptbr-slm.{step}");
        let path = folder.join(name);
        let taken = std::fs::read_dir(folder).is_ok_and(|mut entries| {
            let start = format!("events.out.tfevents.{seconds:010}.");
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(&start))
            })
        });
        if taken {
            seconds += 1;
            continue;
        }
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        return file
            .map(|file| (path.clone(), file))
            .map_err(|error| (path, error));
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

/// The beginning of every event: `wall_time` and `step`.
struct Event;

impl Event {
    #[allow(clippy::new_ret_no_self, reason = "an event is a message")]
    fn new(step: u64) -> Message {
        Message::default().double(1, now()).int(2, step)
    }
}

/// A protocol buffer being written: fields, each after a key of its number and kind.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(mut self, field: u8, wire_type: u8) -> Self {
        self.0.push(field << 3 | wire_type);
        self
    }

    /// Seven bits to a byte, the lowest first.
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn int(self, field: u8, value: u64) -> Self {
        self.key(field, 0).varint(value)
    }

    fn double(self, field: u8, value: f64) -> Self {
        self.key(field, 1).raw(&value.to_le_bytes())
    }

    fn bytes(self, field: u8, value: &[u8]) -> Self {
        self.key(field, 2).varint(value.len() as u64).raw(value)
    }

    fn float(self, field: u8, value: f32) -> Self {
        self.key(field, 5).raw(&value.to_le_bytes())
    }
}

/// `data` as a record.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked_crc32c(&length).to_le_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&masked_crc32c(data).to_le_bytes());
    out
}

fn masked_crc32c(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected, a byte at a time.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let next = |crc: u32, byte: &u8| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)];
    !data.iter().fold(u32::MAX, next)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        // Appendix B.4 of the RFC.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
    }

    #[test]
    fn an_event_is_what_the_reference_encoder_writes() {
        // Python: Event(wall_time=1.5, step=300, summary=Summary(value=[Summary.Value(tag="a/b", simple_value=2.5)])).SerializeToString()
        let value = Message::default().bytes(1, b"a/b").float(2, 2.5);
        let summary = Message::default().bytes(1, &value.0);
        let event = Message::default()
            .double(1, 1.5)
            .int(2, 300)
            .bytes(5, &summary.0);
        let expected = [
            0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10, 0xac, 0x02, 0x2a, 0x0c, 0x0a, 0x0a, 0x0a,
            0x03, b'a', b'/', b'b', 0x15, 0, 0, 0x20, 0x40,
        ];
        assert_eq!(event.0, expected);
    }
}
