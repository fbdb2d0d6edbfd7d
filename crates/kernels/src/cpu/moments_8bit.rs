//! Adam's moments in bytes: blocks of 256 elements with a scale each, and a dynamic map of a byte to a part of the scale.
//!
//! The map is that of Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization" (section 1.3), with two differences. It holds
//! 1 on either side, so that the scale is one of the numbers that come out: what was unpacked packs to the same bytes and the same scale,
//! and a checkpoint may hold f32. And the second moment is kept as its root: a block then spans fourteen decades of v in place of seven.
//!
//! Blocks are smaller than the paper's 2,048: a large element costs precision only among its 255 neighbours, a workgroup of 64 takes a
//! block with a word for each invocation, and the two scales add a quarter of a bit to an element.

use std::sync::LazyLock;

use crate::KernelError;
use crate::sequence::check_len;

/// Elements that share their scales.
pub const MOMENT_BLOCK: usize = 256;

/// Scales below are 0: the smallest part of a larger one, squared, is still a normal f32.
const SMALLEST_SCALE: f32 = 1e-12;

/// Which of the two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The running mean of the gradient: a sign and 7 bits, 6 decades.
    Mean,
    /// The root of the running mean of its square: 8 bits, 7 decades.
    Root,
}

/// What each byte stands for, as a part of the scale.
static MEANS: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|byte| {
        let part = magnitude(byte & 127, Moment::Mean.decades());
        if byte < 128 { part } else { -part }
    })
});
static ROOTS: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| magnitude(byte, Moment::Root.decades())));

/// Index 0 is 0 and the last is 1; decade d between has 2^d equal bins of 0.1..1, each standing for its middle, times a power of ten that
/// makes the last decade end at 1.
fn magnitude(index: usize, decades: u32) -> f32 {
    let place = index + 1;
    match place.ilog2() {
        0 => 0.0,
        decade if decade > decades => 1.0,
        decade => {
            let bins = 1usize << decade;
            let part = 0.1 + 0.9 * ((place - bins) as f32 + 0.5) / bins as f32;
            (decade..decades).fold(part, |part, _| part * 0.1)
        }
    }
}

/// The index whose bin holds `part`, which is from 0 to 1.
fn index_of(part: f32, decades: u32) -> u32 {
    let last = 1u32 << decades;
    // Half way between the last bin's middle and 1.
    if part > 1.0 - 0.225 / last as f32 {
        return 2 * last - 1;
    }
    let (mut decade, mut scaled) = (decades, part);
    while scaled < 0.1 && decade > 1 {
        scaled *= 10.0;
        decade -= 1;
    }
    if scaled < 0.1 {
        return 0;
    }
    let bins = 1u32 << decade;
    bins - 1 + (((scaled - 0.1) / 0.9 * bins as f32) as u32).min(bins - 1)
}

impl Moment {
    /// Decades of its map.
    fn decades(self) -> u32 {
        match self {
            Self::Mean => 6,
            Self::Root => 7,
        }
    }

    /// What each byte stands for, as a part of the scale.
    pub(super) fn parts(self) -> &'static [f32; 256] {
        match self {
            Self::Mean => &MEANS,
            Self::Root => &ROOTS,
        }
    }

    /// The byte of an element, given one over the scale.
    fn byte(self, element: f32, inverse: f32) -> u32 {
        let part = element.abs() * inverse;
        let index = index_of(part, self.decades());
        match self {
            Self::Mean if element < 0.0 && index > 0 => index | 128,
            Self::Mean => index,
            // No 0 unless the element is 0: a v of 0 under an m that is not would make a step of any size.
            Self::Root => index.max(u32::from(part > 0.0)),
        }
    }

    /// Packs a block of at most 256 elements, four to a word with the first in the lowest byte; returns its scale.
    pub(super) fn pack_block(self, elements: &[f32], words: &mut [u32]) -> f32 {
        let largest = elements.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        if largest < SMALLEST_SCALE {
            words.fill(0);
            return 0.0;
        }
        let inverse = 1.0 / largest;
        for (word, elements) in words.iter_mut().zip(elements.chunks(4)) {
            let bytes = (0u32..).zip(elements);
            *word = bytes.fold(0, |word, (i, x)| word | self.byte(*x, inverse) << (8 * i));
        }
        largest
    }

    /// The elements of a block.
    pub(super) fn unpack_block(self, words: &[u32], scale: f32, out: &mut [f32]) {
        let parts = self.parts();
        for (out, word) in out.chunks_mut(4).zip(words) {
            for (i, out) in out.iter_mut().enumerate() {
                *out = parts[(word >> (8 * i)) as usize & 0xff] * scale;
            }
        }
    }
}

/// Checks the lengths of what holds `elements` elements.
pub(super) fn check_packed(
    kernel: &'static str,
    elements: usize,
    words: usize,
    scales: usize,
) -> Result<(), KernelError> {
    check_len(kernel, "words", words, elements.div_ceil(4))?;
    check_len(kernel, "scales", scales, elements.div_ceil(MOMENT_BLOCK))
}

