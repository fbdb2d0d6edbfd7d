//! A corpus built from small sources, looked at stage by stage; and the data folder's own configuration where `PTBR_DATA` names the folder.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ptbr_corpus::{
    BuildConfig, BuildOptions, BuildSummary, FilterOptions, build_dataset, filter_corpus,
    read_documents,
};
use ptbr_dataset::MmapDataset;
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
use serde_json::Value;

/// A sentence of real words that no other number gives.
fn sentence(n: usize) -> String {
    const THINGS: [&str; 24] = [
        "rio", "mercado", "porto", "teatro", "jornal", "livro", "bairro", "campo", "moinho",
        "barco", "vento", "muro", "prato", "sino", "poço", "trilho", "celeiro", "quadro",
        "viajante", "padre", "médico", "pescador", "soldado", "poeta",
    ];
    const DEEDS: [&str; 12] = [
        "cresceu", "mudou", "acabou", "começou", "ficou", "voltou", "parou", "subiu", "desceu",
        "falou", "calou", "sumiu",
    ];
    const FORMS: [&str; 8] = [
        "O T não D com o T, mas aquele T número N já D.",
        "Havia no T um T que D até o T de N.",
        "Quando o T D, foi para o T, e por isso o T N também D.",
        "Para quem viu o T, era como um T: D e depois D (N).",
        "Nenhum T sabe se o T D ou se foi outro T, em N.",
        "Sem o T da vila, que D cedo, o T N não D mais.",
        "Ele disse ao T: o seu T D, e a minha casa N com ele.",
        "Entre um T e outro D o T; N anos antes, D o T.",
    ];
    let mut seed = n as u64;
    let mut draw = |most: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % most
    };
    let mut said = String::new();
    for c in FORMS[n % 8].chars() {
        match c {
            'T' => said += THINGS[draw(24)],
            'D' => said += DEEDS[draw(12)],
            'N' if n % 8 != 4 || said.len() > 20 => said += &n.to_string(),
            c => said.push(c),
        }
    }
    said
}

