//! Where residue stands in a text: the patterns.

use super::Residue;

/// Each residue in `text` and the byte where it begins, in order.
pub fn residue_places(text: &str) -> impl Iterator<Item = (Residue, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let bytes = text.as_bytes();
        while at < bytes.len() {
            let here = at;
            if !WATCHED[usize::from(bytes[here])] {
                at += 1;
                continue;
            }
            if let Some((kind, length)) = found(text, here) {
                at += length.max(1);
                return Some((kind, here));
            }
            at += 1;
        }
        None
    })
}

/// Bytes at which residue may begin.
const WATCHED: [bool; 256] = {
    let mut table = [false; 256];
    let marks = b"{}[]|<-_&'(.,;!?";
    let mut n = 0;
    while n < marks.len() {
        table[marks[n] as usize] = true;
        n += 1;
    }
    // Capitals: a word may be glued to the one before it. 0xC3 leads À to Ý.
    let mut capital = b'A';
    while capital <= b'Z' {
        table[capital as usize] = true;
        capital += 1;
    }
    table[0xC3] = true;
    table
};

/// The residue that begins at byte `at`, and its length.
fn found(text: &str, at: usize) -> Option<(Residue, usize)> {
    let rest = &text.as_bytes()[at..];
    let pair = |second: u8| rest.get(1) == Some(&second);
    match rest[0] {
        b'{' if pair(b'{') => Some((Residue::Template, 2)),
        b'}' if pair(b'}') => Some((Residue::Template, 2)),
        b'[' if pair(b'[') => Some((Residue::Link, 2)),
        b']' if pair(b']') => Some((Residue::Link, 2)),
        b'{' if pair(b'|') => Some((Residue::Table, 2)),
        b'|' if pair(b'}') => Some((Residue::Table, 2)),
        b'|' => picture_option(rest).map(|length| (Residue::Picture, length)),
        b'<' if rest.starts_with(b"<!--") => Some((Residue::Comment, 4)),
        b'-' if rest.starts_with(b"-->") => Some((Residue::Comment, 3)),
        b'<' => tag(rest),
        b'_' => switch(text, at).map(|length| (Residue::Switch, length)),
        b'&' => entity(rest).map(|length| (Residue::Entity, length)),
        b'\'' if pair(b'\'') => {
            let run = rest.iter().take_while(|b| **b == b'\'').count();
            Some((Residue::Emphasis, run))
        }
        b'(' => {
            empty_parentheses(text.as_bytes(), at).map(|length| (Residue::EmptyParentheses, length))
        }
        b'.' | b',' | b';' | b'!' | b'?' => {
            glued_after_mark(text, at).then_some((Residue::GluedWords, 1))
        }
        b'A'..=b'Z' | 0xC3 => glued_to_small_word(text, at).then_some((Residue::GluedWords, 1)),
        _ => None,
    }
}

fn picture_option(rest: &[u8]) -> Option<usize> {
    const OPTIONS: [&str; 8] = [
        "thumb",
        "miniatura",
        "esquerda",
        "direita",
        "upright",
        "frameless",
        "semmoldura",
        "commoldura",
    ];
    OPTIONS
        .iter()
        .find(|option| {
            rest.get(1..=option.len())
                .is_some_and(|word| word.eq_ignore_ascii_case(option.as_bytes()))
        })
        .map(|option| option.len() + 1)
}

fn tag(rest: &[u8]) -> Option<(Residue, usize)> {
    const NAMES: [&str; 22] = [
        "br",
        "span",
        "div",
        "small",
        "big",
        "center",
        "sup",
        "sub",
        "font",
        "nowiki",
        "gallery",
        "math",
        "blockquote",
        "td",
        "tr",
        "th",
        "table",
        "poem",
        "code",
        "pre",
        "noinclude",
        "includeonly",
    ];
    let slash = usize::from(rest.get(1) == Some(&b'/'));
    let name = &rest[1 + slash..];
    let length = name
        .iter()
        .take(16)
        .take_while(|b| b.is_ascii_alphabetic())
        .count();
    let name = &name[..length];
    if name.eq_ignore_ascii_case(b"ref") || name.eq_ignore_ascii_case(b"references") {
        return Some((Residue::Reference, 1 + slash + length));
    }
    let known = NAMES
        .iter()
        .any(|n| name.eq_ignore_ascii_case(n.as_bytes()));
    // "<br>" named in a text about HTML stands alone; a tag in use has attributes, a slash, or text right behind it.
    let after = rest.get(1 + slash + length).copied();
    let closed = after == Some(b'>');
    let in_use = closed
        && (slash == 1 || !matches!(rest.get(2 + length), None | Some(b' ' | b',' | b'.')))
        || matches!(after, Some(b' ' | b'/')) && rest.iter().take(200).any(|b| *b == b'>');
    (known && in_use).then_some((Residue::Tag, 1 + slash + length))
}

