//! `read_documents` and `clean_corpus` on small files made here, and on the novels of `PTBR_DATA` when it is set.

use std::path::{Path, PathBuf};

use ptbr_corpus::{
    BlankLines, CleanOptions, CorpusError, Document, JoinLines, clean_corpus, read_documents,
};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
        path
    }
}

fn read(path: &Path) -> Vec<Document> {
    read_documents(path)
        .expect("readable")
        .collect::<Result<_, _>>()
        .expect("whole documents")
}

fn first_error(path: &Path) -> CorpusError {
    let mut documents = read_documents(path).expect("readable");
    let error = documents.find_map(Result::err).expect("an error");
    assert!(
        documents.next().is_none(),
        "the iterator ends after an error"
    );
    error
}

#[test]
fn documents_of_a_folder_come_in_the_order_of_names() {
    let folder = Folder::new();
    folder.write(
        "in/b.txt",
        "Primeira linha.\r\nSegunda linha.\r\n\r\n\r\nOutro documento.",
    );
    folder.write("in/a/z.jsonl", "{\"id\":\"7\",\"title\":\"T\",\"text\":\"Texto.\",\"lang\":\"pt\"}\n\n{\"text\":\"Só texto.\"}\n");
    folder.write("in/a/foto.png", [0x89]);
    folder.write("in/.oculto.txt", "x");
    let got = read(&folder.path("in"));
    let seen: Vec<_> = got
        .iter()
        .map(|d| (d.id.as_str(), d.text.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("7", "Texto."),
            ("", "Só texto."),
            ("b.txt#1", "Primeira linha.\nSegunda linha."),
            ("b.txt#2", "Outro documento.")
        ]
    );
    assert_eq!(
        (got[2].title.as_str(), got[2].source.as_str()),
        ("b", "b.txt")
    );
}

#[test]
fn bad_files_are_named_with_the_place() {
    let folder = Folder::new();
    let json = folder.write(
        "a.jsonl",
        "{\"text\":\"certo\"}\n{\"text\": erro}\n{\"text\":\"nunca lido\"}\n",
    );
    let message = first_error(&json).to_string();
    assert!(
        message.contains("a.jsonl` line 2") && message.contains("`text` field"),
        "{message}"
    );

    let latin1 = folder.write("b.txt", b"linha boa\nS\xE3o Paulo\n");
    assert!(matches!(
        first_error(&latin1),
        CorpusError::Utf8 { offset: 11, .. }
    ));
    assert!(
        first_error(&latin1)
            .to_string()
            .contains("b.txt` is not valid UTF-8 at byte 11")
    );

    let missing = read_documents(&folder.path("falta.txt"))
        .expect_err("no file")
        .to_string();
    assert!(missing.contains("falta.txt"), "{missing}");
    let empty = folder.write("vazio.txt", "");
    assert!(matches!(read_documents(&empty), Err(CorpusError::Empty(_))));
    let other = folder.write("x.pdf", "x");
    assert!(
        read_documents(&other)
            .expect_err("not text")
            .to_string()
            .contains(".jsonl or .txt")
    );
    let none = folder.path("nada");
    std::fs::create_dir(&none).expect("a folder");
    assert!(
        read_documents(&none)
            .expect_err("nothing in it")
            .to_string()
            .contains("holds no .jsonl or .txt")
    );
}

#[test]
fn an_endless_line_is_refused() {
    let folder = Folder::new();
    let path = folder.write("a.jsonl", vec![b'x'; ptbr_corpus::MAX_LINE_BYTES + 10]);
    assert!(matches!(
        first_error(&path),
        CorpusError::LineTooLong { line: 1, .. }
    ));
}

const WRAPPED: &str = "O Morro do Castelo era o coração da cidade velha, e de lá se via toda a baía\n\
com os seus navios e as suas ilhas. Ninguém subia a ladeira sem parar um\n\
instan-\ntaneamente para olhar; era costume antigo, mais velho que a igreja, e dizem\n\
que os próprios bispos o seguiam sem dar por isso.\n\
12\n\
Quando o derrubaram, a terra foi parar no mar e o lugar ficou liso como uma\n\
mesa, mas ainda se fala do morro como se ele estivesse lá.\n\
— Era alto? perguntou o menino.\n\
— Era, disse o avô.\n";

#[test]
fn hard_wrapped_lines_become_paragraphs() {
    let folder = Folder::new();
    folder.write("in/novela.txt", WRAPPED);
    let summary = clean_corpus(
        &folder.path("in"),
        &folder.path("out"),
        &CleanOptions::default(),
        &mut |_| {},
    )
    .expect("clean");
    let got = std::fs::read_to_string(folder.path("out/novela.txt")).expect("written");
    assert_eq!(
        got,
        "O Morro do Castelo era o coração da cidade velha, e de lá se via toda a baía com os seus navios e as suas ilhas. Ninguém subia a ladeira sem parar um instantaneamente para olhar; era costume antigo, mais velho que a igreja, e dizem que os próprios bispos o seguiam sem dar por isso.\n\
         Quando o derrubaram, a terra foi parar no mar e o lugar ficou liso como uma mesa, mas ainda se fala do morro como se ele estivesse lá.\n\
         — Era alto? perguntou o menino.\n\
         — Era, disse o avô.\n"
    );
    assert_eq!(
        (
            summary.files_joined,
            summary.words_rejoined,
            summary.page_numbers,
            summary.documents_kept
        ),
        (1, 1, 1, 1)
    );
    let options = CleanOptions {
        join_lines: JoinLines::Never,
        ..CleanOptions::default()
    };
    let summary = clean_corpus(
        &folder.path("in"),
        &folder.path("out2"),
        &options,
        &mut |_| {},
    )
    .expect("clean");
    assert_eq!(summary.lines_joined, 0);
}

