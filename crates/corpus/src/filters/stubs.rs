//! Articles that a bot made from a table: their sentences differ in names and numbers only, so no two are near duplicates, and a model that reads ten
//! thousand of them learns one sentence by heart. Sentences are masked to skeletons, and documents made of skeletons that were seen often enough are dropped.

use rustc_hash::FxHashMap;

use super::config::StubRules;
use super::scan::{RollingHash, lower};

/// Stands for a name in a skeleton.
const NAME: u64 = 1;
/// Stands for a number.
const NUMBER: u64 = 2;

/// Words inside names: "Rio de Janeiro" is one name.
#[rustfmt::skip]
const CONNECTORS: &[&str] = &["de", "da", "do", "das", "dos", "e", "d", "del", "di", "du", "von", "van", "der", "la", "le", "el"];

/// A sentence without its names and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Skeleton {
    hash: u64,
    /// Length of the sentence, bytes.
    bytes: u32,
}

/// Counts the sentence skeletons of the documents that were kept, and answers which further ones are stubs. 16 bytes or so for each different skeleton.
#[derive(Debug)]
pub struct StubLimiter {
    rules: StubRules,
    kept: FxHashMap<u64, u32>,
    skeletons: Vec<Skeleton>,
}

impl StubLimiter {
    /// Nothing seen yet.
    pub fn new(rules: StubRules) -> Self {
        Self {
            rules,
            kept: FxHashMap::default(),
            skeletons: Vec::new(),
        }
    }

    /// Whether `text`, of so many words, is kept; the documents before it decide. A kept one is counted.
    pub fn keeps(&mut self, text: &str, words: u64) -> bool {
        if words > self.rules.max_words {
            return true;
        }
        let mut skeletons = std::mem::take(&mut self.skeletons);
        skeletons_of(text, self.rules.min_sentence_words, &mut skeletons);
        let worn_out = |s: &&Skeleton| self.kept.get(&s.hash).is_some_and(|&n| n >= self.rules.cap);
        let bytes = |all: &mut dyn Iterator<Item = &Skeleton>| -> u64 {
            all.map(|s| u64::from(s.bytes)).sum()
        };
        let total = bytes(&mut skeletons.iter());
        let worn = bytes(&mut skeletons.iter().filter(worn_out));
        let keeps = worn == 0 || (worn as f64) < self.rules.min_share * total as f64;
        if keeps {
            // A skeleton twice in one document is one document's.
            skeletons.sort_unstable_by_key(|s| s.hash);
            skeletons.dedup_by_key(|s| s.hash);
            for skeleton in &skeletons {
                *self.kept.entry(skeleton.hash).or_insert(0) += 1;
            }
        }
        self.skeletons = skeletons;
        keeps
    }
}

/// The skeletons of the sentences of `text` that have at least `min_words` words beside names and numbers.
fn skeletons_of(text: &str, min_words: u32, skeletons: &mut Vec<Skeleton>) {
    skeletons.clear();
    for sentence in sentences(text) {
        let mut hash = RollingHash::new();
        let mut words = 0;
        // Of a run of names one is kept, and a connector only when no name follows it.
        let mut in_name = false;
        let mut connector: Option<u64> = None;
        for token in sentence.split_whitespace() {
            let core = token.trim_matches(|c: char| !c.is_alphanumeric());
            let Some(first) = core.chars().next() else {
                continue;
            };
            if core.contains(|c: char| c.is_numeric()) {
                hash.push(NUMBER);
                in_name = false;
            } else if first.is_uppercase() {
                if !in_name {
                    hash.push(NAME);
                }
                (in_name, connector) = (true, None);
                // A comma ends a name.
                in_name &= token.ends_with(char::is_alphanumeric);
                continue;
            } else {
                let mut word = RollingHash::new();
                core.chars().for_each(|c| word.push(u64::from(lower(c))));
                let word = word.finish();
                if in_name && connector.is_none() && CONNECTORS.contains(&core) {
                    connector = Some(word);
                    continue;
                }
                if let Some(connector) = connector.take() {
                    hash.push(connector);
                }
                hash.push(word);
                words += 1;
                in_name = false;
            }
            connector = None;
        }
        if words >= min_words {
            skeletons.push(Skeleton {
                hash: hash.finish(),
                bytes: u32::try_from(sentence.len()).unwrap_or(u32::MAX),
            });
        }
    }
}

/// Sentences: cut after ".", "!", "?", "…" before a blank, and at line ends.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| {
        let mut rest = line;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = rest
                .char_indices()
                .zip(rest.chars().skip(1))
                .find(|((_, c), next)| matches!(c, '.' | '!' | '?' | '…') && next.is_whitespace())
                .map_or(rest.len(), |((at, c), _)| at + c.len_utf8());
            let (sentence, tail) = rest.split_at(end);
            rest = tail;
            Some(sentence)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::FilterConfig;

    fn skeleton(sentence: &str) -> Vec<Skeleton> {
        let mut found = Vec::new();
        skeletons_of(sentence, 3, &mut found);
        found
    }

    #[test]
    fn names_and_numbers_do_not_matter_and_words_do() {
        let hash = |sentence| skeleton(sentence)[0].hash;
        let one =
            hash("Buridava é uma comuna romena localizada no distrito de Vâlcea, em Muntênia.");
        assert_eq!(
            one,
            hash(
                "Rio de Janeiro é uma comuna romena localizada no distrito de Alba, em Santa Maria do Sul."
            )
        );
        assert_ne!(
            one,
            hash("Buridava é uma comuna romena localizada no condado de Vâlcea, em Muntênia.")
        );
        let population =
            hash("A comuna possui uma área de 23,38 km² e sua população era de 1.532 habitantes.");
        assert_eq!(
            population,
            hash("A comuna possui uma área de 7 km² e sua população era de 99 habitantes.")
        );
    }

    #[test]
    fn sentences_end_at_marks_before_blanks() {
        let found: Vec<&str> =
            sentences("Tem 1.234 casas. Fica perto… Sim!\nOutra linha").collect();
        assert_eq!(
            found,
            ["Tem 1.234 casas.", " Fica perto…", " Sim!", "Outra linha"]
        );
    }

    #[test]
    fn two_hundred_stubs_leave_the_cap_and_prose_is_kept() {
        let rules = FilterConfig::default().stubs;
        let cap = rules.cap as usize;
        let mut limiter = StubLimiter::new(rules);
        let mut kept = Vec::new();
        for n in 0..200 {
            let stub = format!(
                "Vila{n} é uma aldeia da província de Terra{} e faz fronteira com Porto{n}.\nEm {} tinha {n},5 habitantes por quilômetro quadrado.",
                n % 7,
                1900 + n
            );
            if limiter.keeps(&stub, 25) {
                kept.push(n);
            }
            let prose = format!(
                "O texto {n} fala de outra coisa, que {} vezes foi dita assim e nunca {}.",
                "muitas ".repeat(n),
                "mais ".repeat(n + 1)
            );
            assert!(limiter.keeps(&prose, 30));
        }
        assert_eq!(kept, (0..cap).collect::<Vec<_>>(), "the first ones stay");
        // A longer text is not a stub, whatever it has in common with one.
        assert!(limiter.keeps(
            "Vila é uma aldeia da província de Terra e faz fronteira com Porto.",
            900
        ));
    }
}
