//! Where in a dump's file the XML that is being read came from: for going on after an interruption, and for reading only a part of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// A place in the file at which reading can begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restart {
    /// The first bit of the bz2 block, or eight times the byte of the XML.
    pub(crate) bit: u64,
    /// Bytes to leave out after decoding.
    pub(crate) skip: u64,
}

/// What part of a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// All, from the start.
    Start,
    /// From the first block, or the byte, at or after this byte.
    Byte(u64),
    /// From where an earlier run stopped.
    Restart(Restart),
}

/// Follows the reading of a file; shared by who decodes and who counts.
#[derive(Debug)]
pub(crate) struct Place {
    /// How far into the file reading has come, bytes.
    pub(crate) position: Arc<AtomicU64>,
    /// The byte of the file at which the next part begins.
    part_end: u64,
    /// The byte of the XML at which the next part begins; unknown until it was read.
    xml_end: AtomicU64,
    /// The file is bz2.
    packed: bool,
    /// `(byte of the XML, bit of the file)` of blocks that were read, the last ones.
    blocks: Mutex<VecDeque<(u64, u64)>>,
}

/// Blocks remembered: pages wait in batches while reading goes on, and no page reaches over more than a few blocks.
const BLOCKS: usize = 4096;

impl Default for Place {
    fn default() -> Self {
        Self::new(Arc::default(), u64::MAX, true, 0)
    }
}

impl Place {
    /// Reading of the part of a file that ends before byte `part_end`; XML that is not packed begins at byte `first` of it.
    pub(super) fn new(position: Arc<AtomicU64>, part_end: u64, packed: bool, first: u64) -> Self {
        let xml_end = match packed || part_end == u64::MAX {
            true => u64::MAX,
            false => part_end.saturating_sub(first),
        };
        let blocks = match packed {
            true => VecDeque::new(),
            false => VecDeque::from([(0, 8 * first)]),
        };
        Self {
            position,
            part_end,
            xml_end: AtomicU64::new(xml_end),
            packed,
            blocks: Mutex::new(blocks),
        }
    }

    /// A block of the file, from bit `start` to bit `end`, gives the XML from byte `xml` on.
    pub(super) fn block_begins(&self, xml: u64, start: u64, end: u64) {
        self.position.store(end / 8, Ordering::Relaxed);
        if start >= self.part_end.saturating_mul(8) {
            self.xml_end.fetch_min(xml, Ordering::Relaxed);
        }
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.len() == BLOCKS {
            blocks.pop_front();
        }
        blocks.push_back((xml, start));
    }

    /// Whether a page that begins at byte `xml` of the XML belongs to this part.
    pub(crate) fn owns(&self, xml: u64) -> bool {
        xml < self.xml_end.load(Ordering::Relaxed)
    }

    /// Where to begin so that byte `xml` of the XML comes first.
    pub(crate) fn restart(&self, xml: u64) -> Option<Restart> {
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let at = blocks.partition_point(|(begin, _)| *begin <= xml);
        let (begin, bit) = blocks.get(at.checked_sub(1)?)?;
        let skip = xml - begin;
        Some(match self.packed {
            true => Restart { bit: *bit, skip },
            false => Restart {
                bit: bit + 8 * skip,
                skip: 0,
            },
        })
    }
}
