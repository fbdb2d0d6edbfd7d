//! Dumps: bz2 in all its forms, XML, damage, order. Small dumps are made here; real ones are read from `PTBR_DATA` when it is set.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bzip2::Compression;
use bzip2::write::BzEncoder;
use ptbr_corpus::{
    CorpusError, Document, Residue, Stop, WikiOptions, WikiPage, WikiStreamParser, WikiSummary,
    process_wiki, read_documents, residue_places,
};

const SITE: &str = r#"<siteinfo><sitename>Wikipédia</sitename><dbname>ptwiki</dbname><base>https://pt.wikipedia.org/wiki/P%C3%A1gina_principal</base>
<namespaces><namespace key="-2">Multimédia</namespace><namespace key="0" /><namespace key="6">Ficheiro</namespace><namespace key="10">Predefinição</namespace>
<namespace key="14">Categoria</namespace><namespace key="104">Almanaque</namespace></namespaces></siteinfo>"#;

fn page(id: usize, title: &str, ns: i32, text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    format!(
        "  <page>\n    <title>{title}</title>\n    <ns>{ns}</ns>\n    <id>{id}</id>\n    <revision>\n      <id>9{id}</id>\n      <contributor><username>U</username><id>7</id></contributor>\n      <text bytes=\"1\" xml:space=\"preserve\">{text}</text>\n    </revision>\n  </page>\n"
    )
}

fn article(n: usize) -> String {
    let text = format!(
        "'''Município {n}''' é um [[município]] do estado da [[Bahia]], com {{{{fmtn|{}}}}} habitantes.<ref>IBGE &amp; outros</ref>\n\nSua sede fica às margens do rio número {n}, que corre para o litoral e dá nome ao lugar desde o século {{{{séc|XIX}}}}.",
        10_000 + n
    );
    page(n, &format!("Município {n}"), 0, &text)
}

fn dump(pages: &str) -> String {
    format!(
        "<mediawiki xmlns=\"http://www.mediawiki.org/xml/export-0.11/\" xml:lang=\"pt\">\n{SITE}\n{pages}</mediawiki>\n"
    )
}

fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), Compression::new(1));
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// The XML cut into streams, as multistream dumps are.
fn multistream(xml: &[u8], parts: usize) -> Vec<u8> {
    xml.chunks(xml.len().div_ceil(parts))
        .flat_map(bz2)
        .collect()
}

struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn input(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("a temporary file");
        path
    }

    fn process(&self, input: &Path, threads: usize) -> Result<WikiSummary, CorpusError> {
        let output = self.folder.path().join(format!("out{threads}"));
        process_wiki(
            input,
            &output,
            &WikiOptions {
                threads,
                ..WikiOptions::default()
            },
            &mut |_| {},
        )
    }

    fn output(&self, name: &str, threads: usize) -> Vec<u8> {
        std::fs::read(self.folder.path().join(format!("out{threads}")).join(name))
            .expect("an output")
    }
}

fn documents(path: &Path) -> Vec<Document> {
    read_documents(path)
        .expect("a readable output")
        .collect::<Result<_, _>>()
        .expect("whole documents")
}

