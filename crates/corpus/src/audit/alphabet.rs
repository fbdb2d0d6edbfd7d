//! Which characters a corpus is written with.

use rustc_hash::FxHashMap;

use super::report::{AlphabetReport, UnusualCharacter};

/// Counts of characters.
pub(super) struct Alphabet {
    ascii: [u64; 128],
    others: FxHashMap<char, u64>,
}

impl Default for Alphabet {
    fn default() -> Self {
        Self {
            ascii: [0; 128],
            others: FxHashMap::default(),
        }
    }
}

impl Alphabet {
    /// Counts the characters of a text.
    pub(super) fn add(&mut self, text: &str) {
        for c in text.chars() {
            match self.ascii.get_mut(c as usize) {
                Some(count) => *count += 1,
                None => *self.others.entry(c).or_insert(0) += 1,
            }
        }
    }

    /// All of them.
    pub(super) fn characters(&self) -> u64 {
        self.ascii.iter().chain(self.others.values()).sum()
    }

    /// The counts by kind, and the `top` most frequent characters that Portuguese does not need.
    pub(super) fn report(&self, top: usize) -> AlphabetReport {
        let ascii = (0u8..128).map(|byte| (char::from(byte), self.ascii[usize::from(byte)]));
        let all = ascii.chain(self.others.iter().map(|(&c, &count)| (c, count)));
        let mut report = AlphabetReport::default();
        for (c, count) in all.filter(|(_, count)| *count > 0) {
            let (kind, usual) = kind_of(c);
            *report.kinds.entry(kind).or_insert(0) += count;
            if !usual {
                report.unusual.push(UnusualCharacter {
                    character: c,
                    code: format!("U+{:04X}", c as u32),
                    count,
                });
            }
        }
        report
            .unusual
            .sort_by_key(|c| (std::cmp::Reverse(c.count), c.character));
        report.unusual.truncate(top);
        report
    }
}

/// The kind of a character, and whether Portuguese text uses it.
fn kind_of(c: char) -> (&'static str, bool) {
    const LETTERS: &str = "áàâãéêíóôõúüçÁÀÂÃÉÊÍÓÔÕÚÜÇ";
    match c {
        'a'..='z' | 'A'..='Z' => ("letters", true),
        '0'..='9' => ("digits", true),
        ' ' | '\n' => ("blanks", true),
        _ if LETTERS.contains(c) => ("accented letters", true),
        _ if c.is_alphabetic() && c < '\u{250}' => ("accented letters", matches!(c, 'ª' | 'º')),
        _ if c.is_alphabetic() => ("other scripts", false),
        _ if c.is_whitespace() => ("blanks", false),
        _ if c.is_control()
            || matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFFD}' | '\u{E000}'..='\u{F8FF}') =>
        {
            ("control", false)
        }
        '!'..='/' | ':'..='@' | '['..='`' | '{'..='~' => ("punctuation", true),
        '“' | '”' | '‘' | '’' | '«' | '»' | '–' | '—' | '…' => {
            ("punctuation", true)
        }
        '°' | '§' | '²' | '³' | '€' | '£' => ("symbols", true),
        _ => ("symbols", false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_cover_what_portuguese_is_written_with() {
        for c in "Às 10h, “não” — é 5 °C… (3 km²) R$ 2; 1.ª".chars() {
            assert!(kind_of(c).1, "{c:?}");
        }
        for (c, kind) in [
            ('ж', "other scripts"),
            ('\u{AD}', "control"),
            ('ß', "accented letters"),
            ('\u{A0}', "blanks"),
            ('→', "symbols"),
        ] {
            assert_eq!(kind_of(c), (kind, false));
        }
    }
}
