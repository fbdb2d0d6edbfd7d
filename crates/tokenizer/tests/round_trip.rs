//! decode(encode(x)) == NFC(x) for every string, from any number of threads, cache or no cache. Needs nothing.

mod common;

use std::sync::LazyLock;

use common::{MACHADO, NASTY, small_tokenizer};
use proptest::prelude::*;
use ptbr_tokenizer::{BpeTokenizer, SPECIAL_TOKENS, Tokenizer};
use unicode_normalization::UnicodeNormalization;

static TOKENIZER: LazyLock<BpeTokenizer> = LazyLock::new(small_tokenizer);

fn check(text: &str) {
    let ids = TOKENIZER.encode(text);
    let expected: String = text.nfc().collect();
    assert_eq!(TOKENIZER.decode(&ids), expected, "{text:?}");
    assert!(
        ids.iter().all(|&id| id >= 5),
        "text never becomes a special token: {text:?}"
    );
    let mut stream = TOKENIZER.decode_stream();
    let streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
    assert_eq!(streamed + &stream.finish(), expected, "{text:?}");
}

#[test]
fn nasty_text_comes_back() {
    NASTY
        .iter()
        .copied()
        .chain([MACHADO])
        .chain(SPECIAL_TOKENS)
        .for_each(check);
    check(&NASTY.concat());
}

#[test]
fn every_character_comes_back() {
    for first in (0..=0x10_FFFF_u32).step_by(4096) {
        let text: String = (first..first + 4096).filter_map(char::from_u32).collect();
        check(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn any_text_comes_back(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn text_with_special_tokens_and_marks_comes_back(pieces in proptest::collection::vec(prop_oneof![
        proptest::sample::select(&SPECIAL_TOKENS[..]).prop_map(str::to_owned),
        proptest::sample::select(NASTY).prop_map(str::to_owned),
        "[\u{300}-\u{36f}a-zA-Z \n\\[\\]]{0,8}",
    ], 0..8)) {
        check(&pieces.concat());
    }
}

#[test]
fn batches_equal_single_texts_with_and_without_cache() {
    let lines: Vec<&str> = MACHADO
        .lines()
        .chain(NASTY.iter().copied())
        .cycle()
        .take(2000)
        .collect();
    let expected: Vec<Vec<u16>> = lines.iter().map(|line| TOKENIZER.encode(line)).collect();
    for capacity in [0, 1, 50, 100_000] {
        let tokenizer = small_tokenizer().with_cache_capacity(capacity);
        assert_eq!(
            tokenizer.encode_batch(&lines),
            expected,
            "capacity {capacity}"
        );
        assert_eq!(tokenizer.clone().encode_batch(&lines), expected);
    }
}

#[test]
fn special_tokens_have_the_first_ids_and_stand_for_no_text() {
    let ids = [
        TOKENIZER.pad_id(),
        TOKENIZER.unk_id(),
        TOKENIZER.bos_id(),
        TOKENIZER.eos_id(),
        TOKENIZER.sep_id(),
    ];
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    assert_eq!(TOKENIZER.decode(&ids), "");
    assert_eq!(
        ids.map(|id| TOKENIZER.vocab().token_text(id).unwrap()),
        SPECIAL_TOKENS
    );
    let text = TOKENIZER.encode("olá");
    assert_eq!(
        TOKENIZER.decode(
            &[
                &[TOKENIZER.bos_id()][..],
                &text,
                &[TOKENIZER.eos_id(), u16::MAX]
            ]
            .concat()
        ),
        "olá"
    );
    let bytes: Vec<u8> = text
        .iter()
        .flat_map(|&id| TOKENIZER.token_bytes(id).unwrap())
        .copied()
        .collect();
    assert_eq!(bytes, "olá".as_bytes());
    assert_eq!(TOKENIZER.token_bytes(u16::MAX), None);
}
