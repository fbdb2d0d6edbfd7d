//! Fine-tuning through the command line: what it leaves, that its results can be used, what it refuses, and `kill -9`.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Instant;

use crate::program::{Run, command, run};
use crate::samples::{self, TinyModel};
use crate::training::{prepared, train};

/// A base in `base` (trained for a moment), texts and a model file in int8.
fn with_base() -> tempfile::TempDir {
    let folder = prepared();
    let at = folder.path();
    let more = [
        "--max-steps",
        "40",
        "--batch-size",
        "8",
        "--seq-len",
        "32",
        "--learning-rate",
        "5e-3",
        "--log-every",
        "0",
    ];
    run(at, &train("base", &more)).done();
    let quantize = [
        "quantize",
        "--model",
        "base",
        "--format",
        "int8",
        "--output",
        "base.int8.safetensors",
    ];
    run(at, &quantize).done();
    let text: String = (0..400)
        .map(|i| {
            format!(
                "Art. {i}º O disposto no art. {} aplica-se ao § {}º.\n\n",
                i * 7 % 31,
                i % 4
            )
        })
        .collect();
    fs::write(at.join("leis.txt"), &text).expect("written");
    fs::write(at.join("leis-val.txt"), &text[..4000]).expect("written");
    folder
}

/// `finetune` on the text of [`with_base`], on the CPU, with `more` flags.
fn finetune<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "finetune",
        "--model",
        "base",
        "--domain",
        "leis",
        "--data",
        "leis.txt",
        "--output",
        output,
        "--device",
        "cpu",
        "--batch-size",
        "4",
        "--seq-len",
        "32",
        "--log-every",
        "0",
    ];
    args.extend(more);
    args
}

fn loss(at: &Path, model: &str, more: &[&str]) -> f64 {
    let mut args = vec!["evaluate", "--model", model, "--data", "leis-val.txt"];
    args.extend(more);
    args.push("--json");
    let metrics = run(at, &args).done().json();
    metrics["loss"].as_f64().expect("a number")
}

#[test]
fn an_adapter_is_trained_validated_installed_merged_and_used() {
    let folder = with_base();
    let at = folder.path();
    let before = loss(at, "base", &[]);
    let weights = at.join("base/step-000040/model.safetensors");
    let base_bytes = fs::read(&weights).expect("the base");
    let more = [
        "--val",
        "leis-val.txt",
        "--max-steps",
        "60",
        "--rank",
        "4",
        "--targets",
        "att.value,ffn.key",
        "--learning-rate",
        "1e-2",
        "--install",
        "--merge",
        "--json",
    ];
    let shown = run(at, &finetune("tuned", &more)).done();
    for line in ["trained parameters", "validation: loss", "installed as"] {
        assert!(
            shown.err.contains(line),
            "`{line}` is missing:\n{}",
            shown.err
        );
    }
    let result = &shown.json()["domains"][0];
    assert_eq!(result["domain"], "leis");
    // rank · (in + out) of both matrices of two layers of 32 channels.
    assert_eq!(result["trained_parameters"], 4 * 2 * (32 + 32 + 32 + 128));
    assert!(fs::read(&weights).expect("the base") == base_bytes);
    let rows = fs::read_to_string(at.join("tuned/leis/metrics.csv")).expect("metrics");
    assert_eq!(rows.lines().count(), 1 + 60 + 10, "steps and evaluations");

    let folder_of_adapter = loss(at, "base", &["--adapter", "tuned/leis/adapter"]);
    assert!(
        folder_of_adapter < before - 0.3,
        "{before} to {folder_of_adapter}"
    );
    // By its name, merged, and on the rounded base: the same but for rounding.
    let others = [
        loss(at, "base", &["--adapter", "leis"]),
        loss(at, "tuned/leis/model.safetensors", &[]),
    ];
    for other in others {
        assert!(
            (other - folder_of_adapter).abs() < 1e-4,
            "{other} and {folder_of_adapter}"
        );
    }
    let rounded = loss(
        at,
        "base.int8.safetensors",
        &["--adapter", "tuned/leis/adapter"],
    );
    assert!((rounded - folder_of_adapter).abs() < 0.05, "{rounded}");
    let generate = [
        "generate",
        "--model",
        "base",
        "--adapter",
        "leis",
        "--prompt",
        "Art. 5",
        "--max-tokens",
        "8",
    ];
    run(at, &generate).done();

    run(at, &finetune("tuned", &["--max-steps", "5"]))
        .fails_with(&["already holds a fine-tuning run", "--resume"]);
    let again = run(at, &finetune("tuned", &["--max-steps", "5", "--resume"])).done();
    assert!(
        again.out.contains("finished before, at step 60"),
        "{}",
        again.out
    );
    run(at, &["resume", "--output", "tuned/leis", "--device", "cpu"])
        .fails_with(&["fine-tuning run", "finetune --resume"]);
    run(at, &["generate", "--model", "tuned/leis", "--prompt", "x"])
        .fails_with(&["fine-tuning run", "--adapter"]);
}

