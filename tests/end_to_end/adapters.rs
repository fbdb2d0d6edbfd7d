//! Adapters and saved states on the command line: listed, used, merged and exported; refused where they do not belong.

use std::fs;
use std::path::Path;

use ptbr_model::{Adapter, AdapterConfig, LoraModule, read_adapter, write_adapter};
use serde_json::Value;
use tempfile::tempdir;

use crate::program::run;
use crate::samples::{self, TinyModel};

/// A run with a model of one layer of 32 channels; its model id.
pub fn prepare(at: &Path) -> String {
    samples::prepare(at);
    TinyModel::new(at).save_checkpoint(&at.join("run"), 1);
    let info = run(at, &["info", "run", "--json"]).done().json();
    info["model_id"].as_str().expect("an id").to_owned()
}

/// Writes an adapter that changes a good part of what the model computes.
pub fn save_adapter(folder: &Path, model_id: Option<&str>, in_features: usize) -> Adapter {
    save_adapter_of(7, folder, model_id, in_features)
}

/// The same of another seed, which is another adapter.
pub fn save_adapter_of(
    mut seed: u32,
    folder: &Path,
    model_id: Option<&str>,
    in_features: usize,
) -> Adapter {
    let mut values = |count: usize| -> Vec<f32> {
        let noise = (0..count).map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
        });
        noise.collect()
    };
    let mut module = |target: &str, out_features: usize, in_features: usize| LoraModule {
        target: target.to_owned(),
        in_features,
        out_features,
        a: values(4 * in_features),
        b: values(out_features * 4),
    };
    let adapter = Adapter {
        config: AdapterConfig {
            rank: 4,
            alpha: 4.0,
            rank_stabilized: false,
            base_model: model_id.map(str::to_owned),
        },
        model_id: model_id.map(str::to_owned),
        modules: vec![
            module("blocks.0.att.output", 32, in_features),
            module("blocks.0.ffn.receptance", 32, 32),
            module("head", 512, 32),
        ],
    };
    write_adapter(folder, &adapter).expect("the adapter is written");
    adapter
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().expect("a list");
    list.iter().map(|x| x.as_f64().expect("a number")).collect()
}

#[test]
fn an_adapter_is_listed_used_and_merged() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    let id = prepare(at);
    let legal = save_adapter(&at.join("run/adapters/legal"), Some(&id), 32);
    save_adapter(&at.join("run/adapters/sem-nome"), None, 32);
    save_adapter(&at.join("run/adapters/alheio"), Some(&"a".repeat(64)), 32);
    save_adapter(&at.join("elsewhere/largo"), None, 64);
    fs::create_dir_all(at.join("elsewhere/torto")).expect("a folder");
    fs::write(at.join("elsewhere/torto/adapter_config.json"), "{").expect("written");

    let args = ["adapters", "list", "elsewhere", "--model", "run", "--json"];
    let listed = run(at, &args).done().json();
    let described: Vec<(&str, &str, bool)> = listed["adapters"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            (
                one["name"].as_str().expect("a name"),
                one["fits"].as_str().unwrap_or("no"),
                one["problem"].is_string(),
            )
        })
        .collect();
    assert_eq!(
        described,
        [
            ("alheio", "no", true),
            ("legal", "same_model", false),
            ("sem-nome", "shapes_only", false),
            ("largo", "no", true),
            ("torto", "no", true),
        ]
    );
    let shown = run(at, &["adapters", "inspect", "legal", "--model", "run"]).done();
    for part in [
        &legal.id(),
        "rank        4",
        "2,",
        "att.output ffn.receptance head",
    ] {
        assert!(shown.out.contains(part), "{part}\n{}", shown.out);
    }
    let refused = run(at, &["adapters", "inspect", "alheio", "--model", "run"]);
    assert_eq!(refused.code, 1, "{}", refused.err);

    let logits = |args: &[&str]| {
        let args = [&["logits", "--tokens", "5,17,42", "--json"], args].concat();
        numbers(&run(at, &args).done().json()["logits"])
    };
    let plain = logits(&["--model", "run"]);
    let adapted = logits(&["--model", "run", "--adapter", "legal"]);
    let apart = |a: &[f64], b: &[f64]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max)
    };
    assert!(
        apart(&plain, &adapted) > 0.05,
        "the adapter changes nothing"
    );

    let args = "adapters merge --model run --adapter legal --output merged.safetensors --json";
    let merged = run(at, &args.split(' ').collect::<Vec<_>>()).done().json();
    assert_eq!(merged["adapter_id"], legal.id());
    assert_ne!(merged["model_id"], id.as_str());
    assert_eq!(merged["base_model_id"], id.as_str());
    let baked = logits(&["--model", "merged.safetensors"]);
    let difference = apart(&baked, &adapted);
    assert!(difference < 1e-4, "{difference}");
    // Another model: the adapter is not applied twice by mistake.
    run(
        at,
        &[
            "logits",
            "--model",
            "merged.safetensors",
            "--adapter",
            "run/adapters/legal",
            "--tokens",
            "5",
        ],
    )
    .fails_with(&["cannot use the adapter run/adapters/legal", &id[..12]]);

    let loss = |args: &[&str]| {
        let args = [
            &[
                "evaluate",
                "--data",
                "texto.txt",
                "--max-tokens",
                "200",
                "--json",
            ],
            args,
        ]
        .concat();
        run(at, &args).done().json()["loss"]
            .as_f64()
            .expect("a number")
    };
    let difference =
        loss(&["--model", "run", "--adapter", "legal"]) - loss(&["--model", "merged.safetensors"]);
    assert!(difference.abs() < 1e-4, "{difference}");

    let generate = [
        "generate",
        "--prompt",
        "O Brasil é",
        "--max-tokens",
        "8",
        "--json",
    ];
    let args = [&generate[..], &["--model", "run", "--adapter", "sem-nome"]].concat();
    let written = run(at, &args).done();
    assert!(
        written.err.contains("does not say which model"),
        "{}",
        written.err
    );
    assert_eq!(written.json()["adapter"], legal.id());
    let args = [&generate[..], &["--model", "run"]].concat();
    assert!(run(at, &args).done().json()["adapter"].is_null());
}

