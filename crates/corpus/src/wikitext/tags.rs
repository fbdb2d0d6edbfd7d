//! Comments and tags: HTML's and MediaWiki's extensions'.

use memchr::memmem;

use super::entities;
use super::scan::{HARD_HOLE, LINE_BREAK, LIST, Scanner};

/// What becomes of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    /// Only its content counts.
    Transparent,
    /// Its content is not text of the article.
    Drop(u8),
    /// The same, and it stands between paragraphs.
    DropBlock(u8),
    /// The same, and the sentence around it misses it.
    DropHole(u8),
    /// A footnote.
    Ref,
    /// A formula: a short plain one is written out.
    Math(u8),
    /// Its content is text without markup.
    Nowiki(u8),
    /// A line break inside a sentence.
    Br,
    /// A paragraph or box of its own.
    Block,
    /// A list item.
    Item,
    /// Lines that stay lines.
    Poem,
    /// Raised digits.
    Sup,
}

fn classify(name: &[u8]) -> Option<Tag> {
    Some(match name {
        b"ref" => Tag::Ref,
        b"br" => Tag::Br,
        b"small" | b"big" | b"span" | b"sub" | b"i" | b"b" | b"u" | b"s" | b"em" | b"strong"
        | b"font" | b"tt" | b"code" | b"kbd" | b"samp" | b"var" | b"cite" | b"abbr" | b"bdi"
        | b"bdo" | b"del" | b"ins" | b"strike" | b"q" | b"mark" | b"time" | b"data" | b"wbr"
        | b"a" | b"dfn" | b"ruby" | b"rb" | b"rt" | b"rp" | b"noinclude" | b"onlyinclude"
        | b"section" | b"nobr" | b"translate" | b"tvar" | b"acronym" => Tag::Transparent,
        b"sup" => Tag::Sup,
        b"p" | b"div" | b"center" | b"blockquote" | b"ul" | b"ol" | b"dl" | b"dt" | b"hr"
        | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"tr" | b"td" | b"th" | b"tbody"
        | b"thead" | b"caption" | b"header" | b"footer" => Tag::Block,
        b"li" | b"dd" => Tag::Item,
        b"poem" => Tag::Poem,
        b"nowiki" => Tag::Nowiki(0),
        b"math" => Tag::Math(1),
        b"chem" => Tag::DropHole(2),
        b"ce" => Tag::DropHole(3),
        b"score" => Tag::DropHole(4),
        b"hiero" => Tag::DropHole(5),
        b"pre" => Tag::DropHole(6),
        b"syntaxhighlight" => Tag::DropHole(7),
        b"source" => Tag::DropHole(8),
        b"gallery" => Tag::DropBlock(9),
        b"timeline" => Tag::DropBlock(10),
        b"imagemap" => Tag::DropBlock(11),
        b"categorytree" => Tag::DropBlock(12),
        b"templatestyles" => Tag::Drop(13),
        b"inputbox" => Tag::DropBlock(14),
        b"graph" => Tag::DropBlock(15),
        b"mapframe" => Tag::DropBlock(16),
        b"maplink" => Tag::DropHole(17),
        b"includeonly" => Tag::Drop(18),
        b"references" => Tag::DropBlock(19),
        b"table" => Tag::DropBlock(20),
        b"script" => Tag::Drop(21),
        b"style" => Tag::Drop(22),
        b"indicator" => Tag::Drop(23),
        b"charinsert" => Tag::Drop(24),
        b"dynamicpagelist" => Tag::DropBlock(25),
        b"listing" => Tag::DropBlock(26),
        b"languages" => Tag::DropBlock(27),
        _ => return None,
    })
}

/// Longest tag with its attributes, bytes.
const MAX_TAG: usize = 2048;
const MAX_NAME: usize = 16;

/// A tag as written.
struct Parsed {
    tag: Tag,
    name: [u8; MAX_NAME],
    name_len: usize,
    closing: bool,
    self_closing: bool,
    end: usize,
}

/// The end of a tag whose attributes begin at `from`: the position after `>` and whether `/` stands before it. Looks no further than the next `<`.
pub(super) fn tag_end(src: &[u8], from: usize) -> Option<(usize, bool)> {
    let limit = src.len().min(from + MAX_TAG);
    let limit = memchr::memchr(b'<', &src[from..limit]).map_or(limit, |at| from + at);
    let window = &src[..limit];
    let mut k = from;
    let mut quotes_end = [true, true];
    while k < limit {
        match window[k] {
            b'>' => return Some((k + 1, window[k - 1] == b'/')),
            quote @ (b'"' | b'\'') if window[k - 1] == b'=' || window[k - 1] == b' ' => {
                let which = usize::from(quote == b'\'');
                // A quote that does not end on its line is a slip of the pen; its kind is then not looked for again.
                let close = if quotes_end[which] {
                    memchr::memchr2(quote, b'\n', &window[k + 1..])
                } else {
                    None
                };
                match close {
                    Some(at) if window[k + 1 + at] == quote => k += at + 2,
                    _ => {
                        quotes_end[which] = false;
                        k += 1;
                    }
                }
            }
            _ => k += 1,
        }
    }
    None
}

