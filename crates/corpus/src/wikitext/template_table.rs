//! The templates of the Portuguese Wikipedia that stand for text, and those that certainly do not.

use rustc_hash::FxHashMap;

/// What a template shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// Nothing, and no sentence misses it.
    Nothing,
    /// A fixed text.
    Text(&'static str),
    /// Its n-th argument.
    Arg(usize),
    /// The last argument that has no name.
    LastArg,
    /// A text in another language: the second argument, or the first when it is alone.
    Foreign,
    /// "em latim: …": the language and the text. The language is the first argument when it is empty here.
    InLanguage(&'static str),
    /// A link to an article in another language: the first argument that is not a language code.
    Interlanguage,
    /// A number: digits grouped as in Brazil.
    Number,
    /// A number and its unit.
    Quantity,
    /// A date of numbers: day, month, year in the order that fits.
    Date,
    /// "século XIX".
    Century,
    /// A year and this era.
    Era(&'static str),
    /// A sign of currency and the amount.
    Money(&'static str),
    /// A quotation set apart: the text and who said it.
    Quotation,
    /// The name of the page.
    PageTitle,
    /// The page is a list of meanings.
    Disambiguation,
    /// A `|` for use inside arguments.
    Pipe,
}

use Shows::*;

#[rustfmt::skip]
const TABLE: &[(&[&str], Shows)] = &[
    (&[
        "nowrap", "nobr", "sem quebra", "nb", "small", "menor", "pequeno", "big", "maior", "smallcaps", "sc", "versalete", "versaletes",
        "abbr", "abreviação", "abrev", "sic", "tooltip", "dica", "center", "centro", "centralizar", "i", "itálico", "b", "negrito", "em",
        "u", "sublinhado", "strong", "mvar", "math", "nihongo2", "zh-tradicional", "script", "unicode", "tt", "code", "código", "mono",
        "kbd", "samp", "não traduzido", "vcite", "nastro", "flag", "bandeira2", "país", "flagcountry", "navio", "título", "noitálico",
        "noitalic", "ppn", "transl", "nihongo", "pb", "var", "texto", "subst", "visível", "anchor text", "aviso de texto", "hifenizar",
        "fonte pequena", "sigla", "cita", "aspas", "mono2", "tl2", "ruby", "ruby-ja", "link", "wikilink", "sp", "pbpe", "pb-pe", "pbpe2",
    ], Arg(1)),
    (&[
        "pepb", "pe-pb", "cor", "color", "font color", "fonte-cor", "background", "fundo", "tamanho", "fs", "font", "font size", "alinhar",
    ], Arg(2)),
    (&["ship", "hmcs", "uss", "hms"], Arg(1)),
    (&["cor fundo", "bg color", "colored"], LastArg),
    (&["lang", "língua", "lingua", "idioma", "transliteração", "translit", "script/grego"], Foreign),
    (&["langx", "lang-x", "linguagem"], InLanguage("")),
    (&["lang-en", "langen"], InLanguage("inglês")),
    (&["lang-es"], InLanguage("espanhol")),
    (&["lang-fr"], InLanguage("francês")),
    (&["lang-de"], InLanguage("alemão")),
    (&["lang-it"], InLanguage("italiano")),
    (&["lang-la", "lang-lat"], InLanguage("latim")),
    (&["lang-el"], InLanguage("grego")),
    (&["lang-grc"], InLanguage("grego antigo")),
    (&["lang-ru"], InLanguage("russo")),
    (&["lang-uk"], InLanguage("ucraniano")),
    (&["lang-pl"], InLanguage("polonês")),
    (&["lang-nl"], InLanguage("neerlandês")),
    (&["lang-ja"], InLanguage("japonês")),
    (&["lang-zh"], InLanguage("chinês")),
    (&["lang-ko"], InLanguage("coreano")),
    (&["lang-ar"], InLanguage("árabe")),
    (&["lang-he"], InLanguage("hebraico")),
    (&["lang-tr"], InLanguage("turco")),
    (&["lang-ca"], InLanguage("catalão")),
    (&["lang-gl"], InLanguage("galego")),
    (&["lang-eu"], InLanguage("basco")),
    (&["lang-sv"], InLanguage("sueco")),
    (&["lang-fi"], InLanguage("finlandês")),
    (&["lang-hu"], InLanguage("húngaro")),
    (&["lang-ro"], InLanguage("romeno")),
    (&["lang-cs"], InLanguage("tcheco")),
    (&["lang-sa"], InLanguage("sânscrito")),
    (&["lang-tpn", "lang-tupi"], InLanguage("tupi")),
    (&["lang-gn"], InLanguage("guarani")),
    (&["ill", "ilc", "ill2", "link-interwiki", "link interwiki", "ligação interlíngua", "interlink", "lig inter"], Interlanguage),
    (&["formatnum", "fmtnum", "formatar número", "num", "número", "numero", "val", "gaps", "nts", "ntsh"], Number),
    (&["fmtn", "unidade", "unit", "convert", "converter", "conv", "cvt", "unid", "medida"], Quantity),
    (&[
        "dtlink", "dtext", "data", "date", "datalink", "dni", "nascimento", "data de nascimento", "data de nascimento e idade",
        "nascimento e idade", "morte", "falecimento", "data de morte", "data de morte e idade", "falecimento e idade", "morte e idade",
        "dmi", "birth date", "birth date and age", "death date", "death date and age", "dts", "dt", "data de início", "start date",
        "end date", "data final", "data de término", "ano nascimento", "dataext", "data inicial",
    ], Date),
    (&["séc", "sec", "século", "seculo", "séculos"], Century),
    (&["ac", "a.c.", "a.c", "a. c.", "antes de cristo", "aec"], Era("a.C.")),
    (&["dc", "d.c.", "d.c", "d. c.", "depois de cristo"], Era("d.C.")),
    (&["r$", "brl", "real"], Money("R$")),
    (&["us$", "usd", "dólar"], Money("US$")),
    (&["eur", "€", "euro"], Money("€")),
    (&["gbp", "£", "libra"], Money("£")),
    (&[
        "quote", "citação", "cquote", "citação2", "quotation", "citação em bloco", "blockquote", "bloco de citação", "quote2",
        "cita bloco", "citar bloco", "quote box", "caixa de citação", "rquote", "início citação", "poema", "poem", "verso", "versos",
        "cit", "citação destacada",
    ], Quotation),
    (&["nbsp", "espaço", "esp", "spaces", "thinsp", "espaços", "-sp", "nbhyph"], Text(" ")),
    (&["br", "quebra", "quebra de linha"], Text(" ")),
    (&["ndash", "–", "en dash", "spaced ndash"], Text(" – ")),
    (&["mdash", "—", "em dash"], Text(" — ")),
    (&["·", "dot", "middot", "ponto", "•", "bull", "bullet"], Text(" · ")),
    (&["=", "igual"], Text("=")),
    (&["'", "apóstrofo", "`"], Text("'")),
    (&["sup2", "²"], Text("²")),
    (&["km2", "km²"], Text("km²")),
    (&["º"], Text("º")),
    (&["ª"], Text("ª")),
    (&["!"], Pipe),
    (&["nomedapágina", "nomedapagina", "pagename", "fullpagename", "título da página", "subpagename", "basepagename"], PageTitle),
    (&[
        "desambiguação", "desambiguacao", "desambig", "disambig", "disambiguation", "dab", "desamb", "hndis", "geodis",
        "desambiguação-sigla", "desambiguação de nomes", "desambiguação de topônimos", "sigla de 3 letras", "desambig-sigla",
        "desambig-nome", "homónimos", "homônimos", "desambiguação antropônimos", "desambiguação de pessoas",
    ], Disambiguation),
    (&[
        "carece de fontes", "carecefontes", "cn", "fact", "citation needed", "sem fontes", "sem-fontes", "mais notas", "mais fontes",
        "fontes", "pov", "parcial", "r", "rp", "efn", "nota", "nota de rodapé", "nota rodapé", "notes", "notas", "reflist", "referências",
        "referencias", "refs", "ref-list", "refbegin", "refend", "refbegin2", "sfn", "sfnref", "harvnb", "harvtxt", "harv", "harvref",
        "principal", "main", "artigo principal", "ap", "ver também", "vt", "seealso", "see also", "ver artigo principal", "ver desambig",
        "ver desambiguação", "outros usos", "otheruses", "desambigexplicada", "desambig-redir", "dablink", "hatnote",
        "nota de desambiguação", "minidesambig", "redirect", "não confundir com", "não confundir", "distinguir", "about", "sobre", "for",
        "para", "coor", "coord", "coordenadas", "coor title dms", "coor dms", "geocoordenadas", "esboço", "stub", "mínimo", "portal",
        "portal3", "portais", "clear", "-", "limpar", "clr", "clearright", "clearleft", "commons", "commonscat", "commons category",
        "categoria commons", "wikisource", "wikiquote", "wikcionário", "wiktionary", "correlatos", "projetos irmãos", "sister project",
        "bloco de navegação", "navbox", "controle de autoria", "controlo de autoria", "ac2", "authority control", "em tradução",
        "tradução", "traduzido de", "revisão", "reciclagem", "wikificação", "wikificar", "manutenção", "fusão", "fundir", "dividir",
        "expandir", "secção vazia", "seção vazia", "vazio", "em obras", "evento atual", "atual", "artigo destacado", "artigo bom", "ad",
        "ab", "destaque", "bom", "info", "infobox", "caixa de sucessão", "sucessão", "s-start", "s-end", "s-bef", "s-aft", "s-ttl",
        "div col", "div col end", "div col fim", "col-begin", "col-end", "col-2", "col-3", "col-break", "início", "fim", "topo",
        "multicol", "multicol-break", "multicol-end", "âncora", "anchor", "toc", "tdc", "sumário", "toc direita", "tocright",
        "imagem múltipla", "multiple image", "galeria", "gallery", "quadro", "image label", "ouvir", "listen", "audio", "áudio",
        "dead link", "ligação inativa", "link quebrado", "wayback", "webarchive", "isbn", "issn", "doi", "oclc", "imdb", "imdb título",
        "imdb nome", "official website", "site oficial", "página oficial", "oficial", "cite web", "cite book", "cite journal", "cite news",
        "citar web", "citar livro", "citar periódico", "citar jornal", "link", "en", "es icon", "en icon", "pt", "pdf", "inglês",
        "small div", "título em itálico", "titulo em itálico", "título itálico", "lowercase", "minúscula", "displaytitle", "ordenação",
        "default", "pp", "protegido", "semiprotegido", "use dmy dates", "flagicon", "bandeiraicone", "bandeira", "flagu", "flagicon2",
        "ícone", "icone", "estrela", "dagger", "double-dagger", "asterisco", "legenda", "legend", "legend2", "formatar referências",
        "formatar referências", "mais-fontes", "biografia sem fontes", "bsf", "bpv-sem-fontes", "sem notas", "fontes primárias",
        "fonte primária", "não é fórum", "título errado", "correção de título", "!-", "!!", "(!", "!)", "fb", "nav", "spoiler",
        "fim-spoiler", "spoiler-fim", "contém texto", "contém texto em japonês", "contém texto ipa", "taxocaixa fim",
    ], Nothing),
];

/// Beginnings of names of whole families that show nothing inside a sentence.
#[rustfmt::skip]
const FAMILIES: &[&str] = &[
    "info/", "info ", "infobox", "citar ", "cite ", "citation", "sfn", "harv", "refer", "esboço", "portal", "navbox", "nota ", "coord",
    "geocoord", "commons", "taxo", "taxa", "sem ", "mais ", "carece", "controle de", "artigo ", "ver ", "não confundir", "título ", "em ",
    "bloco de", "caixa ", "caixa/", "imagem", "mapa", "tabela", "quadro ", "lista ", "s-", "div col", "multicol", "início", "fim", "aviso",
    "wikify", "user", "predef", "tópicos", "condecorações", "medalha", "jogador", "clube", "eleição", "gráfico", "cronologia", "árvore",
    "chart", "familytree", "climate", "clima ", "cópia", "recicl", "expans", "reescrever", "ordenação padrão", "ordenaçãopadrão",
    "defaultsort", "displaytitle", "exibetítulo", "exibirtítulo", "ligações externas", "projeto", "proj", "gastronomia", "desporto",
    "futebol", "box ",
];

/// The table, ready to be asked.
#[derive(Debug)]
pub(super) struct TemplateTable {
    by_name: FxHashMap<&'static str, Shows>,
}

impl TemplateTable {
    pub(super) fn new() -> Self {
        let mut by_name = FxHashMap::default();
        for (names, shows) in TABLE {
            for name in *names {
                // The first entry wins: text before silence.
                by_name.entry(*name).or_insert(*shows);
            }
        }
        Self { by_name }
    }

    /// What the template `name` (lower case, blanks single) shows; `None` for one that is not known.
    pub(super) fn shows(&self, name: &str) -> Option<Shows> {
        if let Some(shows) = self.by_name.get(name) {
            return Some(*shows);
        }
        if name.starts_with("desambig") {
            return Some(Disambiguation);
        }
        FAMILIES
            .iter()
            .any(|family| name.starts_with(family))
            .then_some(Nothing)
    }
}