fn switch(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?.strip_prefix("__")?;
    let length = rest.find("__").filter(|n| (2..=48).contains(n))?;
    rest[..length]
        .chars()
        .all(|c| c.is_uppercase())
        .then_some(length + 4)
}

fn entity(rest: &[u8]) -> Option<usize> {
    let length = rest[1..].iter().take(10).position(|b| *b == b';')?;
    let name = &rest[1..1 + length];
    let number = name.first() == Some(&b'#') && name.len() > 1;
    let known = number
        || [
            "nbsp", "amp", "lt", "gt", "quot", "ndash", "mdash", "thinsp", "ensp", "emsp", "shy",
            "zwj", "zwnj", "times", "minus", "middot", "deg", "sup2", "hellip",
        ]
        .iter()
        .any(|n| name == n.as_bytes());
    known.then_some(length + 2)
}

/// `()`, `( )`, `(, ;)`: nothing said. After a word's end it is a call, `printf()`; `(-)` and `(.)` are meant.
fn empty_parentheses(text: &[u8], at: usize) -> Option<usize> {
    let inside = text[at + 1..]
        .iter()
        .take(16)
        .take_while(|b| b" ,;:".contains(b))
        .count();
    if text.get(at + 1 + inside) != Some(&b')') {
        return None;
    }
    let call = inside == 0
        && at > 0
        && (text[at - 1].is_ascii_alphanumeric() || b"_]>".contains(&text[at - 1]));
    (!call).then_some(inside + 2)
}

/// `partiu.No`: a stop or comma at byte `at` between two letters of running text. Addresses, file names and initials are left alone.
pub(crate) fn glued_after_mark(text: &str, at: usize) -> bool {
    let before = &text[..at];
    let mut letters = before.chars().rev();
    let small = (0..3).all(|_| letters.next().is_some_and(char::is_lowercase));
    if !small {
        return false;
    }
    let mut after = text[at + 1..].chars();
    let capital = after.next().is_some_and(char::is_uppercase);
    let second = after.next();
    let goes_on = second.is_some_and(|c| c.is_lowercase() || c == ' ');
    if !capital || !goes_on {
        return false;
    }
    let word_start = before
        .char_indices()
        .rev()
        .take(64)
        .take_while(|(_, c)| !c.is_whitespace())
        .last()
        .map_or(at, |(n, _)| n);
    let word_end = text[at..]
        .char_indices()
        .take(64)
        .find(|(_, c)| c.is_whitespace())
        .map_or_else(
            || text.len().min(text.ceil_char_boundary(at + 64)),
            |(n, _)| at + n,
        );
    let word = &text[word_start..word_end];
    let stops = word.trim_end_matches(['.', ',', ';', '!', '?', ')', '"']);
    !word.contains(['/', '@', '\\', '_', '=', '('])
        && !stops.is_empty()
        && stops.bytes().filter(|b| b".,;!?:".contains(b)).count() == 1
}

/// `deJaneiro`: a function word of Portuguese with a capitalized word at its end.
fn glued_to_small_word(text: &str, at: usize) -> bool {
    const SMALL: [&str; 24] = [
        "de", "da", "do", "das", "dos", "em", "na", "no", "nas", "nos", "que", "com", "por",
        "para", "pela", "pelo", "uma", "um", "ao", "aos", "foi", "são", "como", "entre",
    ];
    let mut after = text[at..].chars();
    let capital = after.next().is_some_and(char::is_uppercase);
    if !capital || !after.next().is_some_and(char::is_lowercase) {
        return false;
    }
    let before = &text[..at];
    let start = before
        .char_indices()
        .rev()
        .take(8)
        .take_while(|(_, c)| c.is_alphanumeric())
        .last()
        .map_or(at, |(n, _)| n);
    let word_begins = before[..start]
        .chars()
        .next_back()
        .is_none_or(char::is_whitespace);
    word_begins && SMALL.contains(&&before[start..])
}
