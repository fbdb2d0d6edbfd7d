//! Cuts a bz2 file into its blocks without decoding them: each can then be decoded alone, by any thread, from any place in the file.
//!
//! A block begins with a mark of 48 bits at any bit of the file and ends where the next mark begins, that of a block or of the stream's end. Bits of
//! a block that look like a mark by chance (one in 10,000 dumps of 2 GB has such a place) make the block fail its checksum: the dump is then
//! reported as damaged there, never read wrongly.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::error::Stop;

/// What a block begins with.
const BLOCK: u64 = 0x3141_5926_5359;
/// What a stream ends with.
pub(super) const STREAM_END: u64 = 0x1772_4538_5090;

/// Compressed bytes read at a time.
const INPUT_BYTES: usize = 256 << 10;
/// No block is longer than this, bytes: 900,000 bytes that do not compress at all take a fifth more than themselves.
const MAX_BLOCK_BYTES: u64 = 4 << 20;

/// A block as it stands in the file, undecoded.
#[derive(Debug)]
pub(super) struct RawBlock {
    /// Its first bit in the file.
    pub(super) start: u64,
    /// The bit after its last.
    pub(super) end: u64,
    /// The bytes that hold these bits.
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    /// A stream, or the end of the file, at this byte.
    Stream { byte: u64, first: bool },
    /// A block at this bit.
    Block(u64),
    /// The first block at or after this bit.
    Search(u64),
    /// Nothing.
    End,
}

/// Reads a bz2 file, or its rest, block by block.
pub(super) struct BlockCutter<R> {
    reader: R,
    /// Bytes read and still needed; the first of them is byte `base` of the file.
    buffer: Vec<u8>,
    base: u64,
    at_eof: bool,
    /// Marks are known up to this index of the buffer.
    scanned: usize,
    /// First bit of each mark found, and whether a block begins there.
    marks: VecDeque<(u64, bool)>,
    next: Next,
}

/// The magic of a stream, `BZh1` to `BZh9`.
fn is_stream_start(bytes: &[u8]) -> bool {
    let mark = bytes.get(4..10).map(|six| {
        six.iter()
            .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte))
    });
    bytes.starts_with(b"BZh")
        && (b'1'..=b'9').contains(&bytes[3])
        && (mark == Some(BLOCK) || mark == Some(STREAM_END))
}

/// For each mark and each position inside a byte: the five bytes that it fills wholly, to search for.
struct Pattern {
    finder: Finder<'static>,
    shift: u64,
    block: bool,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let mut patterns = Vec::with_capacity(16);
    for (mark, block) in [(BLOCK, true), (STREAM_END, false)] {
        for shift in 0..8 {
            let window = (mark << (8 - shift)).to_be_bytes();
            patterns.push(Pattern {
                finder: Finder::new(&window[2..7]).into_owned(),
                shift,
                block,
            });
        }
    }
    patterns
});

/// The 48 bits at bit `shift` of seven bytes.
fn bits_at(seven: &[u8], shift: u64) -> u64 {
    let bits = seven
        .iter()
        .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    (bits >> (8 - shift)) & 0xFFFF_FFFF_FFFF
}

impl<R: Read> BlockCutter<R> {
    /// A whole file, from its first byte.
    pub(super) fn new(reader: R) -> Self {
        Self::with(
            reader,
            0,
            Next::Stream {
                byte: 0,
                first: true,
            },
        )
    }

    /// The first block at or after bit `from` of the file, and on from there; `reader` stands at the byte of this bit.
    pub(super) fn search(reader: R, from: u64) -> Self {
        Self::with(reader, from / 8, Next::Search(from))
    }

