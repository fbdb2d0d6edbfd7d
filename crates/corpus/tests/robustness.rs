//! Any input: no panic, no residue of markup, work linear in the length. Real fragments are read from `PTBR_DATA` (the data folder) when it is set.

mod support;

use std::path::PathBuf;

use proptest::prelude::*;
use ptbr_corpus::WikiCleaner;
use support::markup_left;

fn clean(wikitext: &str) -> (String, u64) {
    let mut text = String::new();
    let outcome = WikiCleaner::default().clean("página", wikitext, &mut text);
    (text, outcome.steps)
}

/// Pieces of wikitext, whole and broken, that meet in random order.
fn piece() -> impl Strategy<Value = String> {
    let marks: Vec<&'static str> = vec![
        "{{",
        "}}",
        "{{{",
        "}}}",
        "[[",
        "]]",
        "[[[",
        "]]]",
        "{|",
        "|}",
        "|}}",
        "|-",
        "|",
        "||",
        "!",
        "!!",
        "\n",
        "\n\n",
        "\n{|",
        "\n|}",
        "\n|-\n",
        "\n| ",
        "\n*",
        "\n#",
        "\n;",
        "\n:",
        "\n==",
        "==\n",
        "''",
        "'''",
        "'''''",
        "<ref>",
        "</ref>",
        "<ref name=\"a>b\" />",
        "<ref name=x",
        "<!--",
        "-->",
        "<nowiki>",
        "</nowiki>",
        "<math>",
        "</math>",
        "<br>",
        "<sup>",
        "</sup>",
        "<poem>",
        "</poem>",
        "<gallery>",
        "</gallery>",
        "<div",
        ">",
        "<",
        "&amp;nbsp;",
        "&#8211;",
        "&lt;ref&gt;",
        "&",
        ";",
        "__SEMTDC__",
        "__",
        "http://x.org/a ",
        "[http://x ",
        "]",
        "[",
        "Ficheiro:a.jpg",
        "Categoria:B",
        "en:C",
        "nowrap|",
        "dtlink|1|2|1900",
        "citação|texto",
        "séc|XIX",
        "#if:x|y",
        "formatnum:1234.5",
        "!}}",
        "nome=",
        "(",
        ")",
        "( ; )",
        " , .",
        "de ",
        "população de ",
        " habitantes.",
        "Sr. ",
        "O rio corre. ",
        "São Paulo",
        "é",
        "\u{AD}",
        "\u{200B}",
        "\u{FEFF}",
        "\u{1}",
        "\u{5}",
        "\t",
        "日本",
        "𝄞",
        "#REDIRECT [[x]]",
        "'",
        "_",
        "{",
        "}",
        "== Referências ==\n",
        "* [[a]]\n",
        "…",
        "”",
        "“",
    ];
    prop_oneof![8 => proptest::sample::select(marks).prop_map(String::from), 2 => "[a-zà-ü ]{0,12}", 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_wikitext_is_cleaned(pieces in proptest::collection::vec(piece(), 0..60)) {
        let wikitext = pieces.concat();
        let (text, steps) = clean(&wikitext);
        prop_assert!(markup_left(&text).is_none(), "{:?} left of {:?} in {:?}", markup_left(&text), wikitext, text);
        prop_assert!(text.lines().all(|line| !line.trim().is_empty()), "a blank line in {:?}", text);
        prop_assert!(steps < 200 * (wikitext.len() as u64 + 10));
    }
}

