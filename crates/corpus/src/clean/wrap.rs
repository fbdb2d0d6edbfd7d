//! Lines that were broken to fit a page, put back into paragraphs.

use rustc_hash::FxHashSet;

/// Bytes of a text that are looked at to learn its layout and its words.
pub(super) const SAMPLE_BYTES: usize = 1 << 20;

/// Lines wider than this were not broken for a page, characters.
const MAX_WIDTH: usize = 130;
/// Among neighbouring lines of hard-wrapped prose at least this share goes on in small letters, in percent. One sentence a line gives under 10,
/// verse under 10, the novels and rulings tried 39 to 93.
const MIN_RUN_ON_PERCENT: usize = 30;
/// Neighbouring lines needed for a judgement.
const MIN_PAIRS: usize = 5;

/// What a sample of a text tells of how it is laid out.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    /// Lines were broken at this width, characters; `None` when lines are paragraphs already.
    pub(super) wrap_width: Option<usize>,
    /// Most blank-separated blocks are single lines: blank lines separate paragraphs, not documents.
    pub(super) blank_between_paragraphs: bool,
    /// Words seen, in lower case; tells `exem-plo` from `boa-fé`.
    words: FxHashSet<String>,
}

impl Layout {
    /// Learns from the first lines of a text.
    pub(super) fn learn<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let (mut widths, mut pairs, mut run_on) = (Vec::new(), 0usize, 0usize);
        let (mut blocks, mut single, mut block_lines) = (0usize, 0usize, 0usize);
        let mut words = FxHashSet::default();
        let mut previous: Option<&str> = None;
        for line in lines {
            let line = line.trim();
            if line.is_empty() {
                if block_lines > 0 {
                    blocks += 1;
                    single += usize::from(block_lines == 1);
                }
                block_lines = 0;
                previous = None;
                continue;
            }
            block_lines += 1;
            widths.push(line.chars().count());
            if let Some(previous) = previous {
                pairs += 1;
                run_on += usize::from(starts_small(line) && !ends_sentence(previous));
            }
            for word in line.split(|c: char| !(c.is_alphabetic() || c == '-')) {
                // The first part of a broken word ends in its hyphen and is no word.
                if word.len() >= 2 && word.len() <= 40 && !word.ends_with('-') {
                    words.insert(word.to_lowercase());
                }
            }
            previous = Some(line);
        }
        if block_lines > 0 {
            blocks += 1;
            single += usize::from(block_lines == 1);
        }
        widths.sort_unstable();
        let width = widths
            .get(widths.len().saturating_sub(1) * 95 / 100)
            .copied()
            .unwrap_or(0);
        let wrapped =
            pairs >= MIN_PAIRS && width <= MAX_WIDTH && run_on * 100 >= pairs * MIN_RUN_ON_PERCENT;
        Self {
            wrap_width: wrapped.then_some(width),
            blank_between_paragraphs: blocks >= 3 && single * 100 >= blocks * 60,
            words,
        }
    }

    /// Whether the line break between `line` and `next` ends a paragraph, in a text broken at `width`.
    pub(super) fn ends_paragraph(
        &self,
        width: usize,
        line: &str,
        line_chars: usize,
        next: &str,
    ) -> bool {
        if next.starts_with(['—', '–', '•']) || next.starts_with("- ") {
            return true;
        }
        if starts_small(next) && !is_list_mark(next) {
            return false;
        }
        if ends_sentence(line) {
            // The next word would have had room: the break was meant.
            let room = width.saturating_sub(line_chars + 1);
            let next_word = next.split(' ').next().unwrap_or("").chars().count();
            return line_chars * 4 < width * 3 || next_word + 6 <= room;
        }
        // Titles and signatures are short lines without a full stop.
        line_chars * 5 < width * 3
    }

    /// Joins the next line to `paragraph`; `true` when a word broken by a hyphen was put together.
    pub(super) fn join(&self, paragraph: &mut String, next: &str) -> bool {
        if paragraph.ends_with('\u{AD}') {
            paragraph.pop();
            paragraph.push_str(next);
            return true;
        }
        let left = last_letters(paragraph.strip_suffix('-').unwrap_or(""));
        let right: &str = &next[..next
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(next.len())];
        if left.is_empty() || right.is_empty() || !starts_small(right) {
            let open_end = paragraph.ends_with(['-', '/']) && !paragraph.ends_with(" -");
            if !paragraph.is_empty() && !open_end {
                paragraph.push(' ');
            }
            paragraph.push_str(next);
            return false;
        }
        let keeps_hyphen = self.keeps_hyphen(left, right);
        if !keeps_hyphen {
            paragraph.pop();
        }
        paragraph.push_str(next);
        !keeps_hyphen
    }

    /// Whether `left-right` is a word with a hyphen of its own rather than a word broken at the line end.
    fn keeps_hyphen(&self, left: &str, right: &str) -> bool {
        let (left, right) = (left.to_lowercase(), right.to_lowercase());
        if self.words.contains(&format!("{left}-{right}")) {
            return true;
        }
        if self.words.contains(&format!("{left}{right}")) {
            return false;
        }
        is_clitic(&right)
            || (self.words.contains(&left)
                && self.words.contains(&right)
                && left.chars().count() >= 3
                && right.chars().count() >= 3)
    }
}

