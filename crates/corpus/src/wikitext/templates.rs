//! What a template leaves in the text.

use super::names::{Prefix, WikiNames};
use super::render;
use super::scan::{
    Frame, HARD_HOLE, HEADING, Kind, LINE_BREAK, LIST, MAX_ARGS, Mark, SOFT_HOLE, Scanner,
    TABLE_LINE,
};
use super::template_table::{Known, MAX_NAME_CHARS, Shows};

/// The arguments of a template in the output, cleaned already.
#[derive(Clone, Copy)]
pub(super) struct Args<'a> {
    out: &'a [u8],
    marks: &'a [Mark],
}

impl<'a> Args<'a> {
    /// The n-th argument, from 0: its name, when it has one, and its value.
    fn nth(&self, n: usize) -> (Option<&'a str>, &'a str) {
        let end = self
            .marks
            .get(n + 1)
            .map_or(self.out.len(), |next| next.start);
        let Some(mark) = self.marks.get(n) else {
            return (None, "");
        };
        let text = |from: usize, to: usize| {
            std::str::from_utf8(self.out.get(from..to).unwrap_or(&[]))
                .unwrap_or("")
                .trim()
        };
        match mark.equals {
            Some(equals) => (Some(text(mark.start, equals)), text(equals + 1, end)),
            None => (None, text(mark.start, end)),
        }
    }

    fn all(self) -> impl Iterator<Item = (Option<&'a str>, &'a str)> + use<'a> {
        (0..self.marks.len()).map(move |n| self.nth(n))
    }

    /// Arguments without a name, in order. `1=` counts as the first of them.
    pub(super) fn positional(self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.all().filter_map(|(name, value)| match name {
            None => Some(value),
            Some(name) if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) => {
                Some(value)
            }
            Some(_) => None,
        })
    }

    /// The n-th argument without a name, from 1; empty when it is missing.
    pub(super) fn get(self, n: usize) -> &'a str {
        let numbered = self
            .all()
            .find_map(|(name, value)| (name?.parse() == Ok(n)).then_some(value));
        numbered
            .or_else(|| {
                self.all()
                    .filter(|(name, _)| name.is_none())
                    .nth(n.wrapping_sub(1))
                    .map(|(_, value)| value)
            })
            .unwrap_or("")
    }

    /// The argument with this name (lower case); empty when it is missing.
    pub(super) fn named(self, name: &str) -> &'a str {
        self.all()
            .find_map(|(given, value)| (given?.to_lowercase() == name).then_some(value))
            .unwrap_or("")
    }
}

/// The name in lower case with single blanks, without `Predefinição:`, `subst:` and the like.
fn normalize_name(raw: &str, names: &WikiNames, name: &mut String, scratch: &mut String) {
    let mut raw = raw.trim();
    while let Some((prefix, rest)) = raw.split_once(':') {
        let known = matches!(names.prefix(prefix, scratch), Some(Prefix::Template))
            || ["subst", "safesubst", "msg", "msgnw", "raw"]
                .iter()
                .any(|p| prefix.trim().eq_ignore_ascii_case(p));
        if !known {
            break;
        }
        raw = rest.trim();
    }
    name.clear();
    let mut blank = false;
    for c in raw.chars().take(MAX_NAME_CHARS) {
        if c == '_' || c.is_whitespace() {
            blank = !name.is_empty();
        } else if (c as u32) >= 0x20 {
            if blank {
                name.push(' ');
                blank = false;
            }
            name.extend(c.to_lowercase());
        }
    }
}

/// Whether the text before and after something that shows nothing would run into one word.
pub(super) fn glues(before: Option<u8>, after: Option<u8>) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return false;
    };
    let word_follows = after.is_ascii_alphanumeric() || after == 0xC3;
    let text_before =
        before.is_ascii_alphanumeric() || before >= 0x80 || b".,;:!?)".contains(&before);
    word_follows && text_before && !(before.is_ascii_digit() && after.is_ascii_digit())
}

/// Whether a heading begins at the end of `text`.
fn heading_begins(text: &[u8]) -> bool {
    matches!(text.trim_ascii_end(), [.., HEADING, b'0'..=b'9'])
}