#[test]
fn articles_come_out_and_the_rest_is_counted() {
    let long = "Um texto que é longo o bastante para ser guardado, com palavras que sobram para passar de cem letras no total.";
    let pages = [
        article(1),
        page(2, "Predefinição:X", 10, long),
        page(3, "Atalho", 0, "#REDIRECIONAMENTO [[Município 1]]"),
        page(4, "Banco", 0, &format!("{{{{desambiguação}}}}\n{long}")),
        page(5, "Porto (desambiguação)", 0, long),
        page(6, "Curto", 0, "Nada."),
        page(7, "Ação & reação", 0, &format!("{long} [[Almanaque:1900|o almanaque]] [[Ficheiro:a.jpg|thumb|legenda]]")),
        "<page><title>Velho</title><redirect title=\"Novo\" /><ns>0</ns><id>8</id><revision><text>x</text></revision></page>".to_string(),
        "<page><title>Vazio</title><ns>0</ns><id>9</id><revision><text /></revision></page>".to_string(),
    ]
    .concat()
    .replace("Ação & reação", "Ação &amp; reação");
    let run = Run::new();
    let input = run.input("ptwiki-teste-pages-articles.xml", dump(&pages).as_bytes());
    let summary = run.process(&input, 1).expect("a whole dump");
    assert_eq!((summary.pages_seen, summary.pages_kept), (9, 2));
    let d = summary.dropped;
    assert_eq!(
        (
            d.other_namespace,
            d.redirect,
            d.disambiguation,
            d.too_short,
            d.oversized
        ),
        (1, 2, 2, 2, 0)
    );
    assert_eq!(summary.source, "ptwiki");
    assert_eq!(summary.xml_bytes, dump(&pages).len() as u64);
    let got = documents(&summary.output);
    assert_eq!(got[0].id, "1");
    assert_eq!(got[0].title, "Município 1");
    assert_eq!(got[0].url, "https://pt.wikipedia.org/wiki/Munic%C3%ADpio_1");
    assert!(
        got[0].text.starts_with(
            "Município 1 é um município do estado da Bahia, com 10.001 habitantes.\nSua sede"
        ),
        "{}",
        got[0].text
    );
    assert_eq!(got[1].title, "Ação & reação");
    assert!(
        got[1].text.ends_with("no total. o almanaque"),
        "{}",
        got[1].text
    );
    let json = serde_json::to_string(&summary).expect("serializable");
    assert!(json.contains("\"disambiguation\":2"), "{json}");
}

#[test]
fn plain_single_and_multistream_agree_for_any_number_of_threads() {
    let pages: String = (0..3000).map(article).collect();
    let xml = dump(&pages);
    let run = Run::new();
    let inputs = [
        run.input("a.xml", xml.as_bytes()),
        run.input("b.xml.bz2", &bz2(xml.as_bytes())),
        run.input("c.xml.bz2", &multistream(xml.as_bytes(), 37)),
        run.input(
            "d.xml.bz2",
            &[multistream(xml.as_bytes(), 5), vec![0; 300]].concat(),
        ),
    ];
    let mut outputs = HashSet::new();
    for (input, name) in inputs
        .iter()
        .zip(["a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl"])
    {
        for threads in [1, 2, 5] {
            let summary = run
                .process(input, threads)
                .unwrap_or_else(|e| panic!("{name}, {threads} threads: {e}"));
            assert_eq!((summary.pages_seen, summary.pages_kept), (3000, 3000));
            assert_eq!(summary.xml_bytes, xml.len() as u64, "{name}");
            outputs.insert(run.output(name, threads));
        }
    }
    assert_eq!(
        outputs.len(),
        1,
        "the bytes of the output depend on neither compression nor threads"
    );
}

#[test]
fn what_follows_the_last_stream_is_damage_unless_it_is_padding() {
    let pages: String = (0..40).map(article).collect();
    let xml = dump(&pages);
    let run = Run::new();
    let mut bytes = multistream(xml.as_bytes(), 3);
    bytes.extend_from_slice(b"lixo depois do fim");
    let input = run.input("a.xml.bz2", &bytes);
    for threads in [1, 4] {
        match run.process(&input, threads) {
            Err(CorpusError::StoppedEarly {
                stop: Stop::Bz2Damaged { offset, .. },
                summary,
                ..
            }) => {
                assert_eq!(offset as usize, bytes.len() - 18);
                assert_eq!(summary.pages_kept, 40);
            }
            other => panic!("{threads} threads: {other:?}"),
        }
    }
}