/// The end of the attributes with a value in quotes that follow the name of a tag.
fn after_attributes(src: &[u8], from: usize) -> usize {
    let mut end = from;
    for _ in 0..8 {
        let rest = &src[end..src.len().min(end + 256)];
        let name = rest.iter().take_while(|b| **b == b' ').count();
        let equals = name
            + rest[name..]
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || **b == b'-')
                .count();
        if name == 0 || equals == name || !rest[equals..].starts_with(b"=\"") {
            return end;
        }
        match memchr::memchr2(b'"', b'\n', &rest[equals + 2..]) {
            Some(close) if rest[equals + 2 + close] == b'"' => end += equals + 2 + close + 1,
            _ => return end,
        }
    }
    end
}

fn parse(src: &[u8], at: usize) -> Option<Parsed> {
    let closing = src.get(at + 1) == Some(&b'/');
    let name_at = at + 1 + usize::from(closing);
    let mut name = [0; MAX_NAME];
    let mut name_len = 0;
    while let Some(b) = src
        .get(name_at + name_len)
        .filter(|b| b.is_ascii_alphanumeric())
    {
        *name.get_mut(name_len)? = b.to_ascii_lowercase();
        name_len += 1;
    }
    let tag = classify(&name[..name_len])?;
    let after = name_at + name_len;
    let (end, slash) = match tag_end(src, after) {
        Some(found) => found,
        // `<br` or `<ref name=x` without its end: the mark goes and what it says of itself, the text stays.
        None => (after_attributes(src, after), false),
    };
    Some(Parsed {
        tag,
        name,
        name_len,
        closing,
        self_closing: slash,
        end,
    })
}

impl Scanner {
    /// At a `<`.
    pub(super) fn angle(&mut self, src: &[u8], i: usize) -> usize {
        if src[i..].starts_with(b"<!--") {
            return self.comment(src, i);
        }
        let Some(tag) = parse(src, i) else {
            self.out.push(b'<');
            return i + 1;
        };
        self.steps += (tag.end - i) as u64;
        // `</br>` is a line break to every browser.
        let opens = !tag.closing && !tag.self_closing;
        match tag.tag {
            Tag::Transparent => {}
            Tag::Br => self
                .out
                .push(if self.poems > 0 { LINE_BREAK } else { b' ' }),
            Tag::Block => self.out.extend_from_slice(b"\n\n"),
            Tag::Item => {
                if !tag.closing {
                    self.out.extend_from_slice(&[b'\n', LIST, b'*']);
                }
            }
            Tag::Poem => {
                self.poems = if opens {
                    self.poems + 1
                } else {
                    self.poems.saturating_sub(1)
                };
                self.out.extend_from_slice(b"\n\n");
            }
            Tag::Sup => self.superscript(tag.closing),
            Tag::Ref if opens => return self.footnote(src, tag.end),
            Tag::Ref => return self.unglue(src, tag.end),
            Tag::Drop(id)
            | Tag::DropBlock(id)
            | Tag::DropHole(id)
            | Tag::Math(id)
            | Tag::Nowiki(id)
                if opens =>
            {
                let Some((content_end, next)) =
                    self.closing_tag(src, tag.end, &tag.name[..tag.name_len], id)
                else {
                    return tag.end;
                };
                let content = &src[tag.end..content_end];
                match tag.tag {
                    Tag::DropBlock(_) => self.out.extend_from_slice(b"\n\n"),
                    // A listing that begins a line is a block of its own; inside a line it is a word of the sentence.
                    Tag::DropHole(_) if matches!(self.out.last(), None | Some(b'\n')) => {
                        self.out.extend_from_slice(&[HARD_HOLE, b'\n'])
                    }
                    Tag::DropHole(_) => self.out.push(HARD_HOLE),
                    Tag::Math(_) => self.formula(content),
                    Tag::Nowiki(_) => self.plain(content),
                    _ => {}
                }
                return next;
            }
            Tag::Drop(_) | Tag::DropBlock(_) | Tag::DropHole(_) | Tag::Math(_) | Tag::Nowiki(_) => {
            }
        }
        tag.end
    }