impl Scanner {
    /// `{{{1|x}}}`: in an article a parameter shows its default.
    pub(super) fn render_parameter(&mut self, frame: &Frame) {
        self.rendered.clear();
        if let Some(from) = self.args.get(frame.args) {
            let to = self
                .args
                .get(frame.args + 1)
                .map_or(self.out.len(), |next| next.start);
            self.rendered.extend_from_slice(&self.out[from.start..to]);
        }
        self.replace_from(frame.start);
    }

    /// A template closes: its output is replaced by what it shows. It stands in the source from `frame.source` to `source_end`.
    pub(super) fn render_template(
        &mut self,
        names: &WikiNames,
        frame: &Frame,
        src: &[u8],
        source_end: usize,
    ) {
        self.rendered.clear();
        self.steps += (self.out.len() - frame.start) as u64;
        let name_end = self
            .args
            .get(frame.args)
            .map_or(self.out.len(), |mark| mark.start);
        let raw_name = std::str::from_utf8(&self.out[frame.start..name_end]).unwrap_or("");
        let mut scratch = String::new();
        normalize_name(raw_name, names, &mut self.name, &mut scratch);
        let table = &*names.templates;
        let context = render::Context {
            table,
            args: Args {
                out: &self.out,
                marks: &self.args[frame.args.min(self.args.len())..],
            },
            before: &self.out[..frame.start],
            title: &self.title,
        };
        let name = self.name.as_str();
        let shown = &mut self.rendered;
        let known = table.look_up(name);
        let mut pipe = false;
        let told = match known {
            Known::Entry(Shows::Nothing) | Known::Family => true,
            Known::Entry(Shows::Pipe) => {
                pipe = true;
                true
            }
            Known::Entry(Shows::Disambiguation) => {
                self.disambiguation = true;
                true
            }
            Known::Entry(Shows::Text(patterns)) => render::render(patterns, context, shown),
            Known::No => render::parser_function(table, raw_name.trim(), name, shown),
        };
        if !told {
            shown.clear();
            // A template with a line to itself is no part of a sentence.
            let alone = frame.at_line_start && matches!(src.get(source_end), None | Some(b'\n'));
            if !alone {
                shown.push(SOFT_HOLE);
            }
        }
        // `== {{Ver também}} ==`: the template that is a heading shows its name.
        let nothing = shown.iter().all(|b| *b == SOFT_HOLE);
        let heading =
            context.args.marks.is_empty() && nothing && !pipe && heading_begins(context.before);
        if heading {
            shown.clear();
            shown.extend_from_slice(raw_name.trim().as_bytes());
        }
        let after = src.get(source_end).copied();
        if nothing && !heading && !pipe && glues(context.before.last().copied(), after) {
            shown.push(b' ');
        }
        if let Some(report) = &mut self.report
            && (!told || matches!(known, Known::Family))
        {
            let wikitext = &src[frame.source.min(source_end)..source_end];
            report.add(name, matches!(known, Known::Family), wikitext, &self.title);
        }
        // Marks of lines count only at the start of a line.
        if !frame.at_line_start && shown.len() >= 2 && matches!(shown[0], HEADING | LIST) {
            shown.drain(..2);
        }
        debug_assert!(shown.iter().all(|b| *b >= b' '
            || matches!(
                *b,
                b'\n' | HEADING | LIST | SOFT_HOLE | HARD_HOLE | TABLE_LINE | LINE_BREAK
            )));
        self.replace_from(frame.start);
        if pipe {
            self.pipe_from_template(frame);
        }
    }

    /// `{{!}}` inside a link separates its parts; inside a template it is only a character.
    fn pipe_from_template(&mut self, frame: &Frame) {
        let here = self.frames.len();
        let Some(parent) = here.checked_sub(2).and_then(|at| self.frames.get(at)) else {
            return;
        };
        let separates = matches!(parent.kind, Kind::Link)
            && self.args.len() == frame.args
            && frame.args - parent.args < MAX_ARGS;
        if separates {
            // The frame that closes owns no arguments, so this one becomes its parent's.
            self.args.push(Mark::at(frame.start));
            if let Some(top) = self.frames.last_mut() {
                top.args = self.args.len();
            }
        }
    }
}
