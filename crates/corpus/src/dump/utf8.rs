//! A reader that hands valid UTF-8 to the XML parser, whatever comes in (UTF-16 with its mark too), and that bounds how much one XML event may hold.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use super::stop_of;
use crate::error::Stop;

const BUFFER_BYTES: usize = 256 << 10;
/// After an over-long event was cut, what may still come before its end.
const REST_BYTES: usize = 4096;

/// Wraps raw bytes: invalid sequences become U+FFFD (counted), a read error becomes the end of input with a [`Stop`] to ask for, and text past
/// the event limit is skipped up to the next `<`.
pub(super) struct Utf8Reader<R> {
    reader: R,
    raw: Vec<u8>,
    /// An unfinished character, `carry` bytes at `carry_at` of `raw`, waits there for what follows.
    carry: usize,
    carry_at: usize,
    /// The repaired copy, used only when the raw bytes are not valid.
    fixed: Vec<u8>,
    use_fixed: bool,
    /// The input is UTF-16, little-endian when true; told by its byte order mark.
    utf16: Option<bool>,
    start: usize,
    end: usize,
    /// Raw bytes read so far.
    read: u64,
    /// Raw bytes in the buffer that is being handed out.
    window: u64,
    at_eof: bool,
    event_limit: usize,
    budget: usize,
    cut_in_event: bool,
    /// An event was cut since it was last asked.
    overlong: bool,
    /// In a repaired buffer: the byte after each replaced sequence, and its offset in the raw input.
    seams: Vec<(usize, u64)>,
    /// Bytes handed out before this buffer.
    handed_out: u64,
    /// Replaced sequences in this buffer: where they stand in what is handed out, and their offset in the raw input.
    invalid: VecDeque<(u64, u64)>,
    /// Those already handed out since [`Utf8Reader::take_invalid`]: how many, and the offset of the first.
    passed: (u64, Option<u64>),
    /// Why reading ended, when not at the end of the file.
    pub(super) stop: Option<Stop>,
}

impl<R: Read> Utf8Reader<R> {
    pub(super) fn new(reader: R, event_limit: usize) -> Self {
        Self {
            reader,
            raw: vec![0; BUFFER_BYTES],
            carry: 0,
            carry_at: 0,
            fixed: Vec::new(),
            use_fixed: false,
            utf16: None,
            start: 0,
            end: 0,
            read: 0,
            window: 0,
            at_eof: false,
            event_limit,
            budget: event_limit,
            cut_in_event: false,
            overlong: false,
            seams: Vec::new(),
            handed_out: 0,
            invalid: VecDeque::new(),
            passed: (0, None),
            stop: None,
        }
    }

    /// Says that a new XML event begins.
    pub(super) fn begin_event(&mut self) {
        self.budget = self.event_limit;
        self.cut_in_event = false;
        let here = self.handed_out + self.start as u64;
        while let Some((_, offset)) = self.invalid.pop_front_if(|(at, _)| *at < here) {
            self.passed.0 += 1;
            self.passed.1.get_or_insert(offset);
        }
    }

    /// Sequences replaced in the events since the last call: how many, and the raw offset of the first.
    pub(super) fn take_invalid(&mut self) -> (u64, Option<u64>) {
        std::mem::take(&mut self.passed)
    }

    /// Whether an event was cut since the last call.
    pub(super) fn take_overlong(&mut self) -> bool {
        std::mem::take(&mut self.overlong)
    }

    /// Offset in the raw input of the next byte handed out (in UTF-16: up to a buffer further on).
    pub(super) fn position(&self) -> u64 {
        if self.utf16.is_some() {
            let left = (self.end - self.start) as u64 + self.carry as u64;
            return self.read - left.min(self.window);
        }
        let seam = self.seams.partition_point(|(at, _)| *at <= self.start);
        match seam.checked_sub(1).and_then(|n| self.seams.get(n)) {
            Some((at, offset)) => offset + (self.start - at) as u64,
            None => self.read - self.window + self.start as u64,
        }
    }

    /// Whether offsets in the input are those of the bytes handed out.
    pub(super) fn is_utf8(&self) -> bool {
        self.utf16.is_none()
    }

