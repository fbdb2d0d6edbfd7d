//! int8 and fp8: a grid of numbers symmetric about zero, and one f16 scale for a group.

use half::f16;

use super::{round_even, sum};
use crate::format::GROUP;

/// The numbers that an element can be, before its scale.
pub(super) trait Grid {
    /// The largest of them.
    const LARGEST: f32;

    /// What a group's largest element may become, in the order in which it is tried.
    fn targets() -> impl Iterator<Item = f32>;

    /// The nearest number of the grid; beyond its end the last one.
    fn round(x: f32) -> f32;

    /// The byte of a number of the grid.
    fn encode(number: f32) -> u8;
}

/// Integers from -127 to 127.
pub(super) struct Int8;

impl Grid for Int8 {
    const LARGEST: f32 = 127.0;

    // A target below 127 makes coarser steps, which pays only where they fall better on the other elements: a few are enough.
    fn targets() -> impl Iterator<Item = f32> {
        (0..8).map(|step| 127.0 - 0.5 * step as f32)
    }

    fn round(x: f32) -> f32 {
        round_even(x.clamp(-Self::LARGEST, Self::LARGEST))
    }

    fn encode(number: f32) -> u8 {
        number as i8 as u8
    }
}

/// The 8-bit floats with four bits of exponent and three of mantissa.
pub(super) struct E4m3;

impl Grid for E4m3 {
    const LARGEST: f32 = 448.0;

    // A factor of two changes nothing but where subnormals begin, so one octave is the whole choice.
    fn targets() -> impl Iterator<Item = f32> {
        (0..16).map(|step| 448.0 - 14.0 * step as f32)
    }

    fn round(x: f32) -> f32 {
        let x = x.clamp(-Self::LARGEST, Self::LARGEST);
        if x.abs() < SMALLEST_NORMAL {
            return round_even(x * SUBNORMALS) / SUBNORMALS;
        }
        let bits = x.to_bits();
        // Ties to even in bit 20: three of the 23 bits of mantissa stay.
        let rounded = bits + 0x7_ffff + ((bits >> 20) & 1);
        f32::from_bits(rounded & 0xfff0_0000)
    }

    fn encode(number: f32) -> u8 {
        let size = number.abs();
        let code = if size < SMALLEST_NORMAL {
            (size * SUBNORMALS) as u8
        } else {
            // Exponent and mantissa together, from bias 127 to bias 7.
            ((size.to_bits() >> 20) - (120 << 3)) as u8
        };
        code | u8::from(number.is_sign_negative()) << 7
    }
}

/// 2⁻⁶
const SMALLEST_NORMAL: f32 = 0.015625;
/// Subnormals are multiples of 2⁻⁹.
const SUBNORMALS: f32 = 512.0;

/// Values `[8 · groups]` and scales `[ceil(groups / 2)]`, zeros before, as they lie in a file.
pub(super) fn quantize<G: Grid>(groups: &[[f32; GROUP]], values: &mut [u32], scales: &mut [u32]) {
    let places = values.as_chunks_mut::<{ GROUP / 4 }>().0.iter_mut();
    for (index, (group, words)) in groups.iter().zip(places).enumerate() {
        let scale = best_scale::<G>(group);
        scales[index / 2] |= u32::from(scale.to_bits()) << (index % 2 * 16);
        let inverse = inverse(scale.to_f32());
        for (word, four) in words.iter_mut().zip(group.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(four.map(|x| G::encode(G::round(x * inverse))));
        }
    }
}

/// The scale with the smallest sum of squared errors of those tried: each target for the largest element, and for each the scale that suits the rounded numbers best.
fn best_scale<G: Grid>(group: &[f32; GROUP]) -> f16 {
    let largest = group.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    if largest == 0.0 {
        return f16::ZERO;
    }
    let mut best = (f32::INFINITY, f16::ZERO);
    let mut consider = |scale: f32| {
        let scale = representable(scale);
        let fit = Fit::of::<G>(group, scale.to_f32(), largest);
        if fit.error < best.0 {
            best = (fit.error, scale);
        }
        fit.scale
    };
    for target in G::targets() {
        if let Some(refined) = consider(largest / target) {
            consider(refined);
        }
    }
    best.1
}

/// The nearest f16 that is neither zero nor infinite: a group below f16's smallest number is still rounded to the nearest multiple of it.
fn representable(scale: f32) -> f16 {
    f16::from_f32(scale).clamp(f16::MIN_POSITIVE_SUBNORMAL, f16::MAX)
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// How a scale does on a group.
struct Fit {
    /// Sum of squared errors, in units of the largest element.
    error: f32,
    /// The scale that suits the same rounded numbers best, `Σ x·q / Σ q²`; none where they are all zero.
    scale: Option<f32>,
}

impl Fit {
    fn of<G: Grid>(group: &[f32; GROUP], scale: f32, largest: f32) -> Self {
        let (inverse, unit) = (inverse(scale), 1.0 / largest);
        let numbers = group.map(|x| G::round(x * inverse));
        let product = sum(|i| group[i] * numbers[i]);
        let square = sum(|i| numbers[i] * numbers[i]);
        Self {
            error: sum(|i| ((group[i] - scale * numbers[i]) * unit).powi(2)),
            scale: (square > 0.0).then(|| product / square),
        }
    }
}