#[test]
fn repetitions_and_short_documents_go_and_are_counted() {
    let folder = Folder::new();
    let long = "Este parágrafo tem mais de oitenta letras e por isso só deve aparecer uma vez em todo o corpus limpo.";
    folder.write(
        "in/a.txt",
        format!("{long}\nUm segundo parágrafo, só deste documento.\n\nOi.\n\n{long}\n"),
    );
    folder.write("in/b.txt", format!("{long}\nOutro parágrafo, só do segundo arquivo.\n\nUm texto curto repetido, linha a.\nlinha b.\n\nUm texto curto repetido, linha a.\nlinha b.\n"));
    let options = CleanOptions {
        blank_lines: BlankLines::Documents,
        ..CleanOptions::default()
    };
    let mut calls = 0;
    let summary = clean_corpus(
        &folder.path("in"),
        &folder.path("out"),
        &options,
        &mut |p| calls += p.files,
    )
    .expect("clean");
    assert_eq!(calls, 4);
    assert_eq!((summary.documents_seen, summary.documents_kept), (6, 3));
    assert_eq!(
        (
            summary.dropped_too_short,
            summary.dropped_duplicate,
            summary.paragraphs_duplicate
        ),
        (1, 2, 1)
    );
    let b = std::fs::read_to_string(folder.path("out/b.txt")).expect("written");
    assert_eq!(
        b,
        "Outro parágrafo, só do segundo arquivo.\n\nUm texto curto repetido, linha a.\nlinha b.\n"
    );
    assert_eq!(read(&folder.path("out")).len(), 3);
}

#[test]
fn json_lines_keep_their_fields() {
    let folder = Folder::new();
    let line = "{\"id\":\"1\",\"tags\":{\"variant\":\"br\"},\"text\":\"Um\\u0000 texto  com\\u00a0espaços e\\u00ad hífen mole, longo o bastante.\\n\\nSegundo.\"}\n";
    folder.write("in/a.jsonl", line);
    let summary = clean_corpus(
        &folder.path("in/a.jsonl"),
        &folder.path("out"),
        &CleanOptions::default(),
        &mut |_| {},
    )
    .expect("clean");
    let got = std::fs::read_to_string(folder.path("out/a.jsonl")).expect("written");
    assert_eq!(
        got,
        "{\"id\":\"1\",\"tags\":{\"variant\":\"br\"},\"text\":\"Um texto com espaços e hífen mole, longo o bastante.\\nSegundo.\"}\n"
    );
    assert_eq!((summary.characters_removed, summary.soft_hyphens), (1, 1));
}

#[test]
fn invalid_utf8_is_an_error_unless_asked_otherwise() {
    let folder = Folder::new();
    let path = folder.write(
        "a.txt",
        b"Uma linha boa e bem comprida.\nOutra com byte \xFF ruim no meio dela.\n",
    );
    let error = clean_corpus(
        &path,
        &folder.path("out"),
        &CleanOptions::default(),
        &mut |_| {},
    )
    .expect_err("bad bytes");
    assert!(error.to_string().contains("at byte 45"), "{error}");
    assert!(!folder.path("out/a.txt").exists(), "no half output");
    let options = CleanOptions {
        replace_invalid_utf8: true,
        ..CleanOptions::default()
    };
    let summary = clean_corpus(&path, &folder.path("out"), &options, &mut |_| {}).expect("clean");
    assert_eq!(summary.invalid_utf8, 1);
    assert!(
        std::fs::read_to_string(folder.path("out/a.txt"))
            .expect("written")
            .contains("com byte ruim")
    );
}

#[test]
fn the_input_is_never_overwritten() {
    let folder = Folder::new();
    let path = folder.write("in/a.txt", "Um texto qualquer, longo o bastante.\n");
    for input in [folder.path("in"), path] {
        let error = clean_corpus(
            &input,
            &folder.path("in"),
            &CleanOptions::default(),
            &mut |_| {},
        )
        .expect_err("same folder");
        assert!(error.to_string().contains("name another one"), "{error}");
    }
}

#[test]
fn real_novels_and_rulings() {
    let Some(data) = std::env::var_os("PTBR_DATA").map(PathBuf::from) else {
        println!(
            "PTBR_DATA is not set: real novels are not read; the passage made here stands for them"
        );
        return;
    };
    let folder = Folder::new();
    let clean = |input: &str| {
        clean_corpus(
            &data.join(input),
            &folder.path(&input.replace('/', "_")),
            &CleanOptions::default(),
            &mut |_| {},
        )
        .expect("clean")
    };
    let novels = clean("literature/machado_de_assis/romance");
    println!("{novels:?}");
    assert_eq!(
        novels.files_joined, novels.files,
        "every novel is hard-wrapped"
    );
    assert!(
        novels.output_bytes * 100 > novels.input_bytes * 95,
        "little but line ends and repetitions goes"
    );
    let novel = read(&folder.path("literature_machado_de_assis_romance"))
        .into_iter()
        .find(|d| d.text.contains("Capitu"));
    let longest = novel.map_or(0, |d| {
        d.text.lines().map(|p| p.chars().count()).max().unwrap_or(0)
    });
    assert!(
        longest > 400,
        "paragraphs, not lines: the longest has {longest} characters"
    );
    let news = clean("news/mac_morpho");
    assert_eq!(
        (news.files_joined, news.lines_joined),
        (0, 0),
        "one sentence a line stays so"
    );
    let rulings = clean("legal/lener_br/train");
    println!("{rulings:?}");
    assert!(rulings.files_joined > 5 && rulings.files_joined < rulings.files);
}
