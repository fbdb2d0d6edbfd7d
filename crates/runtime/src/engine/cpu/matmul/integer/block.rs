//! A block of weights brought into the order in which the kernel multiplies: a few rows, a lane each, times eight groups.

use super::lanes::Lanes;
use super::{Format, Rows};
use ptbr_model::GROUP;

/// Groups of a block: 256 columns. In this order they are 4 KB of sixteen rows, which stay in a first-level cache while the tokens pass.
pub(super) const BLOCK_GROUPS: usize = 8;

/// Four bytes to a row: what [`Lanes::dot`] takes at a time.
pub(super) const GROUP_WORDS: usize = GROUP / 4;

/// Most rows that any instruction set has side by side.
pub(super) const MAX_ROWS: usize = 16;

/// Bytes that [`Lanes::columns`] takes of a row.
const QUAD: usize = 16;

/// Weights of [`Lanes::ROWS`] rows and up to eight groups.
pub(super) struct Block<L: Lanes> {
    /// `[groups, 8]`: elements 4k to 4k + 3 of a group.
    pub(super) values: [L::Bytes; BLOCK_GROUPS * GROUP_WORDS],
    /// `[groups]`
    pub(super) scales: [L::Floats; BLOCK_GROUPS],
    /// `[groups]`; int4 only.
    pub(super) minima: [L::Floats; BLOCK_GROUPS],
}

/// Where a block's rows lie: whole blocks of a matrix in the matrix, others in a copy that is filled up.
struct Place {
    values: *const u8,
    value_stride: usize,
    scales: *const u8,
    scale_stride: usize,
}

/// Memory for a block of fewer rows or groups than there are lanes.
pub(super) struct Stage {
    values: [u8; MAX_ROWS * BLOCK_GROUPS * GROUP],
    scales: [u8; MAX_ROWS * BLOCK_GROUPS * 4],
}

impl Stage {
    pub(super) fn new() -> Self {
        Self {
            values: [0; _],
            scales: [0; _],
        }
    }

    fn copy(&mut self, weights: &Rows<'_>, rows: usize, row: usize, group: usize) -> Place {
        let groups = BLOCK_GROUPS.min(weights.groups - group);
        let copy = |from: &[u8], to: &mut [u8], bytes: usize| {
            for (index, to) in to.chunks_mut(BLOCK_GROUPS * bytes).take(rows).enumerate() {
                let at = ((row + index) * weights.groups + group) * bytes;
                to[..groups * bytes].copy_from_slice(&from[at..at + groups * bytes]);
            }
        };
        let (value_bytes, scale_bytes) =
            (weights.format.value_bytes(), weights.format.scale_bytes());
        copy(weights.values, &mut self.values, value_bytes);
        copy(weights.scales, &mut self.scales, scale_bytes);
        Place {
            values: self.values.as_ptr(),
            value_stride: BLOCK_GROUPS * value_bytes,
            scales: self.scales.as_ptr(),
            scale_stride: BLOCK_GROUPS * scale_bytes,
        }
    }
}

