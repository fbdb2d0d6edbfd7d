//! What to do where markup was left out of a sentence: nothing when the sentence stands without it, else the bracket, the clause or the sentence
//! goes, so that no "com uma população de habitantes." remains.

use memchr::memchr2;

use super::scan::{HARD_HOLE, LINE_BREAK, SOFT_HOLE};
use super::words::{is_abbreviation, is_counted, is_expectant};

/// Buffers of the work on holes.
#[derive(Debug, Default)]
pub(super) struct HoleMender {
    work: Vec<u8>,
    mended: Vec<u8>,
    inner: Vec<u8>,
    /// Where brackets that are open now begin in `work`.
    open: Vec<usize>,
    word: String,
}

/// Brackets with more in them than this are prose, bytes.
const MAX_BRACKET: usize = 800;
/// Brackets open at a time that are looked at.
const MAX_BRACKETS: usize = 16;

fn has_hole(text: &[u8]) -> bool {
    memchr2(SOFT_HOLE, HARD_HOLE, text).is_some()
}

fn is_hole(byte: u8) -> bool {
    byte == SOFT_HOLE || byte == HARD_HOLE
}

impl HoleMender {
    /// Rewrites one paragraph without holes; `steps` counts the bytes handled.
    pub(super) fn mend(&mut self, paragraph: &mut Vec<u8>, steps: &mut u64) {
        if !has_hole(paragraph) {
            return;
        }
        *steps += 3 * paragraph.len() as u64;
        self.brackets(paragraph);
        self.sentences();
        paragraph.clear();
        paragraph.extend_from_slice(&self.mended);
    }

    /// Brackets with holes, the innermost first: the parts that miss something go, and the bracket with them when nothing is left.
    fn brackets(&mut self, text: &[u8]) {
        self.work.clear();
        self.open.clear();
        let mut last_hole = None;
        for &byte in text {
            self.work.push(byte);
            match byte {
                SOFT_HOLE | HARD_HOLE => last_hole = Some(self.work.len() - 1),
                b'(' => {
                    if self.open.len() == MAX_BRACKETS {
                        self.open.remove(0);
                    }
                    self.open.push(self.work.len() - 1);
                }
                b')' => {
                    let Some(open) = self.open.pop() else {
                        continue;
                    };
                    if last_hole.is_some_and(|hole| hole > open)
                        && self.work.len() - open <= MAX_BRACKET
                    {
                        let mut inner = std::mem::take(&mut self.inner);
                        inner.clear();
                        inner.extend_from_slice(&self.work[open + 1..self.work.len() - 1]);
                        self.work.truncate(open);
                        self.bracket(&inner);
                        self.inner = inner;
                        last_hole = None;
                    }
                }
                _ => {}
            }
        }
    }

    fn bracket(&mut self, inner: &[u8]) {
        let at = self.work.len();
        self.work.push(b'(');
        let separator = if inner.contains(&b';') { b';' } else { b',' };
        let mut kept = 0;
        for part in inner.split(|b| *b == separator) {
            let broken = has_hole(part)
                && (part.contains(&HARD_HOLE) || self.is_broken(part, 0, part.len(), true));
            let empty = std::str::from_utf8(part)
                .is_ok_and(|text| !text.chars().any(char::is_alphanumeric));
            if broken || empty {
                continue;
            }
            if kept > 0 {
                self.work.push(separator);
            }
            kept += 1;
            self.work.extend(part.iter().filter(|b| !is_hole(**b)));
        }
        if kept == 0 {
            self.work.truncate(at);
        } else {
            self.work.push(b')');
        }
    }

    /// Sentences with holes: those that miss something go.
    fn sentences(&mut self) {
        self.mended.clear();
        let work = std::mem::take(&mut self.work);
        let mut start = 0;
        while start < work.len() {
            let end = self.sentence_end(&work, start);
            let sentence = &work[start..end];
            let drop = has_hole(sentence) && {
                let blank = sentence
                    .iter()
                    .all(|b| is_hole(*b) || b.is_ascii_whitespace() || b.is_ascii_punctuation());
                !blank
                    && (sentence.contains(&HARD_HOLE) || self.is_broken(&work, start, end, false))
            };
            if !drop {
                self.mended
                    .extend(sentence.iter().filter(|b| !is_hole(**b)));
            }
            start = end;
        }
        self.work = work;
    }

