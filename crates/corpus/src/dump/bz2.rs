//! bz2 as the bytes inside it: block by block, each with its checksum verified, decoded by the calling thread or by several.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use bzip2::{Decompress, Status};

use super::blocks::{BlockCutter, RawBlock, STREAM_END};
use super::place::Place;
use crate::error::Stop;

/// The most that one block holds, bytes: 900,000 bytes in which every five stand for a run of 255.
const MAX_DECODED: usize = 46_000_000;
/// Blocks cut ahead of the one being read, per thread.
const BLOCKS_AHEAD: usize = 3;

/// Appends bits to bytes.
struct BitWriter {
    bytes: Vec<u8>,
    /// Bits used of the last byte; 0 when it is full.
    used: u32,
}

impl BitWriter {
    fn push(&mut self, value: u64, bits: u32) {
        for n in (0..bits).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= (((value >> n) & 1) as u8) << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
    }
}

/// The block as a bz2 stream of its own.
fn stream_of(block: &RawBlock) -> Vec<u8> {
    let shift = (block.start % 8) as u32;
    let bits = block.end - block.start;
    let byte = |n: usize| {
        let pair = [0, 1].map(|k| u16::from(block.bytes.get(n + k).copied().unwrap_or(0)));
        ((pair[0] << 8 | pair[1]) >> (8 - shift)) as u8
    };
    let whole = (bits / 8) as usize;
    let mut bytes = Vec::with_capacity(whole + 20);
    bytes.extend_from_slice(b"BZh9");
    bytes.extend((0..whole).map(byte));
    let rest = (bits % 8) as u32;
    let mut writer = BitWriter { bytes, used: 0 };
    if rest > 0 {
        writer.push(u64::from(byte(whole) >> (8 - rest)), rest);
    }
    // A stream of one block has the block's checksum, which follows its mark.
    let checksum = (10..14).fold(0u64, |sum, n| {
        sum << 8 | u64::from(writer.bytes.get(n).copied().unwrap_or(0))
    });
    writer.push(STREAM_END, 48);
    writer.push(checksum, 32);
    writer.bytes
}

/// The bytes inside a block.
fn decode(block: &RawBlock) -> Result<Vec<u8>, String> {
    let stream = stream_of(block);
    let mut decoder = Decompress::new(false);
    let mut out = Vec::with_capacity(1 << 20);
    loop {
        if out.len() == out.capacity() {
            if out.len() >= MAX_DECODED {
                return Err("a block holds more than a block can".into());
            }
            out.reserve(out.len());
        }
        let read = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
        let (before, rest) = (out.len(), stream.get(read..).unwrap_or(&[]));
        match decoder.decompress_vec(rest, &mut out) {
            Ok(Status::StreamEnd) => return Ok(out),
            Ok(_) if out.len() == before && decoder.total_in() == read as u64 => {
                return Err("a block ends early".into());
            }
            Ok(_) => {}
            Err(e) => return Err(e.to_string()),
        }
    }
}

/// A block that was cut, on its way to its bytes.
struct Pending {
    start: u64,
    end: u64,
    decoded: Decoded,
}

enum Decoded {
    Waiting(Receiver<Result<Vec<u8>, String>>),
    /// To be decoded by the reader.
    Here(RawBlock),
}

struct Job {
    block: RawBlock,
    answer: SyncSender<Result<Vec<u8>, String>>,
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = match jobs.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        job.answer.send(decode(&job.block)).ok();
    }
}

/// A bz2 file, of one stream or of many, as the bytes inside it. At damage `read` gives an error that carries the [`Stop`], after all bytes of the
/// blocks before it.
pub struct Bz2Reader<R> {
    cutter: BlockCutter<R>,
    place: Arc<Place>,
    jobs: Option<SyncSender<Job>>,
    workers: Vec<std::thread::JoinHandle<()>>,
    pending: VecDeque<Pending>,
    ahead: usize,
    chunk: Vec<u8>,
    taken: usize,
    /// Decoded bytes before the end of `chunk`.
    decoded: u64,
    /// How cutting ended, once it has.
    cut: Option<Result<(), Stop>>,
    ended: Option<Result<(), Stop>>,
}

impl<R: Read> Bz2Reader<R> {
    /// Reads from the beginning of a bz2 file, in the calling thread.
    pub fn new(reader: R) -> Self {
        Self::with(BlockCutter::new(reader), Arc::new(Place::default()), 1)
    }

    /// Decodes with `threads` threads, or in the calling one when it is 1; tells `place` where the blocks are.
    pub(super) fn with(cutter: BlockCutter<R>, place: Arc<Place>, threads: usize) -> Self {
        let (mut jobs, mut workers) = (None, Vec::new());
        if threads > 1 {
            let (sender, queue) = sync_channel::<Job>(threads * BLOCKS_AHEAD);
            let queue = Arc::new(Mutex::new(queue));
            for n in 0..threads {
                let queue = Arc::clone(&queue);
                let worker = std::thread::Builder::new()
                    .name(format!("bz2-{n}"))
                    .spawn(move || work(&queue));
                // A system that gives no more threads has those that it gave.
                workers.extend(worker);
            }
            jobs = (!workers.is_empty()).then_some(sender);
        }
        Self {
            cutter,
            place,
            ahead: workers.len().max(1) * if jobs.is_some() { BLOCKS_AHEAD } else { 1 },
            jobs,
            workers,
            pending: VecDeque::new(),
            chunk: Vec::new(),
            taken: 0,
            decoded: 0,
            cut: None,
            ended: None,
        }
    }

