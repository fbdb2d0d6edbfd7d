//! The last touch on a paragraph: blanks, punctuation left alone, empty brackets, and no two bytes that would read as markup.

use super::inline::{LONGEST_SWITCH, switch_end};
use super::scan::LINE_BREAK;
use crate::residue::glued_after_mark;

/// Bytes that are looked at; runs of others are copied.
const WATCHED: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 0x20 {
        table[b] = true;
        b += 1;
    }
    let marks = b" ,;:.!?()[]{}|<>'_";
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
    tidy_marks(src, out);
    part_sentences(out, base);
}

/// `fim.No dia` is `fim. No dia`: a blank that an editor forgot, or that stood in what was left out.
fn part_sentences(out: &mut Vec<u8>, base: usize) {
    let Ok(text) = std::str::from_utf8(&out[base..]) else {
        return;
    };
    let bytes = text.as_bytes();
    let glued: Vec<usize> = (1..bytes.len())
        .filter(|at| {
            matches!(bytes[at - 1], b'.' | b',' | b';' | b'!' | b'?')
                && (bytes[*at].is_ascii_uppercase() || bytes[*at] == 0xC3)
                && glued_after_mark(text, at - 1)
        })
        .collect();
    // From the end, so that every byte moves once.
    let mut end = out.len();
    out.resize(end + glued.len(), b' ');
    for (before, at) in glued.iter().enumerate().rev() {
        let from = base + at;
        out.copy_within(from..end, from + before + 1);
        out[from + before] = b' ';
        end = from;
    }
}

fn tidy_marks(src: &[u8], out: &mut Vec<u8>) {
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
                push_blank(out, base);
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
                // `< !--` does not become the beginning of a comment.
                if last_of(out, base) == Some(b'<') {
                    out.push(b' ');
                }
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
                    push_blank(out, base);
                } else {
                    push_mark(byte, out, base);
                }
            }
            b'{' | b'}' | b'|' => push_mark(byte, out, base),
            b'_' => {
                out.push(b'_');
                // A switch that came in as text, or in pieces.
                if let Some(start) = switch_start(out, base) {
                    out.truncate(start);
                    push_blank(out, base);
                }
            }
            // The end of a comment that has no beginning.
            b'>' if out[base..].ends_with(b"--") => {
                out.truncate(out.len() - 2);
                push_blank(out, base);
            }
            b'>' => out.push(b'>'),
            b'<' => {
                // A footnote's tag that came in as text would read as markup to whoever looks for residue.
                match reference_mark(&src[i..]) {
                    None => out.push(b'<'),
                    Some(length) => {
                        i += length;
                        while out[base..].ends_with(b"<") || out[base..].ends_with(b"</") {
                            out.pop();
                        }
                        push_blank(out, base);
                    }
                }
            }
            _ => {
                // Apostrophes in pairs are markup; alone they are not.
                let more = src[i..].iter().take_while(|b| **b == b'\'').count();
                i += more;
                let pair = last == Some(b'\'') || more > 0;
                if !pair {
                    out.push(b'\'');
                } else if last == Some(b'\'') {
                    out.pop();
                }
                // What was before and after a pair may not become a tag.
                if pair && (out[base..].ends_with(b"<") || out[base..].ends_with(b"</")) {
                    out.push(b' ');
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

/// Where the switch begins that `out` ends with.
fn switch_start(out: &[u8], base: usize) -> Option<usize> {
    let inside = out[base..].strip_suffix(b"__")?;
    let from = base + inside.len().saturating_sub(LONGEST_SWITCH);
    let start = from + memchr::memmem::rfind(&out[from..base + inside.len()], b"__")?;
    (switch_end(out, start) == Some(out.len())).then_some(start)
}

/// Length of `ref name=x>`, `/ref>` or `!--` after a `<`.
fn reference_mark(rest: &[u8]) -> Option<usize> {
    const LONGEST: usize = 200;
    if rest.starts_with(b"!--") {
        return Some(3);
    }
    let slash = usize::from(rest.first() == Some(&b'/'));
    let name = rest.get(slash..slash + 3)?;
    if !name.eq_ignore_ascii_case(b"ref") {
        return None;
    }
    let window = &rest[..rest.len().min(LONGEST)];
    Some(match memchr::memchr2(b'>', b'\n', window) {
        Some(at) if window[at] == b'>' => at + 1,
        _ => slash + 3,
    })
}

/// What stood around a mark that goes does not run together.
fn push_blank(out: &mut Vec<u8>, base: usize) {
    if !matches!(last_of(out, base), None | Some(b' ' | b'\n' | b'(' | b'[')) {
        out.push(b' ');
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
        Some(b'(' | b'[') if ends => out.extend_from_slice(b"..."),
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
        push_blank(out, base);
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
        assert_eq!(
            tidied("partiu.No dia seguinte,Ana (..) viu o sítio www.Xis.org"),
            "partiu. No dia seguinte, Ana (...) viu o sítio www.Xis.org"
        );
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
