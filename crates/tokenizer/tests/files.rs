//! Reading, writing and refusing `tokenizer.json`: each kind of bad file with its message. Needs nothing.

// In a test an unwrap is the assertion, in its helper functions too.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{MACHADO, small_tokenizer, train};
use proptest::prelude::*;
use ptbr_tokenizer::{BpeTokenizer, BpeTrainer, BpeTrainerConfig, Tokenizer, TokenizerError};
use serde_json::{Map, Value, json};

fn good() -> Value {
    serde_json::from_str(&small_tokenizer().to_json()).unwrap()
}

fn message(json: &[u8]) -> String {
    BpeTokenizer::from_json(json)
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

/// The message for a good file after a change.
fn refused(change: impl FnOnce(&mut Value)) -> String {
    let mut file = good();
    change(&mut file);
    message(file.to_string().as_bytes())
}

fn vocab(file: &mut Value) -> &mut Map<String, Value> {
    file["model"]["vocab"].as_object_mut().unwrap()
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    assert!(
        parts.iter().all(|part| message.contains(part)),
        "{message:?} should say {parts:?}"
    );
}

#[test]
fn a_saved_tokenizer_is_the_same_when_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let tokenizer = small_tokenizer();
    tokenizer.save(&path).unwrap();
    tokenizer.save(&path).unwrap();
    let read = BpeTokenizer::from_file(&path).unwrap();
    assert_eq!(
        (read.to_json(), read.sha256()),
        (tokenizer.to_json(), tokenizer.sha256())
    );
    assert_eq!(read.vocab(), tokenizer.vocab());
    assert_eq!(read.encode(MACHADO), tokenizer.encode(MACHADO));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );
    assert_ne!(tokenizer.sha256(), train(&[MACHADO], 701, 2).sha256());
}

#[test]
fn missing_unwritable_and_empty_files() {
    let folder = tempfile::tempdir().unwrap();
    let missing = BpeTokenizer::from_file(&folder.path().join("none.json")).unwrap_err();
    says(&missing.to_string(), &["none.json", "check the path"]);
    let unwritable = small_tokenizer()
        .save(&folder.path().join("no/such/folder.json"))
        .unwrap_err();
    says(&unwritable.to_string(), &["cannot write", "folder.json"]);
    let path = folder.path().join("empty.json");
    std::fs::write(&path, "").unwrap();
    says(
        &BpeTokenizer::from_file(&path).unwrap_err().to_string(),
        &["empty.json", "0 bytes", "train-tokenizer"],
    );
    assert!(BpeTokenizer::from_file(Path::new("")).is_err());
}

#[test]
fn a_failed_save_changes_nothing_and_leaves_no_temporary_file() {
    // A folder in the place of the file makes the rename fail after everything was written.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("kept"), "x").unwrap();
    says(
        &small_tokenizer().save(&path).unwrap_err().to_string(),
        &["cannot write", "unchanged"],
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "the temporary file is removed"
    );
    assert!(path.join("kept").exists());
}

#[test]
fn not_json_and_cut_short() {
    says(&message(b"hello"), &["not a complete tokenizer.json"]);
    says(
        &message(&[0xFF, 0xFE, 0]),
        &["not a complete tokenizer.json"],
    );
    says(&message(b"{}"), &["missing field"]);
    says(&message(b"[1, 2]"), &["not a complete tokenizer.json"]);
    let whole = small_tokenizer().to_json();
    for end in [1, 100, whole.len() / 2, whole.len() - 2] {
        says(
            &message(&whole.as_bytes()[..end]),
            &["not a complete tokenizer.json"],
        );
    }
    says(
        &message(&vec![b' '; (64 << 20) + 1]),
        &["67108865 bytes", "more than"],
    );
}

#[test]
fn settings_that_would_change_ids() {
    says(
        &refused(|file| file["model"]["dropout"] = json!(0.1)),
        &["model.dropout", "0.1"],
    );
    says(
        &refused(|file| file["model"]["ignore_merges"] = json!(true)),
        &["model.ignore_merges"],
    );
    says(
        &refused(|file| file["model"]["type"] = json!("WordPiece")),
        &["model.type", "WordPiece", "BPE"],
    );
    says(
        &refused(|file| file["model"]["end_of_word_suffix"] = json!("</w>")),
        &["end_of_word_suffix", "</w>"],
    );
    says(
        &refused(|file| file["model"]["continuing_subword_prefix"] = json!("##")),
        &["continuing_subword_prefix", "##"],
    );
    says(
        &refused(|file| file["model"]["surprise"] = json!(1)),
        &["unknown field", "surprise"],
    );
    says(
        &refused(|file| file["surprise"] = json!(1)),
        &["unknown field", "surprise"],
    );
    says(
        &refused(|file| file["version"] = json!("2.0")),
        &["version", "2.0"],
    );
    says(
        &refused(|file| file["truncation"] = json!({ "max_length": 5 })),
        &["truncation"],
    );
    says(
        &refused(|file| file["padding"] = json!({ "pad_id": 0 })),
        &["padding"],
    );
    says(
        &refused(|file| file["normalizer"] = json!({ "type": "NFKC" })),
        &["normalizer", "NFKC"],
    );
    says(
        &refused(|file| file["pre_tokenizer"] = json!({ "type": "Whitespace" })),
        &["pre_tokenizer", "Whitespace", "byte-level"],
    );
    says(
        &refused(|file| file["pre_tokenizer"]["add_prefix_space"] = json!(true)),
        &["add_prefix_space"],
    );
    says(
        &refused(|file| file["pre_tokenizer"]["use_regex"] = json!(false)),
        &["use_regex"],
    );
    says(
        &refused(|file| file["pre_tokenizer"]["other"] = json!(false)),
        &["other"],
    );
    says(
        &refused(|file| file["decoder"] = json!({ "type": "WordPiece" })),
        &["decoder", "WordPiece"],
    );
    says(
        &refused(|file| file["post_processor"] = json!({ "type": "TemplateProcessing" })),
        &["post_processor", "TemplateProcessing"],
    );
    says(
        &refused(|file| file["added_tokens"][3]["special"] = json!(false)),
        &["[EOS]", "not special"],
    );
    says(
        &refused(|file| file["added_tokens"][3]["lstrip"] = json!(true)),
        &["[EOS]", "lstrip"],
    );
    says(
        &refused(|file| file["added_tokens"][3]["id"] = json!(4)),
        &["[EOS]", "one id for one token"],
    );
}