/// Pronouns that are written after a verb with a hyphen.
fn is_clitic(word: &str) -> bool {
    matches!(
        word,
        "me" | "te"
            | "se"
            | "lhe"
            | "lhes"
            | "nos"
            | "vos"
            | "o"
            | "a"
            | "os"
            | "as"
            | "lo"
            | "la"
            | "los"
            | "las"
            | "no"
            | "na"
            | "nas"
            | "mo"
            | "ma"
            | "lho"
            | "lha"
            | "ia"
            | "ei"
            | "á"
            | "ão"
            | "emos"
            | "iam"
            | "íamos"
    )
}

fn last_letters(text: &str) -> &str {
    let start = text
        .char_indices()
        .rev()
        .take_while(|(_, c)| c.is_alphabetic())
        .last()
        .map_or(text.len(), |(at, _)| at);
    &text[start..]
}

fn starts_small(line: &str) -> bool {
    line.chars().next().is_some_and(char::is_lowercase)
}

fn ends_sentence(line: &str) -> bool {
    line.trim_end_matches(['"', '”', '»', '’', ')', ']'])
        .ends_with(['.', '!', '?', ':', ';', '…'])
}

/// `a) …`, `i) …`, `ii - …`: items of statutes.
fn is_list_mark(line: &str) -> bool {
    let word = line.split(' ').next().unwrap_or("");
    word.len() <= 5 && word.ends_with(')')
}

/// A line that holds a page number and nothing else.
pub(super) fn is_page_number(line: &str) -> bool {
    let digits = line.trim_matches(['-', '–', ' ', '/']);
    !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(lines: &[&str]) -> Vec<String> {
        let layout = Layout::learn(lines.iter().copied());
        let width = layout.wrap_width.expect("the sample is wrapped");
        let mut paragraphs: Vec<String> = Vec::new();
        let mut last: Option<&str> = None;
        for line in lines {
            match (last, paragraphs.last_mut()) {
                (Some(before), Some(paragraph))
                    if !layout.ends_paragraph(width, before, before.chars().count(), line) =>
                {
                    layout.join(paragraph, line);
                }
                _ => paragraphs.push((*line).to_string()),
            }
            last = Some(line);
        }
        paragraphs
    }

    #[test]
    fn prose_dialogue_and_hyphens() {
        let lines = [
            "A chuva caía sobre o telhado de zinco e ninguém na casa falava de boa-fé",
            "nem de exemplo algum, porque o velho, que sabia de tudo, tinha mandado que",
            "se calassem todos. Disse-",
            "lhe a moça que não era aquele o bom exem-",
            "plo, nem havia boa-",
            "fé em quem manda calar quem chora.",
            "No dia seguinte o sol apareceu por cima do morro e as crianças desceram até",
            "o rio para ver o barco.",
            "— Vem do norte, disse o mais velho.",
            "— Vem do sul.",
        ];
        assert_eq!(
            joined(&lines),
            [
                "A chuva caía sobre o telhado de zinco e ninguém na casa falava de boa-fé nem de exemplo algum, porque o velho, que sabia de tudo, tinha mandado que se calassem todos. Disse-lhe a moça que não era aquele o bom exemplo, nem havia boa-fé em quem manda calar quem chora.",
                "No dia seguinte o sol apareceu por cima do morro e as crianças desceram até o rio para ver o barco.",
                "— Vem do norte, disse o mais velho.",
                "— Vem do sul.",
            ]
        );
    }

    #[test]
    fn sentences_and_verse_are_left_alone() {
        let sentences = [
            "O deputado chegou cedo.",
            "A sessão foi aberta às nove.",
            "Ninguém falou.",
            "O voto é secreto.",
            "Fim.",
            "Nada mais.",
        ];
        assert_eq!(Layout::learn(sentences.into_iter()).wrap_width, None);
        let verse = [
            "Minha terra tem palmeiras",
            "Onde canta o sabiá",
            "As aves que aqui gorjeiam",
            "Não gorjeiam como lá",
            "Nosso céu tem mais estrelas",
            "Nossas várzeas têm mais flores",
        ];
        assert_eq!(Layout::learn(verse.into_iter()).wrap_width, None);
    }

    #[test]
    fn page_numbers() {
        assert!(is_page_number("12") && is_page_number("- 3 -"));
        assert!(!is_page_number("1984-05") && !is_page_number("") && !is_page_number("Art. 5"));
    }
}
