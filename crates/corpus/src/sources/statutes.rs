//! Consolidated statutes as the federal government publishes them: what the law says, without the notes on which act changed it.

/// How a note begins, in lower case, with every gender and number by its stem.
#[rustfmt::skip]
const NOTES: &[&str] = &[
    "redação dada", "redação restabelecida", "redação do", "nova redação", "incluíd", "incluid", "acrescid", "acrescentad", "acrescent", "revogad",
    "renumerad", "renomead", "restabelecid", "suprimid", "substituíd", "transformad", "vide ", "vide)", "vetad", "vigência", "vigencia",
    "produção de efeito", "regulamento", "regulamentad", "promulgação", "promulgad", "mensagem de veto", "eficácia", "expirad", "publicad", "retificad",
    "mantid",
];

/// Whether the inside of a pair of brackets is a note. "VETADO" stands for a text that never was, "Revogado" for one that no longer is.
fn is_note(inside: &str) -> bool {
    let mut lower: String = inside
        .trim_start()
        .chars()
        .take(24)
        .flat_map(char::to_lowercase)
        .collect();
    lower.push(')');
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

/// The line without its notes, and nothing of a line of which only its label is left.
pub(crate) fn without_notes(line: &str) -> Option<String> {
    if !line.contains('(') {
        return Some(line.to_owned());
    }
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    let mut removed = false;
    while let Some(open) = rest.find('(') {
        let Some(length) = closing(&rest[open..]) else {
            break;
        };
        let inside = &rest[open + 1..open + length - 1];
        if is_note(inside) {
            kept.push_str(rest[..open].trim_end());
            removed = true;
        } else {
            kept.push_str(&rest[..open + length]);
        }
        rest = &rest[open + length..];
    }
    kept.push_str(rest);
    if !removed {
        return Some(kept);
    }
    let kept = kept.trim();
    if kept.is_empty() || is_bare_label(kept) {
        return None;
    }
    Some(kept.to_owned())
}

/// Length of the text up to the bracket that closes its first one, both included.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0u32;
    for (at, byte) in text.bytes().enumerate() {
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
                Some("Art. 5: Todos são iguais (nos termos desta lei)."),
            ),
            (
                "II - o prazo de (dez) dias; (Incluído pela Lei nº 9, de 2011) (Vigência)",
                Some("II - o prazo de (dez) dias;"),
            ),
            (
                "§ 2: (Revogado pela Lei nº 13.467, de 2017 (Vide ADI 5766))",
                None,
            ),
            ("Art. 10: (VETADO)", None),
            ("Parágrafo único: (Revogado)", None),
            ("IV - (Revogado).", None),
            ("a) (vetado);", None),
            ("(Vide Lei nº 8.078, de 1990)", None),
            (
                "Art. 2: Fica revogado o art. 7 (Decreto nº 3).",
                Some("Art. 2: Fica revogado o art. 7 (Decreto nº 3)."),
            ),
            ("Sem fim (Redação dada", Some("Sem fim (Redação dada")),
            ("Art. 7:", Some("Art. 7:")),
        ] {
            assert_eq!(without_notes(line).as_deref(), expected, "{line}");
        }
    }
}
