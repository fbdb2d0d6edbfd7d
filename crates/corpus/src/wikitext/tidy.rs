//! The last touch on a paragraph: blanks, punctuation left alone, empty brackets, and no two bytes that would read as markup.

use super::scan::LINE_BREAK;

/// Bytes that are looked at; runs of others are copied.
const WATCHED: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 0x20 {
        table[b] = true;
        b += 1;
    }
    let marks = b" ,;:.!?()[]{}|<'";
    let mut n = 0;
    while n < marks.len() {
        table[marks[n] as usize] = true;
        n += 1;
    }
    table
};

/// Appends the paragraph `src` to `out`, tidied. Nothing is appended when nothing but marks is left.
pub(super) fn tidy(src: &[u8], out: &mut Vec<u8>) {
    let base = out.len();
    let mut i = 0;
    while i < src.len() {
        let run = i;
        while i < src.len() && !WATCHED[src[i] as usize] {
            i += 1;
        }
        out.extend_from_slice(&src[run..i]);
        let Some(&byte) = src.get(i) else { break };
        let next = src.get(i + 1).copied();
        i += 1;
        let last = if out.len() > base {
            out.last().copied()
        } else {
            None
        };
        match byte {
            b' ' => {
                if !matches!(last, None | Some(b' ' | b'\n' | b'(' | b'[')) {
                    out.push(b' ');
                }
            }
            LINE_BREAK => {
                trim_blank(out, base);
                if out.len() > base && out.last() != Some(&b'\n') {
                    out.push(b'\n');
                }
            }
            0..0x20 => {}
            b',' | b';' => {
                trim_blank(out, base);
                match last_of(out, base) {
                    None | Some(b'(' | b'[' | b'\n') => {}
                    Some(b',') => {
                        if byte == b';' {
                            out.pop();
                            out.push(b';');
                        }
                    }
                    Some(b';') => {}
                    Some(_) => out.push(byte),
                }
            }
            b':' => {
                if next.is_none_or(|b| b == b' ') {
                    trim_blank(out, base);
                }
                if !matches!(last_of(out, base), None | Some(b'(' | b'[')) {
                    out.push(b':');
                }
            }
            b'.' => {
                let dots = 1 + src[i..].iter().take_while(|b| **b == b'.').count();
                i += dots - 1;
                full_stop(src.get(i).copied(), dots, out, base);
            }
            b'!' | b'?' => {
                trim_blank(out, base);
                out.push(byte);
            }
            b'(' | b'[' => {
                push_mark(byte, out, base);
            }
            b')' | b']' => {
                let open = if byte == b')' { b'(' } else { b'[' };
                // `f()` is a function; ` ()` is where something stood.
                let call = src.get(i.wrapping_sub(2)) == Some(&open)
                    && out.len() >= base + 2
                    && out[out.len() - 1] == open
                    && (out[out.len() - 2].is_ascii_alphanumeric() || out[out.len() - 2] == b'_');
                trim_blank(out, base);
                while matches!(last_of(out, base), Some(b',' | b';')) {
                    out.pop();
                    trim_blank(out, base);
                }
                if last_of(out, base) == Some(open) && !call {
                    out.pop();
                } else {
                    push_mark(byte, out, base);
                }
            }
            b'{' | b'}' | b'|' => push_mark(byte, out, base),
            b'<' => {
                // A tag's name that came in as text would read as a tag to whoever looks for residue.
                let rest = &src[i..];
                let rest = rest.strip_prefix(b"/").unwrap_or(rest);
                let reference = rest.len() >= 3 && rest[..3].eq_ignore_ascii_case(b"ref");
                if !reference && !rest.starts_with(b"!--") {
                    out.push(b'<');
                } else {
                    while last_of(out, base) == Some(b'<') {
                        out.pop();
                    }
                }
            }
            _ => {
                // Apostrophes in pairs are markup; alone they are not.
                let more = src[i..].iter().take_while(|b| **b == b'\'').count();
                i += more;
                if last == Some(b'\'') {
                    out.pop();
                } else if more == 0 {
                    out.push(b'\'');
                }
            }
        }
    }
    trim_end(out, base);
    let has_text =
        std::str::from_utf8(&out[base..]).is_ok_and(|t| t.chars().any(char::is_alphanumeric));
    if !has_text {
        out.truncate(base);
    }
}

