//! Why a document was dropped.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The rule that a document broke, the first in this order. Its name in files, counts and configurations is the code, in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Most letters are not Latin.
    Script,
    /// It is in a language that the filter knows and that is not wanted.
    OtherLanguage,
    /// Too few of its words are common words of a wanted language: lists, code, tables, a language that the filter does not know.
    UnknownLanguage,
    /// Fewer words than the limit (Gopher).
    TooFewWords,
    /// More words than the limit (Gopher).
    TooManyWords,
    /// The mean word is too short or too long (Gopher).
    WordLength,
    /// A word is longer than any word (C4).
    LongWord,
    /// Too many "#" and ellipses for its words (Gopher).
    Symbols,
    /// Almost all lines are bullets (Gopher).
    Bullets,
    /// Too many lines break off with an ellipsis (Gopher).
    EllipsisLines,
    /// Too many words without a letter (Gopher).
    WordsWithoutLetters,
    /// Too few different stop words (Gopher).
    StopWords,
    /// Too few sentences (C4).
    FewSentences,
    /// Phrases of pages that are not text: filler, cookie banners (C4).
    Boilerplate,
    /// Too few lines end in an end mark (FineWeb).
    EndMarks,
    /// Too many short lines (FineWeb).
    ShortLines,
    /// Too many line breaks for its words (FineWeb).
    LineBreaks,
    /// Too many digits.
    Digits,
    /// Too many addresses.
    Urls,
    /// Too much white space.
    Whitespace,
    /// Too many brackets.
    Brackets,
    /// Too many lines, or characters in lines, that stood before in it (Gopher).
    RepeatedLines,
    /// One phrase of two to four words makes up too much of it (Gopher).
    TopNgram,
    /// Too much of it stands in phrases of five to ten words that stood before in it (Gopher).
    RepeatedNgrams,
    /// Its sentences are those of a bot, of which enough were kept.
    Stub,
}

impl Reason {
    /// Every reason, in the order in which rules are asked.
    pub const ALL: [Self; 25] = [
        Self::Script,
        Self::OtherLanguage,
        Self::UnknownLanguage,
        Self::TooFewWords,
        Self::TooManyWords,
        Self::WordLength,
        Self::LongWord,
        Self::Symbols,
        Self::Bullets,
        Self::EllipsisLines,
        Self::WordsWithoutLetters,
        Self::StopWords,
        Self::FewSentences,
        Self::Boilerplate,
        Self::EndMarks,
        Self::ShortLines,
        Self::LineBreaks,
        Self::Digits,
        Self::Urls,
        Self::Whitespace,
        Self::Brackets,
        Self::RepeatedLines,
        Self::TopNgram,
        Self::RepeatedNgrams,
        Self::Stub,
    ];

    /// Its code, as `too_few_words`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Script => "script",
            Self::UnknownLanguage => "unknown_language",
            Self::OtherLanguage => "other_language",
            Self::TooFewWords => "too_few_words",
            Self::TooManyWords => "too_many_words",
            Self::WordLength => "word_length",
            Self::LongWord => "long_word",
            Self::Symbols => "symbols",
            Self::Bullets => "bullets",
            Self::EllipsisLines => "ellipsis_lines",
            Self::WordsWithoutLetters => "words_without_letters",
            Self::StopWords => "stop_words",
            Self::FewSentences => "few_sentences",
            Self::Boilerplate => "boilerplate",
            Self::EndMarks => "end_marks",
            Self::ShortLines => "short_lines",
            Self::LineBreaks => "line_breaks",
            Self::Digits => "digits",
            Self::Urls => "urls",
            Self::Whitespace => "whitespace",
            Self::Brackets => "brackets",
            Self::RepeatedLines => "repeated_lines",
            Self::TopNgram => "top_ngram",
            Self::RepeatedNgrams => "repeated_ngrams",
            Self::Stub => "stub",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_files_say() {
        for reason in Reason::ALL {
            let written = serde_json::to_string(&reason).unwrap();
            assert_eq!(written, format!("\"{}\"", reason.code()));
            assert_eq!(serde_json::from_str::<Reason>(&written).unwrap(), reason);
        }
        assert!(Reason::ALL.is_sorted(), "rules are asked in their order");
    }
}
