//! Speed of this crate beside the `tokenizers` crate, on the same texts in the same run, results checked to be equal:
//!
//! ```text
//! cargo run --release -p ptbr-tokenizer --example tokenizer_speed -- [--vocab-size 32000] FILES…
//! ```
//!
//! Training uses all threads on both sides. Encoding is on one thread, with a cold cache: both load the same `tokenizer.json` and see every file once.
//! The peer is timed twice, with offsets (`encode`, what its Python package does) and without (`encode_fast`).

#[path = "../tests/common/mod.rs"]
mod common;

use std::error::Error;
use std::time::{Duration, Instant};

use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
use sha2::{Digest, Sha256};

type BoxError = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), BoxError> {
    let mut vocab_size = 32_000;
    let mut texts = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--vocab-size" {
            vocab_size = arguments
                .next()
                .ok_or("--vocab-size needs a number")?
                .parse()?;
        } else {
            texts.push(
                std::fs::read_to_string(&argument)
                    .map_err(|error| format!("{argument}: {error}"))?,
            );
        }
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    if bytes == 0 {
        return Err("give text files to encode".into());
    }
    println!(
        "{} files, {:.2} MB, vocabulary {vocab_size}",
        texts.len(),
        bytes as f64 / 1e6
    );

    let (tokenizer, ours) = timed(|| Ok(common::train(&texts, vocab_size, 2)))?;
    println!(
        "train   ptbr-tokenizer          {:>9.3} s",
        ours.as_secs_f64()
    );
    let (peer_json, theirs) = timed(|| common::train_peer(&texts, vocab_size, 2).to_string(true))?;
    println!(
        "train   tokenizers              {:>9.3} s   {:.1} times as long",
        theirs.as_secs_f64(),
        ratio(theirs, ours)
    );
    let json = tokenizer.to_json();
    if json != peer_json {
        return Err("the trained files differ".into());
    }
    println!(
        "train   both tokenizer.json are equal, byte for byte; sha256 {}",
        hex(&Sha256::digest(&json))
    );

    // Loaded anew, so that no cache is warm.
    let tokenizer = BpeTokenizer::from_json(json.as_bytes())?;
    let (ids, ours) = timed(|| {
        Ok(texts
            .iter()
            .map(|text| tokenizer.encode(text))
            .collect::<Vec<_>>())
    })?;
    report("ptbr-tokenizer", bytes, ours, ours);
    for offsets in [false, true] {
        let peer = common::peer_of(&json);
        let encode = |text: &&str| {
            if offsets {
                peer.encode(*text, false)
            } else {
                peer.encode_fast(*text, false)
            }
        };
        let (theirs, duration) = timed(|| texts.iter().map(encode).collect::<Result<Vec<_>, _>>())?;
        report(
            if offsets {
                "tokenizers encode"
            } else {
                "tokenizers encode_fast"
            },
            bytes,
            duration,
            ours,
        );
        let equal = ids.iter().zip(&theirs).all(|(ids, theirs)| {
            ids.iter()
                .map(|&id| u32::from(id))
                .eq(theirs.get_ids().iter().copied())
        });
        if !equal {
            return Err("the ids differ".into());
        }
    }
    println!("encode  all ids are equal");
    let mut digest = Sha256::new();
    ids.iter()
        .flatten()
        .for_each(|id| digest.update(id.to_le_bytes()));
    let tokens: usize = ids.iter().map(Vec::len).sum();
    println!(
        "encode  {tokens} tokens, {:.3} bytes each, sha256 of the ids as little-endian u16: {}",
        bytes as f64 / tokens as f64,
        hex(&digest.finalize())
    );
    let tokenizer = BpeTokenizer::from_json(json.as_bytes())?;
    let (_, all) = timed(|| Ok(tokenizer.encode_batch(&texts)))?;
    report("ptbr-tokenizer, all threads", bytes, all, ours);
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T, BoxError>) -> Result<(T, Duration), BoxError> {
    let start = Instant::now();
    let result = work()?;
    Ok((result, start.elapsed()))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ratio(theirs: Duration, ours: Duration) -> f64 {
    theirs.as_secs_f64() / ours.as_secs_f64()
}

fn report(name: &str, bytes: usize, duration: Duration, ours: Duration) {
    let speed = bytes as f64 / 1e6 / duration.as_secs_f64();
    println!(
        "encode  {name:<28} {speed:>9.2} MB/s   {:.1} times as long",
        ratio(duration, ours)
    );
}