fn last_of(out: &[u8], base: usize) -> Option<u8> {
    if out.len() > base {
        out.last().copied()
    } else {
        None
    }
}

fn trim_blank(out: &mut Vec<u8>, base: usize) {
    while last_of(out, base) == Some(b' ') {
        out.pop();
    }
}

fn trim_end(out: &mut Vec<u8>, base: usize) {
    while matches!(last_of(out, base), Some(b' ' | b'\n' | b',')) {
        out.pop();
    }
}

/// `next` is what follows the dots.
fn full_stop(next: Option<u8>, dots: usize, out: &mut Vec<u8>, base: usize) {
    // " .NET" keeps its blank.
    let ends = next.is_none_or(|b| !b.is_ascii_alphanumeric());
    let blank = last_of(out, base) == Some(b' ');
    if ends && dots == 1 {
        trim_blank(out, base);
        while matches!(last_of(out, base), Some(b',' | b';')) {
            out.pop();
            trim_blank(out, base);
        }
    }
    match last_of(out, base) {
        None => {
            if !ends || dots > 1 {
                out.extend_from_slice(&b"..."[..dots.min(3)]);
            }
        }
        // "séc. XX." whose century was left out, "etc..": one stop is enough.
        Some(b'.' | b'!' | b'?') if dots <= 2 && (ends || !blank) => {}
        Some(b'(' | b'[') if dots == 1 && ends => {}
        Some(_) => out.extend_from_slice(match dots {
            1 | 2 => b".",
            _ => b"...",
        }),
    }
}

/// Adds one of `()[]{}|` unless it makes a pair that reads as markup; then both go.
fn push_mark(byte: u8, out: &mut Vec<u8>, base: usize) {
    let pair = matches!(
        (last_of(out, base), byte),
        (Some(b'{'), b'{' | b'|')
            | (Some(b'}'), b'}')
            | (Some(b'|'), b'}' | b'|')
            | (Some(b'['), b'[')
            | (Some(b']'), b']')
    );
    if pair {
        out.pop();
    } else {
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::tidy;

    fn tidied(text: &str) -> String {
        let mut out = Vec::new();
        tidy(text.as_bytes(), &mut out);
        String::from_utf8(out).expect("tidying keeps UTF-8")
    }

    #[test]
    fn residue_of_what_was_left_out() {
        assert_eq!(
            tidied("Machado de Assis ( ; ) nasceu no Rio ."),
            "Machado de Assis nasceu no Rio."
        );
        assert_eq!(
            tidied("Ana (, 1900 – ) e Bia ( ,; ), poetas"),
            "Ana (1900 –) e Bia, poetas"
        );
        assert_eq!(
            tidied("o rio , , a serra , . O mar"),
            "o rio, a serra. O mar"
        );
        assert_eq!(tidied("Fim.. Mais ... e etc.."), "Fim. Mais ... e etc.");
        assert_eq!(tidied(", começa aqui"), "começa aqui");
    }

    #[test]
    fn what_is_meant_stays() {
        assert_eq!(
            tidied("usa .NET e printf() em C"),
            "usa .NET e printf() em C"
        );
        assert_eq!(
            tidied("São Paulo (cidade) [sic] fim"),
            "São Paulo (cidade) [sic] fim"
        );
        assert_eq!(tidied("d'água às 10:30"), "d'água às 10:30");
    }

    #[test]
    fn no_pair_reads_as_markup() {
        assert_eq!(tidied("a [{{[ b"), "a b");
        assert_eq!(tidied("x {{ y }} z {| w |} ''' v"), "x y z w v");
    }

    #[test]
    fn only_marks_is_nothing() {
        assert_eq!(tidied(" ( ; ) . | "), "");
    }
}
