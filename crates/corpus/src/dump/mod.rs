//! From the dump file to pages: decompression, UTF-8 repair, XML.

mod bz2;
mod bz2_parallel;
mod site;
mod utf8;
mod xml;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use bz2::Bz2Reader;
pub use bz2_parallel::ParallelBz2Reader;
pub use site::SiteInfo;
pub use xml::{WikiPage, WikiStreamParser};

use crate::error::{CorpusError, Stop};

/// Carries a [`Stop`] through the `Read` trait.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StopError(pub(crate) Stop);

impl From<Stop> for std::io::Error {
    fn from(stop: Stop) -> Self {
        std::io::Error::other(StopError(stop))
    }
}

/// The reason inside an I/O error, or the error itself at `offset`.
pub(crate) fn stop_of(error: &std::io::Error, offset: u64) -> Stop {
    match error.get_ref().and_then(|e| e.downcast_ref::<StopError>()) {
        Some(StopError(stop)) => stop.clone(),
        None => Stop::Io {
            offset,
            detail: error.to_string(),
        },
    }
}

/// Opens a dump, `.xml` or `.xml.bz2` (told apart by content, not by name), as a stream of XML bytes.
///
/// With `threads` > 1 a bz2 file of several streams is decoded by that many threads; a single stream by one thread of its own. With 1 thread
/// everything happens inside `read`.
/// `position` follows how far into the file the reading has come, bytes.
///
/// # Errors
/// The file is missing, empty, a folder, or neither XML nor bz2.
pub fn open_dump(
    path: &Path,
    threads: usize,
    position: Arc<AtomicU64>,
) -> Result<Box<dyn Read + Send>, CorpusError> {
    let mut file = File::open(path).map_err(CorpusError::io("open", path))?;
    let meta = file.metadata().map_err(CorpusError::io("open", path))?;
    if meta.is_dir() {
        return Err(CorpusError::Unsupported {
            path: path.to_path_buf(),
            reason: "it is a folder; give one dump file".into(),
        });
    }
    if meta.is_file() && meta.len() == 0 {
        return Err(CorpusError::Empty(path.to_path_buf()));
    }
    let mut head = [0u8; 512];
    let mut got = 0;
    while got < head.len() {
        match file
            .read(&mut head[got..])
            .map_err(CorpusError::io("read", path))?
        {
            0 => break,
            n => got += n,
        }
    }
    let head = &head[..got];
    if head.starts_with(b"BZh") {
        if threads > 1 && meta.is_file() {
            return Ok(Box::new(ParallelBz2Reader::open(path, threads, position)?));
        }
        let start = std::io::Cursor::new(head.to_vec());
        return Ok(Box::new(Bz2Reader::new(
            start.chain(Counted { file, position }),
        )));
    }
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let first = text.iter().copied().find(|b| !b.is_ascii_whitespace());
    let utf16 =
        head.starts_with(&[0xFF, 0xFE, b'<', 0]) || head.starts_with(&[0xFE, 0xFF, 0, b'<']);
    if first != Some(b'<') && !utf16 {
        let reason = match head {
            [0x1F, 0x8B, ..] => "it is gzip",
            [b'7', b'z', 0xBC, 0xAF, ..] => "it is a 7z archive",
            [0x28, 0xB5, 0x2F, 0xFD, ..] => "it is zstd",
            _ => "it starts neither with `<` nor with the bz2 magic",
        };
        return Err(CorpusError::NotADump {
            path: path.to_path_buf(),
            reason: reason.into(),
        });
    }
    let start = std::io::Cursor::new(head.to_vec());
    Ok(Box::new(start.chain(Counted { file, position })))
}

/// A file that tells how far it was read.
struct Counted {
    file: File,
    position: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buf)?;
        self.position.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
