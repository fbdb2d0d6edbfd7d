//! Templates that stand for text, written out.

use super::dates;
use super::tags::push_raised;
use super::template_table::{Argument, Piece, TemplateTable};
use super::templates::Args;

/// What a template is rendered from.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) table: &'a TemplateTable,
    pub(super) args: Args<'a>,
    /// The text before it.
    pub(super) before: &'a [u8],
    /// The title of the page.
    pub(super) title: &'a str,
}

/// Appends the first of `patterns` that has all it needs; `false` when none has.
pub(super) fn render(patterns: &[Vec<Piece>], context: Context<'_>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    patterns.iter().any(|pieces| {
        out.truncate(start);
        let whole = pieces.iter().all(|piece| push_piece(piece, context, out));
        if !whole {
            out.truncate(start);
        }
        whole
    })
}

fn push_piece(piece: &Piece, context: Context<'_>, out: &mut Vec<u8>) -> bool {
    let Context { table, args, .. } = context;
    match piece {
        Piece::Text(text) => push(out, text),
        Piece::Argument(names) => {
            let value = names.iter().find_map(|name| {
                let value = match name {
                    Argument::Place(place) => args.get(*place),
                    Argument::Last => args.positional().last().unwrap_or(""),
                    Argument::Named(name) => args.named(name),
                };
                (!value.is_empty()).then_some(value)
            });
            push_some(out, value.unwrap_or(""))
        }
        Piece::Number => push_number(args.get(1), out),
        Piece::Quantity => quantity(table, args, out),
        Piece::Date => dates::date(args, out),
        Piece::Death => dates::death(args, out),
        Piece::Century => century(args, context.before, out),
        Piece::Duration => duration(args, out),
        Piece::Raised => raised(args.get(1), out),
        Piece::Joined => args.positional().filter(|arg| push_some(out, arg)).count() > 0,
        Piece::Language => table
            .language(args.get(1))
            .is_some_and(|name| push(out, name)),
        Piece::Country => push_some(out, table.country(args.get(1)).unwrap_or(args.get(1))),
        Piece::Interlanguage => {
            let code = |a: &&str| !(a.len() <= 3 && a.bytes().all(|b| b.is_ascii_lowercase()));
            push_some(out, args.positional().find(code).unwrap_or(""))
        }
        Piece::Title => push_some(out, context.title),
    }
}

pub(super) fn push(out: &mut Vec<u8>, text: &str) -> bool {
    out.extend_from_slice(text.as_bytes());
    true
}

fn push_some(out: &mut Vec<u8>, text: &str) -> bool {
    out.extend_from_slice(text.as_bytes());
    !text.is_empty()
}

/// `{{formatnum:…}}`, `{{lc:…}}` and their like; `false` for what cannot be evaluated.
pub(super) fn parser_function(
    table: &TemplateTable,
    raw: &str,
    name: &str,
    out: &mut Vec<u8>,
) -> bool {
    let (Some((function, _)), Some((_, argument))) = (name.split_once(':'), raw.split_once(':'))
    else {
        return false;
    };
    let argument = argument.trim();
    match function.trim() {
        "formatnum" | "formatarnum" | "formatarnumero" => push_number(argument, out),
        "lc" | "minúscula" | "minúsculas" => push(out, &argument.to_lowercase()),
        "uc" | "maiúscula" | "maiúsculas" => push(out, &argument.to_uppercase()),
        "ucfirst" | "primeiramaiúscula" => push_first(argument, out, true),
        "lcfirst" | "primeiraminúscula" => push_first(argument, out, false),
        "#language" | "#idioma" => table
            .language(argument)
            .is_some_and(|language| push(out, language)),
        _ => false,
    }
}

fn push_first(text: &str, out: &mut Vec<u8>, upper: bool) -> bool {
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return false;
    };
    let changed: String = if upper {
        first.to_uppercase().collect()
    } else {
        first.to_lowercase().collect()
    };
    push(out, &changed);
    push(out, chars.as_str())
}

/// Groups the digits of a number as machines write it: `1234567.89` becomes `1.234.567,89`. Numbers written for people stay as they are.
fn push_number(text: &str, out: &mut Vec<u8>) -> bool {
    let (sign, digits) = match text.strip_prefix(['-', '−']) {
        Some(rest) => ("−", rest),
        None => ("", text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return push_some(out, text);
    }
    push(out, sign);
    let bytes = whole.as_bytes();
    for (n, byte) in bytes.iter().enumerate() {
        if n > 0 && (bytes.len() - n).is_multiple_of(3) {
            out.push(b'.');
        }
        out.push(*byte);
    }
    if !fraction.is_empty() {
        out.push(b',');
        push(out, fraction);
    }
    true
}

fn quantity(table: &TemplateTable, args: Args<'_>, out: &mut Vec<u8>) -> bool {
    let number = args.get(1);
    // In the Portuguese templates a point before three digits groups them.
    let grouped = number.split_once('.').is_some_and(|(_, f)| f.len() == 3);
    let whole = match grouped {
        true => push(out, number),
        false => push_number(number, out),
    };
    let unit = ["u", "ul", "unidade"]
        .iter()
        .map(|name| args.named(name))
        .find(|unit| !unit.is_empty())
        .unwrap_or(args.get(2));
    if whole && !unit.is_empty() {
        out.push(b' ');
        push(out, table.unit(unit));
    }
    whole
}

/// `3:05`, `1:02:30`: hours, minutes and seconds by name, or in order.
fn duration(args: Args<'_>, out: &mut Vec<u8>) -> bool {
    let named = ["h", "m", "s"].map(|name| args.named(name));
    let parts: Vec<&str> = match named.iter().any(|part| !part.is_empty()) {
        true => named.to_vec(),
        false => args.positional().take(3).collect(),
    };
    let mut any = false;
    for part in parts.iter().skip_while(|part| part.is_empty()) {
        if part.len() > 4 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return false;
        }
        match (any, part.len()) {
            (false, _) => {}
            (true, 0) => {
                push(out, ":00");
                continue;
            }
            (true, 1) => {
                push(out, ":0");
            }
            (true, _) => {
                push(out, ":");
            }
        }
        any |= push(out, part);
    }
    any
}

/// `24` is ²⁴; other text stays as it is.
fn raised(text: &str, out: &mut Vec<u8>) -> bool {
    let digits = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'-' || b == b'+');
    if !digits {
        return push_some(out, text);
    }
    for byte in text.bytes() {
        push_raised(out, byte);
    }
    !text.is_empty()
}

fn century(args: Args<'_>, before: &[u8], out: &mut Vec<u8>) -> bool {
    let which = args.get(1);
    if which.is_empty() {
        return false;
    }
    let said = [
        &b"culo "[..],
        b"culos ",
        b"culo\xC2\xA0",
        "séc. ".as_bytes(),
    ]
    .iter()
    .any(|word| before.ends_with(word));
    if !said {
        push(out, "século ");
    }
    match which.parse::<u32>() {
        Ok(n @ 1..=40) => push_roman(n, out),
        _ => out.extend_from_slice(which.to_uppercase().as_bytes()),
    }
    match args.get(2).to_lowercase().as_str() {
        "a.c." | "ac" | "a.c" | "a" => push(out, " a.C."),
        _ => true,
    }
}

fn push_roman(mut n: u32, out: &mut Vec<u8>) {
    for (value, letters) in [
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ] {
        while n >= value {
            n -= value;
            push(out, letters);
        }
    }
}
