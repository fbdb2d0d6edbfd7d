//! Character references, also double-encoded ones, and characters that are layout rather than text.

/// The HTML names that occur in wikitext; sorted by name for binary search.
#[rustfmt::skip]
const NAMED: &[(&str, char)] = &[
    ("AElig", 'Æ'), ("Aacute", 'Á'), ("Acirc", 'Â'), ("Agrave", 'À'), ("Alpha", 'Α'), ("Aring", 'Å'), ("Atilde", 'Ã'), ("Auml", 'Ä'),
    ("Beta", 'Β'), ("Ccedil", 'Ç'), ("Dagger", '‡'), ("Delta", 'Δ'), ("Eacute", 'É'), ("Ecirc", 'Ê'), ("Egrave", 'È'), ("Euml", 'Ë'),
    ("Gamma", 'Γ'), ("Iacute", 'Í'), ("Icirc", 'Î'), ("Lambda", 'Λ'), ("Ntilde", 'Ñ'), ("Oacute", 'Ó'), ("Ocirc", 'Ô'), ("Omega", 'Ω'),
    ("Oslash", 'Ø'), ("Otilde", 'Õ'), ("Ouml", 'Ö'), ("Phi", 'Φ'), ("Pi", 'Π'), ("Prime", '″'), ("Psi", 'Ψ'), ("Sigma", 'Σ'),
    ("Theta", 'Θ'), ("Uacute", 'Ú'), ("Uuml", 'Ü'), ("aacute", 'á'), ("acirc", 'â'), ("acute", '´'), ("aelig", 'æ'), ("agrave", 'à'),
    ("alpha", 'α'), ("amp", '&'), ("apos", '\''), ("aring", 'å'), ("asymp", '≈'), ("atilde", 'ã'), ("auml", 'ä'), ("bdquo", '„'),
    ("beta", 'β'), ("bull", '•'), ("ccedil", 'ç'), ("cent", '¢'), ("chi", 'χ'), ("copy", '©'), ("dagger", '†'), ("darr", '↓'),
    ("deg", '°'), ("delta", 'δ'), ("divide", '÷'), ("eacute", 'é'), ("ecirc", 'ê'), ("egrave", 'è'), ("emsp", ' '), ("ensp", ' '),
    ("epsilon", 'ε'), ("equiv", '≡'), ("eta", 'η'), ("euml", 'ë'), ("euro", '€'), ("fnof", 'ƒ'), ("frac12", '½'), ("frac14", '¼'),
    ("frac34", '¾'), ("frasl", '⁄'), ("gamma", 'γ'), ("ge", '≥'), ("gt", '>'), ("harr", '↔'), ("hellip", '…'), ("iacute", 'í'),
    ("icirc", 'î'), ("iexcl", '¡'), ("infin", '∞'), ("int", '∫'), ("iota", 'ι'), ("iquest", '¿'), ("iuml", 'ï'), ("kappa", 'κ'),
    ("lambda", 'λ'), ("laquo", '«'), ("larr", '←'), ("ldquo", '“'), ("le", '≤'), ("lrm", '\u{200E}'), ("lsaquo", '‹'), ("lsquo", '‘'),
    ("lt", '<'), ("mdash", '—'), ("micro", 'µ'), ("middot", '·'), ("minus", '−'), ("mu", 'μ'), ("nbsp", '\u{A0}'), ("ndash", '–'),
    ("ne", '≠'), ("ntilde", 'ñ'), ("nu", 'ν'), ("oacute", 'ó'), ("ocirc", 'ô'), ("oelig", 'œ'), ("omega", 'ω'), ("ordf", 'ª'),
    ("ordm", 'º'), ("oslash", 'ø'), ("otilde", 'õ'), ("ouml", 'ö'), ("para", '¶'), ("permil", '‰'), ("phi", 'φ'), ("pi", 'π'),
    ("plusmn", '±'), ("pound", '£'), ("prime", '′'), ("psi", 'ψ'), ("quot", '"'), ("radic", '√'), ("raquo", '»'), ("rarr", '→'),
    ("rdquo", '”'), ("reg", '®'), ("rho", 'ρ'), ("rlm", '\u{200F}'), ("rsaquo", '›'), ("rsquo", '’'), ("sbquo", '‚'), ("sdot", '⋅'),
    ("sect", '§'), ("shy", '\u{AD}'), ("sigma", 'σ'), ("sum", '∑'), ("sup1", '¹'), ("sup2", '²'), ("sup3", '³'), ("szlig", 'ß'),
    ("tau", 'τ'), ("theta", 'θ'), ("thinsp", ' '), ("times", '×'), ("trade", '™'), ("uacute", 'ú'), ("uarr", '↑'), ("ucirc", 'û'),
    ("ugrave", 'ù'), ("uml", '¨'), ("upsilon", 'υ'), ("uuml", 'ü'), ("xi", 'ξ'), ("yen", '¥'), ("zeta", 'ζ'), ("zwj", '\u{200D}'),
    ("zwnj", '\u{200C}'),
];

/// Longest name or number between `&` and `;`.
const MAX_NAME: usize = 10;

/// The character that `&…;` at `at` stands for and the position after it; `None` when it is only an ampersand. Resolves `&amp;nbsp;` and deeper
/// ones to the end, each byte once.
pub(super) fn decode(src: &[u8], at: usize) -> Option<(char, usize)> {
    let mut next = at + 1;
    let mut ampersand = None;
    loop {
        let window = &src[next..src.len().min(next + MAX_NAME + 1)];
        let found = memchr::memchr(b';', window)
            .and_then(|len| one(&window[..len]).map(|c| (c, next + len + 1)));
        match found {
            // What follows may be the rest of a reference that was encoded twice.
            Some(('&', end)) => {
                ampersand = Some(('&', end));
                next = end;
            }
            Some(answer) => return Some(answer),
            None => return ampersand,
        }
    }
}

fn one(name: &[u8]) -> Option<char> {
    let name = std::str::from_utf8(name).ok()?;
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    NAMED
        .binary_search_by(|(n, _)| n.cmp(&name))
        .ok()
        .map(|at| NAMED[at].1)
}

/// Appends `c` unless it is invisible; all kinds of blanks become a space.
pub(super) fn push_char(out: &mut Vec<u8>, c: char) {
    match c {
        '\n' | '\t' | '\r' => out.push(b' '),
        '\u{A0}'
        | '\u{2000}'..='\u{200A}'
        | '\u{202F}'
        | '\u{205F}'
        | '\u{3000}'
        | '\u{2028}'
        | '\u{2029}' => out.push(b' '),
        '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{AD}' => {}
        '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}'
        | '\u{FFFC}'
        | '\u{FFFD}' => {}
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted() {
        assert!(NAMED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(NAMED.iter().all(|(name, _)| name.len() <= MAX_NAME));
    }

    #[test]
    fn single_double_and_none() {
        assert_eq!(decode(b"&nbsp;x", 0), Some(('\u{A0}', 6)));
        assert_eq!(decode(b"&amp;amp;ndash;x", 0), Some(('–', 15)));
        assert_eq!(decode(b"&#8211;", 0), Some(('–', 7)));
        assert_eq!(decode(b"&#xE9;", 0), Some(('é', 6)));
        assert_eq!(decode(b"&amp;T", 0), Some(('&', 5)));
        assert_eq!(decode(b"A & B; C", 2), None);
        assert_eq!(decode(b"&#99999999;", 0), None);
    }
}