#[test]
fn a_state_is_trained_on_a_rounded_base_and_gone_on_from() {
    let folder = with_base();
    let at = folder.path();
    let mut args = finetune(
        "tuned",
        &[
            "--method",
            "state",
            "--max-steps",
            "40",
            "--learning-rate",
            "2e-1",
        ],
    );
    args[2] = "base.int8.safetensors";
    let shown = run(at, &args).done();
    assert!(
        shown.out.contains("the last step is the result"),
        "{}",
        shown.out
    );
    fs::copy(at.join("tuned/leis/initial.state"), at.join("text.state")).expect("copied");
    let generate = |state: &[&str]| {
        let mut args = vec![
            "generate",
            "--model",
            "base.int8.safetensors",
            "--prompt",
            "Art.",
            "--max-tokens",
            "40",
            "--temperature",
            "1",
        ];
        args.extend(state);
        run(at, &args).done().out
    };
    assert_ne!(generate(&[]), generate(&["--state", "text.state"]));
}

#[test]
fn vectors_trained_along_and_all_weights_make_whole_models() {
    let folder = with_base();
    let at = folder.path();
    let before = loss(at, "base", &[]);
    let steps = ["--max-steps", "30", "--learning-rate", "5e-3"];
    let vectors = [&steps[..], &["--train-time", "--train-norms"]].concat();
    let shown = run(at, &finetune("vectors", &vectors)).done();
    assert!(
        shown.out.contains("no place in an adapter folder"),
        "{}",
        shown.out
    );
    assert!(!at.join("vectors/leis/adapter").exists());
    assert!(loss(at, "vectors/leis/model.safetensors", &[]) < before - 0.2);

    let mut rounded = finetune("rounded", &vectors);
    rounded[2] = "base.int8.safetensors";
    run(at, &rounded).fails_with(&["weights in int8", "give the f32 model"]);

    let whole = [&steps[..], &["--train-base"]].concat();
    run(at, &finetune("whole", &whole)).done();
    assert!(loss(at, "whole/leis", &[]) < before - 0.2);
    run(at, &finetune("whole", &whole)).fails_with(&["already holds a fine-tuning run"]);
}

#[test]
fn domains_are_tuned_one_after_another_from_their_own_texts() {
    let folder = with_base();
    let at = folder.path();
    fs::create_dir(at.join("dominios")).expect("a folder");
    for (name, words) in [("mar", "o barco e a onda"), ("serra", "a pedra e o vale")] {
        let toml = format!(
            "description = \"{name}\"\n[fine_tune]\nrank = 2\nbatch_size = 2\nseq_len = 16\n\
             [data]\ntrain = [\"{name}.txt\"]\nvalidation = [\"{name}-val.txt\"]\n"
        );
        fs::write(at.join(format!("dominios/{name}.toml")), toml).expect("written");
        let text = |from: usize| {
            let lines = (from..from + 120).map(|i| format!("{i} {words} {}\n", i * 3));
            lines.collect::<String>()
        };
        fs::write(at.join(format!("{name}.txt")), text(0)).expect("written");
        fs::write(at.join(format!("{name}-val.txt")), text(500)).expect("written");
    }
    let args = [
        "finetune",
        "--model",
        "base",
        "--domain",
        "mar,serra",
        "--domain-configs",
        "dominios",
        "--data-root",
        ".",
        "--output",
        "tuned",
        "--device",
        "cpu",
        "--max-steps",
        "6",
        "--json",
    ];
    let shown = run(at, &args).done();
    let domains = shown.json()["domains"].clone();
    assert_eq!(domains.as_array().map(Vec::len), Some(2));
    for (domain, name) in domains
        .as_array()
        .into_iter()
        .flatten()
        .zip(["mar", "serra"])
    {
        assert_eq!(domain["domain"], name);
        assert_eq!(domain["training"]["steps"], 6);
        assert!(domain["training"]["best_eval_loss"].is_f64(), "{domain}");
        assert!(
            at.join(format!("tuned/{name}/adapter/adapter_config.json"))
                .is_file()
        );
    }
}