/// A document of eight sentences of its own.
fn prose(n: usize) -> String {
    (0..8)
        .map(|at| sentence(n * 8 + at))
        .collect::<Vec<_>>()
        .join("\n")
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn json_line(id: &str, text: &str) -> String {
    serde_json::json!({"id": id, "text": text, "author": "alguém"}).to_string() + "\n"
}

/// Sources of every kind below `root`, and a configuration of them.
fn sources(root: &Path) -> String {
    let texts: Vec<String> = (0..20).map(prose).collect();
    write(&root.join("textos/a.txt"), texts.join("\n\n").as_bytes());
    // Documents 3 and 4 again, one of them with a word changed; one in English; and new ones.
    let mut lines = json_line("igual", &prose(3));
    lines += &json_line("quase", &prose(4).replacen("minha casa", "minha tenda", 1));
    lines += &json_line(
        "inglês",
        &"The river rises in the mountains and runs to the north of the country. ".repeat(9),
    );
    for n in 100..110 {
        lines += &json_line(&format!("novo{n}"), &prose(n));
    }
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(lines.as_bytes()).unwrap();
    write(&root.join("linhas.jsonl.gz"), &gz.finish().unwrap());
    // Validation holds a line of document 7 and a document that training has too.
    let held_out = format!("{}\n{}\n\n{}\n", prose(200), sentence(7 * 8 + 2), prose(9));
    write(&root.join("validar.txt"), held_out.as_bytes());
    write(
        &root.join("testar.txt"),
        format!("{}\n{}\n", prose(300), sentence(200 * 8 + 1)).as_bytes(),
    );
    let law = "Art. 1: Esta lei diz o que é feito dos rios e das matas do país. (Redação dada pela Lei nº 7, de 2001)\n";
    write(
        &root.join("leis/agua.txt"),
        format!("{law}{}\n§ 1: (Revogado)\n", prose(400)).as_bytes(),
    );
    let page = |title: &str, ns: u32, text: &str| {
        format!(
            "<page><title>{title}</title><ns>{ns}</ns><id>1{ns}</id><revision><text>{text}</text></revision></page>"
        )
    };
    let dump = format!(
        "<mediawiki><siteinfo><dbname>ptwiki</dbname></siteinfo>{}{}</mediawiki>",
        page(
            "Moinho",
            0,
            &format!("'''Moinho''' é um [[engenho]].\n\n{}", prose(500))
        ),
        page("Discussão:Moinho", 1, "não é artigo"),
    );
    write(&root.join("ptwiki.xml"), dump.as_bytes());
    "[tokenizer]\nvocab_size = 400\n[dedup]\nsimilarity = 0.8\n\
     [[source]]\nname = \"textos\"\ndocuments = \"blank_lines\"\ntrain = [\"textos\"]\nvalidation = [\"validar.txt\"]\ntest = [\"testar.txt\"]\nweight = 2.0\n\
     [[source]]\nname = \"linhas\"\ntrain = [\"linhas.jsonl.gz\"]\n\
     [[source]]\nname = \"leis\"\nkind = \"statutes\"\ntrain = [\"leis\"]\n\
     [[source]]\nname = \"wiki\"\nkind = \"wiki\"\ntrain = [\"ptwiki.xml\"]\n"
        .to_owned()
}

fn build(config: &str, root: &Path, output: &Path) -> BuildSummary {
    let file = root.join("corpus.toml");
    fs::write(&file, config).unwrap();
    let config = BuildConfig::from_file(&file).unwrap();
    let options = BuildOptions {
        root: Some(root.to_owned()),
        ..BuildOptions::default()
    };
    build_dataset(&config, output, &options, &mut |_| {}).unwrap()
}

/// The documents of a token file.
fn documents(output: &Path, name: &str) -> Vec<String> {
    let tokenizer = BpeTokenizer::from_file(&output.join("tokenizer.json")).unwrap();
    let data = MmapDataset::open(&output.join(name)).unwrap();
    data.check_tokenizer(&tokenizer.sha256()).unwrap();
    let mut from = 0;
    data.document_ends()
        .iter()
        .map(|&end| {
            let tokens = &data.tokens()[from..end as usize - 1];
            from = end as usize;
            tokenizer.decode(tokens)
        })
        .collect()
}

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn sources_of_every_kind_become_token_files() {
    let folder = tempfile::tempdir().unwrap();
    let (root, output) = (folder.path().join("dados"), folder.path().join("corpus"));
    let config = sources(&root);
    let summary = build(&config, &root, &output);

    let train = documents(&output, "train.bin");
    let times = |text: &str| {
        train
            .iter()
            .filter(|document| document.as_str() == text)
            .count()
    };
    assert_eq!(times(&prose(0)), 2, "its source weighs 2");
    assert_eq!(times(&prose(105)), 1);
    assert_eq!(times(&prose(3)), 2, "the copy in the other source is gone");
    assert_eq!(times(&prose(9)), 0, "validation has it");
    assert!(
        !train
            .iter()
            .any(|document| document.contains(&sentence(7 * 8 + 2))),
        "a held-out line"
    );
    assert_eq!(
        train
            .iter()
            .filter(|document| document.contains(&sentence(7 * 8 + 3)))
            .count(),
        2
    );
    assert!(!train.iter().any(|document| document.contains("river")));
    let law = train
        .iter()
        .find(|document| document.starts_with("Art. 1:"))
        .unwrap();
    assert!(
        law.lines().next().unwrap().ends_with("do país.") && !law.contains("Revogado"),
        "{law}"
    );
    assert!(
        train
            .iter()
            .any(|document| document.starts_with("Moinho é um engenho."))
    );
    // 20 documents but one twice, 10 new ones, a law, an article.
    assert_eq!(train.len(), 19 * 2 + 10 + 1 + 1);

    let validation = documents(&output, "val.bin");
    assert_eq!(validation, documents(&output, "val-textos.bin"));
    assert_eq!(validation.len(), 2);
    assert!(
        !validation[0].contains(&sentence(200 * 8 + 1)),
        "test holds this line"
    );
    assert!(
        !output.join("val-linhas.bin").exists(),
        "nothing of it is held out"
    );
    let all = [train, validation].concat().join("\n");
    assert!(
        !all.contains(&sentence(300 * 8 + 4)),
        "test is written nowhere"
    );

    let removed = rows(&output.join("removed.jsonl"));
    let removed: Vec<[&str; 4]> = removed
        .iter()
        .map(|row| {
            [
                &row["id"],
                &row["kind"],
                &row["by"]["source"],
                &row["by"]["id"],
            ]
            .map(|v| v.as_str().unwrap())
        })
        .collect();
    let expected = [
        ["textos/a.txt#10", "exact", "textos", "validar.txt#2"],
        ["igual", "exact", "textos", "textos/a.txt#4"],
        ["quase", "near", "textos", "textos/a.txt#5"],
    ];
    assert_eq!(removed, expected);
    let rejects = rows(&output.join("rejects/linhas.jsonl"));
    assert_eq!(rejects.len(), 1);
    assert_eq!(
        (&rejects[0]["id"], &rejects[0]["reason"]),
        (&"inglês".into(), &"other_language".into())
    );
    assert_eq!(summary.dedup["textos"].held_out_lines, 2);
    assert!(summary.stages.iter().all(|stage| !stage.cached));
}

#[test]
fn only_what_changed_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let (root, output) = (folder.path().join("dados"), folder.path().join("corpus"));
    let config = sources(&root);
    let first = build(&config, &root, &output);
    let bytes = |name: &str| fs::read(output.join(name)).unwrap();
    let before = bytes("train.bin");
    let done_again = |summary: &BuildSummary| -> Vec<String> {
        summary
            .stages
            .iter()
            .filter(|s| !s.cached)
            .map(|s| s.stage.clone())
            .collect()
    };
    let again = build(&config, &root, &output);
    assert_eq!(done_again(&again), Vec::<String>::new());
    assert_eq!(again.stages.len(), first.stages.len());

    // Another weight: only the tokens of training are written again, and the tokenizer is not learned again from other texts.
    let heavier = config.replace("weight = 2.0", "weight = 2.5");
    let summary = build(&heavier, &root, &output);
    assert_eq!(done_again(&summary), ["train.bin"]);
    let more = summary.files[0].documents - first.files[0].documents;
    assert!(
        (3..=16).contains(&more),
        "{more} of 19 documents are written a third time"
    );
    // Back again: the same bytes.
    build(&config, &root, &output);
    assert_eq!(bytes("train.bin"), before);

    // A source that changes is read again, and everything behind it that it changes.
    let mut text = fs::read_to_string(root.join("textos/a.txt")).unwrap();
    text += &format!("\n\n{}\n", prose(50));
    fs::write(root.join("textos/a.txt"), text).unwrap();
    let summary = build(&config, &root, &output);
    assert_eq!(
        done_again(&summary),
        [
            "filter textos",
            "deduplicate",
            "tokenizer",
            "train.bin",
            "val.bin",
            "val-textos.bin"
        ]
    );
}