#[test]
fn truncated_bz2_keeps_what_was_whole_and_says_where() {
    let pages: String = (0..4000).map(article).collect();
    let xml = dump(&pages);
    let run = Run::new();
    for (kind, whole) in [
        ("single", bz2(xml.as_bytes())),
        ("multi", multistream(xml.as_bytes(), 9)),
    ] {
        let cut = &whole[..whole.len() * 2 / 3];
        for threads in [1, 3] {
            let name = format!("{kind}{threads}");
            let input = run.input(&format!("{name}.xml.bz2"), cut);
            let error = run.process(&input, threads).expect_err("a cut file");
            let message = error.to_string();
            let CorpusError::StoppedEarly { stop, summary, .. } = error else {
                panic!("{message}")
            };
            assert_eq!(
                stop,
                Stop::Bz2Truncated {
                    offset: cut.len() as u64
                },
                "{name}"
            );
            assert!(
                message.contains(&format!("ends early, at byte {}", cut.len())),
                "{message}"
            );
            assert!(
                summary.pages_kept > 1500 && summary.pages_kept < 4000,
                "{name}: {} pages",
                summary.pages_kept
            );
            let got = documents(&summary.output);
            assert_eq!(got.len() as u64, summary.pages_kept);
            assert_eq!(
                got.last().map(|d| d.id.clone()),
                Some((summary.pages_kept - 1).to_string())
            );
        }
    }
}

#[test]
fn every_cut_of_a_small_dump_is_handled() {
    let xml = dump(&(0..4).map(article).collect::<String>());
    let whole = multistream(xml.as_bytes(), 3);
    let run = Run::new();
    for len in (0..whole.len()).step_by(53) {
        let input = run.input("x.xml.bz2", &whole[..len]);
        let one = run.process(&input, 1).map_err(|e| e.to_string());
        let two = run.process(&input, 2).map_err(|e| e.to_string());
        let message = one.expect_err("a cut file is never a success");
        // The output folder's name is the only difference.
        assert_eq!(
            message,
            two.expect_err("nor with threads").replace("out2", "out1"),
            "cut at {len}"
        );
    }
    for len in (0..xml.len()).step_by(211) {
        let input = run.input("x.xml", &xml.as_bytes()[..len]);
        assert!(run.process(&input, 1).is_err(), "cut at {len}");
    }
}

