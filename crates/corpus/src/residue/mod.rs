//! Residue: what a text shows when markup was not cleaned out of it, or was cleaned out badly. Cleaners are compared by it and `audit-corpus` counts
//! it, so it knows nothing of how text was made.

mod places;

use serde::{Deserialize, Serialize};

pub(crate) use places::glued_after_mark;
pub use places::residue_places;

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