    /// A comment goes; one that fills its line takes the line with it.
    fn comment(&mut self, src: &[u8], i: usize) -> usize {
        // As MediaWiki has it: a comment that is never closed reaches to the end of the page.
        let Some(end) = memmem::find(&src[i + 4..], b"-->").map(|at| i + 4 + at + 3) else {
            return src.len();
        };
        self.steps += (end - i) as u64;
        let at_line_start = i == 0 || src[i - 1] == b'\n';
        if !at_line_start {
            return end;
        }
        let rest = end + src[end..].iter().take_while(|b| **b == b' ').count();
        let next = if src.get(rest) == Some(&b'\n') {
            rest + 1
        } else {
            end
        };
        self.line_start(src, next)
    }

    /// Finds `</name`; gives the end of the content and the position after the tag. A page without one is searched once per kind of tag.
    fn closing_tag(
        &mut self,
        src: &[u8],
        from: usize,
        name: &[u8],
        id: u8,
    ) -> Option<(usize, usize)> {
        if self.no_close & (1 << id) != 0 {
            return None;
        }
        let mut at = from;
        while let Some(found) = memmem::find(&src[at..], b"</") {
            let name_at = at + found + 2;
            let after = name_at + name.len();
            let same = src
                .get(name_at..after)
                .is_some_and(|n| n.eq_ignore_ascii_case(name));
            if same && !src.get(after).is_some_and(u8::is_ascii_alphanumeric) {
                self.steps += (after - from) as u64;
                return Some((name_at - 2, end_of_closing_tag(src, after)));
            }
            at = name_at;
        }
        self.steps += (src.len() - from) as u64;
        self.no_close |= 1 << id;
        None
    }

    /// `x`, `a + b`, `x^2` are written out; anything with a command is a hole.
    fn formula(&mut self, content: &[u8]) {
        let content = content.trim_ascii();
        let plain = !content.is_empty()
            && content.len() <= 40
            && content
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b" +-=.,()^!".contains(b));
        let mut raised = content.windows(2).filter(|pair| pair[0] == b'^');
        if !plain || content.ends_with(b"^") || !raised.all(|pair| pair[1].is_ascii_digit()) {
            self.out.push(HARD_HOLE);
            return;
        }
        let mut raise = false;
        for &b in content {
            match b {
                b'^' => raise = true,
                b'0'..=b'9' if raise => {
                    raise = false;
                    push_raised(&mut self.out, b);
                }
                _ => self.out.push(b),
            }
        }
    }

    /// Text between `<nowiki>` and its end: entities count, markup does not.
    fn plain(&mut self, content: &[u8]) {
        let mut i = 0;
        while let Some(&byte) = content.get(i) {
            match byte {
                b'&' => {
                    let (c, next) = entities::decode(content, i).unwrap_or(('&', i + 1));
                    entities::push_char(&mut self.out, c);
                    i = next;
                }
                b'\n' => {
                    self.out.push(b'\n');
                    i += 1;
                }
                0..=0x1F | 0x7F => i += 1,
                _ => {
                    self.out.push(byte);
                    i += 1;
                }
            }
        }
    }

    /// `km<sup>2</sup>` is km², `1<sup>o</sup>` is 1º; other raised text stays as it is.
    fn superscript(&mut self, closing: bool) {
        if !closing {
            self.sup = Some(self.out.len());
            return;
        }
        let floor = self.floor();
        let Some(start) = self
            .sup
            .take()
            .filter(|s| *s >= floor && *s < self.out.len() && self.out.len() - s <= 4)
        else {
            return;
        };
        let raised: [u8; 4] = {
            let mut copy = [0; 4];
            copy[..self.out.len() - start].copy_from_slice(&self.out[start..]);
            copy
        };
        let raised = &raised[..self.out.len() - start];
        let after_number = start > 0
            && (self.out[start - 1].is_ascii_digit() || b"nN.".contains(&self.out[start - 1]));
        if raised
            .iter()
            .all(|b| b.is_ascii_digit() || *b == b'-' || *b == b'+')
            && raised.iter().any(u8::is_ascii_digit)
        {
            self.out.truncate(start);
            for &b in raised {
                push_raised(&mut self.out, b);
            }
        } else if after_number && matches!(raised, b"o" | b"a") {
            self.out.truncate(start);
            self.out
                .extend_from_slice(if raised == b"o" { "º" } else { "ª" }.as_bytes());
        }
    }
}

fn end_of_closing_tag(src: &[u8], after: usize) -> usize {
    let window = &src[after..src.len().min(after + 64)];
    match memchr::memchr3(b'>', b'<', b'\n', window) {
        Some(at) if window[at] == b'>' => after + at + 1,
        _ => after,
    }
}

/// A digit or sign, raised.
pub(super) fn push_raised(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: [&str; 10] = ["⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"];
    let text = match byte {
        b'0'..=b'9' => DIGITS[usize::from(byte - b'0')],
        b'-' => "⁻",
        _ => "⁺",
    };
    out.extend_from_slice(text.as_bytes());
}