#[test]
fn bad_input_is_refused_with_what_to_do() {
    let folder = with_base();
    let at = folder.path();
    let refused = |args: &[&str], parts: &[&str]| {
        run(at, args).fails_with(parts);
        assert!(!at.join("refused/leis/latest").exists(), "{args:?}");
    };
    for (more, parts) in [
        (["--rank", "0"], ["`rank` is 0", "from 1"]),
        (["--alpha", "-1"], ["`alpha` is -1", "greater than 0"]),
        (["--learning-rate", "NaN"], ["`learning_rate` is NaN", ""]),
        (
            ["--targets", "att.kye"],
            ["`att.kye` names no matrix", "att.key"],
        ),
        (["--targets", "emb"], ["`emb` names no matrix", ""]),
        (["--epochs", "0"], ["`epochs` is 0", ""]),
        (["--max-steps", "0"], ["`max_steps` is 0", ""]),
        (["--val", "nada.txt"], ["nada.txt", ""]),
    ] {
        refused(&finetune("refused", &more), &parts);
    }
    // The last --seq-len would be given twice: it takes the place of the good one.
    let mut long = finetune("refused", &[]);
    if let Some(at) = long.iter().position(|arg| *arg == "32") {
        long[at] = "1000000";
    }
    refused(&long, &["a sequence of 1000000", "shorter --seq-len"]);

    let swap = |place: usize, value: &'static str| {
        let mut args = finetune("refused", &[]);
        args[place] = value;
        args
    };
    refused(&swap(2, "nenhum"), &["nenhum"]);
    refused(&swap(4, "Leis!"), &["Leis!", "adapter name"]);
    refused(
        &swap(4, "legal,medical"),
        &["--data is the text of one domain"],
    );
    refused(&swap(6, "nada.txt"), &["nada.txt"]);
    fs::write(at.join("vazio.txt"), "\n\n").expect("written");
    refused(&swap(6, "vazio.txt"), &["there is no text in vazio.txt"]);
    let without_data = |domain| {
        let args = [
            "finetune", "--model", "base", "--domain", domain, "--output", "refused",
        ];
        args.to_vec()
    };
    refused(&without_data("leagl"), &["did you mean \"legal\""]);
    let mut command = command(at, &without_data("legal"));
    let output = command.env_remove("PTBR_DATA").output().expect("it runs");
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
    .fails_with(&["--data-root", "PTBR_DATA"]);
    let missing = [&without_data("legal")[..], &["--data-root", "."]].concat();
    refused(&missing, &["legal"]);
    let none = ["finetune", "--model", "base", "--output", "refused"];
    refused(&none, &["--domain legal", "domains list"]);

    // Another tokenizer's tokens, and another base.
    fs::write(at.join("outro.txt"), samples::literature(3)).expect("written");
    for args in [
        vec![
            "train-tokenizer",
            "--input",
            "outro.txt",
            "--output",
            "outro.json",
            "--vocab-size",
            "400",
        ],
        vec![
            "tokenize",
            "--input",
            "outro.txt",
            "--tokenizer",
            "outro.json",
            "--output",
            "outro.bin",
        ],
    ] {
        run(at, &args).done();
    }
    refused(&swap(6, "outro.bin"), &["outro.bin", "tokenizer"]);
    run(
        at,
        &finetune(
            "tuned",
            &["--max-steps", "4", "--save-every", "2", "--keep-last", "2"],
        ),
    )
    .done();
    fs::remove_dir_all(at.join("tuned/leis/step-000004")).expect("removed");
    fs::write(at.join("tuned/leis/latest"), "step-000002\n").expect("written");
    TinyModel::new(at).save_checkpoint(&at.join("other"), 1);
    let mut other = finetune("tuned", &["--resume"]);
    other[2] = "other";
    run(at, &other).fails_with(&["was tuned from the model", "--model that it was begun with"]);
}

#[test]
fn a_killed_run_ends_with_the_same_bytes() {
    let folder = with_base();
    let at = folder.path();
    let flags = [
        "--val",
        "leis-val.txt",
        "--max-steps",
        "80",
        "--save-every",
        "10",
        "--keep-last",
        "2",
        "--targets",
        "att,ffn,head",
    ];
    let start = Instant::now();
    run(at, &finetune("undisturbed", &flags)).done();
    let whole = start.elapsed();
    let bytes = |output: &str, file: &str| {
        let path = at.join(output).join("leis").join(file);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let full = std::env::var_os("PTBR_FULL").is_some_and(|value| value == "1");
    let count: u32 = if full { 20 } else { 3 };
    let mut resumed = 0;
    for number in 1..=count {
        // Spread over the run, no two alike: the fractional parts of multiples of the golden ratio.
        let moment = whole.mul_f64((f64::from(number) * 0.618_033_988_749_895).fract());
        let output = format!("killed-{number}");
        let mut child = command(at, &finetune(&output, &flags))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        sleep(moment);
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
        resumed += u32::from(at.join(&output).join("leis/latest").exists());
        // The same command goes on, begins again or finds it finished, whenever it was killed.
        let again = [&flags[..], &["--resume"]].concat();
        run(at, &finetune(&output, &again)).done();
        for file in [
            "step-000080/trained.safetensors",
            "step-000080/optimizer.safetensors",
            "adapter/adapter_model.safetensors",
        ] {
            assert!(
                bytes(&output, file) == bytes("undisturbed", file),
                "{file}: killed after {moment:?}, other bytes than undisturbed"
            );
        }
        fs::remove_dir_all(at.join(&output)).expect("the folder goes");
    }
    println!("{count} kills, {resumed} of them after a checkpoint");
    assert!(resumed > 0, "no kill came after a checkpoint");
}
