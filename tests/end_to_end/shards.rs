//! `process-wiki` in parts and after a kill: the bytes of one undisturbed run.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::program::{command, run};
use crate::samples;

/// The sample dump, its pages many times over.
fn dump(times: usize) -> String {
    let xml = samples::wiki_xml();
    let first = xml.find("<page>").expect("a page");
    let last = xml.rfind("</mediawiki>").expect("an end");
    format!(
        "{}{}{}",
        &xml[..first],
        xml[first..last].repeat(times),
        &xml[last..]
    )
}

fn wiki(at: &Path, output: &str, more: &[&str]) -> serde_json::Value {
    let args = [
        "process-wiki",
        "--input",
        "d.xml.bz2",
        "--output",
        output,
        "--json",
    ];
    run(at, &[&args, more].concat()).done().json()
}

#[test]
fn two_parts_on_two_machines() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    fs::write(at.join("d.xml.bz2"), samples::pack(dump(60).as_bytes())).expect("written");
    let whole = wiki(at, "whole", &["--report", "whole.tsv"]);

    // The second part first: no part waits for another.
    wiki(at, "parts", &["--shard", "1/2", "--jobs", "1"]);
    let args = [
        "process-wiki",
        "--input",
        "d.xml.bz2",
        "--output",
        "parts",
        "--merge",
    ];
    run(at, &args).fails_with(&["not complete: 0/2"]);
    let part = wiki(at, "parts", &["--shard", "0/2"]);
    assert!(part["pages_seen"].as_u64() < whole["pages_seen"].as_u64());
    assert!(at.join("parts/d.shards/00000-of-00002.done").exists());

    let merged = wiki(at, "parts", &["--merge", "--report", "parts.tsv"]);
    for key in [
        "pages_seen",
        "pages_kept",
        "dropped",
        "text_bytes",
        "output_bytes",
    ] {
        assert_eq!(merged[key], whole[key], "{key}");
    }
    let bytes = |path: &str| fs::read(at.join(path)).expect("an output");
    assert!(bytes("parts/d.jsonl") == bytes("whole/d.jsonl"));
    assert_eq!(bytes("parts.tsv"), bytes("whole.tsv"));
    assert!(bytes("whole.tsv").starts_with(b"count\ttemplate\twhy\tpage\texample\n"));
    assert!(!at.join("parts/d.shards").exists());

    let args = [
        "process-wiki",
        "--input",
        "d.xml.bz2",
        "--output",
        "x",
        "--shard",
        "2/2",
    ];
    run(at, &args).fails_with(&["`2/2`", "from 0 to n"]);
}

#[test]
fn a_killed_run_goes_on() {
    let folder = tempdir().expect("a temporary folder");
    let at = folder.path();
    fs::write(at.join("d.xml.bz2"), samples::pack(dump(2500).as_bytes())).expect("written");
    wiki(at, "whole", &[]);
    let args = [
        "process-wiki",
        "--input",
        "d.xml.bz2",
        "--output",
        "out",
        "--threads",
        "1",
    ];
    let mut child = command(at, &args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    // Two lines of the journal: what is made, and the first pages.
    let journal = at.join("out/d.jsonl.journal");
    let started = Instant::now();
    while fs::read_to_string(&journal).map_or(0, |text| text.lines().count()) < 2 {
        assert!(started.elapsed() < Duration::from_secs(60), "no journal");
        sleep(Duration::from_millis(2));
    }
    child.kill().expect("killed");
    let ended = child.wait().expect("an end");
    assert!(!ended.success(), "it ended before it was killed");
    assert!(!at.join("out/d.jsonl").exists());

    let shown = wiki(at, "out", &[]);
    assert!(shown["pages_taken_over"].as_u64() > Some(0), "{shown}");
    let bytes = |path: &str| fs::read(at.join(path)).expect("an output");
    assert!(bytes("out/d.jsonl") == bytes("whole/d.jsonl"));
    assert!(!journal.exists());
}
