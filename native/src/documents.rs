//! Reads the documents of several inputs in batches, with progress.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ptbr_corpus::{CorpusError, Document, domain_documents, read_documents};
use ptbr_model::{Domain, Split};
use ptbr_tokenizer::{BpeTokenizer, TokenId, Tokenizer};
use serde::Serialize;

use crate::ui::{self, Ui};

/// Text in memory at a time: enough work for every core, and little beside what a command needs anyway.
const BATCH_BYTES: usize = 8 << 20;

/// How much was read.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Count {
    /// Number of documents.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
}

/// Calls `take` with batches of documents, in the order of the inputs.
///
/// # Errors
/// When an input cannot be read, when `take` fails, or when there is no text at all.
pub fn for_each_batch(
    inputs: &[PathBuf],
    ui: &Ui,
    what: &str,
    take: impl FnMut(&[Document]) -> Result<()>,
) -> Result<Count> {
    let total = inputs.iter().map(|path| size_of(path)).sum();
    let count = in_batches(documents_of(inputs), total, ui, what, take)?;
    if count.bytes == 0 {
        let names: Vec<String> = inputs
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        bail!(
            "there is no text in {}; it takes .txt files (a blank line between documents), .jsonl files with a `text` \
             field, or folders of them",
            names.join(", ")
        );
    }
    Ok(count)
}

/// The documents of all inputs, one after the other.
fn documents_of(inputs: &[PathBuf]) -> impl Iterator<Item = Result<Document, CorpusError>> {
    inputs.iter().flat_map(|input| {
        let (documents, failed) = match read_documents(input) {
            Ok(documents) => (Some(documents), None),
            Err(error) => (None, Some(Err(error))),
        };
        documents.into_iter().flatten().chain(failed)
    })
}

/// Calls `take` with batches of `documents`, of which there are about `total` bytes.
///
/// # Errors
/// The first document that cannot be read, and when `take` fails.
fn in_batches(
    documents: impl Iterator<Item = Result<Document, CorpusError>>,
    total: u64,
    ui: &Ui,
    what: &str,
    mut take: impl FnMut(&[Document]) -> Result<()>,
) -> Result<Count> {
    let bar = ui.bytes_bar(total, what);
    let mut count = Count::default();
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    for document in documents {
        let document = document?;
        let bytes = document.text.len();
        count.documents += 1;
        count.bytes += bytes as u64;
        bar.inc(bytes as u64);
        batch_bytes += bytes;
        batch.push(document);
        if batch_bytes >= BATCH_BYTES {
            take(&batch)?;
            batch.clear();
            batch_bytes = 0;
        }
    }
    if !batch.is_empty() {
        take(&batch)?;
    }
    bar.finish_and_clear();
    Ok(count)
}

/// The tokens of the documents of `inputs`, each document's followed by `[EOS]`.
///
/// # Errors
/// As [`for_each_batch`].
pub fn tokens_of_files(
    inputs: &[PathBuf],
    tokenizer: &BpeTokenizer,
    ui: &Ui,
) -> Result<Vec<TokenId>> {
    let mut tokens = Vec::new();
    for_each_batch(inputs, ui, "tokenizing", |batch| {
        encode(batch, tokenizer, &mut tokens);
        Ok(())
    })?;
    Ok(tokens)
}

/// The tokens of a domain's split below the data folder `root`, in the same way.
///
/// # Errors
/// When one of its texts is not there or cannot be read, or when there is no text at all.
pub fn tokens_of_domain(
    domain: &Domain,
    root: &Path,
    split: Split,
    tokenizer: &BpeTokenizer,
    ui: &Ui,
) -> Result<Vec<TokenId>> {
    let documents = domain_documents(domain, root, split)?;
    let total = documents.file_bytes();
    let mut tokens = Vec::new();
    in_batches(documents, total, ui, "tokenizing", |batch| {
        encode(batch, tokenizer, &mut tokens);
        Ok(())
    })?;
    if tokens.is_empty() {
        bail!(
            "the {split} texts of the domain `{}` are empty",
            domain.name()
        );
    }
    Ok(tokens)
}

fn encode(batch: &[Document], tokenizer: &BpeTokenizer, tokens: &mut Vec<TokenId>) {
    let texts: Vec<&str> = batch
        .iter()
        .map(|document| document.text.as_str())
        .collect();
    for ids in tokenizer.encode_batch(&texts) {
        tokens.extend(ids);
        tokens.push(tokenizer.eos_id());
    }
}

/// Bytes of a file or of all files in a folder; what cannot be read counts nothing (reading it will say why).
fn size_of(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    std::fs::read_dir(path)
        .map(|entries| entries.flatten().map(|entry| size_of(&entry.path())).sum())
        .unwrap_or(0)
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} documents, {}",
            ui::thousands(self.documents),
            ui::bytes(self.bytes)
        )
    }
}