#[test]
fn adapters_that_cannot_be_used_are_named() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    let id = prepare(at);
    save_adapter(&at.join("run/adapters/legal"), Some(&id), 32);
    save_adapter(&at.join("largo"), None, 64);
    let with = |adapter: &str| {
        run(
            at,
            &[
                "generate",
                "--model",
                "run",
                "--prompt",
                "x",
                "--adapter",
                adapter,
            ],
        )
    };
    with("nenhum").fails_with(&["no adapter `nenhum`", "run/adapters", "it holds legal"]);
    with("largo").fails_with(&["`blocks.0.att.output` is [32, 64]", "[32, 32]"]);
    with("run").fails_with(&["run is no adapter", "adapter_config.json"]);
    let tensors = at.join("run/adapters/legal/adapter_model.safetensors");
    let whole = fs::read(&tensors).expect("read");
    fs::write(&tensors, &whole[..whole.len() - 1]).expect("written");
    with("legal").fails_with(&["adapter_model.safetensors"]);
    run(at, &["adapters", "list"]).fails_with(&["--model"]);
    run(at, &["adapters", "list", "nowhere"]).fails_with(&["there is no folder nowhere"]);
}

#[test]
fn adapters_are_exported_for_others() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    let id = prepare(at);
    let legal = save_adapter(&at.join("run/adapters/legal"), Some(&id), 32);
    let export = |args: &[&str]| {
        let base = ["adapters", "export", "--model", "run", "--adapter", "legal"];
        run(at, &[&base, args].concat())
    };
    export(&["--output", "copy"]).done();
    assert_eq!(read_adapter(&at.join("copy")).expect("an adapter"), legal);
    export(&["--output", "half", "--precision", "f16"]).done();
    let half = read_adapter(&at.join("half")).expect("an adapter");
    assert_eq!(
        (&half.config, &half.model_id),
        (&legal.config, &legal.model_id)
    );
    let pairs = half.modules[0].a.iter().zip(&legal.modules[0].a);
    for (half, full) in pairs {
        assert!((half - full).abs() <= full.abs() / 2048.0, "{half} {full}");
    }
    export(&["--output", "x.st", "--format", "web-rwkv"])
        .fails_with(&["`head`", "merge it into the model instead"]);
    export(&[
        "--output",
        "x.st",
        "--format",
        "web-rwkv",
        "--precision",
        "f32",
    ])
    .fails_with(&["web-rwkv reads f16 only"]);
    assert!(!at.join("x.st").exists());
    let mut layers = legal;
    layers.modules.pop();
    write_adapter(&at.join("run/adapters/legal"), &layers).expect("written");
    let written = export(&["--output", "x.st", "--format", "web-rwkv", "--json"]).done();
    // alpha / rank is 1, and web-rwkv divides by the rank once more.
    assert_eq!(written.json()["blend"], 4.0);
    assert!(at.join("x.st").exists());
}

