//! What is done to text before it is split into words: Unicode normalization, and options that lose information and are therefore off.

use std::borrow::Cow;

use serde_json::{Value, json};
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick};

use crate::TokenizerError;
use crate::error::quote;

/// The Unicode normalization form that the text is brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnicodeForm {
    /// The text is taken as it is.
    Unchanged,
    /// Composed: `ã` is one character (the default).
    #[default]
    Nfc,
    /// Decomposed: `ã` is `a` and a combining tilde.
    Nfd,
}

/// Normalizes text. The default is NFC alone: generation must be able to write capitals, accents and line breaks.
///
/// The steps run in the order of the fields below, the Unicode form last, and each is a standard normalizer of `tokenizer.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PtBrNormalizer {
    /// Decompose and drop every combining mark: `ação` becomes `acao`.
    pub strip_accents: bool,
    /// Lower-case every character.
    pub lowercase: bool,
    /// Replace each run of white space, line breaks included, by one space, and strip both ends.
    pub clean_whitespace: bool,
    /// The form of the result.
    pub form: UnicodeForm,
}

impl PtBrNormalizer {
    /// The normalized text; borrowed when nothing had to change.
    pub fn normalize<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if self.strip_accents {
            text = Cow::Owned(
                text.nfd()
                    .filter(|&character| !is_combining_mark(character))
                    .collect(),
            );
        }
        if self.lowercase {
            // Character by character, without the rule for a final sigma, as the standard normalizer does.
            text = Cow::Owned(text.chars().flat_map(char::to_lowercase).collect());
        }
        if self.clean_whitespace {
            text = Cow::Owned(clean_whitespace(&text));
        }
        match self.form {
            UnicodeForm::Unchanged => text,
            UnicodeForm::Nfc if is_nfc(&text) => text,
            UnicodeForm::Nfc => Cow::Owned(text.nfc().collect()),
            UnicodeForm::Nfd if is_nfd_quick(text.chars()) == IsNormalized::Yes => text,
            UnicodeForm::Nfd => Cow::Owned(text.nfd().collect()),
        }
    }

    /// The same steps as the `normalizer` of a `tokenizer.json`.
    pub(crate) fn to_json(self) -> Value {
        let mut steps = self.steps();
        match steps.len() {
            0 => Value::Null,
            1 => steps.remove(0),
            _ => json!({ "type": "Sequence", "normalizers": steps }),
        }
    }

    /// Reads the `normalizer` of a `tokenizer.json`: any combination of the options above, in their order.
    pub(crate) fn from_json(value: &Value) -> Result<Self, TokenizerError> {
        let steps = flatten(value);
        for form in [UnicodeForm::Nfc, UnicodeForm::Nfd, UnicodeForm::Unchanged] {
            for options in 0..8 {
                let candidate = Self {
                    strip_accents: options & 1 != 0,
                    lowercase: options & 2 != 0,
                    clean_whitespace: options & 4 != 0,
                    form,
                };
                if candidate.steps().iter().eq(steps.iter().copied()) {
                    return Ok(candidate);
                }
            }
        }
        Err(TokenizerError::Unsupported {
            field: "normalizer".to_owned(),
            found: quote(&value.to_string()),
            supported: "a sequence of [NFD, StripAccents], Lowercase, [Replace \\s+ by a space, Strip], NFC or NFD, in this order, each optional",
        })
    }

    fn steps(self) -> Vec<Value> {
        let mut steps = Vec::new();
        if self.strip_accents {
            steps.push(json!({ "type": "NFD" }));
            steps.push(json!({ "type": "StripAccents" }));
        }
        if self.lowercase {
            steps.push(json!({ "type": "Lowercase" }));
        }
        if self.clean_whitespace {
            steps
                .push(json!({ "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " }));
            steps.push(json!({ "type": "Strip", "strip_left": true, "strip_right": true }));
        }
        match self.form {
            UnicodeForm::Unchanged => {}
            UnicodeForm::Nfc => steps.push(json!({ "type": "NFC" })),
            UnicodeForm::Nfd => steps.push(json!({ "type": "NFD" })),
        }
        steps
    }
}

