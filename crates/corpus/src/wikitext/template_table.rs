//! The table of templates that stand for text, `configs/corpus/templates.toml`: compiled in, or read from a file in the same form.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Deserialize;

use crate::error::CorpusError;

const BUILT_IN: &str = include_str!("../../../../configs/corpus/templates.toml");
const BUILT_IN_NAME: &str = "configs/corpus/templates.toml";

/// Longest name of a template that is told apart, characters.
pub(super) const MAX_NAME_CHARS: usize = 80;

/// One part of what a template shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// The first of these arguments that is not empty.
    Argument(Vec<Argument>),
    Number,
    Quantity,
    Date,
    Death,
    Century,
    Duration,
    Raised,
    Joined,
    Language,
    Country,
    Interlanguage,
    Title,
}

/// How an argument is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Argument {
    /// By its place among those without a name, from 1.
    Place(usize),
    /// The last without a name.
    Last,
    /// By its name, in lower case.
    Named(String),
}

/// What the table says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shows {
    /// Nothing, and no sentence misses it.
    Nothing,
    /// The first of these that has all its arguments.
    Text(Vec<Vec<Piece>>),
    /// The page is a list of meanings.
    Disambiguation,
    /// A `|` for use inside arguments.
    Pipe,
}

/// The answer to a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known<'a> {
    /// The table names it.
    Entry(&'a Shows),
    /// It belongs to a family that shows nothing.
    Family,
    /// The table does not know it.
    No,
}