#[test]
fn documents_are_held_out_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let texts: Vec<String> = (0..300)
        .map(|n| json_line(&format!("d{n}"), &prose(n)))
        .collect();
    write(&root.join("t.jsonl"), texts.concat().as_bytes());
    let config = "[tokenizer]\nvocab_size = 300\n[split]\nvalidation = 0.2\n[[source]]\nname = \"t\"\ntrain = [\"t.jsonl\"]\nfilters = { skip = [\"stub\"] }\n";
    let held_out = |output: &str| -> HashSet<String> {
        build(config, root, &root.join(output));
        let train: HashSet<String> = documents(&root.join(output), "train.bin")
            .into_iter()
            .collect();
        let validation: HashSet<String> = documents(&root.join(output), "val-t.bin")
            .into_iter()
            .collect();
        assert!(train.is_disjoint(&validation));
        assert_eq!(train.len() + validation.len(), texts.len().max(300));
        validation
    };
    let first = held_out("a");
    assert!((35..=85).contains(&first.len()), "{} of 300", first.len());
    // What comes later moves nothing.
    let more: String = (300..330)
        .map(|n| json_line(&format!("d{n}"), &prose(n)))
        .collect();
    write(&root.join("t.jsonl"), (texts.concat() + &more).as_bytes());
    build(config, root, &root.join("b"));
    let second: HashSet<String> = documents(&root.join("b"), "val-t.bin")
        .into_iter()
        .collect();
    assert!(first.is_subset(&second) && second.len() > first.len());
}

