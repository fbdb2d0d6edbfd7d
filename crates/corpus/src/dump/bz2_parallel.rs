//! bz2 files of several streams (the "multistream" dumps), decoded by several threads with bounded memory.
//!
//! A first pass finds the byte positions that look like the start of a stream. Workers decode from these positions, each into a short bounded
//! queue; the reader takes the queues in order. A stream ends where its decoder says so, not where the next position was seen: a position inside
//! another stream's data is passed over, so ten bytes that look like a start by chance do no harm.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::bz2::{HoldBack, Progress, StreamDecoder, is_stream_start, keeps_held_bytes};
use crate::error::{CorpusError, Stop};

/// Decoded chunks waiting per stream.
const CHUNKS_WAITING: usize = 8;
/// Streams begun ahead of the one being read, per thread.
const STREAMS_AHEAD: usize = 4;

enum Message {
    Data(Vec<u8>),
    End { next_offset: u64 },
    Failed(Stop),
}

struct Job {
    offset: u64,
    answer: SyncSender<Message>,
}

/// A bz2 file as the bytes inside it, decoded by worker threads, in order.
pub struct ParallelBz2Reader {
    path: PathBuf,
    starts: std::vec::IntoIter<u64>,
    jobs: Option<SyncSender<Job>>,
    pending: VecDeque<(u64, Receiver<Message>)>,
    /// Where the next stream must begin.
    expected: u64,
    file_len: u64,
    position: Arc<AtomicU64>,
    chunk: Vec<u8>,
    taken: usize,
    ended: Option<Result<(), Stop>>,
    ahead: usize,
    workers: Vec<std::thread::JoinHandle<()>>,
}

/// Byte offsets that look like the start of a stream, in order.
fn find_streams(path: &Path) -> Result<Vec<u64>, CorpusError> {
    let mut file = File::open(path).map_err(CorpusError::io("open", path))?;
    let finder = memchr::memmem::Finder::new(b"BZh");
    let mut starts = Vec::new();
    let mut buffer = vec![0u8; 4 << 20];
    let (mut filled, mut base) = (0usize, 0u64);
    loop {
        let n = file
            .read(&mut buffer[filled..])
            .map_err(CorpusError::io("read", path))?;
        filled += n;
        // The last nine bytes are looked at again with what follows them.
        let usable = filled.saturating_sub(9);
        for at in finder.find_iter(&buffer[..filled]) {
            if at < usable && is_stream_start(&buffer[at..filled]) {
                starts.push(base + at as u64);
            }
        }
        if n == 0 {
            return Ok(starts);
        }
        buffer.copy_within(usable..filled, 0);
        base += usable as u64;
        filled -= usable;
    }
}

fn decode_stream(path: &Path, job: &Job) -> Result<(), Stop> {
    let io_stop = |e: io::Error| Stop::Io {
        offset: job.offset,
        detail: e.to_string(),
    };
    let mut file = File::open(path).map_err(io_stop)?;
    file.seek(SeekFrom::Start(job.offset)).map_err(io_stop)?;
    let mut decoder = StreamDecoder::new(file, job.offset);
    let mut held = HoldBack::default();
    loop {
        let result = decoder.fill(held.buffer());
        let everything = match &result {
            Ok(Progress::More) => false,
            Ok(_) => true,
            Err(stop) => keeps_held_bytes(stop),
        };
        let ready = held.ready(everything);
        if ready.len() >= 256 << 10 || (everything && !ready.is_empty()) {
            let data = ready.to_vec();
            held.consume(data.len());
            if job.answer.send(Message::Data(data)).is_err() {
                return Ok(());
            }
        }
        match result {
            Ok(Progress::More) => {}
            Ok(Progress::StreamEnd { next_offset }) => {
                job.answer.send(Message::End { next_offset }).ok();
                return Ok(());
            }
            Ok(Progress::FileEnd) => return Ok(()),
            Err(stop) => return Err(stop),
        }
    }
}

fn worker(path: PathBuf, jobs: Arc<Mutex<Receiver<Job>>>) {
    loop {
        let job = match jobs.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        if let Err(stop) = decode_stream(&path, &job) {
            job.answer.send(Message::Failed(stop)).ok();
        }
    }
}

