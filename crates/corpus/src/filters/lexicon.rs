//! What is known of single words: how common they are in each language, which spell like Brazil or like Portugal, which are stop words.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::scan::word_hash;

/// Languages that the table can hold; a row of weights is two cache lines at most.
pub(crate) const MAX_LANGUAGES: usize = 16;

/// Counted for a word that the list of a language does not have, per 100,000 words. The lists end at about 20.
const FLOOR: f32 = 3.0;

/// The word is a stop word of the configuration.
pub(crate) const STOP_WORD: u8 = 1;
/// Spelled as in Brazil, or said only there.
pub(crate) const BRAZILIAN: u8 = 2;
/// Spelled as in Portugal, or said only there.
pub(crate) const EUROPEAN: u8 = 4;
/// A form of "estar", after which a gerund or "a" with an infinitive tells the two apart.
pub(crate) const ESTAR: u8 = 8;
/// The preposition "a".
pub(crate) const A: u8 = 16;
/// It stands in the list of at least one language.
pub(crate) const COMMON: u8 = 32;
/// Part of an address.
pub(crate) const URL: u8 = 64;

/// Words of the two variants: `configs/corpus/variants.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantWords {
    /// Spelled or said so in Brazil only.
    br: Vec<String>,
    /// Spelled or said so in Portugal only.
    pt: Vec<String>,
}

/// `word:count` lists by language, as the file has them.
static LANGUAGES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../../configs/corpus/languages.toml")).unwrap_or_default()
});

static VARIANTS: LazyLock<VariantWords> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../../configs/corpus/variants.toml")).unwrap_or(
        VariantWords {
            br: Vec::new(),
            pt: Vec::new(),
        },
    )
});

#[rustfmt::skip]
const ESTAR_FORMS: &[&str] = &[
    "estar", "estou", "estás", "está", "estamos", "estão", "estava", "estavas", "estávamos", "estavam", "esteve", "estive", "estivemos",
    "estiveram", "estivesse", "estivessem", "estiver", "estiverem", "estará", "estarão", "estaria", "estariam", "esteja", "estejam",
];

/// What is known of one word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Natural logarithm of how often each language has it, by the language's index.
    pub log_frequency: [f32; MAX_LANGUAGES],
    /// Languages whose list has it, one bit each.
    pub languages: u16,
    pub flags: u8,
}

/// A table from word hashes to what is known of the word.
#[derive(Debug)]
pub(crate) struct Lexicon {
    /// ISO 639-1 codes, by index.
    pub languages: Vec<String>,
    /// Open addressing: hash and index of the entry; a hash of 0 is an empty place.
    slots: Vec<(u64, u32)>,
    entries: Vec<Entry>,
}

impl Lexicon {
    /// The embedded words, and these stop words.
    pub(crate) fn new(stop_words: &[String]) -> Self {
        let languages: Vec<String> = LANGUAGES.keys().take(MAX_LANGUAGES).cloned().collect();
        let mut words: BTreeMap<&str, Entry> = BTreeMap::new();
        let unknown = Entry {
            log_frequency: [FLOOR.ln(); MAX_LANGUAGES],
            languages: 0,
            flags: 0,
        };
        for (index, list) in LANGUAGES.values().take(MAX_LANGUAGES).enumerate() {
            let pairs = list.split_whitespace().filter_map(|pair| {
                let (word, count) = pair.split_once(':')?;
                Some((word, count.parse::<f32>().ok()?))
            });
            for (word, count) in pairs {
                let entry = words.entry(word).or_insert(unknown);
                entry.log_frequency[index] = count.max(FLOOR).ln();
                entry.languages |= 1 << index;
                entry.flags |= COMMON;
            }
        }
        let flagged: [(&mut dyn Iterator<Item = &str>, u8); 6] = [
            (&mut stop_words.iter().map(String::as_str), STOP_WORD),
            (&mut VARIANTS.br.iter().map(String::as_str), BRAZILIAN),
            (&mut VARIANTS.pt.iter().map(String::as_str), EUROPEAN),
            (&mut ESTAR_FORMS.iter().copied(), ESTAR),
            (&mut std::iter::once("a"), A),
            (&mut ["http", "https", "www"].into_iter(), URL),
        ];
        for (list, flag) in flagged {
            for word in list {
                words.entry(word).or_insert(unknown).flags |= flag;
            }
        }
        let size = (words.len() * 4).next_power_of_two();
        let mut lexicon = Self {
            languages,
            slots: vec![(0, 0); size],
            entries: Vec::with_capacity(words.len()),
        };
        for (word, entry) in words {
            lexicon.insert(word_hash(word), entry);
        }
        lexicon
    }

    fn insert(&mut self, hash: u64, entry: Entry) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].0 != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = (hash, self.entries.len() as u32);
        self.entries.push(entry);
    }

    /// What is known of the word with this hash.
    #[inline]
    pub(crate) fn get(&self, hash: u64) -> Option<&Entry> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let (found, index) = self.slots[at];
            if found == hash {
                return self.entries.get(index as usize);
            }
            if found == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_lists_are_whole() {
        let lexicon = Lexicon::new(&["de".to_owned()]);
        for language in ["ca", "en", "es", "fr", "gl", "it", "pt"] {
            assert!(
                lexicon.languages.iter().any(|l| l == language),
                "{language}"
            );
        }
        for list in LANGUAGES.values() {
            for pair in list.split_whitespace() {
                let (word, count) = pair.split_once(':').unwrap();
                assert!(count.parse::<u32>().unwrap() > 0, "{pair}");
                assert!(lexicon.get(word_hash(word)).is_some(), "{word}");
            }
        }
        let spelled = |word: &str| lexicon.get(word_hash(word)).unwrap().flags;
        assert_ne!(spelled("ônibus") & BRAZILIAN, 0);
        assert_ne!(spelled("autocarro") & EUROPEAN, 0);
        assert_ne!(spelled("de") & STOP_WORD, 0);
        let overlap = VARIANTS.br.iter().find(|word| VARIANTS.pt.contains(word));
        assert_eq!(overlap, None, "a word cannot be of both variants");
        assert!(lexicon.get(word_hash("otorrinolaringologia")).is_none());
    }
}
