//! Is a generated text made of the language's words, and is it the model's own?

use std::collections::{HashMap, HashSet};

/// What the check found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextCheck {
    /// Words of four letters and more in the generated text.
    pub long_words: usize,
    /// How many of them occur in the training text.
    pub known_words: usize,
    /// Length in words of the longest span that the training text also holds.
    pub longest_copy: usize,
}

impl TextCheck {
    /// The share of the long words that occur in the training text, 0 to 1; 0 for a text without any.
    pub fn known_share(&self) -> f64 {
        if self.long_words == 0 {
            return 0.0;
        }
        self.known_words as f64 / self.long_words as f64
    }

    /// At least 70 % known words, and no span of 20 words copied.
    pub fn passes(&self) -> bool {
        self.known_share() >= 0.70 && self.longest_copy < 20
    }
}

/// Compares `generated` with `training`, both cut into runs of letters and lower-cased, so that neither capitals nor
/// punctuation hide a copy.
pub fn check(generated: &str, training: &str) -> TextCheck {
    let mut ids: HashMap<String, usize> = HashMap::new();
    let mut source = Vec::new();
    for word in words(training) {
        let next = ids.len();
        source.push(*ids.entry(word).or_insert(next));
    }
    let mut places: Vec<Vec<usize>> = vec![Vec::new(); ids.len()];
    for (place, &id) in source.iter().enumerate() {
        places[id].push(place);
    }
    let written: Vec<String> = words(generated).collect();
    let long: Vec<&String> = written.iter().filter(|w| w.chars().count() >= 4).collect();
    let known: HashSet<&String> = ids.keys().collect();
    // A word that training never saw matches nothing.
    let as_ids: Vec<Option<usize>> = written.iter().map(|w| ids.get(w).copied()).collect();
    let mut longest_copy = 0;
    for start in 0..as_ids.len() {
        let Some(first) = as_ids[start] else { continue };
        for &place in &places[first] {
            let same = as_ids[start..]
                .iter()
                .zip(&source[place..])
                .take_while(|(a, b)| **a == Some(**b))
                .count();
            longest_copy = longest_copy.max(same);
        }
    }
    TextCheck {
        long_words: long.len(),
        known_words: long.iter().filter(|w| known.contains(*w)).count(),
        longest_copy,
    }
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_known_words_and_copied_spans() {
        let training =
            "Uma noite destas, vindo da cidade para o Engenho Novo, encontrei no trem um rapaz.";
        let found = check("vindo da CIDADE — para xyzw, noite", training);
        // vindo, cidade, para, xyzw, noite: four letters and more; one of them is not a word of the training text.
        assert_eq!((found.long_words, found.known_words), (5, 4));
        assert_eq!(found.longest_copy, 4);
        assert!(found.passes());
    }

    #[test]
    fn a_copy_of_twenty_words_fails() {
        let training: String = (0..40).map(|i| format!("palavra{} ", letters(i))).collect();
        let copied: String = training.split_inclusive(' ').take(20).collect();
        assert_eq!(check(&copied, &training).longest_copy, 20);
        assert!(!check(&copied, &training).passes());
        let shorter: String = training.split_inclusive(' ').take(19).collect();
        assert!(check(&shorter, &training).passes());
    }

    #[test]
    fn nothing_written_does_not_pass() {
        assert!(!check("", "um texto").passes());
        assert!(!check("abcde", "").passes());
    }

    fn letters(n: u8) -> String {
        [b'a' + n / 26, b'a' + n % 26]
            .iter()
            .map(|&b| char::from(b))
            .collect()
    }
}
