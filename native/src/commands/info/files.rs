//! What `info` says of tokenizers and token files.

use std::path::Path;

use anyhow::{Result, bail};
use ptbr_dataset::MmapDataset;
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
use serde_json::json;

use super::Described;
use crate::ui;

/// A tokenizer.json.
///
/// # Errors
/// When it is no byte-level BPE tokenizer.
pub fn tokenizer(path: &Path) -> Result<Described> {
    let tokenizer = BpeTokenizer::from_file(path)?;
    let sha256 = ui::hex(&tokenizer.sha256());
    let merges = tokenizer.vocab().merges().len();
    let lines = vec![
        ("kind", "tokenizer".to_owned()),
        ("path", path.display().to_string()),
        (
            "vocabulary",
            format!(
                "{} tokens, {} merges",
                ui::thousands(tokenizer.vocab_size() as u64),
                ui::thousands(merges as u64)
            ),
        ),
        (
            "special tokens",
            format!(
                "[PAD] {}, [UNK] {}, [BOS] {}, [EOS] {}, [SEP] {}",
                tokenizer.pad_id(),
                tokenizer.unk_id(),
                tokenizer.bos_id(),
                tokenizer.eos_id(),
                tokenizer.sep_id()
            ),
        ),
        ("sha256", sha256.clone()),
    ];
    let value = json!({
        "kind": "tokenizer",
        "path": path,
        "vocab_size": tokenizer.vocab_size(),
        "merges": merges,
        "pad_id": tokenizer.pad_id(),
        "unk_id": tokenizer.unk_id(),
        "bos_id": tokenizer.bos_id(),
        "eos_id": tokenizer.eos_id(),
        "sep_id": tokenizer.sep_id(),
        "sha256": sha256,
    });
    Ok((lines, value))
}

/// A token file, every byte checked.
///
/// # Errors
/// When it is damaged.
pub fn token_file(path: &Path) -> Result<Described> {
    let data = MmapDataset::open(path)?;
    data.verify_payload()?;
    let Some(header) = data.header() else {
        bail!("{} has no header", path.display());
    };
    let tokens_per_document = header.n_tokens as f64 / header.n_docs.max(1) as f64;
    let lines = vec![
        ("kind", "token file".to_owned()),
        ("path", path.display().to_string()),
        ("tokens", ui::thousands(header.n_tokens)),
        (
            "documents",
            format!(
                "{} ({tokens_per_document:.0} tokens each)",
                ui::thousands(header.n_docs)
            ),
        ),
        ("vocabulary", ui::thousands(header.vocab_size as u64)),
        ("tokenizer sha256", ui::hex(&header.tokenizer_sha256)),
        (
            "payload sha256",
            format!("{} (checked)", ui::hex(&header.payload_sha256)),
        ),
    ];
    let value = json!({
        "kind": "token_file",
        "path": path,
        "tokens": header.n_tokens,
        "documents": header.n_docs,
        "vocab_size": header.vocab_size,
        "tokenizer_sha256": ui::hex(&header.tokenizer_sha256),
        "payload_sha256": ui::hex(&header.payload_sha256),
    });
    Ok((lines, value))
}