#[test]
fn a_state_goes_on_where_it_was_left() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    let id = prepare(at);
    save_adapter(&at.join("run/adapters/legal"), Some(&id), 32);
    let generate = |prompt: &str, more: &[&str]| {
        let base = [
            "generate",
            "--model",
            "run",
            "--prompt",
            prompt,
            "--max-tokens",
            "6",
            "--seed",
            "5",
            "--json",
        ];
        run(at, &[&base, more].concat())
    };
    let first = generate("O Brasil é", &["--state", "s.state"]).done();
    assert!(
        first.err.contains("tokens remembered in s.state"),
        "{}",
        first.err
    );
    let saved = fs::read(at.join("s.state")).expect("a state");
    let second = generate(" um país", &["--state", "s.state"]).done();
    assert!(second.err.contains("going on after"), "{}", second.err);
    assert_ne!(
        fs::read(at.join("s.state")).expect("a state"),
        saved,
        "it moves on"
    );
    // From the same state again: the same text, as if it had never stopped.
    fs::write(at.join("s.state"), &saved).expect("written");
    let again = generate(" um país", &["--state", "s.state"]).done();
    assert_eq!(again.json()["tokens"], second.json()["tokens"]);
    let fresh = generate(" um país", &[]).done();
    assert_ne!(
        fresh.json()["tokens"],
        second.json()["tokens"],
        "it remembers nothing"
    );

    fs::write(at.join("s.state"), &saved).expect("written");
    let untouched = |shown: crate::program::Run, parts: &[&str]| {
        shown.fails_with(parts);
        assert_eq!(fs::read(at.join("s.state")).expect("a state"), saved);
    };
    untouched(
        generate("x", &["--state", "s.state", "--adapter", "legal"]),
        &[
            "cannot go on from s.state",
            "made with no adapter",
            "use the adapter of the state",
        ],
    );
    untouched(
        generate("", &["--state", "s.state"]),
        &["--prompt that is not empty"],
    );
    fs::write(at.join("cut.state"), &saved[..saved.len() / 2]).expect("written");
    generate("x", &["--state", "cut.state"]).fails_with(&["cut.state", "damaged"]);
    generate("x", &["--state", "texto.bin"]).fails_with(&["texto.bin"]);
    generate("x", &["--state", "nowhere/s.state"]).fails_with(&["cannot save the state"]);

    // No file under another name is left behind.
    let left: Vec<String> = fs::read_dir(at)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_stop_text_ends_the_writing() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    prepare(at);
    let generate = |more: &[&str]| {
        let base = [
            "generate",
            "--model",
            "run",
            "--prompt",
            "O Brasil é",
            "--max-tokens",
            "40",
            "--temperature",
            "0",
            "--json",
        ];
        run(at, &[&base, more].concat()).done().json()
    };
    let free = generate(&[]);
    let text = free["text"].as_str().expect("a text");
    assert_eq!(free["stop"], "max_tokens");
    // Some characters from the middle of what it writes.
    let from = text
        .char_indices()
        .nth(text.chars().count() / 2)
        .expect("a text")
        .0;
    let stop: String = text[from..].chars().take(3).collect();
    let stopped = generate(&["--stop", "§§", "--stop", &stop]);
    assert_eq!(stopped["stop"], "stop_text");
    let first = text.find(&stop).expect("it is in there");
    assert_eq!(stopped["text"], text[..first]);
}

