//! Ids and training against the `tokenizers` crate, on the text in the repository, on texts made to break tokenizers, and on the data folder when
//! `PTBR_DATA` names it (every 40th file; all of them with `PTBR_FULL=1`).

// In a test an unwrap is the assertion, in its helper functions too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    MACHADO, NASTY, data_folder, peer_ids, peer_of, small_tokenizer, text_files, train, train_peer,
};
use proptest::prelude::*;
use ptbr_tokenizer::{BpeTokenizer, PtBrNormalizer, Tokenizer, UnicodeForm};
use serde_json::{Value, json};
use tokenizers::normalizers::NFC;
use tokenizers::{NormalizedString, Normalizer};

fn peer_nfc(text: &str) -> String {
    let mut normalized = NormalizedString::from(text);
    NFC.normalize(&mut normalized).unwrap();
    normalized.get().to_owned()
}

fn wide(ids: Vec<u16>) -> Vec<u32> {
    ids.into_iter().map(u32::from).collect()
}

#[test]
fn ids_equal_on_real_and_on_nasty_text() {
    let tokenizer = small_tokenizer();
    let peer = peer_of(&tokenizer.to_json());
    for text in NASTY
        .iter()
        .copied()
        .chain([MACHADO])
        .chain(MACHADO.lines())
    {
        assert_eq!(
            wide(tokenizer.encode(text)),
            peer_ids(&peer, text),
            "{text:?}"
        );
    }
    // Again, now from the cache.
    assert_eq!(wide(tokenizer.encode(MACHADO)), peer_ids(&peer, MACHADO));
}

#[test]
fn decoded_text_equals_also_of_ids_that_break_characters() {
    let tokenizer = small_tokenizer();
    let peer = peer_of(&tokenizer.to_json());
    let size = tokenizer.vocab_size() as u32;
    let mut state = 1_u32;
    for _ in 0..200 {
        let ids: Vec<u32> = (0..20)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) % size
            })
            .collect();
        let narrow: Vec<u16> = ids.iter().map(|&id| id as u16).collect();
        assert_eq!(tokenizer.decode(&narrow), peer.decode(&ids, true).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn ids_equal_on_random_text(pieces in proptest::collection::vec(prop_oneof![
        any::<String>(),
        proptest::sample::select(NASTY).prop_map(str::to_owned),
        "[ '\na-zãéç0-9.,-]{0,30}",
        "[\u{2000}-\u{2070}\u{300}-\u{345}aeo ]{0,12}",
    ], 0..5)) {
        let text = pieces.concat();
        // The reference's normalizer has older Unicode tables: where the newest marks order or compose differently, ids differ rightly.
        prop_assume!(peer_nfc(&text) == PtBrNormalizer::default().normalize(&text));
        thread_local! {
            static PAIR: (BpeTokenizer, tokenizers::Tokenizer) = {
                let tokenizer = small_tokenizer();
                let peer = peer_of(&tokenizer.to_json());
                (tokenizer, peer)
            };
        }
        PAIR.with(|(tokenizer, peer)| assert_eq!(wide(tokenizer.encode(&text)), peer_ids(peer, &text), "{text:?}"));
    }
}

#[test]
fn every_normalizer_means_the_same_to_both() {
    let base: Value = serde_json::from_str(&small_tokenizer().to_json()).unwrap();
    for form in [
        json!({ "type": "NFC" }),
        json!({ "type": "NFD" }),
        Value::Null,
    ] {
        for options in 0..8 {
            let mut steps = Vec::new();
            if options & 1 != 0 {
                steps.extend([json!({ "type": "NFD" }), json!({ "type": "StripAccents" })]);
            }
            if options & 2 != 0 {
                steps.push(json!({ "type": "Lowercase" }));
            }
            if options & 4 != 0 {
                steps.push(
                    json!({ "type": "Replace", "pattern": { "Regex": "\\s+" }, "content": " " }),
                );
                steps.push(json!({ "type": "Strip", "strip_left": true, "strip_right": true }));
            }
            if !form.is_null() {
                steps.push(form.clone());
            }
            let mut file = base.clone();
            file["normalizer"] = json!({ "type": "Sequence", "normalizers": steps });
            let tokenizer = BpeTokenizer::from_json(file.to_string().as_bytes()).unwrap();
            assert_eq!(tokenizer.normalizer().lowercase, options & 2 != 0);
            for json in [file.to_string(), tokenizer.to_json()] {
                let peer = peer_of(&json);
                for text in NASTY.iter().copied().chain([MACHADO]) {
                    assert_eq!(
                        wide(tokenizer.encode(text)),
                        peer_ids(&peer, text),
                        "{text:?} with {}",
                        file["normalizer"]
                    );
                }
            }
        }
    }
    let default = BpeTokenizer::from_json(base.to_string().as_bytes()).unwrap();
    assert_eq!(
        default.normalizer(),
        PtBrNormalizer {
            form: UnicodeForm::Nfc,
            ..Default::default()
        }
    );
}