impl<L: Lanes> Block<L> {
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        // SAFETY: passed on; the zeros are a row's sixteen bytes for every row.
        let (bytes, zero) = unsafe {
            let [bytes, ..] = L::columns([0; QUAD].as_ptr(), 0);
            (bytes, L::splat(0.0))
        };
        Self {
            values: [bytes; _],
            scales: [zero; _],
            minima: [zero; _],
        }
    }

    /// Takes in `rows` rows from `row` on (at most [`Lanes::ROWS`]) and up to eight groups from `group` on.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    pub(super) unsafe fn fill(
        &mut self,
        weights: &Rows<'_>,
        rows: usize,
        row: usize,
        group: usize,
        stage: &mut Stage,
    ) {
        let format = weights.format;
        let groups = BLOCK_GROUPS.min(weights.groups - group);
        let ahead = Ahead::new::<L>(weights, row, group);
        let place = if rows == L::ROWS && groups == BLOCK_GROUPS {
            let first = row * weights.groups + group;
            let last = first + (rows - 1) * weights.groups + groups;
            // Slices, so that a block outside of the matrix is a panic and nothing worse.
            Place {
                values: weights.values[first * format.value_bytes()..last * format.value_bytes()]
                    .as_ptr(),
                value_stride: weights.groups * format.value_bytes(),
                scales: weights.scales[first * format.scale_bytes()..last * format.scale_bytes()]
                    .as_ptr(),
                scale_stride: weights.groups * format.scale_bytes(),
            }
        } else {
            stage.copy(weights, rows, row, group)
        };
        // SAFETY: `place` holds eight groups for each lane: in the matrix as just checked, or in the stage, which is large enough for any.
        unsafe {
            match format {
                Format::Int8 => self.fill_int8(&place, groups, ahead),
                Format::Int4 => self.fill_int4(&place, groups, ahead),
            }
        }
    }

    /// # Safety
    /// As [`Lanes`]; `place` has [`BLOCK_GROUPS`] groups of [`Lanes::ROWS`] rows of int8.
    #[inline(always)]
    unsafe fn fill_int8(&mut self, place: &Place, groups: usize, ahead: Ahead) {
        let quads = self.values.chunks_exact_mut(4).take(2 * groups);
        for (index, out) in quads.enumerate() {
            if index < L::ROWS {
                ahead.prefetch(index);
            }
            // SAFETY: the caller's promise: a row's group is two times sixteen bytes.
            let columns = unsafe { L::columns(place.values.add(index * QUAD), place.value_stride) };
            for (out, bytes) in out.iter_mut().zip(columns) {
                *out = if L::UNSIGNED {
                    // SAFETY: passed on.
                    unsafe { L::flip(bytes) }
                } else {
                    bytes
                };
            }
        }
        // SAFETY: eight scales are sixteen bytes.
        let words = unsafe { L::columns(place.scales, place.scale_stride) };
        for (out, word) in self.scales.chunks_exact_mut(2).zip(words) {
            // SAFETY: passed on.
            out.copy_from_slice(&unsafe { L::halves(word) });
        }
    }

    /// # Safety
    /// As [`Lanes`]; `place` has [`BLOCK_GROUPS`] groups of [`Lanes::ROWS`] rows of int4.
    #[inline(always)]
    unsafe fn fill_int4(&mut self, place: &Place, groups: usize, ahead: Ahead) {
        let outs = self.values.chunks_exact_mut(GROUP_WORDS).take(groups);
        for (index, out) in outs.enumerate() {
            for row in (index..L::ROWS).step_by(BLOCK_GROUPS) {
                ahead.prefetch(row);
            }
            let (low, high) = out.split_at_mut(GROUP_WORDS / 2);
            // SAFETY: the caller's promise: a row's group is sixteen bytes.
            let columns = unsafe { L::columns(place.values.add(index * QUAD), place.value_stride) };
            for ((low, high), bytes) in low.iter_mut().zip(high).zip(columns) {
                // SAFETY: passed on.
                [*low, *high] = unsafe { L::nibbles(bytes) };
            }
        }
        let outs = self
            .scales
            .chunks_exact_mut(4)
            .zip(self.minima.chunks_exact_mut(4));
        for (index, (scales, minima)) in outs.enumerate() {
            // SAFETY: scale and minimum of four groups are sixteen bytes.
            let words = unsafe { L::columns(place.scales.add(index * QUAD), place.scale_stride) };
            for ((scale, minimum), word) in scales.iter_mut().zip(minima).zip(words) {
                // SAFETY: passed on.
                [*scale, *minimum] = unsafe { L::halves(word) };
            }
        }
    }
}

/// The weights of the next block, to be asked for while this one is taken in: a matrix's rows are many short streams, which the machine's own prefetching does not
/// follow. Spread over the block, because all at once would fill the queue that its own loads need.
#[derive(Clone, Copy)]
struct Ahead {
    values: *const u8,
    stride: usize,
    row_bytes: usize,
}

impl Ahead {
    #[inline(always)]
    fn new<L: Lanes>(weights: &Rows<'_>, row: usize, group: usize) -> Self {
        let bytes = weights.format.value_bytes();
        let (row, group) = match group + BLOCK_GROUPS {
            next if next < weights.groups => (row, next),
            _ => (row + L::ROWS, 0),
        };
        let at = (row * weights.groups + group) * bytes;
        Self {
            values: weights.values.as_ptr().wrapping_add(at),
            stride: weights.groups * bytes,
            row_bytes: BLOCK_GROUPS * bytes,
        }
    }

    /// Asks for row `row` of the block; after the matrix's last there is nothing to ask for, which does no harm.
    #[inline(always)]
    fn prefetch(self, row: usize) {
        for line in (0..self.row_bytes).step_by(64) {
            prefetch(self.values.wrapping_add(row * self.stride + line));
        }
    }
}

#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: nothing that the program sees is read, and any address may be asked for.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
