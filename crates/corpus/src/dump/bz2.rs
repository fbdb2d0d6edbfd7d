//! bz2 in constant memory: one stream, or many one after another, checksums verified.

use std::io::{self, Read};

use bzip2::{Decompress, Status};

use crate::error::Stop;

/// Compressed bytes read at a time.
const INPUT_BYTES: usize = 256 << 10;

/// The largest bz2 block holds 900,000 bytes (more only when it is runs of one byte). The decoder hands out a block before it compares its
/// checksum, so this much is held back and thrown away when the comparison fails.
const HELD_BACK_BYTES: usize = 1 << 20;

/// The magic of a stream, `BZh1` to `BZh9`, followed by that of a block or of an empty stream's end.
pub(super) fn is_stream_start(bytes: &[u8]) -> bool {
    bytes.len() >= 10
        && bytes.starts_with(b"BZh")
        && (b'1'..=b'9').contains(&bytes[3])
        && (bytes[4..10] == [0x31, 0x41, 0x59, 0x26, 0x53, 0x59]
            || bytes[4..10] == [0x17, 0x72, 0x45, 0x38, 0x50, 0x90])
}

/// What one call of [`StreamDecoder::fill`] reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More may come.
    More,
    /// A stream ended; the next byte of the file is `next_offset`.
    StreamEnd { next_offset: u64 },
    /// The file ended between streams.
    FileEnd,
}

/// Decodes bz2 streams from any reader, keeping the place in the file for messages.
pub(super) struct StreamDecoder<R> {
    reader: R,
    input: Vec<u8>,
    /// Unread part of `input`.
    start: usize,
    end: usize,
    /// Offset in the file of `input[start]`.
    offset: u64,
    at_eof: bool,
    decoder: Option<Decompress>,
    streams: u64,
    idle_calls: u32,
}

impl<R: Read> StreamDecoder<R> {
    /// Starts at byte `offset` of the file, where `reader` stands.
    pub(super) fn new(reader: R, offset: u64) -> Self {
        Self {
            reader,
            input: vec![0; INPUT_BYTES],
            start: 0,
            end: 0,
            offset,
            at_eof: false,
            decoder: None,
            streams: 0,
            idle_calls: 0,
        }
    }

    /// Says that a stream came before: what follows may be padding.
    pub(super) fn after_a_stream(mut self) -> Self {
        self.streams = 1;
        self
    }