#[test]
fn filtering_alone_keeps_fields_and_tags() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let english =
        "The river rises in the mountains and runs to the north of the country. ".repeat(9);
    let lines = json_line("a", &prose(1)) + &json_line("b", &english) + &json_line("c", &prose(1));
    write(&root.join("t.jsonl"), lines.as_bytes());
    let run = |tag_only: bool| -> Vec<Value> {
        let output = root.join(if tag_only { "marcado" } else { "limpo" });
        let options = FilterOptions {
            dedup: Some(Default::default()),
            tag_only,
            ..FilterOptions::default()
        };
        filter_corpus(&[root.join("t.jsonl")], &output, &options, &mut |_| {}).unwrap();
        let names: HashSet<String> = fs::read_dir(&output)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected = ["documents.jsonl", "rejects.jsonl", "removed.jsonl"];
        assert_eq!(names, expected.into_iter().map(str::to_owned).collect());
        rows(&output.join("documents.jsonl"))
    };
    let kept = run(false);
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (&kept[0]["id"], &kept[0]["author"]),
        (&"a".into(), &"alguém".into())
    );
    assert_eq!(
        (&kept[0]["language"], &kept[0]["words"]),
        (
            &"pt".into(),
            &Value::from(prose(1).split_whitespace().count())
        )
    );
    let tagged = run(true);
    assert_eq!(tagged.len(), 3);
    assert_eq!(tagged[1]["filter"], "other_language");
    assert_eq!(tagged[2]["duplicate_of"], "a");
    assert!(tagged[0].get("filter").is_none() && tagged[0].get("duplicate_of").is_none());
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let said = |config: &str| {
        let file = root.join("c.toml");
        fs::write(&file, config).unwrap();
        let config = BuildConfig::from_file(&file).unwrap();
        let options = BuildOptions {
            root: Some(root.to_owned()),
            ..BuildOptions::default()
        };
        build_dataset(&config, &root.join("saída"), &options, &mut |_| {})
            .unwrap_err()
            .to_string()
    };
    let missing = said("[[source]]\nname = \"x\"\ntrain = [\"nada\"]\n");
    assert!(
        missing.contains("the source `x` names \"nada\""),
        "{missing}"
    );
    write(
        &root.join("t.txt"),
        b"The river runs to the north and to the sea.\n",
    );
    let empty = said("[[source]]\nname = \"x\"\ntrain = [\"t.txt\"]\n");
    assert!(empty.contains("no document is left"), "{empty}");
}

#[test]
fn nothing_held_out_of_the_data_folder_is_trained_on() {
    let Some(data) = std::env::var_os("PTBR_DATA").map(PathBuf::from) else {
        println!("PTBR_DATA is not set: only small sources are built");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/corpus/data-folder.toml");
    let config = BuildConfig::from_file(&file).unwrap();
    let options = BuildOptions {
        root: Some(data.clone()),
        ..BuildOptions::default()
    };
    let summary = build_dataset(&config, folder.path(), &options, &mut |_| {}).unwrap();
    for (source, counts) in &summary.filters {
        println!("{source}: {counts:?}, {:?}", summary.dedup[source]);
    }
    let train: HashSet<String> = documents(folder.path(), "train.bin")
        .iter()
        .flat_map(|document| document.lines().map(|line| line.trim().to_owned()))
        .filter(|line| line.chars().count() >= 20)
        .collect();
    assert!(train.len() > 100_000, "{} lines are too few", train.len());
    // Read by another way than the builder's. What is hard-wrapped is joined there, and cannot be compared by its lines.
    for name in [
        "general/ptwiki_text/test.txt",
        "general/ptwiki_text/valid.txt",
        "general/ud_gsd/test.txt",
        "news/ud_bosque/test.txt",
        "news/ud_bosque/dev.txt",
        "news/ud_porttinari/test.txt",
        "legal/statutes/cdc.txt",
        "financial/ud_dantestocks/test.txt",
        "academic/ud_petrogold/test.txt",
    ] {
        for document in read_documents(&data.join(name)).unwrap() {
            for line in document.unwrap().text.lines().map(str::trim) {
                assert!(!train.contains(line), "{name}: {line}");
            }
        }
    }
}
