//! Residue: what a text shows when markup was not cleaned out of it, or was cleaned out badly. Cleaners are compared by it and `audit-corpus` counts
//! it, so it knows nothing of how text was made.

use serde::{Deserialize, Serialize};

/// A kind of residue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residue {
    /// `{{` or `}}`
    Template,
    /// `[[` or `]]`
    Link,
    /// `{|` or `|}`
    Table,
    /// `<ref`, `</ref`, `<references`
    Reference,
    /// `|thumb`, `|miniaturadaimagem` and the other options of pictures
    Picture,
    /// `__SEMTDC__` and other switches: capitals between double underscores
    Switch,
    /// `&nbsp;`, `&#8211;` and other character references
    Entity,
    /// `''`, `'''`
    Emphasis,
    /// `<!--` or `-->`
    Comment,
    /// A tag that only markup holds: `<br>`, `<span …>`, `</div>`
    Tag,
    /// `()` that stands alone, or with nothing but blanks and punctuation inside
    EmptyParentheses,
    /// Two words with nothing between them: `deJaneiro`, `fim.No`
    GluedWords,
}

impl Residue {
    /// Every kind, in the order of [`ResidueCounts`].
    pub const ALL: [Residue; 12] = [
        Residue::Template,
        Residue::Link,
        Residue::Table,
        Residue::Reference,
        Residue::Picture,
        Residue::Switch,
        Residue::Entity,
        Residue::Emphasis,
        Residue::Comment,
        Residue::Tag,
        Residue::EmptyParentheses,
        Residue::GluedWords,
    ];

    /// The name used in reports, as `empty_parentheses`.
    pub fn name(self) -> &'static str {
        match self {
            Residue::Template => "template",
            Residue::Link => "link",
            Residue::Table => "table",
            Residue::Reference => "reference",
            Residue::Picture => "picture",
            Residue::Switch => "switch",
            Residue::Entity => "entity",
            Residue::Emphasis => "emphasis",
            Residue::Comment => "comment",
            Residue::Tag => "tag",
            Residue::EmptyParentheses => "empty_parentheses",
            Residue::GluedWords => "glued_words",
        }
    }
}

/// How often each kind of residue occurs in a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResidueCounts {
    /// [`Residue::Template`]
    pub template: u64,
    /// [`Residue::Link`]
    pub link: u64,
    /// [`Residue::Table`]
    pub table: u64,
    /// [`Residue::Reference`]
    pub reference: u64,
    /// [`Residue::Picture`]
    pub picture: u64,
    /// [`Residue::Switch`]
    pub switch: u64,
    /// [`Residue::Entity`]
    pub entity: u64,
    /// [`Residue::Emphasis`]
    pub emphasis: u64,
    /// [`Residue::Comment`]
    pub comment: u64,
    /// [`Residue::Tag`]
    pub tag: u64,
    /// [`Residue::EmptyParentheses`]
    pub empty_parentheses: u64,
    /// [`Residue::GluedWords`]
    pub glued_words: u64,
}

impl ResidueCounts {
    /// The count of one kind.
    pub fn get(&self, kind: Residue) -> u64 {
        match kind {
            Residue::Template => self.template,
            Residue::Link => self.link,
            Residue::Table => self.table,
            Residue::Reference => self.reference,
            Residue::Picture => self.picture,
            Residue::Switch => self.switch,
            Residue::Entity => self.entity,
            Residue::Emphasis => self.emphasis,
            Residue::Comment => self.comment,
            Residue::Tag => self.tag,
            Residue::EmptyParentheses => self.empty_parentheses,
            Residue::GluedWords => self.glued_words,
        }
    }

