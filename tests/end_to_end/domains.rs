//! Domains: listed, exported, and every adapter measured on their texts.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::tempdir;

use crate::adapters::{prepare, save_adapter_of};
use crate::program::{Run, command, run};
use crate::samples::literature;

/// A folder of texts, and a folder of one domain that consists of them.
fn cooking(at: &Path) {
    let write = |name: &str, text: &str| {
        let path = at.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    write(
        "textos/receitas/a.txt",
        "Bata os ovos.\nSirva frio.\n\nAsse por uma hora.\n",
    );
    write(
        "textos/receitas/b.txt",
        "Corte as cebolas em rodelas finas.\n",
    );
    write(
        "textos/teste.txt",
        &format!("Sirva frio.\n{}", literature(1)),
    );
    write(
        "dominios/receitas.toml",
        "description = \"Receitas\"\n[data]\ntrain = [\"receitas\"]\ntest = [\"teste.txt\"]\n",
    );
}

#[test]
fn domains_are_listed_and_exported() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    cooking(at);
    let listed = run(at, &["domains", "list", "--json"]).done().json();
    let names: Vec<&str> = listed["domains"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|domain| domain["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "academic",
            "financial",
            "general",
            "legal",
            "medical",
            "news",
            "tech"
        ]
    );
    assert_eq!(listed["domains"][3]["fine_tune"]["rank"], 8);
    let more = run(at, &["domains", "list", "--domain-configs", "dominios"]).done();
    assert!(
        more.out.contains("receitas   Receitas; LoRA of rank 8"),
        "{}",
        more.out
    );

    let export = |more: &[&str]| -> Run {
        let base = [
            "domains",
            "export",
            "--domain-configs",
            "dominios",
            "--output",
            "out",
        ];
        run(at, &[&base, more].concat())
    };
    let args = ["--domain", "receitas", "--data-root", "textos", "--json"];
    let written = export(&args).done().json();
    assert_eq!(written["splits"][0]["removed_lines"], 1);
    assert_eq!(
        fs::read_to_string(at.join("out/receitas/train.txt")).expect("written"),
        "Bata os ovos.\n\nAsse por uma hora.\n\nCorte as cebolas em rodelas finas.\n"
    );
    assert!(at.join("out/receitas/test.txt").exists());
    assert!(!at.join("out/receitas/validation.txt").exists());

    export(&["--domain", "receita", "--data-root", "textos"]).fails_with(&[
        "no domain is called \"receita\"",
        "did you mean \"receitas\"",
    ]);
    export(&["--domain", "legal", "--data-root", "textos"])
        .fails_with(&["the domain `legal` names \"legal/statutes", "textos"]);
    export(&["--domain", "receitas", "--data-root", "nada"]).fails_with(&["no folder nada"]);
    let output = command(at, &["domains", "export", "--output", "out"])
        .env_remove("PTBR_DATA")
        .output()
        .expect("the program starts");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(err.contains("name the folder with --data-root"), "{err}");
    fs::write(at.join("dominios/receitas.toml"), "rank = 3").expect("written");
    export(&["--data-root", "textos"])
        .fails_with(&["dominios/receitas.toml", "unknown field `rank`"]);
}

#[test]
fn every_adapter_is_measured_on_every_text() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    let id = prepare(at);
    cooking(at);
    save_adapter_of(7, &at.join("run/adapters/legal"), Some(&id), 32);
    save_adapter_of(8, &at.join("others/outro"), Some(&id), 32);
    let evaluate = |model: &str, more: &[&str]| -> Run {
        let base = [
            "adapters",
            "evaluate",
            "--model",
            model,
            "--max-tokens",
            "300",
        ];
        run(at, &[&base, more].concat())
    };
    let texts = [
        "--adapters",
        "legal",
        "others",
        "--domain",
        "receitas",
        "--domain-configs",
        "dominios",
        "--data-root",
        "textos",
        "--data",
        "livro=texto.txt",
    ];
    let shown = evaluate("run", &texts).done();
    let lines: Vec<&str> = shown.out.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["bits", "per", "byte", "receitas", "livro"]
    );
    for (line, name) in lines[1..4].iter().zip(["(model alone)", "legal", "outro"]) {
        assert!(line.starts_with(name), "{}", shown.out);
    }
    assert_eq!(shown.out.matches('*').count(), 2, "{}", shown.out);

    let found = evaluate("run", &[&texts[..], &["--json"]].concat())
        .done()
        .json();
    let bits = |row: usize, text: &str| -> f64 {
        found["rows"][row]["texts"][text]["bits_per_byte"]
            .as_f64()
            .expect("a number")
    };
    assert!(found["rows"][0]["adapter"].is_null());
    for text in ["receitas", "livro"] {
        let best = (0..3).min_by(|&a, &b| bits(a, text).total_cmp(&bits(b, text)));
        let best = best.expect("three rows");
        assert_eq!(
            found["best"][text], found["rows"][best]["adapter"],
            "{text}"
        );
    }
    // Each cell is what the text alone gives, whatever was read before it: here all of it, unshortened.
    for (row, adapter) in [(0, None), (1, Some("legal")), (2, Some("others/outro"))] {
        let mut args = vec![
            "evaluate",
            "--model",
            "run",
            "--data",
            "textos/receitas",
            "--json",
        ];
        args.extend(adapter.iter().flat_map(|adapter| ["--adapter", adapter]));
        let alone = run(at, &args).done().json();
        let table = evaluate(
            "run",
            &[
                &texts[..],
                &[
                    "--split",
                    "train",
                    "--json",
                    "--data",
                    "inteiro=textos/receitas",
                ],
            ]
            .concat(),
        );
        let table = table.done().json();
        assert_eq!(table["rows"][row]["texts"]["inteiro"], alone);
    }

    // Above rounded weights too.
    let args = [
        "quantize",
        "--model",
        "run",
        "--format",
        "int8",
        "--output",
        "int8.safetensors",
    ];
    run(at, &args).done();
    let rounded = evaluate(
        "int8.safetensors",
        &[
            "--adapters",
            "run/adapters",
            "--data",
            "livro=texto.txt",
            "--json",
        ],
    );
    let rounded = rounded.done().json();
    for row in 0..2 {
        let value: &Value = &rounded["rows"][row]["texts"]["livro"]["bits_per_byte"];
        let value = value.as_f64().expect("a number");
        assert!((value / bits(row, "livro") - 1.0).abs() < 0.02, "{value}");
    }

    evaluate("int8.safetensors", &["--data", "a=texto.txt"])
        .fails_with(&["no adapters in", "--adapters"]);
    evaluate("run", &["--adapters", "nenhum", "--data", "a=texto.txt"])
        .fails_with(&["no adapter `nenhum`"]);
    evaluate("run", &["--data", "texto.txt"]).fails_with(&["like recipes=recipes.txt"]);
    evaluate("run", &["--data", "a=nada.txt"]).fails_with(&["nada.txt"]);
    evaluate(
        "run",
        &[
            "--domain",
            "legal",
            "--data",
            "legal=texto.txt",
            "--data-root",
            "textos",
        ],
    )
    .fails_with(&["the domain `legal` names"]);
}
