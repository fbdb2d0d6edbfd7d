//! Templates that stand for text, written out.

use super::template_table::Shows;
use super::templates::Args;

const MONTHS: [&str; 12] = [
    "janeiro",
    "fevereiro",
    "março",
    "abril",
    "maio",
    "junho",
    "julho",
    "agosto",
    "setembro",
    "outubro",
    "novembro",
    "dezembro",
];

/// Appends what the template shows; `false` when its arguments do not say enough. `before` is the text that stands before it.
pub(super) fn render(shows: Shows, args: Args<'_>, before: &[u8], out: &mut Vec<u8>) -> bool {
    match shows {
        Shows::Nothing | Shows::Pipe | Shows::Disambiguation | Shows::PageTitle => true,
        Shows::Text(text) => push(out, text),
        Shows::Arg(n) => push_some(out, args.get(n)),
        Shows::LastArg => push_some(out, args.positional().last().unwrap_or("")),
        Shows::Foreign => {
            let second = args.get(2);
            push_some(
                out,
                if second.is_empty() {
                    args.get(1)
                } else {
                    second
                },
            )
        }
        Shows::InLanguage("") => {
            let language = language_name(args.get(1));
            in_language(language, args.get(2), out)
        }
        Shows::InLanguage(language) => in_language(Some(language), args.get(1), out),
        Shows::Interlanguage => {
            let code = |a: &&str| !(a.len() <= 3 && a.bytes().all(|b| b.is_ascii_lowercase()));
            push_some(out, args.positional().find(code).unwrap_or(""))
        }
        Shows::Number => push_number(args.get(1), out),
        Shows::Quantity => quantity(args, out),
        Shows::Date => date(args, out),
        Shows::Century => century(args, before, out),
        Shows::Era(era) => {
            if push_some(out, args.get(1)) {
                out.push(b' ');
            }
            push(out, era)
        }
        Shows::Money(sign) => {
            push(out, sign);
            let amount = args.get(1);
            if !amount.is_empty() {
                out.push(b' ');
                push(out, amount);
            }
            true
        }
        Shows::Quotation => quotation(args, out),
    }
}

fn push(out: &mut Vec<u8>, text: &str) -> bool {
    out.extend_from_slice(text.as_bytes());
    true
}

fn push_some(out: &mut Vec<u8>, text: &str) -> bool {
    out.extend_from_slice(text.as_bytes());
    !text.is_empty()
}

/// `{{formatnum:…}}`, `{{lc:…}}` and their like; `false` for what cannot be evaluated.
pub(super) fn parser_function(raw: &str, name: &str, out: &mut Vec<u8>) -> bool {
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
        "#language" | "#idioma" => {
            language_name(argument).is_some_and(|language| push(out, language))
        }
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

fn quantity(args: Args<'_>, out: &mut Vec<u8>) -> bool {
    let number = args.get(1);
    // In the Portuguese templates a point before three digits groups them.
    let grouped = number.split_once('.').is_some_and(|(_, f)| f.len() == 3);
    if number.is_empty()
        || !(if grouped {
            push(out, number)
        } else {
            push_number(number, out)
        })
    {
        return false;
    }
    let unit = match args.get(2) {
        "" => return true,
        "km2" | "sqkm" => "km²",
        "m2" | "sqm" => "m²",
        "m3" => "m³",
        "km3" => "km³",
        "mi2" | "sqmi" => "mi²",
        "C" | "°C" => "°C",
        "F" | "°F" => "°F",
        "ft" => "pés",
        "in" => "polegadas",
        "mi" => "milhas",
        "lb" => "libras",
        "acre" => "acres",
        other => other,
    };
    out.push(b' ');
    push(out, unit)
}

/// Day, month and year in any order and number: `15|11|1889`, `1889|11|15`, `11|1889`, `1889`.
fn date(args: Args<'_>, out: &mut Vec<u8>) -> bool {
    let mut parts = args.positional();
    let three = [
        parts.next().unwrap_or(""),
        parts.next().unwrap_or(""),
        parts.next().unwrap_or(""),
    ];
    let number = |s: &str| s.parse::<u32>().ok();
    let year_first = number(three[0]).is_some_and(|n| n > 31);
    let [first, second, third] = three;
    let (day, month, year) = match (year_first, second.is_empty(), third.is_empty()) {
        (_, true, true) => ("", "", first),
        (true, _, _) => (third, second, first),
        (false, false, true) if number(second).is_some_and(|n| n > 31) => ("", first, second),
        _ => (first, second, third),
    };
    let month = match number(month) {
        Some(n @ 1..=12) => MONTHS[n as usize - 1],
        Some(_) => return false,
        None => month,
    };
    let day = if day.starts_with('0') {
        day.trim_start_matches('0')
    } else {
        day
    };
    let day = if day == "1" { "1º" } else { day };
    let mut any = false;
    for part in [day, month, year] {
        if part.is_empty() {
            continue;
        }
        if any {
            push(out, " de ");
        }
        push(out, part);
        any = true;
    }
    // A lone year has to look like one: other templates share the name.
    any && (!month.is_empty() || number(year).is_some_and(|y| (1..=9999).contains(&y)))
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

fn quotation(args: Args<'_>, out: &mut Vec<u8>) -> bool {
    let text = args.named(&[
        "texto",
        "text",
        "quote",
        "citação",
        "citacao",
        "frase",
        "conteúdo",
    ]);
    let mut free = args.positional();
    let text = text.or_else(|| free.next()).unwrap_or("");
    if text.is_empty() {
        return false;
    }
    out.push(b'\n');
    push(out, text);
    let author = args
        .named(&["autor", "author", "fonte", "source", "sign"])
        .or_else(|| free.next())
        .unwrap_or("");
    if !author.is_empty() && author.len() < 200 && author.bytes().all(|b| b >= b' ') {
        push(out, " — ");
        push(out, author);
    }
    out.push(b'\n');
    true
}

fn in_language(language: Option<&str>, text: &str, out: &mut Vec<u8>) -> bool {
    let Some(language) = language.filter(|_| !text.is_empty()) else {
        return false;
    };
    push(out, "em ");
    push(out, language);
    push(out, ": ");
    push(out, text)
}

fn language_name(code: &str) -> Option<&'static str> {
    Some(match code.trim() {
        "en" => "inglês",
        "es" => "espanhol",
        "fr" => "francês",
        "de" => "alemão",
        "it" => "italiano",
        "pt" | "pt-br" => "português",
        "la" => "latim",
        "el" => "grego",
        "grc" => "grego antigo",
        "ru" => "russo",
        "uk" => "ucraniano",
        "pl" => "polonês",
        "nl" => "neerlandês",
        "ja" => "japonês",
        "zh" => "chinês",
        "ko" => "coreano",
        "ar" => "árabe",
        "fa" => "persa",
        "he" => "hebraico",
        "hi" => "hindi",
        "sa" => "sânscrito",
        "tr" => "turco",
        "ca" => "catalão",
        "gl" => "galego",
        "eu" => "basco",
        "sv" => "sueco",
        "da" => "dinamarquês",
        "no" | "nb" => "norueguês",
        "fi" => "finlandês",
        "hu" => "húngaro",
        "ro" => "romeno",
        "cs" => "tcheco",
        "bg" => "búlgaro",
        "sr" => "sérvio",
        "hr" => "croata",
        "tpn" => "tupinambá",
        "tpw" | "tupi" => "tupi",
        "gn" => "guarani",
        "yrl" => "nheengatu",
        "yo" => "iorubá",
        "kmb" => "quimbundo",
        _ => return None,
    })
}