    fn schedule(&mut self) {
        while self.cut.is_none() && self.pending.len() < self.ahead {
            let block = match self.cutter.next_block() {
                Ok(Some(block)) => block,
                Ok(None) => {
                    self.cut = Some(Ok(()));
                    return;
                }
                Err(stop) => {
                    self.cut = Some(Err(stop));
                    return;
                }
            };
            let (start, end) = (block.start, block.end);
            let decoded = match &self.jobs {
                None => Decoded::Here(block),
                Some(jobs) => {
                    let (answer, receiver) = sync_channel(1);
                    match jobs.send(Job { block, answer }) {
                        Ok(()) => Decoded::Waiting(receiver),
                        Err(job) => Decoded::Here(job.0.block),
                    }
                }
            };
            self.pending.push_back(Pending {
                start,
                end,
                decoded,
            });
        }
    }

    /// The next block's bytes, or how it ended.
    fn advance(&mut self) {
        self.schedule();
        let Some(pending) = self.pending.pop_front() else {
            self.ended = self.cut.clone();
            return;
        };
        let bytes = match pending.decoded {
            Decoded::Here(block) => decode(&block),
            Decoded::Waiting(receiver) => receiver
                .recv()
                .unwrap_or_else(|_| Err("a decoder thread stopped".into())),
        };
        match bytes {
            Ok(bytes) => {
                self.place
                    .block_begins(self.decoded, pending.start, pending.end);
                self.decoded += bytes.len() as u64;
                self.chunk = bytes;
                self.taken = 0;
            }
            Err(detail) => {
                self.ended = Some(Err(Stop::Bz2Damaged {
                    offset: pending.start / 8,
                    detail,
                }));
            }
        }
    }
}

impl<R: Read> Read for Bz2Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let ready = &self.chunk[self.taken..];
            if !ready.is_empty() {
                let n = ready.len().min(buf.len());
                buf[..n].copy_from_slice(&ready[..n]);
                self.taken += n;
                return Ok(n);
            }
            match &self.ended {
                Some(Ok(())) => return Ok(0),
                Some(Err(stop)) => return Err(stop.clone().into()),
                None => self.advance(),
            }
        }
    }
}

impl<R> Drop for Bz2Reader<R> {
    fn drop(&mut self) {
        // Without jobs and with nobody waiting for their answers the workers come to an end.
        self.pending.clear();
        self.jobs = None;
        for worker in self.workers.drain(..) {
            worker.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Text that compresses to something between noise and nothing.
    fn text(bytes: usize) -> Vec<u8> {
        let mut state = 7u32;
        (0..bytes)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b'a' + ((state >> 24) % 13) as u8
            })
            .collect()
    }

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(1));
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn many_blocks_at_any_bit() {
        let bytes = text(1_350_000);
        let packed = pack(&bytes);
        let mut shifts = [false; 8];
        let mut cutter = BlockCutter::new(packed.as_slice());
        while let Some(block) = cutter.next_block().expect("a whole file") {
            shifts[(block.start % 8) as usize] = true;
        }
        assert!(
            shifts.iter().filter(|seen| **seen).count() >= 4,
            "{shifts:?}"
        );
        for threads in [1, 3] {
            let place = Arc::new(Place::default());
            let cutter = BlockCutter::new(packed.as_slice());
            let mut got = Vec::new();
            Bz2Reader::with(cutter, place, threads)
                .read_to_end(&mut got)
                .expect("a whole file");
            assert!(got == bytes, "{threads} threads");
        }
    }

    #[test]
    fn a_search_finds_the_first_block_from_a_bit_on() {
        let bytes = text(900_000);
        let packed = pack(&bytes);
        let mut starts = Vec::new();
        let mut cutter = BlockCutter::new(packed.as_slice());
        while let Some(block) = cutter.next_block().expect("a whole file") {
            starts.push(block.start);
        }
        for (n, start) in starts.iter().enumerate() {
            for from in [*start, start - 7] {
                let reader = &packed[(from / 8) as usize..];
                let found = BlockCutter::search(reader, from)
                    .next_block()
                    .expect("a whole file")
                    .map(|block| block.start);
                assert_eq!(found, Some(*start), "block {n}");
            }
        }
        let after = starts.last().expect("blocks") + 1;
        let rest = &packed[(after / 8) as usize..];
        assert!(matches!(
            BlockCutter::search(rest, after).next_block(),
            Ok(None)
        ));
    }

    #[test]
    fn a_run_that_fills_a_block_many_times_over() {
        let bytes = vec![b'x'; 30_000_000];
        let mut got = Vec::new();
        Bz2Reader::new(pack(&bytes).as_slice())
            .read_to_end(&mut got)
            .expect("a whole file");
        assert!(got == bytes);
    }
}
