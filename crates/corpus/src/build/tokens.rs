//! The stages that end a build: a tokenizer, and token files.

use std::path::{Path, PathBuf};

use ptbr_dataset::{MmapDataset, TokenizedDatasetWriter};
use ptbr_tokenizer::{BpeTokenizer, BpeTrainer, BpeTrainerConfig, Tokenizer};
use serde::{Deserialize, Serialize};

use super::config::TokenizerChoice;
use super::filter::draw;
use super::stage::{Key, write_json};
use crate::document::{Document, read_documents};
use crate::error::CorpusError;

/// Text that is encoded together.
const BATCH_BYTES: usize = 8 << 20;

/// Documents of one source, and how often they are written.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub source: String,
    pub path: PathBuf,
    pub weight: f64,
}

/// A token file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFile {
    /// Where it is.
    pub path: PathBuf,
    /// Documents in it, each as often as it was written.
    pub documents: u64,
    /// Its tokens.
    pub tokens: u64,
    /// SHA-256 of the tokens.
    pub payload_sha256: String,
    /// It was there already, of the same documents and tokenizer.
    pub cached: bool,
}

/// Calls `take` with batches of the documents of `path`; of an empty file with none.
fn for_each_batch(
    path: &Path,
    mut take: impl FnMut(&[Document]) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    if std::fs::metadata(path)
        .map_err(CorpusError::io("open", path))?
        .len()
        == 0
    {
        return Ok(());
    }
    let mut batch = Vec::new();
    let mut bytes = 0;
    for document in read_documents(path)? {
        let document = document?;
        bytes += document.text.len();
        batch.push(document);
        if bytes >= BATCH_BYTES {
            take(&batch)?;
            batch.clear();
            bytes = 0;
        }
    }
    take(&batch)
}

fn texts(batch: &[Document]) -> Vec<&str> {
    batch
        .iter()
        .map(|document| document.text.as_str())
        .collect()
}

/// Learns a tokenizer from the documents of `parts`.
pub(crate) fn learn_tokenizer(
    parts: &[Part],
    choice: &TokenizerChoice,
    progress: &mut dyn FnMut(u64),
) -> Result<BpeTokenizer, CorpusError> {
    let mut trainer = BpeTrainer::new(BpeTrainerConfig {
        vocab_size: choice.vocab_size,
        min_frequency: choice.min_frequency,
        ..BpeTrainerConfig::default()
    });
    for part in parts {
        for_each_batch(&part.path, |batch| {
            let texts = texts(batch);
            trainer.feed_batch(&texts);
            progress(texts.iter().map(|text| text.len() as u64).sum());
            Ok(())
        })?;
    }
    Ok(trainer.train(&mut |_, _| {})?)
}

/// Writes the tokens of `parts` to `path`, each document followed by the end-of-text token, unless the file is there already: `marks` holds a note for each file
/// on what it was made of, `key` is what it is to be made of now. `None` where there is nothing to write; an older file is removed then.
pub(crate) fn write_tokens(
    path: &Path,
    parts: &[Part],
    tokenizer: &BpeTokenizer,
    key: &Key,
    marks: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Option<TokenFile>, CorpusError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mark = marks.join(format!("{name}.json"));
    let key = key.hex();
    if let Some(file) = find(path, &mark, &key) {
        return Ok(Some(file));
    }
    let mut writer =
        TokenizedDatasetWriter::create(path, tokenizer.vocab_size(), tokenizer.sha256())?;
    let mut documents = 0u64;
    for part in parts {
        let whole = part.weight.floor() as u64;
        for pass in 0..=whole {
            // The last pass writes the share that is left.
            let share = if pass < whole {
                1.0
            } else {
                part.weight - part.weight.floor()
            };
            if share == 0.0 {
                continue;
            }
            for_each_batch(&part.path, |batch| {
                let chosen: Vec<&str> = batch
                    .iter()
                    .filter(|document| draw(2, &part.source, &document.id) < share)
                    .map(|document| document.text.as_str())
                    .collect();
                for mut ids in tokenizer.encode_batch(&chosen) {
                    ids.push(tokenizer.eos_id());
                    writer.push_document(&ids)?;
                }
                documents += chosen.len() as u64;
                progress(chosen.iter().map(|text| text.len() as u64).sum());
                Ok(())
            })?;
        }
    }
    if documents == 0 {
        drop(writer);
        for old in [path.to_owned(), ptbr_dataset::index_path(path), mark] {
            match std::fs::remove_file(&old) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CorpusError::io("remove", &old)(e));
                }
                _ => {}
            }
        }
        return Ok(None);
    }
    let header = writer.finish()?;
    let file = TokenFile {
        path: path.to_owned(),
        documents,
        tokens: header.n_tokens,
        payload_sha256: ptbr_model::hex(&header.payload_sha256),
        cached: false,
    };
    write_json(&mark, &(key, &file))?;
    Ok(Some(file))
}

/// The file, when its mark says that it is the one that is wanted and it is whole.
fn find(path: &Path, mark: &Path, key: &str) -> Option<TokenFile> {
    let mark = std::fs::read(mark).ok()?;
    let (made_of, mut file): (String, TokenFile) = serde_json::from_slice(&mark).ok()?;
    let there = MmapDataset::open(path).ok()?;
    let payload = ptbr_model::hex(&there.header()?.payload_sha256);
    file.path = path.to_owned();
    file.cached = true;
    (made_of == key && payload == file.payload_sha256).then_some(file)
}
