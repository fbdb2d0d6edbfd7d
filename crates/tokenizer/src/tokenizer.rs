//! The tokenizer: normalize, split, look up or merge; and back.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::merge_tables::MergeTables;
use crate::pretokenizer::Words;
use crate::word_cache::WordCache;
use crate::word_key::WordKey;
use crate::word_table::WordTable;
use crate::{
    BpeVocab, DEFAULT_CACHE_CAPACITY, DecodeStream, PtBrNormalizer, TokenId, Tokenizer,
    TokenizerError, json,
};

/// Largest `tokenizer.json` that is read: 65,536 tokens take about 5 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A byte-level BPE tokenizer. Cheap to share by reference or [`Arc`]; encoding takes `&self` from any number of threads.
#[derive(Debug)]
pub struct BpeTokenizer {
    vocab: Arc<BpeVocab>,
    normalizer: PtBrNormalizer,
    tables: MergeTables,
    words: WordTable,
    cache: WordCache,
}

impl BpeTokenizer {
    /// A tokenizer of a vocabulary.
    pub(crate) fn new(vocab: BpeVocab, normalizer: PtBrNormalizer) -> Self {
        let tables = MergeTables::new(&vocab);
        let words = WordTable::new(&vocab, &tables);
        Self {
            vocab: Arc::new(vocab),
            normalizer,
            tables,
            words,
            cache: WordCache::new(DEFAULT_CACHE_CAPACITY),
        }
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be read, or as [`BpeTokenizer::from_json`]; the message names the file.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let read = || {
            let mut bytes = Vec::new();
            File::open(path)?
                .take(MAX_FILE_BYTES + 1)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| TokenizerError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_json(&bytes).map_err(|source| TokenizerError::InFile {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Reads the contents of a `tokenizer.json`: of this crate, or of the `tokenizers` library for the same kind of tokenizer (byte-level BPE with the
    /// five special tokens, merges as pairs or as strings).
    ///
    /// # Errors
    /// When it is empty, over 64 MiB, cut short or not JSON; when it holds a setting that would give other ids than this crate computes; when the
    /// vocabulary has more than 65,536 tokens, gaps, duplicates, lacks a byte or a special token, or when a merge names a missing token.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let bytes = json.len() as u64;
        if bytes > MAX_FILE_BYTES {
            return Err(TokenizerError::TooLarge {
                bytes,
                limit: MAX_FILE_BYTES,
            });
        }
        if json.is_empty() {
            return Err(TokenizerError::Empty);
        }
        let (vocab, normalizer) = json::read(json)?;
        Ok(Self::new(vocab, normalizer))
    }

    /// The tokenizer as `tokenizer.json`, in one canonical form: equal tokenizers give equal text, byte for byte.
    pub fn to_json(&self) -> String {
        json::write(&self.vocab, self.normalizer)
    }

    /// Writes the `tokenizer.json` through a temporary file in the same folder: after an error or a crash, what was there before is unchanged.
    ///
    /// # Errors
    /// When the folder cannot be written to or the disk is full.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let write = || {
            let mut file = tempfile::Builder::new()
                .prefix(".tokenizer")
                .suffix(".tmp")
                .tempfile_in(folder)?;
            file.write_all(self.to_json().as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)?;
            // The rename lasts once the folder is on disk; a system that cannot open a folder has no such step.
            if let Ok(folder) = File::open(folder) {
                folder.sync_all()?;
            }
            Ok(())
        };
        write().map_err(|source| TokenizerError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// SHA-256 of the canonical JSON: what a token file and a model name their tokenizer by.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.to_json()).into()
    }

    /// The same tokenizer with room for `capacity` words in its cache (64 bytes each); 0 turns the cache off.
    #[must_use]
    pub fn with_cache_capacity(mut self, capacity: usize) -> Self {
        self.cache = WordCache::new(capacity);
        self
    }

    /// Id of `[PAD]`.
    pub fn pad_id(&self) -> TokenId {
        self.vocab.roles()[0]
    }

    /// Id of `[UNK]`; no text encodes to it, since every byte has a token.
    pub fn unk_id(&self) -> TokenId {
        self.vocab.roles()[1]
    }

    /// Id of `[BOS]`, begin of a text.
    pub fn bos_id(&self) -> TokenId {
        self.vocab.roles()[2]
    }

    /// Id of `[EOS]`, end of a text.
    pub fn eos_id(&self) -> TokenId {
        self.vocab.roles()[3]
    }

    /// Id of `[SEP]`, the separator.
    pub fn sep_id(&self) -> TokenId {
        self.vocab.roles()[4]
    }

    /// The vocabulary.
    pub fn vocab(&self) -> &BpeVocab {
        &self.vocab
    }

    /// What is done to text before it is encoded.
    pub fn normalizer(&self) -> PtBrNormalizer {
        self.normalizer
    }

    /// A decoder for tokens that come one at a time.
    pub fn decode_stream(&self) -> DecodeStream {
        DecodeStream::new(self.vocab.clone())
    }

    /// Tokens of one word: most words are one token, most others were seen before.
    #[inline(always)]
    fn encode_word(&self, word: &[u8], out: &mut Vec<TokenId>) {
        let Some(key) = WordKey::new(word) else {
            self.tables.encode_word(word, out);
            return;
        };
        let hash = key.hash();
        if let Some(id) = self.words.get(key, hash) {
            out.push(id);
        } else if !self.cache.get(key, hash, out) {
            let start = out.len();
            self.tables.encode_word(word, out);
            self.cache.put(key, hash, &out[start..]);
        }
    }
}

impl Clone for BpeTokenizer {
    /// The copy starts with an empty cache.
    fn clone(&self) -> Self {
        Self::new(self.vocab.as_ref().clone(), self.normalizer)
            .with_cache_capacity(self.cache.capacity())
    }
}

impl Tokenizer for BpeTokenizer {
    fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    fn encode(&self, text: &str) -> Vec<TokenId> {
        let text = self.normalizer.normalize(text);
        // Portuguese takes a token for about 4.4 bytes.
        let mut ids = Vec::with_capacity(text.len() / 4 + 4);
        for word in Words::new(&text) {
            self.encode_word(word, &mut ids);
        }
        ids
    }

    fn encode_batch(&self, texts: &[&str]) -> Vec<Vec<TokenId>> {
        texts.par_iter().map(|text| self.encode(text)).collect()
    }

    fn decode(&self, ids: &[TokenId]) -> String {
        let bytes: Vec<u8> = ids
            .iter()
            .filter_map(|&id| self.vocab.token_bytes(id))
            .flatten()
            .copied()
            .collect();
        match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    fn token_bytes(&self, id: TokenId) -> Option<&[u8]> {
        self.vocab.token_bytes(id)
    }
}
