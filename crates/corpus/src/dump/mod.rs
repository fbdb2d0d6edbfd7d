//! From the dump file to pages: decompression, UTF-8 repair, XML.

mod blocks;
mod bz2;
mod place;
mod site;
mod utf8;
mod xml;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use bz2::Bz2Reader;
pub(crate) use place::{Begin, Place, Restart};
pub use site::SiteInfo;
pub use xml::{WikiPage, WikiStreamParser};

use crate::error::{CorpusError, Stop};
use blocks::BlockCutter;

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
/// With `threads` > 1 the blocks of a bz2 file are decoded by that many threads; with 1 everything happens inside `read`.
/// `position` follows how far into the file the reading has come, bytes.
///
/// # Errors
/// The file is missing, empty, a folder, or neither XML nor bz2.
pub fn open_dump(
    path: &Path,
    threads: usize,
    position: Arc<AtomicU64>,
) -> Result<Box<dyn Read + Send>, CorpusError> {
    open_part(path, threads, position, Begin::Start, u64::MAX).map(|(reader, _)| reader)
}

/// Opens the part of a dump that begins at `from`; pages that begin at or after byte `part_end` of the file belong to the next one, which
/// [`Place::owns`] tells.
///
/// # Errors
/// As [`open_dump`].
pub(crate) fn open_part(
    path: &Path,
    threads: usize,
    position: Arc<AtomicU64>,
    from: Begin,
    part_end: u64,
) -> Result<(Box<dyn Read + Send>, Arc<Place>), CorpusError> {
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
    let packed = head.starts_with(b"BZh");
    if !packed {
        check_xml(path, head)?;
    }
    let bit = match from {
        Begin::Start => None,
        Begin::Byte(byte) => Some(byte.saturating_mul(8)),
        Begin::Restart(restart) => Some(restart.bit),
    };
    let place = |first| Arc::new(Place::new(Arc::clone(&position), part_end, packed, first));
    let (reader, place): (Box<dyn Read + Send>, _) = match (bit, packed) {
        (None, false) => {
            let start = std::io::Cursor::new(head.to_vec());
            let file = Counted {
                file,
                position: Arc::clone(&position),
            };
            (Box::new(start.chain(file)), place(0))
        }
        (None, true) => {
            let start = std::io::Cursor::new(head.to_vec());
            let place = place(0);
            let cutter = BlockCutter::new(start.chain(file));
            (
                Box::new(Bz2Reader::with(cutter, Arc::clone(&place), threads)),
                place,
            )
        }
        (Some(bit), packed) => {
            file.seek(SeekFrom::Start(bit / 8))
                .map_err(CorpusError::io("read", path))?;
            position.store(bit / 8, Ordering::Relaxed);
            let place = place(bit / 8);
            if packed {
                let cutter = BlockCutter::search(file, bit);
                (
                    Box::new(Bz2Reader::with(cutter, Arc::clone(&place), threads)),
                    place,
                )
            } else {
                let file = Counted {
                    file,
                    position: Arc::clone(&position),
                };
                (Box::new(file), place)
            }
        }
    };
    Ok((reader, place))
}

/// Whether the first bytes of a file can be those of a dump's XML.
fn check_xml(path: &Path, head: &[u8]) -> Result<(), CorpusError> {
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
    Ok(())
}

/// What the beginning of a dump tells.
pub(crate) struct Head {
    /// Its `<siteinfo>`.
    pub(crate) site: SiteInfo,
    /// Places in it can be found again: it is UTF-8.
    pub(crate) has_exact_offsets: bool,
}

/// Reads the beginning of a dump.
///
/// # Errors
/// As [`open_dump`].
pub(crate) fn read_head(path: &Path) -> Result<Head, CorpusError> {
    let reader = open_dump(path, 1, Arc::default())?;
    // Only what stands before the first page is wanted; a page that is cut short or too large changes nothing about it.
    let mut parser = WikiStreamParser::new(reader, 0);
    parser.next_page(&mut WikiPage::default()).ok();
    Ok(Head {
        site: parser.site().clone(),
        has_exact_offsets: parser.has_exact_offsets(),
    })
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
