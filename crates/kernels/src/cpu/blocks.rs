//! How the sequence kernels are spread: tasks of one block of channels of one sequence, each writing its own columns.

use std::marker::PhantomData;

use crate::Sequence;

/// Channels of a full block: 256 bytes of a row, four AVX-512 or eight AVX2 registers, enough independent work to hide latencies.
pub(crate) const WIDE: usize = 64;
/// Channels of a block where fewer than [`WIDE`] are left; below that, channels go one by one.
pub(crate) const NARROW: usize = 16;

/// Below this many elements (rows × channels) waking other threads costs more than it saves.
#[cfg(feature = "parallel")]
const PARALLEL_FROM: usize = 16_384;

/// Calls `task(sequence, first channel, width)` for every block of every sequence, width being [`WIDE`], [`NARROW`] or 1.
pub(crate) fn for_each_block<F: Fn(usize, usize, usize) + Send + Sync>(
    seqs: &[Sequence],
    channels: usize,
    task: F,
) {
    let blocks = blocks(channels);
    #[cfg(feature = "parallel")]
    {
        use rayon::prelude::*;
        let rows: usize = seqs.iter().map(|s| s.len as usize).sum();
        if rows.saturating_mul(channels) >= PARALLEL_FROM {
            (0..seqs.len() * blocks.len())
                .into_par_iter()
                .for_each(|i| {
                    let (first, width) = blocks[i % blocks.len()];
                    task(i / blocks.len(), first, width);
                });
            return;
        }
    }
    for sequence in 0..seqs.len() {
        for &(first, width) in &blocks {
            task(sequence, first, width);
        }
    }
}

/// First channel and width of each block.
fn blocks(channels: usize) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut first = 0;
    while first < channels {
        let width = match channels - first {
            WIDE.. => WIDE,
            NARROW.. => NARROW,
            _ => 1,
        };
        blocks.push((first, width));
        first += width;
    }
    blocks
}

/// A buffer that tasks write disjoint pieces of: no borrow of a rectangle of columns can be expressed with slices.
pub(crate) struct Columns<'a> {
    start: *mut f32,
    len: usize,
    buffer: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only access is `load` and `store`, whose callers promise that no two tasks touch the same elements.
unsafe impl Sync for Columns<'_> {}
// SAFETY: as above; the pointer comes from a `&mut [f32]`, which may move between threads.
unsafe impl Send for Columns<'_> {}

impl<'a> Columns<'a> {
    pub(crate) fn new(buffer: &'a mut [f32]) -> Self {
        Self {
            start: buffer.as_mut_ptr(),
            len: buffer.len(),
            buffer: PhantomData,
        }
    }

    /// The W elements from `at` on, copied: on local arrays the compiler needs no alias checks to vectorise.
    ///
    /// # Safety
    /// `at + W` is at most the buffer's length, and no other task touches these elements.
    #[inline(always)]
    pub(crate) unsafe fn load<const W: usize>(&self, at: usize) -> [f32; W] {
        debug_assert!(at + W <= self.len);
        // SAFETY: in bounds and not shared, as promised; f32 arrays have the alignment of f32.
        unsafe { self.start.add(at).cast::<[f32; W]>().read() }
    }

    /// Writes the W elements from `at` on.
    ///
    /// # Safety
    /// As for [`Self::load`].
    #[inline(always)]
    pub(crate) unsafe fn store<const W: usize>(&self, at: usize, values: [f32; W]) {
        debug_assert!(at + W <= self.len);
        // SAFETY: in bounds and not shared, as promised; f32 arrays have the alignment of f32.
        unsafe { self.start.add(at).cast::<[f32; W]>().write(values) }
    }
}

/// The W elements from `at` on, copied.
#[inline(always)]
pub(crate) fn load<const W: usize>(from: &[f32], at: usize) -> [f32; W] {
    let mut values = [0.0; W];
    values.copy_from_slice(&from[at..at + W]);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_channel_once() {
        for channels in 0..200 {
            let mut next = 0;
            for (first, width) in blocks(channels) {
                assert_eq!(first, next);
                next += width;
            }
            assert_eq!(next, channels);
        }
    }
}
