//! A token file, mapped and checked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::DatasetError;
use crate::header::{HEADER_BYTES, MAGIC, TokenFileHeader};
use crate::writer::index_path;

/// A token file mapped into memory. It must not be changed while it is open; this project replaces files by renaming, never in place.
#[derive(Debug)]
pub struct MmapDataset {
    path: PathBuf,
    map: Mmap,
    /// Bytes before the first token: the header's length, or 0 in a raw file.
    data_start: usize,
    header: Option<TokenFileHeader>,
    ends: Ends,
}

#[derive(Debug)]
enum Ends {
    Mapped(Mmap),
    /// A raw file is one document.
    One([u64; 1]),
}

impl MmapDataset {
    /// Opens `x.bin` with its `x.idx`. Everything but the digest of the tokens is checked: magic, version, header digest, lengths, the index (digest and order), and that every token is in
    /// the vocabulary (in parallel). [`verify_payload`](Self::verify_payload) checks the rest.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let map = map(path)?;
        if map.is_empty() {
            return Err(DatasetError::Empty {
                path: path.to_owned(),
            });
        }
        if map.get(..MAGIC.len()) != Some(MAGIC) {
            return Err(DatasetError::Magic {
                path: path.to_owned(),
            });
        }
        let damaged = |reason: String| DatasetError::damaged(path, reason);
        let Some(header) = map.first_chunk::<HEADER_BYTES>() else {
            return Err(damaged(format!(
                "it has {} bytes, its header alone has {HEADER_BYTES}",
                map.len()
            )));
        };
        let header = TokenFileHeader::from_bytes(header).map_err(damaged)?;
        let length = usize::try_from(header.n_tokens)
            .ok()
            .and_then(|tokens| tokens.checked_mul(2)?.checked_add(HEADER_BYTES));
        if length != Some(map.len()) {
            return Err(damaged(format!(
                "it has {} bytes, its header announces {} tokens",
                map.len(),
                header.n_tokens
            )));
        }
        if header.n_tokens == 0 {
            return Err(DatasetError::Empty {
                path: path.to_owned(),
            });
        }
        let ends = open_index(&index_path(path), &header)?;
        let dataset = Self {
            path: path.to_owned(),
            map,
            data_start: HEADER_BYTES,
            header: Some(header),
            ends: Ends::Mapped(ends),
        };
        dataset.check_vocabulary(
            dataset
                .header
                .as_ref()
                .map_or(0, |header| header.vocab_size),
        )?;
        Ok(dataset)
    }

    /// Opens a file of nothing but little-endian u16 tokens, taken as one document. Which tokenizer made it is not known; check the tokens with
    /// [`check_vocabulary`](Self::check_vocabulary).
    pub fn open_raw(path: &Path) -> Result<Self, DatasetError> {
        let map = map(path)?;
        if map.is_empty() {
            return Err(DatasetError::Empty {
                path: path.to_owned(),
            });
        }
        if map.get(..MAGIC.len()) == Some(MAGIC) {
            return Err(DatasetError::damaged(
                path,
                "it has a header and is not a raw file; read it without --raw",
            ));
        }
        if !map.len().is_multiple_of(2) {
            return Err(DatasetError::damaged(
                path,
                format!(
                    "its {} bytes are no whole number of 2-byte tokens",
                    map.len()
                ),
            ));
        }
        let n_tokens = (map.len() / 2) as u64;
        Ok(Self {
            path: path.to_owned(),
            map,
            data_start: 0,
            header: None,
            ends: Ends::One([n_tokens]),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tokens.
    pub fn tokens(&self) -> &[u16] {
        // A map begins at a page and the header has an even length, so the tokens are aligned; the length was checked to be even.
        bytemuck::try_cast_slice(self.payload()).unwrap_or_default()
    }

    /// For each document the index after its last token, ascending; the last is the number of tokens.
    pub fn document_ends(&self) -> &[u64] {
        match &self.ends {
            Ends::Mapped(map) => bytemuck::try_cast_slice(map).unwrap_or_default(),
            Ends::One(end) => end,
        }
    }

    /// The header; a raw file has none.
    pub fn header(&self) -> Option<&TokenFileHeader> {
        self.header.as_ref()
    }

    /// Checks that the tokens were made by the tokenizer with this digest. A raw file passes: nothing is known about it.
    pub fn check_tokenizer(&self, tokenizer_sha256: &[u8; 32]) -> Result<(), DatasetError> {
        match &self.header {
            Some(header) if header.tokenizer_sha256 != *tokenizer_sha256 => {
                Err(DatasetError::OtherTokenizer {
                    path: self.path.clone(),
                    expected: header.tokenizer_sha256,
                    found: *tokenizer_sha256,
                })
            }
            _ => Ok(()),
        }
    }

    /// Checks that every token is below `vocab_size`, reading the whole file in parallel.
    pub fn check_vocabulary(&self, vocab_size: usize) -> Result<(), DatasetError> {
        let Ok(limit) = u16::try_from(vocab_size) else {
            return Ok(());
        };
        const CHUNK: usize = 1 << 20;
        let tokens = self.tokens();
        let chunk = tokens.par_chunks(CHUNK).position_first(|chunk| {
            chunk
                .iter()
                .fold(false, |any, token| any | (*token >= limit))
        });
        let Some(start) = chunk.map(|index| index * CHUNK) else {
            return Ok(());
        };
        let at = start
            + tokens[start..]
                .iter()
                .position(|token| *token >= limit)
                .unwrap_or(0);
        Err(DatasetError::TokenOutOfRange {
            path: self.path.clone(),
            token: tokens[at],
            position: at as u64,
            vocab_size,
        })
    }

    /// SHA-256 of the tokens' bytes, by which a run names its data: taken from the header, computed for a raw file.
    pub fn data_sha256(&self) -> [u8; 32] {
        match &self.header {
            Some(header) => header.payload_sha256,
            None => Sha256::digest(self.payload()).into(),
        }
    }

    /// Checks the tokens against the digest in the header, reading the whole file. A raw file passes.
    pub fn verify_payload(&self) -> Result<(), DatasetError> {
        match &self.header {
            Some(header) if Sha256::digest(self.payload())[..] != header.payload_sha256 => {
                Err(DatasetError::damaged(&self.path, "its tokens were changed"))
            }
            _ => Ok(()),
        }
    }

    fn payload(&self) -> &[u8] {
        self.map.get(self.data_start..).unwrap_or_default()
    }
}

fn open_index(path: &Path, header: &TokenFileHeader) -> Result<Mmap, DatasetError> {
    let map = map(path)?;
    let damaged = |reason: &str| Err(DatasetError::damaged(path, reason));
    let length = usize::try_from(header.n_docs)
        .ok()
        .and_then(|documents| documents.checked_mul(8));
    if length != Some(map.len()) {
        return damaged(&format!(
            "it has {} bytes, the token file announces {} documents",
            map.len(),
            header.n_docs
        ));
    }
    if Sha256::digest(&map)[..] != header.index_sha256 {
        return damaged("it does not belong to the token file beside it");
    }
    let Ok(ends) = bytemuck::try_cast_slice::<u8, u64>(&map) else {
        return damaged("it cannot be read as 64-bit numbers");
    };
    if !ends.is_sorted_by(|a, b| a < b) || ends.first() == Some(&0) {
        return damaged("its document ends do not ascend");
    }
    if ends.last() != Some(&header.n_tokens) {
        return damaged("its last document does not end with the last token");
    }
    Ok(map)
}

fn map(path: &Path) -> Result<Mmap, DatasetError> {
    let metadata = fs::metadata(path).map_err(DatasetError::io("read", path))?;
    if !metadata.is_file() {
        return Err(DatasetError::io("read", path)(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "not a file",
        )));
    }
    let file = File::open(path).map_err(DatasetError::io("read", path))?;
    // SAFETY: the map is read-only and owned by the dataset. Another process could still change or cut the file while it is mapped; every writer of this project writes to a new file and
    // renames it, so none does.
    unsafe { Mmap::map(&file) }.map_err(DatasetError::io("map", path))
}