impl ParallelBz2Reader {
    /// Opens a bz2 file with `threads` decoders; `position` follows the streams that were read, bytes.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open(
        path: &Path,
        threads: usize,
        position: Arc<AtomicU64>,
    ) -> Result<Self, CorpusError> {
        let file_len = std::fs::metadata(path)
            .map_err(CorpusError::io("open", path))?
            .len();
        let starts = find_streams(path)?;
        let threads = threads.clamp(1, starts.len().max(1));
        let (jobs, queue) = sync_channel::<Job>(threads * STREAMS_AHEAD);
        let queue = Arc::new(Mutex::new(queue));
        let mut workers = Vec::with_capacity(threads);
        for n in 0..threads {
            let (path, queue) = (path.to_path_buf(), Arc::clone(&queue));
            let handle = std::thread::Builder::new()
                .name(format!("bz2-{n}"))
                .spawn(move || worker(path, queue))
                .map_err(CorpusError::io(
                    "start a decoder thread for",
                    Path::new("bz2"),
                ))?;
            workers.push(handle);
        }
        Ok(Self {
            path: path.to_path_buf(),
            starts: starts.into_iter(),
            jobs: Some(jobs),
            pending: VecDeque::new(),
            expected: 0,
            file_len,
            position,
            chunk: Vec::new(),
            taken: 0,
            ended: None,
            ahead: threads * STREAMS_AHEAD,
            workers,
        })
    }

    fn schedule(&mut self) {
        while self.pending.len() < self.ahead {
            let Some(offset) = self.starts.next() else {
                return;
            };
            let (answer, receiver) = sync_channel(CHUNKS_WAITING);
            let Some(jobs) = &self.jobs else { return };
            if jobs.send(Job { offset, answer }).is_err() {
                return;
            }
            self.pending.push_back((offset, receiver));
        }
    }

    /// The next chunk of the current stream, or how it ended.
    fn advance(&mut self) {
        self.schedule();
        let Some((offset, receiver)) = self.pending.front() else {
            self.ended = Some(if self.expected >= self.file_len {
                Ok(())
            } else {
                self.judge_rest()
            });
            return;
        };
        if *offset < self.expected {
            // Bytes inside the previous stream that only looked like a start.
            self.pending.pop_front();
            return;
        }
        if *offset > self.expected {
            self.ended = Some(Err(Stop::Bz2Damaged {
                offset: self.expected,
                detail: "no bz2 stream begins here".into(),
            }));
            return;
        }
        match receiver.recv() {
            Ok(Message::Data(data)) => {
                self.chunk = data;
                self.taken = 0;
            }
            Ok(Message::End { next_offset }) => {
                self.expected = next_offset;
                self.position.store(next_offset, Ordering::Relaxed);
                self.pending.pop_front();
            }
            Ok(Message::Failed(stop)) => self.ended = Some(Err(stop)),
            Err(_) => {
                self.ended = Some(Err(Stop::Bz2Damaged {
                    offset: *offset,
                    detail: "the decoder thread stopped".into(),
                }));
            }
        }
    }

    /// What follows the last stream: zeros are padding, a beginning of the magic is a cut, anything else is damage.
    fn judge_rest(&self) -> Result<(), Stop> {
        let io_stop = |e: io::Error| Stop::Io {
            offset: self.expected,
            detail: e.to_string(),
        };
        let mut file = File::open(&self.path).map_err(io_stop)?;
        file.seek(SeekFrom::Start(self.expected)).map_err(io_stop)?;
        let mut decoder = StreamDecoder::new(file, self.expected).after_a_stream();
        let mut nothing = Vec::with_capacity(1);
        loop {
            match decoder.fill(&mut nothing)? {
                Progress::FileEnd => return Ok(()),
                Progress::More | Progress::StreamEnd { .. } => {}
            }
        }
    }
}

impl Read for ParallelBz2Reader {
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

impl Drop for ParallelBz2Reader {
    fn drop(&mut self) {
        // Without receivers and jobs the workers run out of work.
        self.pending.clear();
        self.jobs = None;
        for handle in self.workers.drain(..) {
            handle.join().ok();
        }
    }
}
