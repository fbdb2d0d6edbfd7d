//! First pass, by lines: what a line begins with, what its end closes, and what is given back when the page ends.

use super::names::WikiNames;
use super::scan::{Frame, HEADING, Kind, LINE_BREAK, LIST, Scanner, TABLE_LINE};

impl Scanner {
    pub(super) fn newline(&mut self, names: &WikiNames, src: &[u8], i: usize) -> usize {
        let blank = src[i + 1..]
            .iter()
            .find(|b| !matches!(b, b' ' | b'\t' | b'\r'))
            .is_none_or(|b| *b == b'\n');
        // Links do not reach over a line end before their first pipe, nor over a blank line.
        while let Some(frame) = self.frames.last().copied() {
            match frame.kind {
                Kind::External => self.pop_frame(),
                Kind::Link if blank || self.args.len() == frame.args => self.close_link(names),
                _ => break,
            }
        }
        if self.poems > 0 || std::mem::take(&mut self.preformatted) {
            self.out.push(LINE_BREAK);
        }
        self.out.push(b'\n');
        self.line_start(src, i + 1)
    }

    /// Looks at what a line begins with; gives the position where its text begins.
    pub(super) fn line_start(&mut self, src: &[u8], mut i: usize) -> usize {
        let line = i;
        while matches!(src.get(i), Some(b' ' | b'\t')) {
            i += 1;
        }
        let Some(&first) = src.get(i) else { return i };
        let second = src.get(i + 1).copied().unwrap_or(b'\n');
        let indented = i > line;
        self.note_recovery(first, second);
        // A line that begins with a blank is shown as it is, a line of its own.
        if src[line] == b' '
            && self.frames.is_empty()
            && !(first == b'{' && second == b'|')
            && !matches!(first, b'|' | b'!' | b'\n')
        {
            self.preformatted = true;
            self.out.push(LINE_BREAK);
        }
        match first {
            b'=' if !indented => {
                let level = Self::run_length(src, i);
                let shown = level.min(6);
                self.out.extend_from_slice(&[HEADING, b'0' + shown as u8]);
                i + level
            }
            b'*' | b'#' | b';' | b':' if !indented => {
                let mut last = first;
                while let Some(b @ (b'*' | b'#' | b';' | b':')) = src.get(i) {
                    last = *b;
                    i += 1;
                }
                let mut next = i;
                while src.get(next) == Some(&b' ') {
                    next += 1;
                }
                if src[next..].starts_with(b"{|") {
                    return self.line_start(src, next);
                }
                self.out.extend_from_slice(&[LIST, last]);
                i
            }
            b'{' if second == b'|' && src.get(i + 2) != Some(&b'}') => {
                self.push_frame(Kind::Table, true, i);
                i + 2
            }
            // `{|` and `|}` written with templates.
            b'{' if src[i..].starts_with(b"{{{!}}") || src[i..].starts_with(b"{{(!}}") => {
                self.push_frame(Kind::Table, true, i);
                i + 6
            }
            b'{' if self.in_table()
                && (src[i..].starts_with(b"{{!}}}") || src[i..].starts_with(b"{{!)}}")) =>
            {
                self.close_table();
                i + 6
            }
            b'|' if second == b'}' => self.table_close(src, i),
            b'|' | b'!' if self.in_table() || (self.frames.is_empty() && first == b'|') => {
                self.out.push(TABLE_LINE);
                i + 1
            }
            b'-' if second == b'-' && src[i..].starts_with(b"----") => {
                self.out.push(b'\n');
                i + Self::run_length(src, i)
            }
            _ => i,
        }
    }

    fn in_table(&self) -> bool {
        matches!(
            self.frames.last(),
            Some(Frame {
                kind: Kind::Table,
                ..
            })
        )
    }

    /// `|}` at the start of a line.
    fn table_close(&mut self, src: &[u8], i: usize) -> usize {
        let closing = Self::run_length(src, i + 1);
        let innermost = self
            .frames
            .iter()
            .rev()
            .map(|f| f.kind)
            .find(|k| matches!(k, Kind::Brace { .. } | Kind::Table));
        // `|}}` is the last, empty argument of a template; after a table's own end, `|}`, a template needs two more braces.
        let template_end = match innermost {
            Some(Kind::Brace { .. }) => closing >= 2,
            Some(_) => closing == 2 && self.braces > 0,
            None => false,
        };
        if self.lost_tables > 0 && !template_end {
            self.lost_tables -= 1;
            return i + 2;
        }
        if self.tables == 0 || template_end {
            return i;
        }
        self.close_table();
        i + 2
    }

    /// Drops the innermost table and whatever is open inside it.
    fn close_table(&mut self) {
        while let Some(frame) = self.frames.last().copied() {
            self.out.truncate(frame.start);
            self.pop_frame();
            if frame.kind == Kind::Table {
                break;
            }
        }
        self.out.push(b'\n');
    }

    /// Remembers, for constructs that may never close, where a line of ordinary text or a heading begins.
    fn note_recovery(&mut self, first: u8, second: u8) {
        let text = first.is_ascii_alphanumeric()
            || first >= 0x80
            || matches!(first, b'=' | b'"' | b'(')
            || (first == b'\'' && second == b'\'')
            || (first == b'[' && second == b'[');
        if !text {
            return;
        }
        let here = self.out.len();
        for frame in self.frames.iter_mut().rev() {
            if frame.recovery.is_some() {
                break;
            }
            self.steps += 1;
            frame.recovery = Some(here);
        }
    }

    /// Gives back the text after constructs that were never closed.
    pub(super) fn finish(&mut self, names: &WikiNames) {
        while let Some(Frame {
            kind: Kind::Link | Kind::External,
            ..
        }) = self.frames.last()
        {
            self.close_link_or_external(names);
        }
        // Frames lie inside one another: the ranges to remove are in order and merge into one pass over the output.
        let (mut read, mut write) = (0, 0);
        let end = self.out.len();
        for at in 0..self.frames.len() {
            let frame = self.frames[at];
            let (from, to) = match frame.kind {
                Kind::Brace { .. } | Kind::Table => (frame.start, frame.recovery.unwrap_or(end)),
                // The target of a link that never closed.
                Kind::Link => (
                    frame.start,
                    self.args
                        .get(frame.args)
                        .map_or(frame.start, |mark| mark.start),
                ),
                Kind::External => continue,
            };
            if to <= read {
                continue;
            }
            if from > read {
                self.out.copy_within(read..from, write);
                write += from - read;
            }
            // The line end inside what goes still separates what stays around it.
            let removed = &self.out[from.max(read)..to];
            let breaks = usize::from(removed.contains(&b'\n'))
                + usize::from(memchr::memmem::find(removed, b"\n\n").is_some());
            self.steps += removed.len() as u64;
            self.out[write..write + breaks].fill(b'\n');
            write += breaks;
            read = to;
        }
        if read > 0 {
            self.steps += (end - read) as u64;
            self.out.copy_within(read..end, write);
            self.out.truncate(write + end - read);
        }
        self.frames.clear();
        self.args.clear();
    }

    fn close_link_or_external(&mut self, names: &WikiNames) {
        match self.frames.last().map(|f| f.kind) {
            Some(Kind::Link) => self.close_link(names),
            _ => self.pop_frame(),
        }
    }
}
