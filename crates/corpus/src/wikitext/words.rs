//! Portuguese words that decide: which sections are appendices, after which words something must follow.

/// Titles of sections that close an article and are usually lists; compared in lower case.
#[rustfmt::skip]
const TAIL_SECTIONS: &[&str] = &[
    "referências", "referencias", "notas", "notas e referências", "referências e notas", "notas de rodapé", "notas e fontes", "ver também",
    "veja também", "ver tambem", "ligações externas", "ligação externa", "links externos", "link externo", "bibliografia",
    "bibliografia adicional", "referências bibliográficas", "leitura adicional", "leitura complementar", "leituras adicionais", "fontes",
    "fontes e referências", "galeria", "galeria de imagens", "galeria de fotos", "imagens", "categorias", "citações", "páginas externas",
    "artigos relacionados", "ligações internas", "discografia", "filmografia", "prêmios e indicações", "referências gerais",
    "obras citadas", "trabalhos citados", "notas explicativas", "na internet", "sítios externos", "fontes externas", "mais leitura",
    "para saber mais", "leituras recomendadas",
];

/// Whether a section title names an appendix. `scratch` is overwritten.
pub(super) fn is_tail_section(title: &str, scratch: &mut String) -> bool {
    if title.len() > 40 {
        return false;
    }
    scratch.clear();
    scratch.extend(
        title
            .trim_end_matches(':')
            .trim()
            .chars()
            .flat_map(char::to_lowercase),
    );
    TAIL_SECTIONS.contains(&scratch.as_str())
}

/// Words that announce something: a sentence in which nothing follows them is broken.
#[rustfmt::skip]
const EXPECTANT: &[&str] = &[
    "a", "à", "ao", "aos", "apenas", "aproximadamente", "as", "às", "até", "cada", "cerca", "chamada", "chamado", "com", "como", "contra",
    "da", "das", "de", "denominada", "denominado", "desde", "deste", "desta", "do", "dos", "dum", "duma", "durante", "e", "é", "em",
    "entre", "equivale", "era", "eram", "essa", "esse", "esta", "este", "foi", "foram", "há", "igual", "mais", "mas", "mede", "menos",
    "na", "nas", "no", "nos", "num", "numa", "o", "os", "ou", "para", "pela", "pelas", "pelo", "pelos", "perante", "pesa", "por", "possui",
    "possuía", "quase", "que", "se", "segundo", "sem", "será", "seu", "seus", "sob", "sobre", "sua", "suas", "são", "tem", "têm", "tinha",
    "totalizando", "um", "uma", "via", "são:", "é:", "km", "disponível", "acessado", "site", "n.", "nº", "art.", "arts.", "séc.", "p.",
    "pp.", "pág.", "vol.", "cap.", "sr.", "sra.", "dr.", "dra.", "fig.", "prof.", "av.",
];

/// Units and counted things: without a number before them a sentence is broken.
#[rustfmt::skip]
const COUNTED: &[&str] = &[
    "%", "km", "km²", "m", "m²", "cm", "mm", "ha", "hab", "hab.", "habitantes", "hab/km²", "hab./km²", "metros", "quilômetros",
    "quilómetros", "kg", "g", "toneladas", "t", "anos", "dias", "meses", "horas", "minutos", "pessoas", "milhões", "milhão", "mil",
    "bilhões", "°c", "ºc", "°", "graus", "hectares", "litros", "l", "kw", "mw", "hz", "mhz", "ghz", "reais", "dólares", "euros",
    "eleitores", "votos", "gols", "golos",
];

/// Whether `word` needs something after it. `scratch` is overwritten.
pub(super) fn is_expectant(word: &str, scratch: &mut String) -> bool {
    lowered_in(word, EXPECTANT, scratch)
}

/// Whether `word` needs a number before it.
pub(super) fn is_counted(word: &str, scratch: &mut String) -> bool {
    lowered_in(word, COUNTED, scratch)
}

/// Words after which a full stop does not end a sentence; compared in lower case.
#[rustfmt::skip]
const ABBREVIATIONS: &[&str] = &[
    "a.c", "d.c", "sr", "sra", "srs", "srta", "dr", "dra", "drs", "d", "prof", "profa", "profª", "eng", "arq", "gen", "cel", "cap", "maj",
    "ten", "sgt", "mal", "alm", "pe", "fr", "st", "sto", "sta", "s", "san", "av", "r", "pça", "pç", "art", "arts", "inc", "par", "séc",
    "sec", "n", "nº", "no", "núm", "num", "pág", "págs", "p", "pp", "fl", "fls", "vol", "v", "ed", "eds", "org", "orgs", "coord", "cf",
    "ex", "i.e", "e.g", "aprox", "c", "ca", "tel", "jr", "júnior", "filho", "mr", "mrs", "ms", "vs", "fig", "figs", "tab", "op", "cit",
    "trad", "ibid", "hab", "máx", "mín", "lat", "long",
];

/// Whether a full stop after `word` belongs to the word.
pub(super) fn is_abbreviation(word: &str, scratch: &mut String) -> bool {
    let mut chars = word.chars();
    let initial = chars.next().is_some_and(char::is_uppercase) && chars.next().is_none();
    initial || lowered_in(word, ABBREVIATIONS, scratch)
}

fn lowered_in(word: &str, list: &[&str], scratch: &mut String) -> bool {
    if word.len() > 24 {
        return false;
    }
    scratch.clear();
    scratch.extend(word.chars().flat_map(char::to_lowercase));
    list.contains(&scratch.as_str())
}
