//! First pass, inside a line: emphasis, character references, switches, bare addresses, names of arguments.

use super::entities;
use super::scan::{Frame, Kind, SOFT_HOLE, Scanner};

/// Longest switch that is known for one, bytes.
pub(super) const LONGEST_SWITCH: usize = 50;

/// The end of the switch that begins at `i`, as `__SEMTDC__` or `__NÃOEDITARSEÇÃO__`: two underscores, capitals, two underscores.
pub(super) fn switch_end(src: &[u8], i: usize) -> Option<usize> {
    if src.get(i + 1) != Some(&b'_') {
        return None;
    }
    let window = &src[i + 2..src.len().min(i + LONGEST_SWITCH)];
    let word = window.split(|b| *b == b'_').next().unwrap_or(&[]);
    let closed = window.get(word.len()..word.len() + 2) == Some(b"__");
    let capitals =
        std::str::from_utf8(word).is_ok_and(|w| !w.is_empty() && w.chars().all(char::is_uppercase));
    (closed && capitals).then_some(i + 2 + word.len() + 2)
}

impl Scanner {
    pub(super) fn ampersand(&mut self, src: &[u8], i: usize) -> usize {
        match entities::decode(src, i) {
            Some((c, next)) => {
                entities::push_char(&mut self.out, c);
                next
            }
            None => {
                self.out.push(b'&');
                i + 1
            }
        }
    }

    /// Bold and italic marks go. As in MediaWiki, an apostrophe stands before italics where a line's marks do not come out even otherwise, as in
    /// `d'''Artagnan''`.
    pub(super) fn apostrophe(&mut self, src: &[u8], i: usize) -> usize {
        let run = Self::run_length(src, i);
        if run == 1 {
            self.out.push(b'\'');
            return i + 1;
        }
        if i >= self.marks_counted_to {
            self.count_marks(src, i);
        }
        let elision = run == 3 && self.uneven_marks && self.ends_with_single_letter();
        if elision {
            self.uneven_marks = false;
        }
        if elision || run == 4 {
            self.out.push(b'\'');
        }
        i + run
    }

    /// Counts the bold and italic marks from here to the end of the line, once a line.
    fn count_marks(&mut self, src: &[u8], from: usize) {
        let end = memchr::memchr(b'\n', &src[from..]).map_or(src.len(), |at| from + at);
        self.steps += (end - from) as u64;
        let (mut bold, mut italic, mut at) = (0usize, 0usize, from);
        while let Some(found) = memchr::memchr(b'\'', &src[at..end]) {
            let run = Self::run_length(&src[..end], at + found);
            bold += usize::from(run >= 3);
            italic += usize::from(run == 2 || run >= 5);
            at += found + run;
        }
        self.marks_counted_to = end;
        self.uneven_marks = bold % 2 == 1 && italic % 2 == 1;
    }

    /// Whether the output ends in a word of one letter.
    fn ends_with_single_letter(&self) -> bool {
        let mut end = self.out.iter().rev();
        let letter = end.next().is_some_and(u8::is_ascii_alphabetic);
        letter
            && end
                .next()
                .is_none_or(|b| !b.is_ascii_alphanumeric() && *b < 0x80)
    }

    pub(super) fn underscore(&mut self, src: &[u8], i: usize) -> usize {
        match switch_end(src, i) {
            Some(end) => {
                self.steps += (end - i) as u64;
                end
            }
            None => {
                self.out.push(b'_');
                i + 1
            }
        }
    }

    /// A bare address leaves a hole; any other colon is text.
    pub(super) fn colon(&mut self, src: &[u8], i: usize) -> usize {
        if src[i + 1..].starts_with(b"//") {
            for scheme in [&b"https"[..], b"http", b"ftp"] {
                if self.out[self.floor()..].ends_with(scheme) {
                    self.out.truncate(self.out.len() - scheme.len());
                    self.out.push(SOFT_HOLE);
                    let end = Self::address_end(src, i);
                    // The stop at the end of a sentence is not part of the address.
                    return if src[end - 1] == b'.' || src[end - 1] == b',' {
                        end - 1
                    } else {
                        end
                    };
                }
            }
        }
        self.out.push(b':');
        i + 1
    }

    /// Output before this position belongs to something that is still open, or to an argument that has ended.
    pub(super) fn floor(&self) -> usize {
        let argument = self.args.last().map_or(0, |mark| mark.start);
        let frame = self.frames.last().map_or(0, |frame| frame.start);
        argument.max(frame).min(self.out.len())
    }

    /// The first `=` of a template's argument ends its name.
    pub(super) fn equals(&mut self, i: usize) -> usize {
        if let Some(Frame {
            kind: Kind::Brace { .. },
            args,
            ..
        }) = self.frames.last()
            && self.args.len() > *args
            && let Some(mark) = self.args.last_mut()
        {
            mark.equals.get_or_insert(self.out.len());
        }
        self.out.push(b'=');
        i + 1
    }

    pub(super) fn address_end(src: &[u8], from: usize) -> usize {
        let stop = |b: &u8| *b <= b' ' || b"[]<>{}|\"".contains(b);
        from + src[from..]
            .iter()
            .position(stop)
            .unwrap_or(src.len() - from)
    }
}
