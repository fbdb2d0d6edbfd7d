//! One document for each rule that breaks this rule and no earlier one.

use super::*;

/// Prose that every rule keeps.
const PROSE: &str = "O município fica no vale do rio e foi fundado por famílias que vinham do litoral em busca de terras.\n\
    A economia depende da agricultura, sobretudo do café, e de pequenas fábricas de tecidos que se instalaram perto da estação.\n\
    No centro há uma igreja com altar de madeira, um mercado e a praça onde, todos os anos, se celebra a festa da colheita.\n\
    Os moradores dizem que a água da serra é a melhor da região, mas não há quem saiba quando começou essa fama.\n";

fn reason_with(config: &str, text: &str) -> Option<Reason> {
    let filters = Filters::new(FilterConfig::from_toml(config).unwrap()).unwrap();
    filters.assess(text, &mut FilterScratch::default()).reason
}

fn reason(text: &str) -> Option<Reason> {
    reason_with("", text)
}

#[test]
fn prose_is_kept() {
    assert_eq!(reason(PROSE), None);
}

#[test]
fn every_rule_drops_what_it_is_for() {
    let lines = |line: &str, n: usize| {
        (0..n)
            .map(|i| line.replace('N', &format!("{i}")))
            .collect::<String>()
    };
    let words = |n: usize| {
        (0..n)
            .map(|i| {
                format!(
                    "coisa{} ",
                    char::from(b'a' + (i % 26) as u8)
                        .to_string()
                        .repeat(1 + i / 26)
                )
            })
            .collect::<String>()
    };
    let cases = [
        (Reason::Script, format!("{}{PROSE}", "Река берёт начало в горах и течёт на север мимо деревень. ".repeat(12))),
        (Reason::OtherLanguage, "The river rises in the mountains and runs to the north. ".repeat(3) + PROSE.split('\n').next().unwrap_or_default() + &"It is one of the most important of the country, and they say that it has no name. ".repeat(9)),
        (Reason::UnknownLanguage, words(200)),
        (Reason::TooFewWords, PROSE.lines().next().unwrap_or_default().to_owned()),
        (Reason::WordLength, format!("{PROSE}{}", "de a o e ".repeat(300))),
        (Reason::LongWord, format!("{}{}", (0..9).map(|i| PROSE.replace(" d", &format!(" x{i} d"))).collect::<String>(), "a".repeat(1001))),
        (Reason::Symbols, PROSE.replace(" de ", " # de # # ").replace(" e ", " # e # # ").replace(" da ", " # da # # ")),
        (Reason::Bullets, PROSE.lines().map(|line| format!("- {line}\n")).collect()),
        (Reason::EllipsisLines, PROSE.replace(".\n", "...\n")),
        (Reason::WordsWithoutLetters, PROSE.replace(' ', " 777 ")),
        (Reason::FewSentences, PROSE.replace('.', ",")),
        (Reason::Boilerplate, format!("{PROSE}Este sítio utiliza cookies.")),
        (Reason::EndMarks, format!("{PROSE}{}", PROSE.replace(".\n", ";\n").repeat(9))),
        (Reason::ShortLines, format!("{PROSE}{}", lines("E o que dizem da serra é isso.\n", 12))),
        (Reason::LineBreaks, PROSE.replace(" e ", " e\n\n\n").replace(" da ", " da\n\n\n\n\n\n\n\n\n").replace(", ", "\n\n\n\n, ")),
        (Reason::Digits, format!("{PROSE}{}", lines("Em 1234567890123456789012 o valor da N foi de 998877665544332211 por casa.\n", 9))),
        (Reason::Urls, PROSE.replace(" que ", " http://www.a.br que ").replace(" da ", " https://b.br da ")),
        (Reason::Whitespace, PROSE.replace(' ', "   ")),
        (Reason::Brackets, PROSE.replace(" d", " ((()))d").replace(" e ", " [[[]]] e ")),
        (Reason::RepeatedLines, format!("{PROSE}{PROSE}")),
        (Reason::TopNgram, (0..12).map(|i| format!("Conselho municipal {} de defesa {}.\n", words(1 + i % 3), words(2 + i % 5))).collect::<String>() + PROSE.lines().next().unwrap_or_default()),
        (Reason::RepeatedNgrams, format!("{PROSE}{}", PROSE.replace(".\n", " assim.\n"))),
    ];
    let found: Vec<Option<Reason>> = cases.iter().map(|(_, text)| reason(text)).collect();
    let expected: Vec<Option<Reason>> = cases.iter().map(|&(reason, _)| Some(reason)).collect();
    assert_eq!(found, expected);
    for (expected, text) in &cases {
        let skipped = reason_with(&format!("skip = [\"{expected}\"]"), text);
        assert_ne!(skipped, Some(*expected), "a skipped rule is not asked");
    }
    let config = "[quality]\nmax_words = 60";
    assert_eq!(reason_with(config, PROSE), Some(Reason::TooManyWords));
    let config = "[quality]\nmin_stop_words = 30";
    assert_eq!(reason_with(config, PROSE), Some(Reason::StopWords));
}

#[test]
fn what_was_read_before_does_not_matter() {
    let filters = Filters::new(FilterConfig::default()).unwrap();
    let mut scratch = FilterScratch::default();
    let first = filters.assess(PROSE, &mut scratch);
    filters.assess(&format!("{PROSE}{PROSE}"), &mut scratch);
    assert_eq!(filters.assess(PROSE, &mut scratch), first);
    assert_eq!(first.language.as_deref(), Some("pt"));
    assert_eq!(first.words, 86);
}

#[test]
fn no_text_is_too_much() {
    let filters = Filters::new(FilterConfig::default()).unwrap();
    let mut scratch = FilterScratch::default();
    for text in [
        "",
        "\n\n\n",
        " ",
        "…",
        "\u{FFFD}\u{0}",
        "é",
        "a b c d e f g h i j k",
    ] {
        assert!(filters.assess(text, &mut scratch).reason.is_some());
    }
}

#[test]
fn a_language_that_is_not_known_is_named() {
    let config = FilterConfig::from_toml("[language]\nkeep = [\"xx\"]").unwrap();
    let said = Filters::new(config).unwrap_err().to_string();
    assert!(said.contains("`xx`") && said.contains("pt"), "{said}");
}