    fn refill(&mut self) {
        self.handed_out += self.end as u64;
        self.start = 0;
        self.end = 0;
        while self.end == 0 && !self.at_eof {
            self.raw
                .copy_within(self.carry_at..self.carry_at + self.carry, 0);
            let got = loop {
                match self.reader.read(&mut self.raw[self.carry..]) {
                    Ok(n) => break n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        self.stop = Some(stop_of(&e, self.read));
                        break 0;
                    }
                }
            };
            self.at_eof = got == 0;
            let base = self.read - self.carry as u64;
            self.read += got as u64;
            let filled = self.carry + got;
            self.window = filled as u64;
            self.carry = 0;
            self.use_fixed = false;
            self.seams.clear();
            if base == 0 && filled >= 2 {
                self.utf16 = match [self.raw[0], self.raw[1]] {
                    [0xFF, 0xFE] => Some(true),
                    [0xFE, 0xFF] => Some(false),
                    _ => None,
                };
            }
            if let Some(little_endian) = self.utf16 {
                self.transcode(filled, base, little_endian);
                continue;
            }
            match std::str::from_utf8(&self.raw[..filled]) {
                Ok(_) => self.end = filled,
                Err(e) if e.error_len().is_none() && !self.at_eof => {
                    // Only the last character is unfinished: it waits for the next bytes.
                    let valid = e.valid_up_to();
                    self.end = valid;
                    self.carry = filled - valid;
                    self.carry_at = valid;
                }
                Err(_) => self.repair(filled, base),
            }
        }
    }

    /// UTF-16 to UTF-8; a lone surrogate becomes U+FFFD.
    fn transcode(&mut self, filled: usize, base: u64, little_endian: bool) {
        let unit = |pair: &[u8]| {
            let pair = [pair[0], pair[1]];
            if little_endian {
                u16::from_le_bytes(pair)
            } else {
                u16::from_be_bytes(pair)
            }
        };
        let mut whole = filled - filled % 2;
        let high = |u: u16| (0xD800..0xDC00).contains(&u);
        if !self.at_eof && whole >= 2 && high(unit(&self.raw[whole - 2..whole])) {
            whole -= 2;
        }
        self.fixed.clear();
        let mut offset = base;
        for decoded in char::decode_utf16(self.raw[..whole].chunks_exact(2).map(unit)) {
            let c = decoded.unwrap_or_else(|_| {
                self.invalid
                    .push_back((self.handed_out + self.fixed.len() as u64, offset));
                '\u{FFFD}'
            });
            offset += 2 * c.len_utf16() as u64;
            self.fixed
                .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.carry = if self.at_eof { 0 } else { filled - whole };
        self.carry_at = whole;
        self.end = self.fixed.len();
        self.use_fixed = true;
    }

    fn repair(&mut self, filled: usize, base: u64) {
        let mut fixed = std::mem::take(&mut self.fixed);
        fixed.clear();
        let mut offset = 0;
        let mut carry = Vec::new();
        for chunk in self.raw[..filled].utf8_chunks() {
            fixed.extend_from_slice(chunk.valid().as_bytes());
            offset += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let last = offset + invalid.len() == filled;
            let unfinished =
                last && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
            if unfinished && !self.at_eof {
                carry.extend_from_slice(invalid);
            } else {
                self.invalid
                    .push_back((self.handed_out + fixed.len() as u64, base + offset as u64));
                fixed.extend_from_slice("\u{FFFD}".as_bytes());
                self.seams
                    .push((fixed.len(), base + (offset + invalid.len()) as u64));
            }
            offset += invalid.len();
        }
        self.raw[..carry.len()].copy_from_slice(&carry);
        self.carry = carry.len();
        self.carry_at = 0;
        self.end = fixed.len();
        self.fixed = fixed;
        self.use_fixed = true;
    }

    fn available(&self) -> &[u8] {
        if self.use_fixed {
            &self.fixed[self.start..self.end]
        } else {
            &self.raw[self.start..self.end]
        }
    }

    fn ensure(&mut self) {
        if self.start == self.end && !self.at_eof {
            self.refill();
        }
    }

    /// Throws the rest of an over-long event away. Legal text holds no `<`, so a text event ends there.
    fn skip_overlong(&mut self) {
        self.overlong = true;
        if self.cut_in_event {
            // A tag or comment that goes on after the cut: nothing sensible follows.
            self.stop.get_or_insert(Stop::XmlDamaged {
                offset: self.position(),
                detail: format!("one XML element is longer than {} bytes", self.event_limit),
            });
            self.at_eof = true;
            self.start = self.end;
            return;
        }
        self.cut_in_event = true;
        self.budget = REST_BYTES;
        loop {
            self.ensure();
            if self.start == self.end {
                return;
            }
            match memchr::memchr(b'<', self.available()) {
                Some(at) => {
                    self.start += at;
                    return;
                }
                None => self.start = self.end,
            }
        }
    }
}

impl<R: Read> Read for Utf8Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buf.len());
        buf[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Utf8Reader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.ensure();
        if self.budget == 0 && self.start < self.end {
            self.skip_overlong();
        }
        let limit = self.budget;
        let available = self.available();
        Ok(&available[..available.len().min(limit)])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.end);
        self.budget = self.budget.saturating_sub(amount);
    }
}