    fn get_mut(&mut self, kind: Residue) -> &mut u64 {
        match kind {
            Residue::Template => &mut self.template,
            Residue::Link => &mut self.link,
            Residue::Table => &mut self.table,
            Residue::Reference => &mut self.reference,
            Residue::Picture => &mut self.picture,
            Residue::Switch => &mut self.switch,
            Residue::Entity => &mut self.entity,
            Residue::Emphasis => &mut self.emphasis,
            Residue::Comment => &mut self.comment,
            Residue::Tag => &mut self.tag,
            Residue::EmptyParentheses => &mut self.empty_parentheses,
            Residue::GluedWords => &mut self.glued_words,
        }
    }

    /// All kinds together.
    pub fn total(&self) -> u64 {
        Residue::ALL.iter().map(|kind| self.get(*kind)).sum()
    }

    /// Adds the counts of another text.
    pub fn add(&mut self, other: &ResidueCounts) {
        for kind in Residue::ALL {
            *self.get_mut(kind) += other.get(kind);
        }
    }
}

/// Counts the residue in `text`, in one pass.
pub fn residue(text: &str) -> ResidueCounts {
    let mut counts = ResidueCounts::default();
    for (kind, _) in residue_places(text) {
        *counts.get_mut(kind) += 1;
    }
    counts
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Residue> {
        residue_places(text).map(|(kind, _)| kind).collect()
    }

    #[test]
    fn each_kind_is_seen() {
        use Residue::*;
        for (text, kind) in [
            ("a {{b", Template),
            ("a }} b", Template),
            ("[[a", Link),
            ("a]]", Link),
            ("{| class", Table),
            ("a |} b", Table),
            ("a<ref name=x", Reference),
            ("a</ref>", Reference),
            ("<references />", Reference),
            ("x|thumb", Picture),
            ("x|Miniaturadaimagem|", Picture),
            ("__NÃOEDITARSEÇÃO__", Switch),
            ("São&nbsp;Paulo", Entity),
            ("10&#8211;15", Entity),
            ("'''Rio'''", Emphasis),
            ("a <!-- b", Comment),
            ("fim<br />do", Tag),
            ("o <span style=\"x\">texto", Tag),
            ("Tejo ( ; ) é", EmptyParentheses),
            ("o () fim", EmptyParentheses),
            ("Rio deJaneiro", GluedWords),
            ("O navio partiu.No dia", GluedWords),
        ] {
            assert!(kinds(text).contains(&kind), "{text:?}: {:?}", kinds(text));
        }
    }

    #[test]
    fn ordinary_text_has_none() {
        for text in [
            "A função printf() escreve; o método lista[0] lê.",
            "O JavaScript, o YouTube, o iPhone e a McLaren de Ayrton.",
            "d'água, 'aspas', AT&T; R&B",
            "O arquivo __init__ e o nome snake_case.",
            "A classe java.text.RuleBasedCollator e o sinal (-); ver Categoria:Cetáceos (...) aqui.",
            "Veja www.Exemplo.com e o sítio Node.js, às 10:30.",
            "se a < b e c > d então {x | x > 0}",
            "S. Paulo, D. João VI, Sr.João, J.R.R. Tolkien (...) fim (…)",
            "O elemento <br> quebra a linha.",
            "DeLillo e DaMatta são sobrenomes; o modelo de Einstein–deSitter.",
            "Há [1] nota e |a| é o módulo.",
        ] {
            assert_eq!(kinds(text), [], "{text:?}");
        }
    }

    #[test]
    fn counts_add_up() {
        let mut counts = residue("{{a}} [[b]] ''c''");
        assert_eq!((counts.template, counts.link, counts.emphasis), (2, 2, 2));
        assert_eq!(counts.total(), 6);
        counts.add(&residue("(  )"));
        assert_eq!((counts.empty_parentheses, counts.total()), (1, 7));
        let json = serde_json::to_value(counts).expect("plain numbers");
        for kind in Residue::ALL {
            assert_eq!(json[kind.name()], counts.get(kind));
        }
    }

    #[test]
    fn any_end_of_text_is_safe() {
        for text in [
            "", "<", "&", "_", "__", "(", "{", "é.", "ção.Ã", "|", "</", "Ã",
        ] {
            residue(text);
        }
    }
}
