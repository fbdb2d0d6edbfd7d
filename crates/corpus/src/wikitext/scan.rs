//! First pass: one walk over the markup with an explicit stack.
//!
//! Every construct that is open owns a frame; its content is written to the output as it comes, and when it closes, the frame knows where its
//! output began and replaces it by what it shows. A construct that never closes gives its text back. Nothing is read twice, so the time is linear
//! in the input; the stack has a fixed depth, past which openings are only counted, so memory is bounded too.

use super::entities;
use super::names::WikiNames;
use super::report::TemplateReport;

/// The rest of the line is a heading; the next byte is its level, `1` to `6`.
pub(super) const HEADING: u8 = 1;
/// The rest of the line is a list item; the next byte is its kind, one of `*#;:`.
pub(super) const LIST: u8 = 2;
/// Something was left out here that may or may not have been part of a sentence.
pub(super) const SOFT_HOLE: u8 = 3;
/// Something was left out here that surely was part of a sentence.
pub(super) const HARD_HOLE: u8 = 4;
/// The line is a piece of a table.
pub(super) const TABLE_LINE: u8 = 5;
/// A line end that is to be kept, as in a poem.
pub(super) const LINE_BREAK: u8 = 6;

/// Constructs open at a time. Past it openings are counted and their marks dropped.
pub(super) const MAX_DEPTH: usize = 64;
/// Arguments told apart per template; the rest belongs to the last one.
pub(super) const MAX_ARGS: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{{` or `{{{`: `count` braces not yet closed.
    Brace { count: usize },
    /// `[[`
    Link,
    /// `[http://…`
    External,
    /// `{|`
    Table,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Where its content begins in the output.
    pub(super) start: usize,
    /// Index of its first argument in `args`.
    pub(super) args: usize,
    /// Where ordinary text begins again in the output, should it never be closed.
    pub(super) recovery: Option<usize>,
    /// Opened at the start of a line.
    pub(super) at_line_start: bool,
    /// Where it was opened in the wikitext.
    pub(super) source: usize,
}

/// Where an argument stands in the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) start: usize,
    /// The `=` after its name. One that stands in a link or a template inside the argument gives it no name.
    pub(super) equals: Option<usize>,
}

impl Mark {
    pub(super) fn at(start: usize) -> Self {
        Self {
            start,
            equals: None,
        }
    }
}

/// Bytes that end a run of plain text.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 0x20 {
        table[b] = true;
        b += 1;
    }
    let marks = b"<{}[]|&'_:=\x7F\xC2\xE2\xEF";
    let mut n = 0;
    while n < marks.len() {
        table[marks[n] as usize] = true;
        n += 1;
    }
    table
};

/// The state of the first pass; buffers are kept from page to page.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    pub(super) out: Vec<u8>,
    pub(super) frames: Vec<Frame>,
    /// The arguments of all open frames.
    pub(super) args: Vec<Mark>,
    pub(super) rendered: Vec<u8>,
    pub(super) name: String,
    pub(super) title: String,
    /// Frames of each kind now open: braces, links, tables.
    pub(super) braces: usize,
    pub(super) links: usize,
    pub(super) tables: usize,
    /// Openings past the depth limit: braces, links, tables.
    pub(super) lost_braces: usize,
    pub(super) lost_links: usize,
    pub(super) lost_tables: usize,
    /// Up to where the bold and italic marks of a line were counted, and whether both are odd in number.
    pub(super) marks_counted_to: usize,
    pub(super) uneven_marks: bool,
    pub(super) poems: usize,
    /// The line began with a blank.
    pub(super) preformatted: bool,
    pub(super) sup: Option<usize>,
    /// Bit per tag: no closing tag of this kind from here to the end of the page.
    pub(super) no_close: u64,
    pub(super) disambiguation: bool,
    /// Where dropped templates are counted, when someone asked.
    pub(super) report: Option<TemplateReport>,
    pub(super) steps: u64,
}

impl Scanner {
    fn reset(&mut self, title: &str) {
        self.out.clear();
        self.frames.clear();
        self.args.clear();
        self.title.clear();
        self.title.push_str(title);
        (self.braces, self.links, self.tables) = (0, 0, 0);
        (self.lost_braces, self.lost_links, self.lost_tables) = (0, 0, 0);
        self.marks_counted_to = 0;
        self.uneven_marks = false;
        self.poems = 0;
        self.preformatted = false;
        self.sup = None;
        self.no_close = 0;
        self.disambiguation = false;
        self.steps = 0;
    }

    /// Scans one page; the result is in `out`.
    pub(super) fn scan(&mut self, names: &WikiNames, title: &str, text: &str) {
        self.reset(title);
        let src = text.as_bytes();
        self.steps += src.len() as u64;
        let mut i = self.line_start(src, 0);
        while i < src.len() {
            let run = i;
            while i < src.len() && !SPECIAL[src[i] as usize] {
                i += 1;
            }
            self.out.extend_from_slice(&src[run..i]);
            let Some(&byte) = src.get(i) else { break };
            i = match byte {
                b'\n' => self.newline(names, src, i),
                b'<' => self.angle(src, i),
                b'{' => self.brace_open(src, i),
                b'}' => self.brace_close(names, src, i),
                b'[' => self.bracket_open(src, i),
                b']' => self.bracket_close(names, src, i),
                b'|' => self.pipe(i),
                b'&' => self.ampersand(src, i),
                b'\'' => self.apostrophe(src, i),
                b'_' => self.underscore(src, i),
                b':' => self.colon(src, i),
                b'=' => self.equals(i),
                b'\t' => {
                    self.out.push(b' ');
                    i + 1
                }
                0xC2 | 0xE2 | 0xEF => self.wide(text, i),
                _ => i + 1,
            };
        }
        self.finish(names);
    }

    pub(super) fn run_length(src: &[u8], at: usize) -> usize {
        let byte = src[at];
        src[at..].iter().take_while(|b| **b == byte).count()
    }

    fn wide(&mut self, text: &str, i: usize) -> usize {
        let Some(c) = text.get(i..).and_then(|t| t.chars().next()) else {
            return i + 1;
        };
        entities::push_char(&mut self.out, c);
        i + c.len_utf8()
    }

    pub(super) fn push_frame(&mut self, kind: Kind, at_line_start: bool, source: usize) {
        if self.frames.len() >= MAX_DEPTH {
            match kind {
                Kind::Brace { count } => self.lost_braces += count,
                Kind::Link => self.lost_links += 1,
                Kind::Table => self.lost_tables += 1,
                Kind::External => {}
            }
            return;
        }
        match kind {
            Kind::Brace { .. } => self.braces += 1,
            Kind::Link => self.links += 1,
            Kind::Table => self.tables += 1,
            Kind::External => {}
        }
        self.frames.push(Frame {
            kind,
            start: self.out.len(),
            args: self.args.len(),
            recovery: None,
            at_line_start,
            source,
        });
    }

    pub(super) fn pop_frame(&mut self) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        self.args.truncate(frame.args);
        match frame.kind {
            Kind::Brace { .. } => self.braces -= 1,
            Kind::Link => self.links -= 1,
            Kind::Table => self.tables -= 1,
            Kind::External => {}
        }
        self.forget_recovery(frame.start);
    }

    /// A line of text inside what closed properly, from `start` on, was not where the constructs around it should have ended.
    fn forget_recovery(&mut self, start: usize) {
        for frame in self.frames.iter_mut().rev() {
            self.steps += 1;
            if frame.recovery.is_none_or(|at| at <= start) {
                break;
            }
            frame.recovery = None;
        }
    }

    fn pipe(&mut self, i: usize) -> usize {
        match self.frames.last() {
            Some(Frame {
                kind: Kind::Brace { .. } | Kind::Link,
                args,
                ..
            }) => {
                if self.args.len() - args < MAX_ARGS {
                    self.args.push(Mark::at(self.out.len()));
                } else {
                    self.out.push(b'|');
                }
            }
            _ => self.out.push(b'|'),
        }
        i + 1
    }

    fn brace_open(&mut self, src: &[u8], i: usize) -> usize {
        let count = Self::run_length(src, i);
        if count == 1 {
            self.out.push(b'{');
        } else {
            let at_line_start = matches!(self.out.last(), None | Some(&(b'\n' | LINE_BREAK)));
            self.push_frame(Kind::Brace { count }, at_line_start, i);
        }
        i + count
    }

    fn brace_close(&mut self, names: &WikiNames, src: &[u8], i: usize) -> usize {
        let run = Self::run_length(src, i);
        let mut left = run;
        let lost = self.lost_braces.min(left);
        self.lost_braces -= lost;
        left -= lost;
        while left >= 2 && self.braces > 0 {
            self.close_down_to_brace(names);
            let Some(frame) = self.frames.last().copied() else {
                break;
            };
            let Kind::Brace { count } = frame.kind else {
                break;
            };
            let taken = if left >= 3 && count >= 3 { 3 } else { 2 };
            left -= taken;
            self.steps += 1;
            if taken == 3 {
                self.render_parameter(&frame)
            } else {
                self.render_template(names, &frame, src, i + run - left)
            }
            // What is left of the run of opening braces now holds the result as its content.
            match count - taken {
                0 | 1 => self.pop_frame(),
                rest => {
                    self.args.truncate(frame.args);
                    self.forget_recovery(frame.start);
                    if let Some(top) = self.frames.last_mut() {
                        top.kind = Kind::Brace { count: rest };
                    }
                }
            }
        }
        if left == 1 {
            self.out.push(b'}');
        }
        i + run
    }

    /// Ends links and tables that were opened inside the innermost template and not closed there.
    fn close_down_to_brace(&mut self, names: &WikiNames) {
        while let Some(frame) = self.frames.last().copied() {
            match frame.kind {
                Kind::Brace { .. } => return,
                Kind::Link => self.close_link(names),
                Kind::External => self.pop_frame(),
                Kind::Table => {
                    self.out.truncate(frame.start);
                    self.pop_frame();
                }
            }
        }
    }

    fn bracket_open(&mut self, src: &[u8], i: usize) -> usize {
        let run = Self::run_length(src, i);
        if run == 1 {
            let rest = &src[i + 1..];
            let address = [
                &b"http://"[..],
                b"https://",
                b"ftp://",
                b"//",
                b"mailto:",
                b"news:",
                b"irc://",
            ]
            .iter()
            .any(|scheme| {
                rest.len() >= scheme.len() && rest[..scheme.len()].eq_ignore_ascii_case(scheme)
            });
            if !address {
                self.out.push(b'[');
                return i + 1;
            }
            let end = Self::address_end(src, i + 1);
            self.push_frame(Kind::External, false, i);
            return end;
        }
        if run == 3 {
            self.out.push(b'[');
        }
        self.push_frame(Kind::Link, false, i);
        i + run
    }

    fn bracket_close(&mut self, names: &WikiNames, src: &[u8], i: usize) -> usize {
        let run = Self::run_length(src, i);
        let top = self.frames.last().map(|f| f.kind);
        if top == Some(Kind::External) {
            self.pop_frame();
            return i + 1;
        }
        if run == 1 {
            self.out.push(b']');
            return i + 1;
        }
        if self.lost_links > 0 {
            self.lost_links -= 1;
        } else if top == Some(Kind::Link) {
            self.close_link(names);
        }
        // After four and more brackets nothing is owed to the fifth.
        if run >= 4 && self.links == 0 {
            i + run
        } else {
            i + 2
        }
    }

    /// Replaces everything from `start` by what is in `rendered`.
    pub(super) fn replace_from(&mut self, start: usize) {
        self.steps += self.rendered.len() as u64;
        self.out.truncate(start);
        self.out.extend_from_slice(&self.rendered);
    }

    pub(super) fn leave_frame(&mut self) {
        self.pop_frame();
    }
}