#[test]
fn a_damaged_block_is_not_handed_out() {
    let xml = dump(&(0..6000).map(article).collect::<String>());
    let mut bytes = bz2(xml.as_bytes());
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    let run = Run::new();
    let input = run.input("a.xml.bz2", &bytes);
    match run.process(&input, 1) {
        Err(CorpusError::StoppedEarly {
            stop: Stop::Bz2Damaged { offset, .. },
            summary,
            ..
        }) => {
            assert!(offset > 0 && offset <= bytes.len() as u64);
            for (n, document) in documents(&summary.output).iter().enumerate() {
                assert_eq!(document.title, format!("Município {n}"));
                assert!(
                    document.text.contains(&format!("rio número {n},")),
                    "{}",
                    document.text
                );
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn xml_that_ends_early() {
    let xml = dump(&(0..50).map(article).collect::<String>());
    let cut = xml.find("Município 30").expect("a page in the middle") + 200;
    let run = Run::new();
    let input = run.input("a.xml", &xml.as_bytes()[..cut]);
    for threads in [1, 2] {
        match run.process(&input, threads) {
            Err(CorpusError::StoppedEarly {
                stop: Stop::XmlTruncated { offset },
                summary,
                ..
            }) => {
                assert_eq!(offset as usize, cut);
                assert_eq!(summary.pages_kept, 30);
                assert_eq!(documents(&summary.output).len(), 30);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn invalid_utf8_is_left_out_and_located() {
    let xml = dump(&(0..3).map(article).collect::<String>());
    let at = xml
        .find("margens do rio número 1")
        .expect("the second page");
    let mut bytes = xml.into_bytes();
    bytes.splice(at..at, [0xFF, 0xC3]);
    let run = Run::new();
    let input = run.input("a.xml", &bytes);
    let summary = run
        .process(&input, 1)
        .expect("bad bytes are no reason to stop");
    assert_eq!(
        (
            summary.pages_kept,
            summary.invalid_utf8,
            summary.invalid_utf8_pages
        ),
        (3, 2, 1)
    );
    assert_eq!(
        summary.invalid_utf8_first,
        Some(("Município 1".to_string(), at as u64))
    );
    assert!(
        documents(&summary.output)[1]
            .text
            .contains("às margens do rio número 1,")
    );
}

#[test]
fn utf16_with_its_mark_is_read() {
    let xml = dump(&(0..3).map(article).collect::<String>());
    let run = Run::new();
    let expected = {
        let input = run.input("a.xml", xml.as_bytes());
        run.process(&input, 1).expect("UTF-8");
        run.output("a.jsonl", 1)
    };
    let little: Vec<u8> = std::iter::once(0xFEFF)
        .chain(xml.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let big: Vec<u8> = std::iter::once(0xFEFF)
        .chain(xml.encode_utf16())
        .flat_map(u16::to_be_bytes)
        .collect();
    for (name, bytes) in [
        ("le.xml", little.clone()),
        ("be.xml", big),
        ("bz.xml.bz2", bz2(&little)),
    ] {
        let input = run.input(name, &bytes);
        assert_eq!(run.process(&input, 1).expect(name).pages_kept, 3);
        let output = format!(
            "{}.jsonl",
            name.trim_end_matches(".bz2").trim_end_matches(".xml")
        );
        assert!(run.output(&output, 1) == expected, "{name}");
    }
}

#[test]
fn what_is_not_a_dump_is_refused_by_name() {
    let run = Run::new();
    let cases: [(&str, &[u8], &str); 6] = [
        ("vazio.xml", b"", "is empty"),
        ("vazio.xml.bz2", b"", "is empty"),
        ("texto.xml", b"Era uma vez", "not a MediaWiki dump"),
        (
            "outro.xml",
            b"<html><body>x</body></html>",
            "no <mediawiki>",
        ),
        ("a.gz", &[0x1F, 0x8B, 8, 0], "it is gzip"),
        ("mau.bz2", b"BZh9 mas nada mais", "not a MediaWiki dump"),
    ];
    for (name, bytes, expected) in cases {
        let input = run.input(name, bytes);
        let message = run.process(&input, 1).expect_err(name).to_string();
        assert!(
            message.contains(expected) && message.contains(name),
            "{name}: {message}"
        );
    }
    let missing = run
        .process(&run.folder.path().join("falta.xml"), 1)
        .expect_err("no file")
        .to_string();
    assert!(missing.contains("falta.xml"), "{missing}");
    let folder = run
        .process(run.folder.path(), 1)
        .expect_err("a folder")
        .to_string();
    assert!(folder.contains("give one dump file"), "{folder}");
    assert!(!run.folder.path().join("out1/texto.jsonl").exists());
    let left: Vec<_> = std::fs::read_dir(run.folder.path().join("out1"))
        .map(|d| d.flatten().collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "nothing is left behind: {left:?}");
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let run = Run::new();
    let input = run.input("a.xml", dump(&article(1)).as_bytes());
    let blocked = run.input("arquivo", b"x");
    let error = process_wiki(&input, &blocked, &WikiOptions::default(), &mut |_| {})
        .expect_err("a file is no folder");
    assert!(error.to_string().contains("arquivo"), "{error}");
}

/// Bytes from a closure, so that a gigabyte needs no memory.
struct Synthetic {
    parts: Vec<(Vec<u8>, u64)>,
    offset: usize,
}

impl Read for Synthetic {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let Some((unit, times)) = self.parts.first_mut() else {
                return Ok(0);
            };
            if *times == 0 {
                self.parts.remove(0);
                continue;
            }
            let n = buf.len().min(unit.len() - self.offset);
            buf[..n].copy_from_slice(&unit[self.offset..self.offset + n]);
            self.offset = (self.offset + n) % unit.len();
            *times -= u64::from(self.offset == 0);
            return Ok(n);
        }
    }
}

#[test]
fn a_gigabyte_of_braces_is_one_oversized_page() {
    let start = dump("").replace(
        "</mediawiki>\n",
        "<page><title>Chaves</title><ns>0</ns><id>1</id><revision><text>",
    );
    let end = format!("</text></revision></page>{}</mediawiki>", article(2));
    let reader = Synthetic {
        parts: vec![
            (start.into_bytes(), 1),
            (b"{{".repeat(1 << 19), 1 << 10),
            (end.into_bytes(), 1),
        ],
        offset: 0,
    };
    let mut parser = WikiStreamParser::new(reader, 4 << 20);
    let mut page = WikiPage::default();
    assert_eq!(parser.next_page(&mut page), Ok(true));
    assert!(
        page.oversized && page.text.len() <= 8 << 20,
        "{} bytes kept",
        page.text.len()
    );
    assert_eq!(parser.next_page(&mut page), Ok(true));
    assert_eq!(
        (page.title.as_str(), page.oversized),
        ("Município 2", false)
    );
    assert_eq!(parser.next_page(&mut page), Ok(false));
}

#[test]
fn xml_made_to_grow_is_stopped() {
    let forms: [(&[u8], &str); 3] = [
        (b"<a>", "deeply nested"),
        (b"<mediawiki ", "a tag that never ends"),
        (b"&x;", "references"),
    ];
    for (unit, name) in forms {
        let parts = vec![(b"<mediawiki>".to_vec(), 1), (unit.repeat(10_000), 4_000)];
        let mut parser = WikiStreamParser::new(Synthetic { parts, offset: 0 }, 1 << 20);
        assert!(
            parser.next_page(&mut WikiPage::default()).is_err(),
            "{name}"
        );
    }
    // Entities of a DTD are not expanded.
    let bomb = r#"<!DOCTYPE m [<!ENTITY a "ha ha"><!ENTITY b "&a;&a;&a;">]><mediawiki><page><title>T</title><ns>0</ns><id>1</id><revision><text>&b;</text></revision></page></mediawiki>"#;
    let mut page = WikiPage::default();
    assert_eq!(
        WikiStreamParser::new(bomb.as_bytes(), 1 << 20).next_page(&mut page),
        Ok(true)
    );
    assert_eq!(page.text, "&b;");
}

#[test]
fn real_dumps() {
    let Some(data) = std::env::var_os("PTBR_DATA").map(PathBuf::from) else {
        println!(
            "PTBR_DATA is not set: real dumps are not read; the dumps made here stand for them"
        );
        return;
    };
    let run = Run::new();
    let folder = data.join("wikidump");
    let dumps = [
        ("dumpster-dive/smallwiki-latest-pages-articles.xml", 700),
        (
            "gensim/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
            90,
        ),
        ("gensim/bgwiki-latest-pages-articles-shortened.xml.bz2", 1),
        ("gensim/enwiki-table-markup.xml.bz2", 1),
    ];
    for (name, least) in dumps {
        let summary = match run.process(&folder.join(name), 2) {
            Ok(summary) => summary,
            // Some fragments were cut by those who published them.
            Err(CorpusError::StoppedEarly { summary, stop, .. }) => {
                println!("{name}: {stop}");
                *summary
            }
            Err(other) => panic!("{name}: {other}"),
        };
        println!(
            "{name}: {} pages, {} kept, {:?}",
            summary.pages_seen, summary.pages_kept, summary.dropped
        );
        assert!(
            summary.pages_kept >= least,
            "{name}: {} kept",
            summary.pages_kept
        );
        for document in documents(&summary.output) {
            // An article on HTML shows some; nothing else may.
            let left: Vec<_> = residue_places(&document.text)
                .filter(|(kind, _)| document.title != "HTML" || *kind != Residue::Tag)
                .map(|(kind, at)| {
                    (
                        kind,
                        &document.text[at..document.text.ceil_char_boundary(at + 40)],
                    )
                })
                .collect();
            assert!(left.is_empty(), "{name}, {}: {left:?}", document.title);
        }
    }
}
