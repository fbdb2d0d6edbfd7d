//! The directory of a zip archive whose entries are stored as they are: the container that `torch.save` writes.
//!
//! Only the central directory is believed, and of it only offsets that lie in the file. Nothing is copied: an entry is a range of the file.
//! Layout: APPNOTE.TXT 6.3, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 and 4.3.15 (zip64), 4.3.16 (end).

use std::collections::BTreeMap;
use std::ops::Range;

const LOCAL: u32 = 0x0403_4b50;
const ENTRY: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const END_BYTES: usize = 22;
const LOCATOR_BYTES: usize = 20;
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
/// Says "look into the zip64 field".
const IN_64: u64 = 0xffff_ffff;
/// Encrypted.
const ENCRYPTED: u16 = 1;
/// A model has a storage for every tensor; the largest has 18,438 of them.
const MAX_ENTRIES: usize = 1 << 15;

/// The entries of the archive `bytes` by name, each with its range of bytes.
///
/// Errors: no archive at all, a directory or an entry outside of the file, an entry that is compressed or encrypted, too many entries.
pub(super) fn entries(bytes: &[u8]) -> Result<BTreeMap<&str, Range<usize>>, String> {
    let (start, end) = directory(bytes)?;
    let mut entries = BTreeMap::new();
    let mut at = start;
    while at < end {
        let (name, range, next) = entry(bytes, at, end)?;
        if entries.len() == MAX_ENTRIES {
            return Err(format!("it has more than {MAX_ENTRIES} entries"));
        }
        if entries.insert(name, range).is_some() {
            return Err(format!("the entry `{name}` occurs twice"));
        }
        at = next;
    }
    Ok(entries)
}

/// First byte of the central directory, and the byte behind its last.
fn directory(bytes: &[u8]) -> Result<(usize, usize), String> {
    let end = find_end(bytes).ok_or("it does not end as a zip archive does (cut short?)")?;
    let (mut size, mut start) = (
        u64::from(u32_at(bytes, end + 12).unwrap_or(0)),
        u64::from(u32_at(bytes, end + 16).unwrap_or(0)),
    );
    let locator = end.checked_sub(LOCATOR_BYTES);
    if let Some(locator) = locator.filter(|at| u32_at(bytes, *at) == Some(LOCATOR_64)) {
        let end_64 = u64_at(bytes, locator + 8)
            .and_then(|at| usize::try_from(at).ok())
            .filter(|at| u32_at(bytes, *at) == Some(END_64));
        let fields = end_64.and_then(|at| {
            let size = u64_at(bytes, at.checked_add(40)?)?;
            Some((size, u64_at(bytes, at.checked_add(48)?)?))
        });
        (size, start) = fields.ok_or("its zip64 end of directory is not where it should be")?;
    }
    let start = usize::try_from(start).ok();
    let range = start.and_then(|start| {
        let behind = start.checked_add(usize::try_from(size).ok()?)?;
        (behind <= end).then_some((start, behind))
    });
    range.ok_or_else(|| "its directory lies outside the file".to_owned())
}

/// The end record: the last place with its signature whose comment reaches exactly to the end of the file.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_BYTES)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    (first..=last).rev().find(|&at| {
        let comment = u16_at(bytes, at + 20).map(usize::from);
        u32_at(bytes, at) == Some(END) && comment == Some(last - at)
    })
}

/// The directory's entry at `at`: its name, where its bytes lie, and where the next entry begins.
fn entry(bytes: &[u8], at: usize, end: usize) -> Result<(&str, Range<usize>, usize), String> {
    let damaged = || "its directory is damaged".to_owned();
    if u32_at(bytes, at) != Some(ENTRY) {
        return Err(damaged());
    }
    let half = |offset: usize| u16_at(bytes, at + offset).ok_or_else(damaged);
    let word = |offset: usize| {
        u32_at(bytes, at + offset)
            .map(u64::from)
            .ok_or_else(damaged)
    };
    let name_start = at + ENTRY_BYTES;
    let extra_start = name_start + usize::from(half(28)?);
    let comment_start = extra_start + usize::from(half(30)?);
    let next = comment_start + usize::from(half(32)?);
    let name = bytes
        .get(name_start..extra_start)
        .and_then(|name| std::str::from_utf8(name).ok());
    let (Some(name), true) = (name, next <= end) else {
        return Err(damaged());
    };
    if half(8)? & ENCRYPTED != 0 {
        return Err(format!("the entry `{name}` is encrypted"));
    }
    if half(10)? != 0 {
        return Err(format!(
            "the entry `{name}` is compressed, which torch.save never does; save it again with torch.save"
        ));
    }
    let mut extra = Zip64::new(bytes.get(extra_start..comment_start).unwrap_or_default());
    let size = extra.or_next(word(24)?).ok_or_else(damaged)?;
    let stored = extra.or_next(word(20)?).ok_or_else(damaged)?;
    let header = extra.or_next(word(42)?).ok_or_else(damaged)?;
    if size != stored {
        return Err(damaged());
    }
    let range = contents(bytes, header, size)
        .ok_or_else(|| format!("the entry `{name}` lies outside the file"))?;
    Ok((name, range, next))
}

/// Where the `size` bytes lie that follow the local header at `header`.
fn contents(bytes: &[u8], header: u64, size: u64) -> Option<Range<usize>> {
    let header = usize::try_from(header).ok()?;
    if u32_at(bytes, header)? != LOCAL {
        return None;
    }
    let name = usize::from(u16_at(bytes, header.checked_add(26)?)?);
    let extra = usize::from(u16_at(bytes, header.checked_add(28)?)?);
    let start = header.checked_add(LOCAL_BYTES)?.checked_add(name)?;
    let start = start.checked_add(extra)?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}

/// The 64-bit numbers of an entry's extra fields, in the order in which the 32-bit ones ask for them.
struct Zip64<'a> {
    numbers: &'a [u8],
}

impl<'a> Zip64<'a> {
    fn new(mut extra: &'a [u8]) -> Self {
        while let (Some(id), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
            let rest = &extra[4..];
            let (field, others) = rest.split_at(usize::from(length).min(rest.len()));
            if id == 1 {
                return Self { numbers: field };
            }
            extra = others;
        }
        Self { numbers: &[] }
    }

    /// `number`, or the next one of the field when it says so; `None` where that has no more.
    fn or_next(&mut self, number: u64) -> Option<u64> {
        if number != IN_64 {
            return Some(number);
        }
        let (next, rest) = self.numbers.split_first_chunk()?;
        self.numbers = rest;
        Some(u64::from_le_bytes(*next))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
