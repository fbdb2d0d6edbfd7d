//! `audit-corpus`: what it says of clean text, of text with markup left in it, and its page.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::program::run;
use crate::samples::literature;

/// Clean text, and a document that is all markup and tries to leave its place in the page.
fn prepare(at: &Path) {
    let chapters = literature(6);
    let first = chapters.split("\n\n").next().expect("a chapter");
    fs::write(at.join("limpo.txt"), format!("{chapters}\n\n{first}\n")).expect("written");
    let dirty =
        "O rio {{quebrado}} corre [[para]] o mar <ref name=x>nota</ref> e não pára de correr. "
            .repeat(30)
            + "</pre><script>alert('oi')</script><img src=x onerror=alert(1)>";
    let line = serde_json::json!({"id": "<b>sujo</b>", "title": "\"><script>", "source": "wiki", "text": dirty});
    fs::write(at.join("sujo.jsonl"), format!("{line}\n")).expect("written");
}

#[test]
fn clean_text_passes_and_markup_does_not() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    prepare(at);
    let clean = run(at, &["audit-corpus", "--input", "limpo.txt"]).done();
    assert!(clean.out.contains("languages: pt 100.0 %"), "{}", clean.out);
    assert!(
        clean.out.contains("duplicates: 1 exact, 0 near"),
        "{}",
        clean.out
    );
    let args = ["audit-corpus", "--input", "limpo.txt", "sujo.jsonl"];
    let dirty = run(at, &args);
    assert_eq!(dirty.code, 1, "{}", dirty.err);
    assert!(
        dirty.out.contains("more than 1: template 60, link 60"),
        "{}",
        dirty.out
    );
    run(at, &[&args[..], &["--max-residue", "1000"]].concat()).done();

    let found = run(at, &[&args[..], &["--json"]].concat());
    assert_eq!(found.code, 1);
    let found = found.json();
    assert_eq!(found["clean"], false);
    assert_eq!(found["residue"]["counts"]["template"], 60);
    assert_eq!(found["residue"]["documents"], 1);
    assert_eq!(found["duplicates"]["exact"], 1);
    let counted: u64 = found["length"]["histogram"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|bin| bin["documents"].as_u64())
        .sum();
    assert_eq!(Some(counted), found["documents"].as_u64());
    assert_eq!(
        found["length"]["deciles"].as_array().map(Vec::len),
        Some(11)
    );
    let lines = found["frequent_lines"].as_array().expect("a list");
    assert!(lines.iter().all(|line| line["count"].as_u64() >= Some(2)));
    assert!(!found["samples"].as_array().expect("a list").is_empty());

    run(at, &["audit-corpus", "--input", "nada.txt"]).fails_with(&["nada.txt"]);
}

#[test]
fn the_page_stands_alone_and_shows_text_as_text() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    prepare(at);
    let args = [
        "audit-corpus",
        "--input",
        "limpo.txt",
        "sujo.jsonl",
        "--html",
        "out/auditoria.html",
    ];
    let shown = run(at, &args);
    assert_eq!(shown.code, 1);
    assert!(
        shown.out.contains("out/auditoria.html: the page"),
        "{}",
        shown.out
    );
    let page = fs::read_to_string(at.join("out/auditoria.html")).expect("the page");
    for part in [
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
        "prefers-color-scheme: dark",
        "default-src 'none'",
        "Most frequent lines",
        "Samples by length",
        "<svg class=\"histogram\"",
        "&lt;script&gt;alert(&#39;oi&#39;)",
        "&lt;b&gt;sujo&lt;/b&gt;",
    ] {
        assert!(page.contains(part), "the page lacks {part}");
    }
    for part in [
        "<script",
        "<img",
        "src=x onerror=alert(1)>",
        "http://",
        "https://",
        "@import",
        "url(",
    ] {
        assert!(!page.contains(part), "the page holds {part}");
    }
    // Every tag that is opened is closed, in the order of opening.
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let name = tag.split(['>', ' ', '\n']).next().unwrap_or_default();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.contains("/>") || ["!doctype", "meta"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}
