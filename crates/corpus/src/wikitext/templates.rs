//! What a template leaves in the text.

use super::names::{Prefix, WikiNames};
use super::render;
use super::scan::{Frame, HARD_HOLE, HEADING, LINE_BREAK, LIST, SOFT_HOLE, Scanner, TABLE_LINE};
use super::template_table::Shows;

/// The arguments of a template in the output, cleaned already.
#[derive(Clone, Copy)]
pub(super) struct Args<'a> {
    out: &'a [u8],
    starts: &'a [usize],
}

impl<'a> Args<'a> {
    fn raw(&self, n: usize) -> &'a str {
        let from = self.starts.get(n).copied().unwrap_or(self.out.len());
        let to = self.starts.get(n + 1).copied().unwrap_or(self.out.len());
        std::str::from_utf8(&self.out[from..to])
            .unwrap_or("")
            .trim()
    }

    fn all(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let args = *self;
        (0..self.starts.len()).map(move |n| args.raw(n))
    }

    /// Arguments without a name, in order. `1=` counts as the first of them.
    pub(super) fn positional(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.all().filter_map(|arg| match split_name(arg) {
            None => Some(arg),
            Some((name, value)) if name.bytes().all(|b| b.is_ascii_digit()) => Some(value),
            Some(_) => None,
        })
    }

    /// The n-th argument without a name, from 1; empty when it is missing.
    pub(super) fn get(&self, n: usize) -> &'a str {
        self.positional().nth(n.wrapping_sub(1)).unwrap_or("")
    }

    /// The argument with one of these names.
    pub(super) fn named(&self, names: &[&str]) -> Option<&'a str> {
        self.all().find_map(|arg| {
            let (name, value) = split_name(arg)?;
            names
                .iter()
                .any(|n| name.eq_ignore_ascii_case(n))
                .then_some(value)
        })
    }
}

/// `nome=valor`: a name is short and plain, so that an `=` inside text or an address is not taken for one.
fn split_name(arg: &str) -> Option<(&str, &str)> {
    let (name, value) = arg.split_once('=')?;
    let name = name.trim();
    let plain = name.len() <= 32
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_' || c == '-' || c == ' ');
    (plain && !name.is_empty()).then_some((name, value.trim()))
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
    for c in raw.chars().take(80) {
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

impl Scanner {
    /// `{{{1|x}}}`: in an article a parameter shows its default.
    pub(super) fn render_parameter(&mut self, frame: &Frame) {
        self.rendered.clear();
        if let Some(&from) = self.args.get(frame.args) {
            let to = self
                .args
                .get(frame.args + 1)
                .copied()
                .unwrap_or(self.out.len());
            self.rendered.extend_from_slice(&self.out[from..to]);
        }
        self.replace_from(frame.start);
    }

    /// A template closes: its output is replaced by what it shows. `after` is the byte that follows it.
    pub(super) fn render_template(&mut self, names: &WikiNames, frame: &Frame, after: Option<u8>) {
        self.rendered.clear();
        self.steps += (self.out.len() - frame.start) as u64;
        let name_end = self.args.get(frame.args).copied().unwrap_or(self.out.len());
        let raw_name = std::str::from_utf8(&self.out[frame.start..name_end]).unwrap_or("");
        let mut scratch = String::new();
        normalize_name(raw_name, names, &mut self.name, &mut scratch);
        let args = Args {
            out: &self.out,
            starts: &self.args[frame.args.min(self.args.len())..],
        };
        let before = &self.out[..frame.start];
        let name = self.name.as_str();
        let shown = &mut self.rendered;
        let shows = names.templates.shows(name);
        let known = match shows {
            Some(Shows::Pipe) => true,
            Some(Shows::Disambiguation) => {
                self.disambiguation = true;
                true
            }
            Some(Shows::PageTitle) => {
                shown.extend_from_slice(self.title.as_bytes());
                true
            }
            Some(shows) => render::render(shows, args, before, shown),
            None => render::parser_function(raw_name.trim(), name, shown),
        };
        if !known {
            shown.clear();
            // A template with a line to itself is no part of a sentence.
            let alone = frame.at_line_start && matches!(after, None | Some(b'\n'));
            if !alone {
                shown.push(SOFT_HOLE);
            }
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
        if shows == Some(Shows::Pipe) {
            self.pipe_from_template(frame);
        }
    }

    /// `{{!}}` inside a link or template separates arguments.
    fn pipe_from_template(&mut self, frame: &Frame) {
        let here = self.frames.len();
        if here >= 2 {
            let parent = self.frames[here - 2];
            let separates = matches!(parent.kind, super::scan::Kind::Link);
            if separates
                && self.args.len() == frame.args
                && frame.args - parent.args < super::scan::MAX_ARGS
            {
                // The frame that closes owns no arguments, so this one becomes its parent's.
                self.args.push(frame.start);
                if let Some(top) = self.frames.last_mut() {
                    top.args = self.args.len();
                }
            }
        }
    }
}
