//! `chat` in a pipe: turns, commands, what Ctrl-C does. The line editor needs a terminal and is tried by hand.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use tempfile::{TempDir, tempdir};

use crate::program::{Run, command, run};
use crate::samples::{self, TinyModel};

fn folder() -> TempDir {
    let folder = tempdir().expect("a temporary folder");
    samples::prepare(folder.path());
    TinyModel::new(folder.path()).save_file(&folder.path().join("m.safetensors"));
    folder
}

const CHAT: [&str; 7] = [
    "chat",
    "--model",
    "m.safetensors",
    "--device",
    "cpu",
    "--max-tokens",
    "5",
];

fn chat(at: &Path, input: &str, more: &[&str]) -> Run {
    let mut child = command(at, &[&CHAT, more].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // It may end before it has read everything.
    let _ = child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the program ends");
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        err: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// What the model wrote in each turn.
fn turns(shown: &Run) -> Vec<String> {
    let json = shown.json();
    let turns = json["turns"].as_array().expect("turns");
    let text = |turn: &serde_json::Value| turn["text"].as_str().expect("a text").to_owned();
    turns.iter().map(text).collect()
}

#[test]
fn a_first_turn_is_what_generate_writes() {
    let folder = folder();
    let at = folder.path();
    let args = [
        "generate",
        "--model",
        "m.safetensors",
        "--device",
        "cpu",
        "--prompt",
        "O Brasil",
        "--max-tokens",
        "5",
        "--json",
    ];
    let generated = run(at, &args).done().json()["text"].clone();
    let shown = chat(at, "O Brasil\n", &["--json"]).done();
    assert_eq!(shown.json()["turns"][0]["prompt"], "O Brasil");
    assert_eq!(shown.json()["turns"][0]["text"], generated);
    // Without --json stdout holds what the model wrote, and nothing else.
    let shown = chat(at, "O Brasil\n", &[]).done();
    assert_eq!(
        shown.out,
        format!("{}\n", generated.as_str().expect("a text"))
    );
    assert!(shown.err.is_empty(), "{}", shown.err);
}

#[test]
fn a_text_goes_on_from_a_file_as_if_it_had_never_stopped() {
    let folder = folder();
    let at = folder.path();
    let whole = turns(&chat(at, "O Brasil\nA casa\nO mar\n", &["--json"]).done());
    assert_eq!(whole.len(), 3);
    let first = chat(at, "O Brasil\nA casa\n/save s.state\n", &["--json"]).done();
    assert_eq!(turns(&first), whole[..2]);
    assert!(
        first.err.contains("tokens remembered in s.state"),
        "{}",
        first.err
    );
    let second = chat(at, "/load s.state\nO mar\n", &["--json"]).done();
    assert_eq!(turns(&second), whole[2..]);
    // Forgetting begins anew.
    let again = turns(&chat(at, "O Brasil\n/reset\nO Brasil\n", &["--json"]).done());
    assert_eq!(again[0], again[1]);
    // What was read changes what is written.
    let other = turns(&chat(at, "A casa\nO mar\n", &["--json"]).done());
    assert_ne!(other[1], whole[2]);
}

#[test]
fn an_empty_line_lets_the_model_go_on() {
    let folder = folder();
    let at = folder.path();
    let parts = turns(&chat(at, "A casa\n\n", &["--json", "--temperature", "0"]).done());
    let args = [
        "generate",
        "--model",
        "m.safetensors",
        "--device",
        "cpu",
        "--prompt",
        "A casa",
        "--temperature",
        "0",
        "--max-tokens",
        "10",
        "--json",
    ];
    let whole = run(at, &args).done().json()["text"].clone();
    assert_eq!(parts.concat(), whole.as_str().expect("a text"));
    assert!(parts.iter().all(|part| !part.is_empty()), "{parts:?}");
    // A new text begins with nothing.
    assert_eq!(turns(&chat(at, "\n", &["--json"]).done()).len(), 1);
}

#[test]
fn commands_are_obeyed_and_the_first_that_fails_ends_a_pipe() {
    let folder = folder();
    let at = folder.path();
    let shown = chat(at, "/temp 0\n/info\n/help\n/quit\nO mar\n", &[]).done();
    assert_eq!(shown.out, "");
    for part in [
        "temperature 0\n",
        "runs on      the CPU",
        "adapter      none",
        "/reset ",
    ] {
        assert!(shown.err.contains(part), "{part}: {}", shown.err);
    }
    // At temperature 0 another seed changes nothing; at 1 it does.
    let with_seed = |temperature: &str, seed: &str| {
        let input = format!("/temp {temperature}\nO Brasil\n");
        turns(&chat(at, &input, &["--seed", seed, "--json"]).done())
    };
    assert_eq!(with_seed("0", "1"), with_seed("0", "2"));
    assert_ne!(with_seed("1", "1"), with_seed("1", "2"));

    fs::write(at.join("bad.state"), "no state").expect("written");
    for (line, parts) in [
        ("/nada", &["there is no command /nada"][..]),
        ("/temp -1", &["temperature"]),
        ("/load nowhere.state", &["there is no file nowhere.state"]),
        ("/load bad.state", &["bad.state"]),
        ("/adapter nenhum", &["there is no adapter `nenhum`"]),
        ("/save nowhere/x.state", &["nowhere/x.state"]),
    ] {
        let shown = chat(at, &format!("{line}\nO mar\n"), &[]).fails_with(parts);
        assert_eq!(shown.out, "", "nothing is written after {line}");
    }
    chat(at, "", &["--temperature", "-1"]).fails_with(&["temperature"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_writing_and_not_the_program() {
    use std::io::Read;
    use std::process::Command;

    let folder = folder();
    let mut child = command(
        folder.path(),
        &[&CHAT[..5], &["--max-tokens", "100000000"]].concat(),
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = child.stdout.take().expect("a pipe");
    let interrupt = || {
        let kill = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(kill.expect("kill runs").success());
    };
    stdin.write_all(b"O Brasil\n").expect("written");
    // It writes; what it writes is taken away, or it would wait.
    let mut bytes = [0; 64];
    assert!(stdout.read(&mut bytes).expect("read") > 0);
    interrupt();
    // The next line is read by the same program, and after it the end of stdin.
    stdin.write_all(b"/info\n").expect("written");
    drop(stdin);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("read");
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(rest.ends_with(b"\n"), "the turn ends its line");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("tokens read"), "{err}");
}
