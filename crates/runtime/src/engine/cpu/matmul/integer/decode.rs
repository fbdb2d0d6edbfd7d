//! One token: every row is read from its beginning to its end, a single stream of memory.
//!
//! The kernel of many tokens takes a few columns of sixteen rows at a time and keeps them while the tokens pass. For one token that would be sixteen short streams, which
//! the machine's own prefetching does not follow, and the work of bringing rows side by side for nothing. Here a vector's lanes are parts of one row; the order of the
//! sums is the same.

use super::Format;
use super::activations::{ROW_GROUPS, RowInput};
use super::kernel::Panel;
use super::lanes::Lanes;

/// What this kernel asks of an instruction set.
///
/// # Safety
/// As [`Lanes`].
pub(super) trait RowSum: Lanes {
    /// One output element: `groups` groups of a row from `row` on.
    ///
    /// # Safety
    /// As [`Lanes`]; `row` points to as many groups of weights, and to as many of the input, filled up to a multiple of [`ROW_GROUPS`].
    unsafe fn sum<const INT4: bool>(row: Groups, groups: usize) -> f32;
}

/// Groups of one row and of the input, from some group on.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    pub(super) values: *const u8,
    pub(super) scales: *const u8,
    pub(super) elements: *const i32,
    pub(super) halves: [*const i32; 2],
    pub(super) biases: *const i32,
    pub(super) input_scales: *const f32,
    pub(super) scaled_sums: *const f32,
}

impl Groups {
    /// Without the first `groups`.
    #[inline(always)]
    pub(super) fn skip(self, format: Format, groups: usize) -> Self {
        Self {
            values: self.values.wrapping_add(groups * format.value_bytes()),
            scales: self.scales.wrapping_add(groups * format.scale_bytes()),
            elements: self.elements.wrapping_add(groups * 8),
            halves: self.halves.map(|half| half.wrapping_add(groups * 4)),
            biases: self.biases.wrapping_add(groups),
            input_scales: self.input_scales.wrapping_add(groups),
            scaled_sums: self.scaled_sums.wrapping_add(groups),
        }
    }
}

/// Computes a panel of one token.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(super) unsafe fn compute<L: RowSum>(panel: Panel<'_>) {
    match panel.weights.format {
        // SAFETY: passed on.
        Format::Int8 => unsafe { compute_format::<L, false>(panel) },
        // SAFETY: passed on.
        Format::Int4 => unsafe { compute_format::<L, true>(panel) },
    }
}

/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn compute_format<L: RowSum, const INT4: bool>(panel: Panel<'_>) {
    let (weights, groups) = (panel.weights, panel.weights.groups);
    let value_bytes = groups * weights.format.value_bytes();
    let scale_bytes = groups * weights.format.scale_bytes();
    let RowInput {
        elements,
        halves,
        biases,
        scales,
        scaled_sums,
    } = panel.row_input;
    let padded = groups.next_multiple_of(ROW_GROUPS);
    assert!(
        elements.len() == padded * 8
            && halves.iter().all(|half| half.len() == padded * 4)
            && biases.len() == padded
            && scales.len() == padded
            && scaled_sums.len() == padded,
        "a row's input"
    );
    for (row, output) in (panel.first..).zip(panel.output) {
        let row = Groups {
            values: weights.values[row * value_bytes..][..value_bytes].as_ptr(),
            scales: weights.scales[row * scale_bytes..][..scale_bytes].as_ptr(),
            elements: elements.as_ptr(),
            halves: halves.map(<[i32]>::as_ptr),
            biases: biases.as_ptr(),
            input_scales: scales.as_ptr(),
            scaled_sums: scaled_sums.as_ptr(),
        };
        // SAFETY: passed on; a whole row, and an input whose lengths were just checked.
        *output = unsafe { L::sum::<INT4>(row, groups) };
    }
}
