//! Activations as bytes: for 32 elements x of a token, `scale = max|x| / 127` and `q = round(x · (127 / max|x|))`, halves to even.
//!
//! The error is at most half a scale, 0.4 % of the group's largest element. Quantized once per input, whatever the number of rows.

use super::super::isa::Isa;
#[cfg(target_arch = "x86_64")]
use super::super::isa::Kind;
use super::super::parallel;
use super::{tile_tokens, tiles};
use ptbr_model::GROUP;

/// Adding 1.5·2^23 leaves the nearest integer, halves to even, in the low bits of the significand.
const ROUND: f32 = 12_582_912.0;

/// Thirty-two elements of a token's input.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ActivationGroup {
    /// The quantized elements, four to a word, the first in the low byte.
    pub(super) words: [i32; GROUP / 4],
    /// What a quantized element is multiplied with: 0 where all elements are below the smallest numbers, NaN where one is no finite number.
    pub(super) scale: f32,
    /// `scale · Σ q`: what a minimum of int4 weights is multiplied with.
    pub(super) scaled_sum: f32,
    /// `-128 · Σ q`: what to start from where 128 has been added to the weights.
    pub(super) bias: i32,
}

/// Groups to which a single token's input is filled up with zeros: what the widest vectors take at a time.
pub(super) const ROW_GROUPS: usize = 16;

/// A product's input: by tile of tokens, then by group, then by token.
#[derive(Default)]
pub(in super::super) struct Activations {
    pub(super) groups: Vec<ActivationGroup>,
    row: Row,
}

/// A single token's input once more, as arrays of which vectors of any width can take pieces. Empty where there are more tokens.
#[derive(Default)]
struct Row {
    elements: Vec<[i32; GROUP / 4]>,
    halves: [Vec<[i32; GROUP / 8]>; 2],
    biases: Vec<i32>,
    scales: Vec<f32>,
    scaled_sums: Vec<f32>,
}

/// A single token's input, filled up with zeros to a multiple of [`ROW_GROUPS`] groups.
#[derive(Clone, Copy)]
pub(super) struct RowInput<'a> {
    /// `[groups, 32]`: the quantized elements.
    pub(super) elements: &'a [i32],
    /// `[2][groups, 16]`: the same, elements 0 to 15 and 16 to 31 of every group apart, as they lie in int4.
    pub(super) halves: [&'a [i32]; 2],
    /// `[groups]`, as in [`ActivationGroup`]; so are the others.
    pub(super) biases: &'a [i32],
    pub(super) scales: &'a [f32],
    pub(super) scaled_sums: &'a [f32],
}

impl Row {
    fn fill(&mut self, groups: &[ActivationGroup]) {
        let Self {
            elements,
            halves: [firsts, seconds],
            biases,
            scales,
            scaled_sums,
        } = self;
        let padded = groups.len().next_multiple_of(ROW_GROUPS);
        elements.resize(padded, [0; _]);
        firsts.resize(padded, [0; _]);
        seconds.resize(padded, [0; _]);
        biases.resize(padded, 0);
        scales.resize(padded, 0.0);
        scaled_sums.resize(padded, 0.0);
        let zero = ActivationGroup::default();
        let padding = std::iter::repeat(&zero);
        for (index, group) in groups.iter().chain(padding).take(padded).enumerate() {
            let [a, b, c, d, e, f, g, h] = group.words;
            elements[index] = group.words;
            firsts[index] = [a, b, c, d];
            seconds[index] = [e, f, g, h];
            biases[index] = group.bias;
            scales[index] = group.scale;
            scaled_sums[index] = group.scaled_sum;
        }
    }
}

impl Activations {
    /// Quantizes `input [tokens, cols]`, on several threads when `split` says that it pays.
    pub(in super::super) fn fill(&mut self, isa: Isa, input: &[f32], cols: usize, split: bool) {
        let row_groups = cols / GROUP;
        self.groups
            .resize(input.len() / GROUP, ActivationGroup::default());
        let most = tile_tokens(isa);
        let groups = &mut self.groups;
        parallel::for_chunks(split, groups, most * row_groups, |chunk, out| {
            let input = &input[chunk * most * cols..][..out.len() * GROUP];
            for (first, count) in tiles(out.len() / row_groups, most) {
                let rows = &input[first * cols..(first + count) * cols];
                let out = &mut out[first * row_groups..(first + count) * row_groups];
                for (token, row) in rows.chunks_exact(cols).enumerate() {
                    let places = out[token..].iter_mut().step_by(count);
                    quantize(isa, row, places);
                }
            }
        });
        let single = input.len() == cols;
        self.row.fill(if single { &self.groups } else { &[] });
    }

    /// The single token, or nothing where there are more.
    pub(super) fn row_input(&self) -> RowInput<'_> {
        let Row {
            elements,
            halves: [firsts, seconds],
            biases,
            scales,
            scaled_sums,
        } = &self.row;
        RowInput {
            elements: elements.as_flattened(),
            halves: [firsts.as_flattened(), seconds.as_flattened()],
            biases,
            scales,
            scaled_sums,
        }
    }
}

