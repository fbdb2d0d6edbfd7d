//! Which language a text is in, and which variant of Portuguese: a naive Bayes classifier over the commonest words of languages that are easily taken for
//! Portuguese, counted over the whole text.
//!
//! A text in L has word w with probability p(w | L), the table's count or a floor; the language is the L with the largest Σ ln p(w | L) over the words that
//! stand in any list. Function words are nearly half of any prose, so a hundred words decide, and a lookup a word costs less than trigrams of every letter.

use serde::{Deserialize, Serialize};

use super::lexicon::{
    A, BRAZILIAN, COMMON, ESTAR, EUROPEAN, Lexicon, MAX_LANGUAGES, STOP_WORD, URL,
};
use super::scan::{AFTER_STOP, ENDS_NDO, ENDS_R, HAS_LETTER, Word};

/// Variant of Portuguese, as far as the words tell.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Brazilian.
    Br,
    /// European.
    Pt,
    /// Words of both, neither four times the other.
    Mixed,
    /// No word that tells.
    #[default]
    Unknown,
}

impl Variant {
    /// Every answer.
    pub const ALL: [Self; 4] = [Self::Br, Self::Pt, Self::Mixed, Self::Unknown];

    /// Its name in files.
    pub fn code(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Pt => "pt",
            Self::Mixed => "mixed",
            Self::Unknown => "unknown",
        }
    }

    fn of(brazilian: u32, european: u32) -> Self {
        match (brazilian, european) {
            (0, 0) => Self::Unknown,
            (br, pt) if br >= 4 * pt => Self::Br,
            (br, pt) if pt >= 4 * br => Self::Pt,
            _ => Self::Mixed,
        }
    }
}

/// What the words of a text say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WordSigns {
    /// Words with a letter.
    pub words: u32,
    /// Words that stand in any list.
    pub common: u32,
    /// Words that stand in the list of a wanted language.
    pub wanted: u32,
    /// Σ ln p(w | language) over the words that stand in any list.
    pub score: [f32; MAX_LANGUAGES],
    /// Different stop words, at most 64 are told apart.
    pub stop_words: u32,
    /// Words that are part of an address.
    pub urls: u32,
    pub variant: Variant,
}

/// Reads the signs off the words; `wanted` has a bit for each language that is kept.
pub(crate) fn read_signs(words: &[Word], lexicon: &Lexicon, wanted: u16) -> WordSigns {
    let mut signs = WordSigns {
        words: 0,
        common: 0,
        wanted: 0,
        score: [0.0; MAX_LANGUAGES],
        stop_words: 0,
        urls: 0,
        variant: Variant::Unknown,
    };
    let mut stop_words = 0u64;
    let (mut brazilian, mut european) = (0, 0);
    // Flags of the last word and of the one before it.
    let (mut last, mut before) = (0, 0);
    for word in words {
        if word.flags & HAS_LETTER == 0 {
            (before, last) = (last, 0);
            continue;
        }
        signs.words += 1;
        if word.flags & AFTER_STOP != 0 {
            (before, last) = (0, 0);
        }
        brazilian += u32::from(last & ESTAR != 0 && word.flags & ENDS_NDO != 0);
        european += u32::from(before & ESTAR != 0 && last & A != 0 && word.flags & ENDS_R != 0);
        let mut flags = 0;
        if let Some(entry) = lexicon.get(word.hash) {
            flags = entry.flags;
            if flags & COMMON != 0 {
                signs.common += 1;
                for (sum, add) in signs.score.iter_mut().zip(&entry.log_frequency) {
                    *sum += add;
                }
                signs.wanted += u32::from(entry.languages & wanted != 0);
            }
            if flags & STOP_WORD != 0 {
                stop_words |= 1 << (word.hash >> 58);
            }
            signs.urls += u32::from(flags & URL != 0);
            brazilian += u32::from(flags & BRAZILIAN != 0);
            european += u32::from(flags & EUROPEAN != 0);
        }
        (before, last) = (last, flags);
    }
    signs.stop_words = stop_words.count_ones();
    signs.variant = Variant::of(brazilian, european);
    signs
}

impl WordSigns {
    /// The language of the largest score, and by how much it beats each other one a common word; `None` without common words.
    pub(crate) fn best_language(&self, languages: usize) -> Option<usize> {
        if self.common == 0 {
            return None;
        }
        (0..languages).max_by(|&a, &b| {
            self.score[a]
                .total_cmp(&self.score[b])
                // Between equals the first of the alphabet, so that the answer is one.
                .then(b.cmp(&a))
        })
    }

    /// How much less likely `language` makes a common word than `best` does, in units of ln.
    pub(crate) fn deficit(&self, language: usize, best: usize) -> f32 {
        (self.score[best] - self.score[language]) / self.common.max(1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::scan::Scan;

    fn signs(text: &str) -> (WordSigns, Option<String>) {
        let lexicon = Lexicon::new(&["de".to_owned(), "que".to_owned()]);
        let mut scan = Scan::default();
        scan.read(text);
        let signs = read_signs(&scan.words, &lexicon, 1);
        let best = signs.best_language(lexicon.languages.len());
        (signs, best.map(|best| lexicon.languages[best].clone()))
    }

    #[test]
    fn close_languages_are_told_apart() {
        for (language, text) in [
            (
                "pt",
                "O rio nasce na serra e corre para o norte, onde encontra as águas de outros rios que não têm nome.",
            ),
            (
                "es",
                "El río nace en la sierra y corre hacia el norte, donde encuentra las aguas de otros ríos que no tienen nombre.",
            ),
            (
                "gl",
                "O río nace na serra e corre cara ao norte, onde atopa as augas doutros ríos que non teñen nome, como tamén sucede cunha boa parte deles.",
            ),
            (
                "ca",
                "El riu neix a la serra i corre cap al nord, on troba les aigües d'altres rius que no tenen nom.",
            ),
            (
                "it",
                "Il fiume nasce nella montagna e scorre verso il nord, dove incontra le acque di altri fiumi che non hanno un nome.",
            ),
            (
                "fr",
                "Le fleuve naît dans la montagne et coule vers le nord, où il rencontre les eaux d'autres rivières qui n'ont pas de nom.",
            ),
            (
                "en",
                "The river rises in the mountains and runs to the north, where it meets the waters of other rivers that have no name.",
            ),
        ] {
            assert_eq!(signs(text).1.as_deref(), Some(language), "{text}");
        }
        assert_eq!(signs("Река берёт начало в горах и течёт на север.").1, None);
    }

    #[test]
    fn variants_are_told_by_spelling_words_and_gerunds() {
        for (variant, text) in [
            (Variant::Br, "O ônibus está chegando."),
            (Variant::Pt, "O autocarro está a chegar."),
            (Variant::Pt, "A equipa estava a planear o projecto."),
            (Variant::Br, "Ele estava fazendo o registro."),
            (Variant::Mixed, "O facto é que o ônibus chegou."),
            (
                Variant::Unknown,
                "A casa está fechada. Fazendo frio, ficamos.",
            ),
            // A full stop between them: no gerund of "estar".
            (Variant::Unknown, "Ela não está. Chegando, avisa."),
        ] {
            assert_eq!(signs(text).0.variant, variant, "{text}");
        }
    }

    #[test]
    fn stop_words_and_addresses_are_counted() {
        let (signs, _) = signs("de que de que https://www.exemplo.org 12");
        assert_eq!((signs.stop_words, signs.urls, signs.words), (2, 2, 8));
    }
}