/// Packs a moment: `elements [n]` → `words [n / 4, rounded up]`, four to a word with the first in the lowest byte, and `scales [n / 256,
/// rounded up]`.
///
/// What [`unpack_moment`] gave becomes the same words and scales again.
pub fn pack_moment(
    moment: Moment,
    elements: &[f32],
    words: &mut [u32],
    scales: &mut [f32],
) -> Result<(), KernelError> {
    check_packed("pack_moment", elements.len(), words.len(), scales.len())?;
    let blocks = elements.chunks(MOMENT_BLOCK);
    let words = words.chunks_mut(MOMENT_BLOCK / 4);
    for ((elements, words), scale) in blocks.zip(words).zip(scales) {
        *scale = moment.pack_block(elements, words);
    }
    Ok(())
}

/// Unpacks a moment: the inverse of [`pack_moment`], up to rounding.
pub fn unpack_moment(
    moment: Moment,
    words: &[u32],
    scales: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_packed("unpack_moment", out.len(), words.len(), scales.len())?;
    let blocks = out.chunks_mut(MOMENT_BLOCK);
    let words = words.chunks(MOMENT_BLOCK / 4);
    for ((out, words), scale) in blocks.zip(words).zip(scales) {
        moment.unpack_block(words, *scale, out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maps_are_the_papers_with_an_exact_one() {
        for moment in [Moment::Mean, Moment::Root] {
            let parts = moment.parts();
            let positive = if moment == Moment::Mean { 128 } else { 256 };
            assert_eq!((parts[0], parts[positive - 1]), (0.0, 1.0));
            assert!(parts[..positive].windows(2).all(|pair| pair[0] < pair[1]));
            // The last decade has half of the bytes: nearly equal steps from 0.1 to 1.
            let bins = (positive / 2) as f32;
            let middle = |i: f32| 0.1 + 0.9 * (i + 0.5) / bins;
            assert!((parts[positive - 2] - middle(bins - 1.0)).abs() < 1e-6);
            assert!((parts[positive / 2 - 1] - middle(0.0)).abs() < 1e-6);
            let smallest = 0.325 * 10f32.powi(1 - moment.decades() as i32);
            assert!((parts[1] / smallest - 1.0).abs() < 1e-5, "{}", parts[1]);
        }
        assert!((0..128).all(|i| MEANS[i] == -MEANS[i + 128]));
    }

    #[test]
    fn every_byte_comes_back_at_any_scale() {
        for moment in [Moment::Mean, Moment::Root] {
            // Of v as far as its own f32 reaches.
            let largest = if moment == Moment::Root { 18 } else { 30 };
            for exponent in -12..=largest {
                let scale = 1.7f32 * 10f32.powi(exponent);
                // Without -0, which is no byte that is written.
                let bytes = (0..256u32).filter(|b| moment == Moment::Root || *b != 128);
                for byte in bytes {
                    let element = moment.parts()[byte as usize] * scale;
                    assert_eq!(
                        moment.byte(element, 1.0 / scale),
                        byte,
                        "{moment:?} {scale:e}"
                    );
                    // v is kept in checkpoints: the root of its square is the root.
                    if moment == Moment::Root {
                        assert_eq!((element * element).sqrt().to_bits(), element.to_bits());
                    }
                }
            }
        }
    }

    #[test]
    fn rounding_is_within_a_bin_and_nothing_but_zero_is_zero() {
        for moment in [Moment::Mean, Moment::Root] {
            for i in 0..100_000 {
                let part = 10f32.powf(-7.5 * i as f32 / 100_000.0);
                let found = moment.parts()[moment.byte(part, 1.0) as usize];
                // Decade d of D has bins of 0.9 · 10^(d - D) / 2^d; the element is in the bin.
                let (mut decade, mut width) = (moment.decades(), 0.9);
                while part < 0.1 * width / 0.9 && decade > 1 {
                    decade -= 1;
                    width *= 0.1;
                }
                let half = 0.5 * width / 2f32.powi(decade as i32);
                let below_all = part < 0.1 * width / 0.9;
                let most = if below_all {
                    0.3251 * width / 0.9
                } else {
                    half * 1.001
                };
                assert!(
                    (found - part).abs() <= most,
                    "{moment:?}: {part} became {found}"
                );
                assert!(moment == Moment::Mean || found > 0.0);
            }
        }
    }

    #[test]
    fn what_was_unpacked_packs_to_the_same_words_and_scales() {
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        for n in [1usize, 5, 255, 256, 257, 5_000] {
            for moment in [Moment::Mean, Moment::Root] {
                let mut elements: Vec<f32> = (0..n)
                    .map(|i| random().powi(5) * 10f32.powi(-((i / 256) as i32)))
                    .collect();
                if moment == Moment::Root {
                    elements.iter_mut().for_each(|x| *x = x.abs());
                }
                let blocks = n.div_ceil(MOMENT_BLOCK);
                let (mut words, mut scales) = (vec![0; n.div_ceil(4)], vec![0.0; blocks]);
                pack_moment(moment, &elements, &mut words, &mut scales).unwrap();
                let mut back = vec![0.0; n];
                unpack_moment(moment, &words, &scales, &mut back).unwrap();
                let (mut again, mut their) = (vec![1; words.len()], vec![0.0; blocks]);
                pack_moment(moment, &back, &mut again, &mut their).unwrap();
                assert_eq!((words, scales), (again, their), "{moment:?} {n}");
            }
        }
    }
}