/// The single steps of a normalizer, sequences within sequences taken apart.
fn flatten(value: &Value) -> Vec<&Value> {
    match (value, value.get("normalizers").and_then(Value::as_array)) {
        (Value::Null, _) => Vec::new(),
        (_, Some(inner)) if value.get("type").and_then(Value::as_str) == Some("Sequence") => {
            inner.iter().flat_map(flatten).collect()
        }
        _ => vec![value],
    }
}

fn clean_whitespace(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.push_str(word);
    }
    clean
}

/// True when the text is surely NFC already. Portuguese text is: everything below U+0300 composes with nothing before it, and the punctuation of
/// U+2002 to U+203F is inert; so most text is judged by its bytes alone, 64 at a time, and is never copied.
fn is_nfc(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut start = 0;
    while start < bytes.len() {
        let block = &bytes[start..bytes.len().min(start + 64)];
        // 0xCC is the first byte of U+0300.
        if block.iter().fold(0, |highest, &byte| highest.max(byte)) < 0xCC {
            start += block.len();
            continue;
        }
        let end = start + block.len();
        while start < end {
            match bytes[start] {
                0..0xCC => start += 1,
                0xE2 if bytes.get(start + 1) == Some(&0x80)
                    && bytes.get(start + 2).is_some_and(|&last| last > 0x81) =>
                {
                    start += 3
                }
                // Continuation bytes are below 0xCC, so `start` is a character boundary here; the character before it was inert.
                _ => {
                    return text
                        .get(start..)
                        .is_some_and(|rest| is_nfc_quick(rest.chars()) == IsNormalized::Yes);
                }
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_changes_nothing_but_the_composition() {
        let normalizer = PtBrNormalizer::default();
        let text = "  A AÇÃO\n\n não — “pára”… 5ª\t";
        assert!(matches!(normalizer.normalize(text), Cow::Borrowed(same) if same == text));
        assert_eq!(normalizer.normalize("na\u{303}o"), "não");
        // U+2000 has a canonical decomposition although its neighbours have none.
        assert_eq!(normalizer.normalize("a\u{2000}b"), "a\u{2002}b");
    }

    #[test]
    fn options_lose_what_they_say() {
        let all = PtBrNormalizer {
            strip_accents: true,
            lowercase: true,
            clean_whitespace: true,
            form: UnicodeForm::Nfc,
        };
        assert_eq!(
            all.normalize(" \u{a0}A  AÇÃO\n\nfoi\u{2003} JÁ "),
            "a acao foi ja"
        );
        let nfd = PtBrNormalizer {
            form: UnicodeForm::Nfd,
            ..Default::default()
        };
        assert_eq!(nfd.normalize("ã"), "a\u{303}");
        let unchanged = PtBrNormalizer {
            form: UnicodeForm::Unchanged,
            ..Default::default()
        };
        assert_eq!(unchanged.normalize("a\u{303}ã"), "a\u{303}ã");
    }

    #[test]
    fn quick_check_agrees_with_the_full_normalization() {
        for code in 0..=0x10_FFFF_u32 {
            let Some(character) = char::from_u32(code) else {
                continue;
            };
            for text in [
                format!("{character}"),
                format!("e{character}x"),
                format!("“ç{character}"),
            ] {
                if is_nfc(&text) {
                    assert_eq!(text.nfc().collect::<String>(), text, "U+{code:04X}");
                }
            }
        }
    }

    #[test]
    fn every_combination_survives_json() {
        for form in [UnicodeForm::Nfc, UnicodeForm::Nfd, UnicodeForm::Unchanged] {
            for options in 0..8 {
                let normalizer = PtBrNormalizer {
                    strip_accents: options & 1 != 0,
                    lowercase: options & 2 != 0,
                    clean_whitespace: options & 4 != 0,
                    form,
                };
                assert_eq!(
                    PtBrNormalizer::from_json(&normalizer.to_json()).unwrap(),
                    normalizer
                );
            }
        }
        let refused = PtBrNormalizer::from_json(&json!({ "type": "NFKC" })).unwrap_err();
        assert!(refused.to_string().contains("NFKC"), "{refused}");
    }
}