#[test]
fn damaged_vocabularies() {
    says(
        &refused(|file| drop(vocab(file).insert("zqab".into(), json!(300)))),
        &["id 300", "twice"],
    );
    says(
        &refused(|file| drop(vocab(file).insert("zqab".into(), json!(5_000)))),
        &["no token has id"],
    );
    says(
        &refused(|file| drop(vocab(file).insert("zqab".into(), json!(70_000)))),
        &["70001", "16 bits"],
    );
    says(
        &refused(|file| drop(vocab(file).insert("zqab".into(), json!(-1)))),
        &["not a complete tokenizer.json"],
    );
    says(
        &refused(|file| {
            vocab(file).shift_remove("[SEP]");
            file["added_tokens"].as_array_mut().unwrap().pop();
        }),
        &["no token has id 4"],
    );
    says(
        &refused(|file| drop(file["added_tokens"].as_array_mut().unwrap().remove(3))),
        &["[EOS]"],
    );
    says(
        &refused(|file| {
            let id = vocab(file).shift_remove("z").unwrap();
            vocab(file).insert("zz\u{2603}".into(), id);
        }),
        &["\u{2603}", "byte-level"],
    );
    says(
        &refused(|file| {
            let id = vocab(file).shift_remove("\u{100}").unwrap();
            vocab(file).insert("zqzqzq".into(), id);
        }),
        &["0x00", "256"],
    );
    let twice = small_tokenizer()
        .to_json()
        .replacen("\"!\": 5", "\"z\": 5", 1);
    says(&message(twice.as_bytes()), &["`z` is listed twice"]);
}

#[test]
fn a_vocabulary_over_65536_is_refused_early() {
    let entries: Vec<String> = (0..70_000).map(|id| format!("\"t{id}\":{id}")).collect();
    let mut file = good();
    file["model"]["vocab"] = json!({});
    let text = file.to_string().replacen(
        "\"vocab\":{}",
        &format!("\"vocab\":{{{}}}", entries.join(",")),
        1,
    );
    says(
        &message(text.as_bytes()),
        &["65537", "65536 at most", "--vocab-size"],
    );
}

#[test]
fn bad_merges() {
    let push = |merge: Value| {
        refused(move |file| file["model"]["merges"].as_array_mut().unwrap().push(merge))
    };
    says(
        &push(json!(["qqq", "a"])),
        &["`qqq` + `a`", "left part is not in the vocabulary"],
    );
    says(
        &push(json!(["a", "qqq"])),
        &["right part is not in the vocabulary"],
    );
    says(
        &push(json!(["z", "q"])),
        &["what it makes is not in the vocabulary"],
    );
    says(
        &push(json!(["a", ""])),
        &["right part is not in the vocabulary"],
    );
    says(&push(json!("a b c")), &["a b c", "not two tokens"]);
    says(&push(json!("ab")), &["not two tokens"]);
    says(&push(json!(["a"])), &["not a complete tokenizer.json"]);
    says(
        &refused(|file| {
            let first = file["model"]["merges"][0].clone();
            file["model"]["merges"].as_array_mut().unwrap().push(first);
        }),
        &["listed twice"],
    );
    let special = refused(|file| {
        for (token, id) in [("[E", 700), ("OS]", 701)] {
            vocab(file).insert(token.into(), json!(id));
        }
        file["model"]["merges"]
            .as_array_mut()
            .unwrap()
            .push(json!(["[E", "OS]"]));
    });
    says(&special, &["special token"]);
}

#[test]
fn training_settings_and_input() {
    let with = |vocab_size| {
        BpeTrainer::new(BpeTrainerConfig {
            vocab_size,
            ..Default::default()
        })
    };
    for vocab_size in [0, 260, 65_537, usize::MAX] {
        let mut trainer = with(vocab_size);
        trainer.feed("a");
        let error = trainer.train(&mut |_, _| {}).unwrap_err();
        assert!(matches!(error, TokenizerError::BadVocabSize { .. }));
        says(&error.to_string(), &["from 261", "65536"]);
    }
    says(
        &with(300).train(&mut |_, _| {}).unwrap_err().to_string(),
        &["no text"],
    );
    let mut trainer = with(600);
    trainer.feed(MACHADO);
    assert!(trainer.distinct_words() > 500);
    let mut heard = Vec::new();
    trainer
        .train(&mut |done, total| heard.push((done, total)))
        .unwrap();
    assert_eq!(heard, [(256, 339), (339, 339)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_damaged_file_is_an_error_or_a_tokenizer_and_never_a_panic(place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut json = small_json();
        let at = place.index(json.len());
        json[at] = byte;
        if cut {
            json.truncate(at);
        }
        if let Ok(tokenizer) = BpeTokenizer::from_json(&json) {
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode("Não é? [EOS]")), "Não é? [EOS]");
        }
    }
}

fn small_json() -> Vec<u8> {
    static JSON: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    JSON.get_or_init(|| train(&[MACHADO], 300, 2).to_json())
        .clone()
        .into_bytes()
}
