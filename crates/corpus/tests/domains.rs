//! The texts of domains: small ones made here, and the seven splits of `PTBR_DATA` when it is set.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use ptbr_corpus::{domain_documents, export_split};
use ptbr_model::{Domain, DomainRegistry, Split};

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn domain(data: &str) -> Domain {
    Domain::from_toml("x", &format!("description = \"\"\n[data]\n{data}")).unwrap()
}

fn texts(domain: &Domain, root: &Path, split: Split) -> Vec<String> {
    domain_documents(domain, root, split)
        .unwrap()
        .map(|document| document.unwrap().text)
        .collect()
}

#[test]
fn sources_are_read_in_their_order_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        root,
        &[
            ("z/b.txt", "b\n"),
            ("z/a.txt", "a1\n\na2\n"),
            ("z/c/d.jsonl", "{\"text\":\"d1\\n\\nd2\"}\n"),
            ("z/velho.txt", "velho\n"),
            ("a.txt", "primeiro?\n"),
            ("z/LEIAME.md", "nada\n"),
        ],
    );
    let domain = domain(
        "train = [{ path = \"z\", except = [\"z/v*\"] }, \"a.txt\", \"z/b.txt\"]\ntest = [\"z/velho.txt\"]",
    );
    assert_eq!(
        texts(&domain, root, Split::Train),
        ["a1", "a2", "b", "d1\n\nd2", "primeiro?"]
    );
    let ids: Vec<String> = domain_documents(&domain, root, Split::Train)
        .unwrap()
        .map(|document| document.unwrap().id)
        .collect();
    assert_eq!(ids[1], "z/a.txt#2");

    let out = root.join("out/train.txt");
    let summary = export_split(&domain, root, Split::Train, &out).unwrap();
    assert_eq!(
        fs::read_to_string(&out).unwrap(),
        "a1\n\na2\n\nb\n\nd1\nd2\n\nprimeiro?\n"
    );
    assert_eq!((summary.files, summary.documents), (4, 5));
    assert_eq!(summary.bytes, fs::metadata(&out).unwrap().len());
}

#[test]
fn held_out_lines_are_not_learned() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        root,
        &[
            ("train.txt", "um\ndois \n  três\n\nquatro\n\ncinco\ndoi\n"),
            ("val.txt", "três\nquatro\nvalidação\n"),
            ("test.txt", "dois\nquatro\n"),
            ("other.txt", "cinco\n"),
        ],
    );
    let domain = domain(
        "train = [\"train.txt\"]\nvalidation = [\"val.txt\"]\ntest = [\"test.txt\"]\nheld_out_elsewhere = [\"other.txt\"]",
    );
    // The second document is gone with its only line.
    assert_eq!(texts(&domain, root, Split::Train), ["um", "doi"]);
    assert_eq!(texts(&domain, root, Split::Validation), ["três\nvalidação"]);
    assert_eq!(texts(&domain, root, Split::Test), ["dois\nquatro"]);
    let mut train = domain_documents(&domain, root, Split::Train).unwrap();
    assert_eq!(train.by_ref().count(), 2);
    assert_eq!(train.removed_lines(), 4);
}

#[test]
fn parts_of_one_file_do_not_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let documents: Vec<String> = (0..31).map(|n| format!("documento {n}")).collect();
    write(root, &[("d.txt", &documents.join("\n\n"))]);
    let part = |from, to| format!("[{{ path = \"d.txt\", documents_percent = [{from}, {to}] }}]");
    let domain = domain(&format!(
        "train = {}\nvalidation = {}\ntest = {}",
        part(0, 80),
        part(80, 90),
        part(90, 100)
    ));
    let parts = Split::ALL.map(|split| texts(&domain, root, split));
    assert_eq!(parts.each_ref().map(Vec::len), [24, 3, 4]);
    assert_eq!(parts.concat(), documents);
}

#[test]
fn what_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, &[("a/a.txt", "igual\n"), ("b.txt", "igual\n")]);
    let refused = |data: &str, split| match domain_documents(&domain(data), root, split) {
        Ok(_) => panic!("{data}"),
        Err(error) => error.to_string(),
    };
    let message = refused("train = [\"nada\"]", Split::Train);
    assert!(message.contains("names \"nada\""), "{message}");
    let message = refused("train = [\"a/x*.txt\"]", Split::Train);
    assert!(message.contains("holds no such text"), "{message}");
    let message = refused("train = [\"a\"]\ntest = [\"nada.txt\"]", Split::Train);
    assert!(message.contains("nada.txt"), "{message}");
    let message = refused("train = [\"a\"]", Split::Test);
    assert!(message.contains("names no texts for test"), "{message}");

    let all_held_out = domain("train = [\"a\"]\ntest = [\"b.txt\"]");
    let out = root.join("out.txt");
    let message = export_split(&all_held_out, root, Split::Train, &out)
        .unwrap_err()
        .to_string();
    assert!(message.contains("are empty"), "{message}");
    assert!(!out.exists());
    write(root, &[("a/b.txt", "x\n")]);
    fs::write(root.join("a/a.txt"), [b'o', 0xff]).unwrap();
    let read: Vec<_> = domain_documents(&all_held_out, root, Split::Train)
        .unwrap()
        .collect();
    // The error, and nothing after it.
    assert_eq!(read.len(), 1);
    assert!(read[0].is_err());
}

/// The contract of the data folder: what is held out is in no training split, of whatever domain.
#[test]
fn no_held_out_line_is_trained_on() {
    let Some(root) = std::env::var_os("PTBR_DATA").map(PathBuf::from) else {
        println!(
            "PTBR_DATA is not set: the real splits are not read; the small ones made here stand for them"
        );
        return;
    };
    let registry = DomainRegistry::built_in().unwrap();
    let lines = |domain: &Domain, split| -> HashSet<String> {
        texts(domain, &root, split)
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    };
    let mut held_out: Vec<(String, HashSet<String>)> = Vec::new();
    for domain in registry.iter() {
        let test = lines(domain, Split::Test);
        let validation = lines(domain, Split::Validation);
        assert!(
            test.len() > 100 && validation.len() > 20,
            "{}",
            domain.name()
        );
        assert!(validation.is_disjoint(&test), "{}", domain.name());
        held_out.push((domain.name().to_owned(), &test | &validation));
    }
    for domain in registry.iter() {
        let train = lines(domain, Split::Train);
        for (other, held_out) in &held_out {
            // Between domains, short lines ("Exemplo:", "Sintaxe") are no texts; within one they are left out as well.
            let shared: Vec<&String> = train
                .intersection(held_out)
                .filter(|line| other == domain.name() || line.len() > 40)
                .collect();
            assert!(
                shared.is_empty(),
                "{} in {other}: {shared:?}",
                domain.name()
            );
        }
    }
}
