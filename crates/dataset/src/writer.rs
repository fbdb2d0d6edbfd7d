//! Writing a token file in one pass, with memory that does not grow with it.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::error::DatasetError;
use crate::header::{HEADER_BYTES, MAX_VOCABULARY, TokenFileHeader};

/// The index that belongs to a token file: `x.idx` beside `x.bin`.
pub fn index_path(path: &Path) -> PathBuf {
    path.with_extension("idx")
}

/// Writes `x.bin` and `x.idx` under temporary names; [`finish`](Self::finish) syncs and renames both. Dropped before that, it removes what it wrote and leaves older files as they were.
#[derive(Debug)]
pub struct TokenizedDatasetWriter {
    path: PathBuf,
    tokens: HashedFile,
    index: HashedFile,
    vocab_size: usize,
    tokenizer_sha256: [u8; 32],
    n_tokens: u64,
    n_docs: u64,
}

impl TokenizedDatasetWriter {
    /// Begins a token file at `path` (usually ending in `.bin`), whose folder is created where it is missing.
    pub fn create(
        path: &Path,
        vocab_size: usize,
        tokenizer_sha256: [u8; 32],
    ) -> Result<Self, DatasetError> {
        if !(1..=MAX_VOCABULARY).contains(&vocab_size) {
            return Err(DatasetError::Invalid {
                field: "vocab_size",
                value: vocab_size,
                reason: "must be from 1 to 65536 (token ids are 16 bits)",
            });
        }
        let index = index_path(path);
        if index == path {
            let source = std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "a token file cannot end in .idx, its index does",
            );
            return Err(DatasetError::io("write", path)(source));
        }
        let mut tokens = HashedFile::create(path)?;
        // Placeholder: the counts and digests are known at the end.
        tokens
            .file
            .write_all(&[0; HEADER_BYTES])
            .map_err(DatasetError::io("write", path))?;
        let index = HashedFile::create(&index)?;
        Ok(Self {
            path: path.to_owned(),
            tokens,
            index,
            vocab_size,
            tokenizer_sha256,
            n_tokens: 0,
            n_docs: 0,
        })
    }

    /// Adds a document's tokens, which should end with the end-of-text token. A document without tokens is left out.
    pub fn push_document(&mut self, tokens: &[u16]) -> Result<(), DatasetError> {
        if tokens.is_empty() {
            return Ok(());
        }
        if let Some(at) = tokens
            .iter()
            .position(|token| usize::from(*token) >= self.vocab_size)
        {
            let position = self.n_tokens + at as u64;
            return Err(DatasetError::TokenOutOfRange {
                path: self.path.clone(),
                token: tokens[at],
                position,
                vocab_size: self.vocab_size,
            });
        }
        self.tokens.write(bytemuck::cast_slice(tokens))?;
        self.n_tokens += tokens.len() as u64;
        self.n_docs += 1;
        self.index.write(&self.n_tokens.to_le_bytes())
    }

    /// Tokens so far.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// Completes both files and gives them their names. An error when no token was written.
    pub fn finish(self) -> Result<TokenFileHeader, DatasetError> {
        let Self {
            path,
            tokens,
            index,
            vocab_size,
            tokenizer_sha256,
            n_tokens,
            n_docs,
        } = self;
        if n_tokens == 0 {
            return Err(DatasetError::Empty { path });
        }
        let (mut tokens_file, payload_sha256) = tokens.into_file()?;
        let (index_file, index_sha256) = index.into_file()?;
        let header = TokenFileHeader {
            vocab_size,
            n_tokens,
            n_docs,
            tokenizer_sha256,
            payload_sha256,
            index_sha256,
        };
        let io = || DatasetError::io("write", &path);
        tokens_file.seek(SeekFrom::Start(0)).map_err(io())?;
        tokens_file.write_all(&header.to_bytes()).map_err(io())?;
        put_in_place(index_file, &index_path(&path))?;
        put_in_place(tokens_file, &path)?;
        sync_parent(&path)?;
        Ok(header)
    }
}

#[derive(Debug)]
struct HashedFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    sha256: Sha256,
}

impl HashedFile {
    fn create(path: &Path) -> Result<Self, DatasetError> {
        let parent = parent_of(path);
        fs::create_dir_all(parent).map_err(DatasetError::io("create", parent))?;
        let mut builder = tempfile::Builder::new();
        let prefix = format!(
            ".{}.",
            path.file_name().unwrap_or_default().to_string_lossy()
        );
        builder.prefix(&prefix).suffix(".tmp");
        #[cfg(unix)]
        {
            // A temporary file is private by default; this one becomes an ordinary file, with what the user's umask leaves.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let file = builder
            .tempfile_in(parent)
            .map_err(DatasetError::io("write", path))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 20, file),
            sha256: Sha256::new(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DatasetError> {
        self.sha256.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(DatasetError::io("write", &self.path))
    }

    fn into_file(self) -> Result<(NamedTempFile, [u8; 32]), DatasetError> {
        let file = self
            .file
            .into_inner()
            .map_err(|error| DatasetError::io("write", &self.path)(error.into_error()))?;
        Ok((file, self.sha256.finalize().into()))
    }
}

fn put_in_place(file: NamedTempFile, path: &Path) -> Result<(), DatasetError> {
    file.as_file()
        .sync_all()
        .map_err(DatasetError::io("sync", path))?;
    file.persist(path)
        .map_err(|error| DatasetError::io("write", path)(error.error))?;
    Ok(())
}

#[cfg(unix)]
fn sync_parent(path: &Path) -> Result<(), DatasetError> {
    let parent = parent_of(path);
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(DatasetError::io("sync", parent))
}

// Windows opens no folder for syncing; its file systems journal renames.
#[cfg(not(unix))]
fn sync_parent(_path: &Path) -> Result<(), DatasetError> {
    Ok(())
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
