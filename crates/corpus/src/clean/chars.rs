//! Characters that are layout or accident rather than text.

/// What was taken out of the characters of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CharCounts {
    /// Control characters, invisible ones, and U+FFFD.
    pub(super) removed: u64,
    /// Soft hyphens.
    pub(super) soft_hyphens: u64,
}

/// Appends `line` to `out` with single blanks, none at its ends, and without control and invisible characters. A soft hyphen at the very end stays, for
/// whoever joins lines. Normalisation to NFC is left to the tokenizer.
pub(super) fn clean_line(line: &str, out: &mut String, counts: &mut CharCounts) {
    let base = out.len();
    let mut blank = false;
    for (at, c) in line.char_indices() {
        match c {
            ' '
            | '\t'
            | '\u{A0}'
            | '\u{2000}'..='\u{200A}'
            | '\u{202F}'
            | '\u{205F}'
            | '\u{3000}' => {
                blank = out.len() > base;
                continue;
            }
            '\u{AD}' => {
                counts.soft_hyphens += 1;
                if !line[at + 2..].trim().is_empty() {
                    continue;
                }
            }
            '\0'..='\u{1F}'
            | '\u{7F}'..='\u{9F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFFC}'
            | '\u{FFFD}' => {
                counts.removed += 1;
                continue;
            }
            _ => {}
        }
        if blank {
            out.push(' ');
            blank = false;
        }
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_controls_and_hyphens() {
        let (mut out, mut counts) = (String::new(), CharCounts::default());
        clean_line(
            " \u{FEFF}O\u{A0} rio\t\tSão\u{AD} Fran\u{AD}cisco\u{0}\u{200B}. ",
            &mut out,
            &mut counts,
        );
        assert_eq!(out, "O rio São Francisco.");
        assert_eq!(
            counts,
            CharCounts {
                removed: 3,
                soft_hyphens: 2
            }
        );
        out.clear();
        clean_line("exem\u{AD}", &mut out, &mut counts);
        assert_eq!(out, "exem\u{AD}");
    }
}