#[test]
fn several_adapters_become_one_model_or_one_adapter() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    let id = prepare(at);
    let one = save_adapter_of(7, &at.join("run/adapters/legal"), Some(&id), 32);
    let two = save_adapter_of(8, &at.join("run/adapters/medical"), Some(&id), 32);
    let merge = |more: &[&str]| {
        let base = ["adapters", "merge", "--model", "run", "--json"];
        run(at, &[&base, more].concat())
    };
    let both = ["--adapter", "legal=0.7", "--adapter", "medical=-0.25"];
    let model = merge(&[&both[..], &["--output", "both.safetensors"]].concat()).done();
    let model = model.json();
    assert_eq!(
        model["adapter_ids"],
        serde_json::json!([one.id(), two.id()])
    );
    assert_eq!(model["weights"], serde_json::json!([0.7, -0.25]));
    assert!(model["adapter_id"].is_null());
    let joined = merge(
        &[
            &both[..],
            &["--as-adapter", "--output", "run/adapters/both"],
        ]
        .concat(),
    );
    let joined = joined.done().json();
    let read = read_adapter(&at.join("run/adapters/both")).expect("an adapter");
    assert_eq!(joined["adapter_id"], read.id());
    assert_eq!(read.config.rank, 8);
    assert_eq!(read.model_id.as_deref(), Some(&id[..]));

    let logits = |args: &[&str]| {
        let args = [&["logits", "--tokens", "5,17,42", "--json"], args].concat();
        numbers(&run(at, &args).done().json()["logits"])
    };
    let apart = |a: &[f64], b: &[f64]| {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    let baked = logits(&["--model", "both.safetensors"]);
    let applied = logits(&["--model", "run", "--adapter", "both"]);
    assert!(apart(&baked, &applied) < 1e-4);
    assert!(apart(&baked, &logits(&["--model", "run"])) > 0.05);
    assert!(apart(&baked, &logits(&["--model", "run", "--adapter", "legal"])) > 0.05);

    // An adapter is replaced by one, anything else is not.
    merge(&[
        "--adapter",
        "legal",
        "--as-adapter",
        "--output",
        "run/adapters/both",
    ])
    .done();
    merge(&["--adapter", "legal", "--as-adapter", "--output", "run"])
        .fails_with(&["run is there already and is no adapter"]);
    merge(&["--adapter", "legal=viel", "--output", "x.safetensors"])
        .fails_with(&["legal=viel", "a number like 0.7"]);
    assert!(!at.join("x.safetensors").exists());
}

#[test]
fn the_adapter_that_fits_the_prompt_is_taken() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    let id = prepare(at);
    let one = save_adapter_of(7, &at.join("run/adapters/legal"), Some(&id), 32);
    save_adapter_of(8, &at.join("run/adapters/medical"), Some(&id), 32);
    let generate = |prompt: &str, more: &[&str]| {
        let base = ["generate", "--model", "run", "--prompt", prompt, "--json"];
        run(at, &[&base, more].concat())
    };
    let greedy = ["--temperature", "0", "--max-tokens", "30"];
    // What an adapter writes is likely with it; with the others it is not.
    let own = generate(
        "O Brasil é",
        &[&greedy[..], &["--adapter", "legal"]].concat(),
    );
    let prompt = format!(
        "O Brasil é{}",
        own.done().json()["text"].as_str().expect("a text")
    );
    let sampled = [
        "--seed",
        "4",
        "--repetition-penalty",
        "1.5",
        "--max-tokens",
        "12",
    ];
    let auto = generate(&prompt, &[&sampled[..], &["--adapter", "auto"]].concat()).done();
    assert!(
        auto.err
            .contains("adapter: legal; it makes the prompt likelier"),
        "{}",
        auto.err
    );
    let auto = auto.json();
    assert_eq!(auto["adapter"], one.id());
    let choice = &auto["choice"];
    assert_eq!(choice["adapter"], "legal");
    let loss = |n: usize| choice["candidates"][n]["loss"].as_f64().expect("a number");
    assert_eq!(choice["candidates"][0]["adapter"], "legal");
    assert_eq!(choice["candidates"][1]["adapter"], "medical");
    let lead = choice["lead"].as_f64().expect("a number");
    let base = choice["base_loss"].as_f64().expect("a number");
    assert!(
        (base - loss(0) - lead).abs() < 1e-9 && lead > 1.0,
        "{choice}"
    );
    assert!(loss(0) < loss(1), "{choice}");
    // As if it had been named.
    let named = generate(&prompt, &[&sampled[..], &["--adapter", "legal"]].concat());
    let named = named.done().json();
    assert_eq!(auto["tokens"], named["tokens"]);
    assert_eq!(auto["prompt_tokens"], named["prompt_tokens"]);
    assert!(named.get("choice").is_none());

    let short = generate("a", &["--adapter", "auto", "--max-tokens", "2"]).done();
    assert!(
        short.err.contains("adapter: none; a prompt of one token"),
        "{}",
        short.err
    );
    assert!(short.json()["choice"]["adapter"].is_null());
    generate("", &["--adapter", "auto"]).fails_with(&["chosen by the prompt, and it is empty"]);
    generate(
        "x",
        &["--adapter", "auto", "--state", "s", "--max-tokens", "2"],
    )
    .done();
    generate("x", &["--adapter", "auto", "--state", "s"])
        .fails_with(&["s goes on with the adapter that it was made with"]);
    let data = [
        "evaluate",
        "--model",
        "run",
        "--data",
        "texto.txt",
        "--adapter",
        "auto",
    ];
    run(at, &data).fails_with(&["by the prompt of `generate`"]);
    fs::remove_dir_all(at.join("run/adapters")).expect("removed");
    generate("x y", &["--adapter", "auto"]).fails_with(&["no adapters to choose from"]);
}