/// Quantizes a token's row into `places`, compiled for the instruction set: the arithmetic is the same to the bit.
fn quantize<'a>(isa: Isa, row: &[f32], places: impl Iterator<Item = &'a mut ActivationGroup>) {
    match isa.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` exists only where its instructions do.
        Kind::Avx2 | Kind::AvxVnni | Kind::Avx512 | Kind::Avx512Vnni => unsafe {
            quantize_avx2(row, places);
        },
        _ => quantize_row(row, places),
    }
}

/// # Safety
/// The machine must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn quantize_avx2<'a>(row: &[f32], places: impl Iterator<Item = &'a mut ActivationGroup>) {
    quantize_row(row, places);
}

#[inline(always)]
fn quantize_row<'a>(row: &[f32], places: impl Iterator<Item = &'a mut ActivationGroup>) {
    let (groups, _) = row.as_chunks::<GROUP>();
    for (place, group) in places.zip(groups) {
        *place = quantize_group(group);
    }
}

#[inline(always)]
fn quantize_group(x: &[f32; GROUP]) -> ActivationGroup {
    // Bits of non-negative floats are ordered as the floats are, and those of infinity and NaN come last: one maximum finds everything out of the ordinary.
    let largest = x
        .iter()
        .fold(0, |largest: i32, x| largest.max(x.abs().to_bits() as i32));
    let largest = f32::from_bits(largest as u32);
    let scale = largest / 127.0;
    if !scale.is_normal() {
        let scale = if largest.is_finite() { 0.0 } else { f32::NAN };
        return ActivationGroup {
            scale,
            scaled_sum: scale,
            ..ActivationGroup::default()
        };
    }
    let inverse = 127.0 / largest;
    let mut values = [0i8; GROUP];
    let mut sum = 0;
    for (value, x) in values.iter_mut().zip(x) {
        // |x · inverse| is at most 127 and some millionths, which rounds to 127.
        let rounded = (x * inverse + ROUND).to_bits() as i32;
        *value = rounded as i8;
        sum += i32::from(*value);
    }
    ActivationGroup {
        words: bytemuck::cast(values),
        scale,
        scaled_sum: scale * sum as f32,
        bias: -128 * sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;

    fn filled(isa: Isa, input: &[f32], cols: usize) -> Vec<ActivationGroup> {
        let mut activations = Activations::default();
        activations.fill(isa, input, cols, false);
        activations.groups
    }

    fn bytes(group: &ActivationGroup) -> [i8; GROUP] {
        bytemuck::cast(group.words)
    }

    #[test]
    fn within_half_a_scale_and_the_same_for_every_instruction_set() {
        let mut input = Numbers::new(1).vector(5 * 96, 3.0);
        // Ties: 127 is the largest, so the scale is 1.
        input[..4].copy_from_slice(&[127.0, 0.5, 1.5, -2.5]);
        input[4..32].fill(0.0);
        for isa in Isa::all() {
            let groups = filled(isa, &input, 96);
            let most = tile_tokens(isa);
            assert_eq!(bytes(&groups[0])[..5], [127, 0, 2, -2, 0]);
            for (first, count) in tiles(5, most) {
                for token in 0..count {
                    for g in 0..3 {
                        let group = &groups[first * 3 + g * count + token];
                        let x = &input[(first + token) * 96 + g * 32..][..32];
                        assert_eq!(*group, quantize_group(x.try_into().unwrap()), "{isa:?}");
                        let q = bytes(group);
                        let sum: i32 = q.iter().map(|&q| i32::from(q)).sum();
                        assert_eq!(group.bias, -128 * sum);
                        assert_eq!(group.scaled_sum, group.scale * sum as f32);
                        for (&q, x) in q.iter().zip(x) {
                            let error = (f32::from(q) * group.scale - x).abs();
                            assert!(error <= 0.5001 * group.scale, "{x} became {q}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_single_token_is_filled_up_with_zeros_whatever_was_there_before() {
        let mut activations = Activations::default();
        let isa = Isa::portable();
        activations.fill(
            isa,
            &Numbers::new(2).vector(40 * GROUP, 1.0),
            40 * GROUP,
            false,
        );
        activations.fill(
            isa,
            &Numbers::new(3).vector(19 * GROUP, 1.0),
            19 * GROUP,
            false,
        );
        let x = activations.row_input();
        assert_eq!(x.scales.len(), 32);
        for (index, group) in activations.groups.iter().enumerate() {
            assert_eq!(x.elements[index * 8..][..8], group.words);
            assert_eq!(x.halves[0][index * 4..][..4], group.words[..4]);
            assert_eq!(x.halves[1][index * 4..][..4], group.words[4..]);
            let numbers = (x.biases[index], x.scales[index], x.scaled_sums[index]);
            assert_eq!(numbers, (group.bias, group.scale, group.scaled_sum));
        }
        assert!(x.elements[19 * 8..].iter().all(|&word| word == 0));
        assert!(
            x.halves
                .iter()
                .all(|half| half[19 * 4..].iter().all(|&word| word == 0))
        );
        assert!(x.biases[19..].iter().all(|&bias| bias == 0));
        assert!(
            x.scales[19..]
                .iter()
                .chain(&x.scaled_sums[19..])
                .all(|&x| x == 0.0)
        );
        activations.fill(isa, &[1.0; 2 * GROUP], GROUP, false);
        assert!(activations.row_input().scales.is_empty());
    }

    #[test]
    fn numbers_out_of_the_ordinary() {
        let group = |x: f32| quantize_group(&[x; GROUP]);
        assert_eq!(group(0.0), ActivationGroup::default());
        assert_eq!(group(-0.0), ActivationGroup::default());
        assert_eq!(group(1e-40), ActivationGroup::default());
        for x in [1e30, -f32::MAX, 2e-36] {
            let group = group(x);
            assert_eq!(bytes(&group), [127 * x.signum() as i8; GROUP], "{x:e}");
            let back = 127.0 * f64::from(group.scale);
            let error = (back / f64::from(x.abs()) - 1.0).abs();
            assert!(error < 1e-6, "{x:e} became {back:e}");
        }
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut input = [1.0; GROUP];
            input[17] = x;
            let group = quantize_group(&input);
            assert!(group.scale.is_nan() && group.scaled_sum.is_nan(), "{x}");
        }
    }
}
