//! Footnotes, in all the ways in which they are not closed.

use super::scan::Scanner;
use super::tags::tag_end;
use super::templates::glues;

struct RefTag {
    start: usize,
    end: usize,
    closing: bool,
}

impl Scanner {
    /// A footnote, from the end of its opening tag. Forms without a proper end lose at most the rest of their line.
    pub(super) fn footnote(&mut self, src: &[u8], from: usize) -> usize {
        let end = match self.next_ref(src, from) {
            Some(RefTag {
                closing: true, end, ..
            }) => end,
            other => {
                let limit = other.as_ref().map_or(src.len(), |tag| tag.start);
                let line_end = memchr::memchr(b'\n', &src[from..limit]).map(|at| from + at);
                self.steps += (line_end.unwrap_or(limit) - from) as u64;
                match (line_end, other) {
                    (Some(line_end), _) => return line_end,
                    (None, None) => src.len(),
                    // `<ref>A<ref>`: the slash was forgotten, unless the second one has an end of its own.
                    (None, Some(second)) => match self.next_ref(src, second.end) {
                        Some(RefTag { closing: true, .. }) => second.start,
                        _ => second.end,
                    },
                }
            }
        };
        self.unglue(src, end)
    }

    /// The next `<ref>` or `</ref>` that opens or closes.
    fn next_ref(&mut self, src: &[u8], from: usize) -> Option<RefTag> {
        let mut at = from;
        while let Some(found) = memchr::memchr(b'<', &src[at..]) {
            let start = at + found;
            let closing = src.get(start + 1) == Some(&b'/');
            let name_at = start + 1 + usize::from(closing);
            let after = name_at + 3;
            let same = src
                .get(name_at..after)
                .is_some_and(|n| n.eq_ignore_ascii_case(b"ref"));
            if same && !src.get(after).is_some_and(u8::is_ascii_alphanumeric) {
                let (end, slash) = tag_end(src, after).unwrap_or((after, false));
                if closing || !slash {
                    self.steps += (end - from) as u64;
                    return Some(RefTag {
                        start,
                        end,
                        closing,
                    });
                }
            }
            at = start + 1;
        }
        self.steps += (src.len() - from) as u64;
        None
    }

    /// Footnote marks stand between words that would otherwise run into each other.
    pub(super) fn unglue(&mut self, src: &[u8], next: usize) -> usize {
        if glues(self.out.last().copied(), src.get(next).copied()) {
            self.out.push(b' ');
        }
        next
    }
}