    fn read_input(&mut self) -> Result<(), Stop> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while !self.at_eof && self.end < self.input.len() {
            match self.reader.read(&mut self.input[self.end..]) {
                Ok(0) => self.at_eof = true,
                Ok(n) => {
                    self.end += n;
                    break;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let offset = self.offset + (self.end - self.start) as u64;
                    return Err(Stop::Io {
                        offset,
                        detail: e.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Appends decoded bytes to the spare capacity of `out`.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>) -> Result<Progress, Stop> {
        if self.start == self.end || (self.decoder.is_none() && self.end - self.start < 10) {
            self.read_input()?;
        }
        let Some(decoder) = &mut self.decoder else {
            while !self.at_eof && self.end - self.start < 10 {
                self.read_input()?;
            }
            let rest = &self.input[self.start..self.end];
            if self.at_eof && rest.iter().all(|b| *b == 0) {
                return Ok(Progress::FileEnd);
            }
            if self.at_eof && rest.len() < 10 && rest.starts_with(&b"BZh"[..rest.len().min(3)]) {
                return Err(Stop::Bz2Truncated {
                    offset: self.offset + rest.len() as u64,
                });
            }
            if !is_stream_start(rest) {
                // Padding after the last stream is harmless; anything else is not ours to guess at.
                if self.streams > 0 && rest.iter().all(|b| *b == 0) {
                    self.offset += (self.end - self.start) as u64;
                    self.start = self.end;
                    return Ok(Progress::More);
                }
                return Err(Stop::Bz2Damaged {
                    offset: self.offset,
                    detail: "no bz2 stream begins here".into(),
                });
            }
            self.decoder = Some(Decompress::new(false));
            self.idle_calls = 0;
            return Ok(Progress::More);
        };
        let (consumed_before, room_before) = (decoder.total_in(), out.len());
        let result = decoder.decompress_vec(&self.input[self.start..self.end], out);
        let consumed = (decoder.total_in() - consumed_before) as usize;
        self.start += consumed;
        self.offset += consumed as u64;
        match result {
            Ok(Status::StreamEnd) => {
                self.decoder = None;
                self.streams += 1;
                Ok(Progress::StreamEnd {
                    next_offset: self.offset,
                })
            }
            Ok(_) => {
                if consumed == 0 && out.len() == room_before {
                    if self.at_eof && self.start == self.end {
                        return Err(Stop::Bz2Truncated {
                            offset: self.offset,
                        });
                    }
                    // A decoder that neither reads nor writes would hang the program.
                    self.idle_calls += 1;
                    if self.idle_calls > 1000 {
                        return Err(Stop::Bz2Damaged {
                            offset: self.offset,
                            detail: "the decoder makes no progress".into(),
                        });
                    }
                    if self.start < self.end {
                        self.read_input()?;
                    }
                } else {
                    self.idle_calls = 0;
                }
                Ok(Progress::More)
            }
            Err(e) => Err(Stop::Bz2Damaged {
                offset: self.offset,
                detail: e.to_string(),
            }),
        }
    }
}

/// Holds back the newest megabyte of decoded bytes, so that a block which fails its checksum is never handed out.
#[derive(Debug, Default)]
pub(super) struct HoldBack {
    data: Vec<u8>,
    taken: usize,
    /// Bytes of streams that ended, and so passed every checksum.
    verified: usize,
}

impl HoldBack {
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.taken > 0 && self.taken >= self.data.len() / 2 {
            self.data.drain(..self.taken);
            self.verified = self.verified.saturating_sub(self.taken);
            self.taken = 0;
        }
        self.data.reserve(INPUT_BYTES);
        &mut self.data
    }

    /// Says that a stream ended.
    pub(super) fn verify(&mut self) {
        self.verified = self.data.len();
    }

    /// Bytes that may be handed out: all when `everything`, else those of whole streams and all but the newest megabyte.
    pub(super) fn ready(&self, everything: bool) -> &[u8] {
        let end = if everything {
            self.data.len()
        } else {
            self.verified
                .max(self.data.len().saturating_sub(HELD_BACK_BYTES))
        };
        &self.data[self.taken.min(end)..end]
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.taken += n;
    }
}

/// A bz2 file as the bytes inside it, decoded in the calling thread. At damage `read` gives an error that carries the [`Stop`], after all bytes
/// before it.
pub struct Bz2Reader<R> {
    decoder: StreamDecoder<R>,
    held: HoldBack,
    /// How the input ended, once it has.
    ended: Option<Result<(), Stop>>,
}

impl<R: Read> Bz2Reader<R> {
    /// Reads from the beginning of a bz2 file.
    pub fn new(reader: R) -> Self {
        Self {
            decoder: StreamDecoder::new(reader, 0),
            held: HoldBack::default(),
            ended: None,
        }
    }
}

/// Whether bytes that were held back may be handed out after `stop`: at a cut they are verified, at damage they may not be.
pub(super) fn keeps_held_bytes(stop: &Stop) -> bool {
    !matches!(stop, Stop::Bz2Damaged { .. })
}

impl<R: Read> Read for Bz2Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let everything = match &self.ended {
                None => false,
                Some(Ok(())) => true,
                Some(Err(stop)) => keeps_held_bytes(stop),
            };
            let ready = self.held.ready(everything);
            if !ready.is_empty() {
                let n = ready.len().min(buf.len());
                buf[..n].copy_from_slice(&ready[..n]);
                self.held.consume(n);
                return Ok(n);
            }
            match &self.ended {
                Some(Ok(())) => return Ok(0),
                Some(Err(stop)) => return Err(stop.clone().into()),
                None => {}
            }
            match self.decoder.fill(self.held.buffer()) {
                Ok(Progress::FileEnd) => self.ended = Some(Ok(())),
                Ok(Progress::StreamEnd { .. }) => self.held.verify(),
                Ok(Progress::More) => {}
                Err(stop) => self.ended = Some(Err(stop)),
            }
        }
    }
}
