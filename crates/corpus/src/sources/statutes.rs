//! Consolidated statutes as the federal government publishes them: what the law says, without the notes on which act changed it.

/// How a note begins, in lower case, with every gender and number by its stem.
#[rustfmt::skip]
const NOTES: &[&str] = &[
    "redação dada", "redação restabelecida", "redação do", "nova redação", "incluíd", "incluid", "acrescid", "acrescentad", "acrescent", "revogad",
    "renumerad", "restaurad", "renomead", "restabelecid", "suprimid", "substituíd", "transformad", "vide ", "vide)", "vetad", "vigência", "vigencia",
    "produção de efeito", "regulamento", "regulamentad", "promulgação", "promulgad", "mensagem de veto", "eficácia", "expirad", "publicad", "retificad",
    "mantid",
];

/// What a note may name before it says what happened to it.
const PARTS: &[&str] = &[
    "parágrafo",
    "inciso",
    "alínea",
    "artigo",
    "caput",
    "item",
    "título",
    "capítulo",
    "seção",
    "anexo",
];

/// No note is longer, bytes.
const LONGEST_NOTE: usize = 400;

/// Stands where a note was until lines are looked at.
const REMOVED: char = '\0';

/// Whether the inside of a pair of brackets is a note. "VETADO" stands for a text that never was, "Revogado" for one that no longer is.
fn is_note(inside: &str) -> bool {
    let words: Vec<String> = inside
        .split_whitespace()
        .take(6)
        .map(str::to_lowercase)
        .collect();
    let words = match words.split_first() {
        Some((first, rest)) if PARTS.contains(&first.as_str()) => rest,
        _ => &words,
    };
    let lower = words.join(" ") + ")";
    NOTES.iter().any(|note| lower.starts_with(note))
}

/// Labels of which nothing may be left: "Art. 5:", "§ 2º", "IV -", "a)", "Parágrafo único:".
fn is_bare_label(line: &str) -> bool {
    let words = line.trim_end_matches([':', ';', '-', '–', '.', ')', ' ']);
    let mut left = words.split_whitespace();
    let first = left.next().unwrap_or_default();
    let label = first.eq_ignore_ascii_case("art.")
        || first.eq_ignore_ascii_case("art")
        || first.starts_with('§')
        || (first == "Parágrafo" && words.ends_with("único"))
        || first.chars().all(|c| "IVXLCDM".contains(c))
        || (first.chars().count() == 1 && first.chars().all(char::is_alphabetic));
    let rest = left
        .filter(|word| *word != "único" && !word.starts_with(|c: char| c.is_ascii_digit()))
        .count();
    label && rest == 0
}

/// The text without its notes, which may go over a line end, and without lines of which only a label is left then.
pub(crate) fn without_notes(text: &str) -> String {
    let mut marked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('(') {
        let length = closing(&rest[open..]);
        let inside = length.map(|length| &rest[open + 1..open + length - 1]);
        match (length, inside) {
            (Some(length), Some(inside)) if is_note(inside) => {
                marked.push_str(rest[..open].trim_end_matches(' '));
                marked.push(REMOVED);
                rest = &rest[open + length..];
            }
            _ => {
                // What is inside may hold a note of its own.
                marked.push_str(&rest[..=open]);
                rest = &rest[open + 1..];
            }
        }
    }
    marked.push_str(rest);
    let mut kept = String::with_capacity(marked.len());
    for line in marked.lines() {
        let without: String;
        let line = match line.contains(REMOVED) {
            false => line,
            true => {
                without = line.replace(REMOVED, "");
                let line = without.trim();
                if line.is_empty() || is_bare_label(line) {
                    continue;
                }
                line
            }
        };
        if !kept.is_empty() {
            kept.push('\n');
        }
        kept.push_str(line);
    }
    kept
}

/// Length of the text up to the bracket that closes its first one, both included; `None` where none does so near.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0u32;
    for (at, byte) in text.bytes().take(LONGEST_NOTE).enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_go_and_the_law_stays() {
        for (line, expected) in [
            (
                "Art. 5: Todos são iguais (nos termos desta lei). (Redação dada pela Lei nº 1.234, de 2001)",
                "Art. 5: Todos são iguais (nos termos desta lei).",
            ),
            (
                "II - o prazo de (dez) dias; (Incluído pela Lei nº 9, de 2011) (Vigência)",
                "II - o prazo de (dez) dias;",
            ),
            (
                "§ 2: (Revogado pela Lei nº 13.467, de 2017 (Vide ADI 5766))",
                "",
            ),
            ("Art. 10: (VETADO)", ""),
            ("Parágrafo único: (Revogado)", ""),
            ("IV - (Revogado).", ""),
            ("a) (vetado);", ""),
            ("(Vide Lei nº 8.078, de 1990)", ""),
            (
                "Art. 2: Fica revogado o art. 7 (Decreto nº 3).",
                "Art. 2: Fica revogado o art. 7 (Decreto nº 3).",
            ),
            ("Sem fim (Redação dada", "Sem fim (Redação dada"),
            ("Art. 7:", "Art. 7:"),
            (
                "o cargo. (Parágrafo incluído pela Lei nº 9, de 1997)",
                "o cargo.",
            ),
            (
                "o prazo (de dez dias (Incluído pela Lei nº 4)) corre",
                "o prazo (de dez dias) corre",
            ),
            (
                "as férias. (Incluído pela Lei nº\n7.855, de 24.10.1989)\n§ 3: O empregado",
                "as férias.\n§ 3: O empregado",
            ),
        ] {
            assert_eq!(without_notes(line), expected, "{line}");
        }
    }

    #[test]
    fn brackets_that_never_close_cost_no_more_than_others() {
        let text = "(".repeat(200_000);
        assert_eq!(without_notes(&text), text);
    }
}