/// Units whose repetition has brought cleaners down.
const HOSTILE: &[&str] = &[
    "{{",
    "}}",
    "{{{",
    "[[",
    "]]",
    "[[[",
    "{|",
    "\n{|",
    "\n{|\n|",
    "<ref>",
    "<ref name=\"",
    "</ref>",
    "'''",
    "''",
    "''x",
    "<!--",
    "<math>",
    "<math></x>",
    "<nowiki>",
    "<a \"",
    "<a '\"",
    "<br ",
    "&amp;",
    "&",
    "(",
    ")",
    "({{x}}",
    "(((({{x}})",
    "{{a|",
    "{{nowrap|",
    "{{nowrap|[[",
    "[[a|",
    "[http://x ",
    "{{{a|",
    "__A",
    "\n",
    "\n ",
    "\n*",
    "\n==",
    "==\n",
    "== Referências ==\n",
    "\n:{|",
    "\n|}",
    "|}}",
    "http://",
    "{{!}}",
    "[[{{!}}",
    "<sup>",
    "<poem>",
    "<li>",
    ". ",
    "{{x}}. ",
    "de {{x}}",
    "a.{{x}} ",
    "\u{A0}",
    "É",
    ", ",
    "( ; ",
    "<ref/>",
    "<ref><ref/>",
    "{{#if:",
    "-{{",
    "}}{{",
    "]][[",
    "<gallery>\n",
    ":",
    "_",
    "'",
];

#[test]
fn work_grows_with_the_length_and_no_faster() {
    for unit in HOSTILE {
        let steps = |bytes: usize| clean(&unit.repeat(bytes / unit.len())).1;
        let (small, large) = (steps(100_000), steps(800_000));
        assert!(
            large <= 9 * small + 10_000,
            "{unit:?}: {small} steps for 100 KB, {large} for 800 KB"
        );
        assert!(large <= 80 * 800_000, "{unit:?}: {large} steps for 800 KB");
    }
}

#[test]
fn openings_and_their_closings_in_great_number() {
    for (open, close) in [
        ("{{", "}}"),
        ("{{a|", "}}"),
        ("[[", "]]"),
        ("\n{|\n|", "\n|}"),
        ("{{{", "}}}"),
        ("{{nowrap|", "}}"),
        ("(", ")"),
    ] {
        let page = |n: usize| {
            format!(
                "Início do texto. {}meio{} Fim do texto.",
                open.repeat(n),
                close.repeat(n)
            )
        };
        let (small, large) = (clean(&page(5_000)).1, clean(&page(40_000)).1);
        assert!(
            large <= 9 * small + 10_000,
            "{open:?}…{close:?}: {small} steps, then {large}"
        );
        let (text, _) = clean(&page(5_000));
        assert!(text.starts_with("Início do texto."), "{open:?}: {text:.80}");
        assert_eq!(markup_left(&text), None, "{open:?}");
    }
}

#[test]
fn sixty_four_megabytes_of_openings_end() {
    for unit in ["{{", "[[", "\n{|", "<ref>", "'''"] {
        let page = format!("O texto antes. {}", unit.repeat((64 << 20) / unit.len()));
        let (text, steps) = clean(&page);
        assert!(text.len() < 100, "{unit:?} left {} bytes", text.len());
        assert!(text.starts_with("O texto antes."), "{unit:?}: {text:.60}");
        assert!(steps < 40 * page.len() as u64, "{unit:?}: {steps} steps");
    }
}

#[test]
fn real_fragments_leave_no_markup() {
    let Some(data) = std::env::var_os("PTBR_DATA").map(PathBuf::from) else {
        println!(
            "PTBR_DATA is not set: the Wiktionary fragments are not read; the golden pages stand for them"
        );
        return;
    };
    let folder = data.join("wikidump/ptwiktionary_wikitext");
    let mut read = 0;
    for entry in std::fs::read_dir(&folder).expect("the data folder holds the fragments") {
        let path = entry.expect("a readable folder").path();
        let wikitext = std::fs::read_to_string(&path).expect("a readable fragment");
        let (text, _) = clean(&wikitext);
        assert_eq!(markup_left(&text), None, "{}: {text}", path.display());
        read += 1;
    }
    assert!(read >= 50, "{read} fragments");
}

/// Found by the mutated pages: what a later mark takes back from the output may belong to something that is still open.
#[test]
fn marks_do_not_reach_into_what_is_open() {
    for (wikitext, text) in [
        (
            "O sítio http[[://x.org]] fica.",
            "O sítio http//x.org fica.",
        ),
        ("A área em m<sup>2[[a</sup>]] fica.", "A área em m2a fica."),
        ("O rio {{nowrap|m<sup>2|3</sup>}} corre.", "O rio m2 corre."),
    ] {
        assert_eq!(clean(wikitext).0, text, "{wikitext}");
    }
}