#[test]
fn training_gives_the_same_file() {
    let lines: Vec<&str> = MACHADO.lines().collect();
    let repeated = [
        "abcabcabc aaaa aaaaa aaaaaaa abababab bcbcbc cabcab",
        "ab bc abc aab aabb abc cab",
    ];
    for (texts, vocab_size, min_frequency) in [
        (&[MACHADO][..], 700, 2),
        (&lines, 1500, 0),
        (&lines, 4000, 3),
        (&lines, 60_000, 1),
        (NASTY, 500, 0),
        (&repeated, 400, 0),
        (&[MACHADO], 261, 0),
        (&["x"], 300, 0),
    ] {
        let tokenizer = train(texts, vocab_size, min_frequency);
        assert!(tokenizer.vocab_size() <= vocab_size);
        assert_eq!(
            tokenizer.to_json(),
            train_peer(texts, vocab_size, min_frequency)
                .to_string(true)
                .unwrap(),
            "{vocab_size} {min_frequency}"
        );
    }
}

#[test]
fn a_file_of_the_reference_loads_in_both_forms_of_merges() {
    let peer = train_peer(&[MACHADO], 600, 2);
    let tokenizer = BpeTokenizer::from_json(peer.to_string(false).unwrap().as_bytes()).unwrap();
    let mut file: Value = serde_json::from_str(&peer.to_string(false).unwrap()).unwrap();
    let merges = file["model"]["merges"].as_array().unwrap();
    let old: Vec<Value> = merges
        .iter()
        .map(|pair| {
            Value::from(format!(
                "{} {}",
                pair[0].as_str().unwrap(),
                pair[1].as_str().unwrap()
            ))
        })
        .collect();
    file["model"]["merges"] = old.into();
    // Older files have neither of these, and this post-processor is common.
    file["model"]
        .as_object_mut()
        .unwrap()
        .shift_remove("ignore_merges");
    file["model"]
        .as_object_mut()
        .unwrap()
        .shift_remove("byte_fallback");
    file["post_processor"] =
        json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false });
    let older = BpeTokenizer::from_json(file.to_string().as_bytes()).unwrap();
    assert_eq!(older.to_json(), tokenizer.to_json());
    assert_eq!(wide(older.encode(MACHADO)), peer_ids(&peer, MACHADO));
}

#[test]
fn special_tokens_outside_the_models_vocabulary_load() {
    let mut file: Value = serde_json::from_str(&small_tokenizer().to_json()).unwrap();
    let size = file["model"]["vocab"].as_object().unwrap().len();
    let mut user = file["added_tokens"][0].clone();
    user["content"] = "<|user|>".into();
    user["id"] = size.into();
    file["added_tokens"].as_array_mut().unwrap().push(user);
    let tokenizer = BpeTokenizer::from_json(file.to_string().as_bytes()).unwrap();
    assert_eq!(tokenizer.vocab_size(), size + 1);
    assert_eq!(tokenizer.token_bytes(size as u16), Some(&[][..]));
    assert_eq!(
        tokenizer.decode(&tokenizer.encode("<|user|> oi")),
        "<|user|> oi"
    );
    let peer = peer_of(&tokenizer.to_json());
    assert_eq!(peer.token_to_id("<|user|>"), Some(size as u32));
}

#[test]
fn ids_equal_on_the_data_folder() {
    let Some(folder) = data_folder() else {
        let tokenizer = train(&[MACHADO], 2000, 1);
        assert_eq!(
            wide(tokenizer.encode(MACHADO)),
            peer_ids(&peer_of(&tokenizer.to_json()), MACHADO)
        );
        return;
    };
    let full = std::env::var_os("PTBR_FULL").is_some_and(|value| value == "1");
    let read = |path: &std::path::PathBuf| std::fs::read_to_string(path).ok();
    let training: Vec<String> = text_files(&folder.join("literature"))
        .iter()
        .filter_map(read)
        .step_by(if full { 1 } else { 12 })
        .collect();
    let tokenizer = train(
        &training.iter().map(String::as_str).collect::<Vec<_>>(),
        if full { 32_000 } else { 8_000 },
        2,
    );
    let peer = peer_of(&tokenizer.to_json());
    let mut default_peer = peer_of(&tokenizer.to_json());
    default_peer.set_encode_special_tokens(false);
    let (mut files, mut bytes, mut tokens) = (0, 0, 0);
    for path in text_files(&folder)
        .iter()
        .step_by(if full { 1 } else { 40 })
    {
        let Some(text) = read(path) else { continue };
        let ids = tokenizer.encode(&text);
        assert_eq!(
            tokenizer.decode(&ids),
            PtBrNormalizer::default().normalize(&text),
            "{}",
            path.display()
        );
        files += 1;
        bytes += text.len();
        tokens += ids.len();
        // Text without special tokens has the same ids with the reference's default, which looks for them.
        let reference = if ptbr_tokenizer::SPECIAL_TOKENS
            .iter()
            .any(|token| text.contains(token))
        {
            &peer
        } else {
            &default_peer
        };
        assert!(
            wide(ids) == peer_ids(reference, &text),
            "{}",
            path.display()
        );
    }
    assert!(files > 10 && tokens > 0);
    println!("{files} files, {bytes} bytes, {tokens} tokens: ids equal");
}