    fn with(reader: R, base: u64, next: Next) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            base,
            at_eof: false,
            scanned: 0,
            marks: VecDeque::new(),
            next,
        }
    }

    /// The next block; `None` at the end of the file.
    pub(super) fn next_block(&mut self) -> Result<Option<RawBlock>, Stop> {
        loop {
            match self.next {
                Next::End => return Ok(None),
                Next::Stream { byte, first } => self.stream(byte, first)?,
                Next::Search(from) => {
                    self.forget_before(from / 8);
                    match self.mark_from(from, |block| block, u64::MAX)? {
                        Some((start, _)) => self.next = Next::Block(start),
                        None => self.next = Next::End,
                    }
                }
                Next::Block(start) => {
                    self.forget_before(start / 8);
                    return self.block(start).map(Some);
                }
            }
        }
    }

    /// Looks at what stands between streams.
    fn stream(&mut self, byte: u64, first: bool) -> Result<(), Stop> {
        self.forget_before(byte);
        while !self.at_eof && self.end() < byte + 10 {
            self.read()?;
        }
        let file_end = self.end();
        if byte > file_end {
            return Err(Stop::Bz2Truncated { offset: file_end });
        }
        let rest = &self.buffer[(byte - self.base) as usize..];
        if rest.is_empty() {
            self.next = Next::End;
            return Ok(());
        }
        let zeros = rest.iter().take_while(|b| **b == 0).count();
        if zeros > 0 && !first {
            // Padding after the last stream is harmless.
            self.next = Next::Stream {
                byte: byte + zeros as u64,
                first,
            };
            return Ok(());
        }
        if rest.len() < 10 && b"BZh".starts_with(&rest[..rest.len().min(3)]) {
            return Err(Stop::Bz2Truncated { offset: file_end });
        }
        if !is_stream_start(rest) {
            return Err(Stop::Bz2Damaged {
                offset: byte,
                detail: "no bz2 stream begins here".into(),
            });
        }
        self.next = if bits_at(&rest[3..10], 8) == STREAM_END {
            // An empty stream: its end and its checksum.
            Next::Stream {
                byte: byte + 14,
                first: false,
            }
        } else {
            Next::Block(8 * (byte + 4))
        };
        Ok(())
    }

    /// The block that begins at bit `start`.
    fn block(&mut self, start: u64) -> Result<RawBlock, Stop> {
        let limit = start / 8 + MAX_BLOCK_BYTES;
        let Some((end, another)) = self.mark_from(start + 48, |_| true, limit)? else {
            return Err(if self.at_eof && self.end() <= limit {
                Stop::Bz2Truncated { offset: self.end() }
            } else {
                Stop::Bz2Damaged {
                    offset: start / 8,
                    detail: "a block does not end".into(),
                }
            });
        };
        let first = (start / 8 - self.base) as usize;
        let last = (end.div_ceil(8) - self.base) as usize;
        let bytes = self.buffer[first..last].to_vec();
        self.next = if another {
            Next::Block(end)
        } else {
            Next::Stream {
                byte: (end + 48 + 32).div_ceil(8),
                first: false,
            }
        };
        Ok(RawBlock { start, end, bytes })
    }

    /// The first mark at or after bit `from` that `wanted` accepts; reads no further than byte `limit` of the file for it.
    fn mark_from(
        &mut self,
        from: u64,
        wanted: impl Fn(bool) -> bool,
        limit: u64,
    ) -> Result<Option<(u64, bool)>, Stop> {
        loop {
            while let Some(&(bit, block)) = self.marks.front() {
                if bit >= from && wanted(block) {
                    return Ok(Some((bit, block)));
                }
                self.marks.pop_front();
            }
            if self.at_eof || self.end() > limit {
                return Ok(None);
            }
            if matches!(self.next, Next::Search(_)) {
                let scanned = self.base + self.scanned as u64;
                self.forget_before(scanned);
            }
            self.read()?;
            self.scan();
        }
    }

    /// The file's byte after the last one in the buffer.
    fn end(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    fn read(&mut self) -> Result<(), Stop> {
        let before = self.buffer.len();
        self.buffer.resize(before + INPUT_BYTES, 0);
        let got = loop {
            match self.reader.read(&mut self.buffer[before..]) {
                Ok(n) => break Ok(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        self.buffer
            .truncate(before + got.as_ref().map_or(0, |n| *n));
        match got {
            Ok(n) => {
                self.at_eof = n == 0;
                Ok(())
            }
            Err(e) => Err(Stop::Io {
                offset: self.end(),
                detail: e.to_string(),
            }),
        }
    }

    /// Finds the marks in what was read since the last time.
    fn scan(&mut self) {
        let from = self.scanned;
        let window = &self.buffer[from..];
        if window.len() < 7 {
            return;
        }
        let known = self.marks.len();
        for pattern in PATTERNS.iter() {
            let mark = if pattern.block { BLOCK } else { STREAM_END };
            for at in pattern.finder.find_iter(window) {
                // The mark's first bit is in the byte before the five.
                let Some(first) = at.checked_sub(1) else {
                    continue;
                };
                let Some(seven) = window.get(first..first + 7) else {
                    continue;
                };
                if bits_at(seven, pattern.shift) == mark {
                    let bit = 8 * (self.base + (from + first) as u64) + pattern.shift;
                    self.marks.push_back((bit, pattern.block));
                }
            }
        }
        self.marks.make_contiguous()[known..].sort_unstable();
        // A mark that reaches past the end is found with what comes next.
        self.scanned = self.buffer.len() - 6;
    }

    /// Lets the bytes before byte `byte` of the file go.
    fn forget_before(&mut self, byte: u64) {
        let unneeded = byte.saturating_sub(self.base).min(self.scanned as u64) as usize;
        // Moving the rest costs as much as what is gained: only when it is the smaller half.
        if unneeded >= INPUT_BYTES && 2 * unneeded >= self.buffer.len() {
            self.buffer.drain(..unneeded);
            self.base += unneeded as u64;
            self.scanned -= unneeded;
        }
    }
}