    /// Whether one of the soft holes in `text[start..end]` leaves a gap in the syntax.
    fn is_broken(&mut self, text: &[u8], start: usize, end: usize, in_bracket: bool) -> bool {
        let mut at = start;
        while let Some(found) = text[at..end].iter().position(|b| is_hole(*b)) {
            let hole = at + found;
            let mut after = hole;
            while after < end && (is_hole(text[after]) || text[after] == b' ') {
                after += 1;
            }
            let before = text[start..hole].trim_ascii_end();
            let rest = &text[after..end];
            // A note clings to the word before it; what stands free between two words was one of them.
            let free = text[start..hole].ends_with(b" ") && text[..after].ends_with(b" ");
            let word_follows = rest
                .first()
                .is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80);
            if free && word_follows && !before.is_empty() || self.gap(before, rest, in_bracket) {
                return true;
            }
            at = after.max(hole + 1);
        }
        false
    }

    fn gap(&mut self, before: &[u8], after: &[u8], in_bracket: bool) -> bool {
        let next = after.first().copied();
        let Some(&last) = before.last() else {
            // Nothing before it: a sentence that goes on in small letters, or with a unit, lost its beginning.
            let small = std::str::from_utf8(first_word(after))
                .is_ok_and(|w| w.chars().next().is_some_and(char::is_lowercase));
            return !in_bracket && small;
        };
        let ends_here = next.is_none_or(|b| b".,;:!?)]".contains(&b));
        if matches!(last, b':' | b'=' | b'(') && ends_here {
            return true;
        }
        // `“…”` with nothing between.
        if before.ends_with("“".as_bytes()) && after.starts_with("”".as_bytes()) {
            return true;
        }
        if last == b'"' && next == Some(b'"') {
            return true;
        }
        let word = last_word(before);
        if let Ok(word) = std::str::from_utf8(word)
            && is_expectant(word, &mut self.word)
        {
            return true;
        }
        let number_before = last.is_ascii_digit();
        let follows = std::str::from_utf8(first_word(after))
            .unwrap_or("")
            .trim_end_matches([',', '.', ';', ')']);
        !number_before && is_counted(follows, &mut self.word)
    }

    /// Where the last sentence of `text` begins.
    pub(super) fn last_sentence(&mut self, text: &[u8]) -> usize {
        let mut start = 0;
        loop {
            let end = self.sentence_end(text, start);
            if end >= text.len() {
                return start;
            }
            start = end;
        }
    }

    /// The end of the sentence that begins at `start`, with the blanks after it.
    fn sentence_end(&mut self, text: &[u8], start: usize) -> usize {
        let mut i = start;
        while i < text.len() {
            let byte = text[i];
            let ellipsis = text[i..].starts_with("…".as_bytes());
            if matches!(byte, b'\n' | LINE_BREAK) {
                return i + 1;
            }
            if !matches!(byte, b'.' | b'!' | b'?') && !ellipsis {
                i += 1;
                continue;
            }
            let mark = i;
            i += if ellipsis { 3 } else { 1 };
            while i < text.len() {
                let rest = &text[i..];
                let closing = ["”", "»", "’"]
                    .iter()
                    .find(|q| rest.starts_with(q.as_bytes()));
                i += match closing {
                    Some(q) => q.len(),
                    None if matches!(rest[0], b'"' | b')' | b']' | b'.' | b'!' | b'?') => 1,
                    None => break,
                };
            }
            if i < text.len() && text[i] != b' ' {
                continue;
            }
            let mut next = i;
            while next < text.len() && (text[next] == b' ' || is_hole(text[next])) {
                next += 1;
            }
            let starts_new = next >= text.len() || {
                let word = std::str::from_utf8(&text[next..text.len().min(next + 4)])
                    .or_else(|e| std::str::from_utf8(&text[next..next + e.valid_up_to()]));
                word.is_ok_and(|w| {
                    w.chars()
                        .next()
                        .is_some_and(|c| !c.is_lowercase() && c != ',' && c != ';')
                })
            };
            let word = last_word(&text[start..mark]);
            let abbreviated = byte == b'.'
                && std::str::from_utf8(word).is_ok_and(|w| is_abbreviation(w, &mut self.word));
            if starts_new && !abbreviated {
                // A hole between two sentences belongs to neither.
                while i < text.len() && (text[i] == b' ' || is_hole(text[i])) {
                    i += 1;
                }
                return i;
            }
        }
        text.len()
    }
}

fn last_word(text: &[u8]) -> &[u8] {
    let limit = text.len().saturating_sub(40);
    let start = text[limit..]
        .iter()
        .rposition(|b| b" \n(\"".contains(b) || is_hole(*b))
        .map_or(limit, |at| limit + at + 1);
    &text[start..]
}

fn first_word(text: &[u8]) -> &[u8] {
    let window = &text[..text.len().min(40)];
    let end = window
        .iter()
        .position(|b| b" \n".contains(b) || is_hole(*b))
        .unwrap_or(window.len());
    &window[..end]
}