/// Which templates stand for text, and for which.
#[derive(Debug)]
pub struct TemplateTable {
    by_name: FxHashMap<String, Shows>,
    families: Vec<String>,
    /// Names by code, in lower case.
    languages: FxHashMap<String, String>,
    countries: FxHashMap<String, String>,
    units: FxHashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    nothing: Vec<String>,
    #[serde(default)]
    families: Vec<String>,
    #[serde(default)]
    disambiguation: Vec<String>,
    #[serde(default)]
    text: Vec<Text>,
    #[serde(default)]
    languages: FxHashMap<String, String>,
    #[serde(default)]
    units: FxHashMap<String, String>,
    #[serde(default)]
    countries: FxHashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    shows: OneOrMore,
    templates: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl TemplateTable {
    /// The table compiled into the program.
    pub fn built_in() -> Arc<Self> {
        static TABLE: LazyLock<Arc<TemplateTable>> = LazyLock::new(|| {
            let table = TemplateTable::parse(BUILT_IN).unwrap_or_else(|reason| {
                // A test reads the same text, so that a release cannot hold a table that does not parse.
                unreachable!("{BUILT_IN_NAME}: {reason}")
            });
            Arc::new(table)
        });
        Arc::clone(&TABLE)
    }

    /// Reads a table from a file in the form of `configs/corpus/templates.toml`.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has a key that is not known, names a template twice, or says with `shows` what cannot be shown.
    pub fn read(path: &Path) -> Result<Self, CorpusError> {
        let text = std::fs::read_to_string(path).map_err(CorpusError::io("read", path))?;
        Self::parse(&text).map_err(|reason| CorpusError::Templates {
            path: path.to_path_buf(),
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut by_name = FxHashMap::default();
        let mut put = |name: &str, shows: Shows| {
            if by_name.insert(key(name), shows).is_some() {
                return Err(format!("the template `{name}` is named twice"));
            }
            Ok(())
        };
        for name in &file.nothing {
            put(name, Shows::Nothing)?;
        }
        for name in &file.disambiguation {
            put(name, Shows::Disambiguation)?;
        }
        put("!", Shows::Pipe)?;
        for text in &file.text {
            let patterns = match &text.shows {
                OneOrMore::One(pattern) => std::slice::from_ref(pattern),
                OneOrMore::More(patterns) => patterns,
            };
            let pieces: Vec<_> = patterns
                .iter()
                .map(|p| parse_pattern(p))
                .collect::<Result<_, _>>()?;
            for name in &text.templates {
                put(name, Shows::Text(pieces.clone()))?;
            }
        }
        // What follows from codes gives way to what the file names.
        for (code, language) in &file.languages {
            let shows = Shows::Text(vec![vec![
                Piece::Text(format!("em {language}: ")),
                Piece::Argument(vec![Argument::Place(1)]),
            ]]);
            for name in [format!("lang-{code}"), format!("lang{code}")] {
                by_name.entry(key(&name)).or_insert_with(|| shows.clone());
            }
        }
        for (code, country) in &file.countries {
            let flag = match code.split_once('-') {
                Some((country, state)) => format!("{country}b-{state}"),
                None => format!("{code}b"),
            };
            let shows = Shows::Text(vec![vec![Piece::Text(country.clone())]]);
            by_name.entry(key(code)).or_insert(shows);
            by_name.entry(key(&flag)).or_insert(Shows::Nothing);
        }
        let lowered = |map: FxHashMap<String, String>| {
            map.into_iter()
                .map(|(code, name)| (code.to_lowercase(), name))
                .collect::<FxHashMap<_, _>>()
        };
        Ok(Self {
            by_name,
            families: distinct_beginnings(file.families),
            languages: lowered(file.languages),
            countries: lowered(file.countries),
            // "C" and "c" are different units.
            units: file.units,
        })
    }

    /// What the template `name` (lower case, blanks single) shows.
    pub(super) fn look_up(&self, name: &str) -> Known<'_> {
        if let Some(shows) = self.by_name.get(name) {
            return Known::Entry(shows);
        }
        if name.starts_with("desambig") {
            return Known::Entry(&Shows::Disambiguation);
        }
        // The families are sorted and none begins another: the one that fits is the last that is not after the name.
        let after = self
            .families
            .partition_point(|family| family.as_str() <= name);
        let fits = after > 0 && name.starts_with(self.families[after - 1].as_str());
        if fits { Known::Family } else { Known::No }
    }

    /// The name of a language.
    pub(super) fn language(&self, code: &str) -> Option<&str> {
        self.languages
            .get(&code.trim().to_lowercase())
            .map(String::as_str)
    }

    /// The name of a country.
    pub(super) fn country(&self, code: &str) -> Option<&str> {
        self.countries
            .get(&code.trim().to_lowercase())
            .map(String::as_str)
    }

    /// A unit as it is written.
    pub(super) fn unit<'a>(&'a self, unit: &'a str) -> &'a str {
        self.units.get(unit).map_or(unit, String::as_str)
    }
}

fn key(name: &str) -> String {
    name.to_lowercase()
}

/// Sorted, without those that begin with another.
fn distinct_beginnings(mut families: Vec<String>) -> Vec<String> {
    for family in &mut families {
        *family = key(family);
    }
    families.sort();
    let mut kept: Vec<String> = Vec::with_capacity(families.len());
    for family in families {
        if !kept.last().is_some_and(|k| family.starts_with(k.as_str())) && !family.is_empty() {
            kept.push(family);
        }
    }
    kept
}

/// `{1} de {autor|2}` and its like.
fn parse_pattern(pattern: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some(open) = rest.find('{') {
        if open > 0 {
            pieces.push(Piece::Text(rest[..open].to_string()));
        }
        let close = rest[open..]
            .find('}')
            .ok_or_else(|| format!("`{pattern}`: `{{` without `}}`"))?;
        pieces.push(
            parse_part(&rest[open + 1..open + close]).map_err(|e| format!("`{pattern}`: {e}"))?,
        );
        rest = &rest[open + close + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_string()));
    }
    Ok(pieces)
}

fn parse_part(part: &str) -> Result<Piece, String> {
    if let Some(function) = part.strip_prefix('@') {
        return Ok(match function {
            "number" => Piece::Number,
            "quantity" => Piece::Quantity,
            "date" => Piece::Date,
            "death" => Piece::Death,
            "century" => Piece::Century,
            "duration" => Piece::Duration,
            "raised" => Piece::Raised,
            "joined" => Piece::Joined,
            "language" => Piece::Language,
            "country" => Piece::Country,
            "interlanguage" => Piece::Interlanguage,
            "title" => Piece::Title,
            _ => {
                return Err(format!(
                    "`@{function}` is none of the functions in the file's head"
                ));
            }
        });
    }
    let mut seen = FxHashSet::default();
    let mut arguments = Vec::new();
    for name in part.split('|') {
        let name = key(name.trim());
        if name.is_empty() || !seen.insert(name.clone()) {
            return Err(format!("`{{{part}}}` has an empty or repeated name"));
        }
        arguments.push(match name.parse() {
            Ok(0) => return Err("arguments are counted from 1".to_string()),
            Ok(place) => Argument::Place(place),
            Err(_) if name == "last" => Argument::Last,
            Err(_) => Argument::Named(name),
        });
    }
    Ok(Piece::Argument(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_whole() {
        let table = TemplateTable::parse(BUILT_IN).expect("the table in the repository parses");
        assert!(table.by_name.len() > 500, "{} names", table.by_name.len());
        for name in table.by_name.keys() {
            assert!(name.chars().count() <= MAX_NAME_CHARS, "{name}");
            assert_eq!(name, name.trim(), "`{name}`");
        }
    }

    #[test]
    fn codes_become_templates() {
        let table = TemplateTable::parse(
            "[countries]\nBRA = \"Brasil\"\nBR-SP = \"São Paulo\"\n[languages]\nla = \"latim\"",
        )
        .expect("a table");
        let text = |name: &str| match table.look_up(name) {
            Known::Entry(Shows::Text(patterns)) => patterns[0].clone(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(text("bra"), [Piece::Text("Brasil".into())]);
        assert_eq!(text("br-sp"), [Piece::Text("São Paulo".into())]);
        assert!(matches!(
            table.look_up("brab"),
            Known::Entry(Shows::Nothing)
        ));
        assert!(matches!(
            table.look_up("brb-sp"),
            Known::Entry(Shows::Nothing)
        ));
        assert_eq!(text("lang-la")[0], Piece::Text("em latim: ".into()));
        assert_eq!(table.language(" LA "), Some("latim"));
    }

    #[test]
    fn families_are_beginnings() {
        let table =
            TemplateTable::parse("families = [\"info/\", \"info/b\", \"cite \"]").expect("a table");
        assert!(matches!(table.look_up("info/rio"), Known::Family));
        assert!(matches!(table.look_up("cite web"), Known::Family));
        assert!(matches!(table.look_up("inf"), Known::No));
        assert!(matches!(table.look_up("zebra"), Known::No));
        assert!(matches!(table.look_up("citex"), Known::No));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("nothing = [\"a\", \"A\"]", "twice"),
            ("[[text]]\nshows = \"{0}\"\ntemplates = [\"x\"]", "from 1"),
            ("[[text]]\nshows = \"{1\"\ntemplates = [\"x\"]", "without"),
            (
                "[[text]]\nshows = \"{@clock}\"\ntemplates = [\"x\"]",
                "@clock",
            ),
            (
                "[[text]]\nshows = \"{1|1}\"\ntemplates = [\"x\"]",
                "repeated",
            ),
            ("nothin = []", "nothin"),
        ] {
            let error = TemplateTable::parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
