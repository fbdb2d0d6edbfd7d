//! The rows of a step: which token comes before which.

use super::STATE_VECTORS;
use crate::engine::cpu::ops::pays;
use crate::engine::cpu::parallel::for_chunks;
use crate::engine::{Part, Rows};

/// Marks a row whose token comes after that of the row above.
const ROW_ABOVE: u32 = u32::MAX;

/// Rows of all parts, one part after the other, and what token shift mixes into each.
#[derive(Default)]
pub(super) struct Layout {
    /// For each row [`ROW_ABOVE`], or the number of the part that begins with it.
    origin: Vec<u32>,
    /// `[parts, C]`: the row before each part's first, out of its state.
    before: Vec<f32>,
}

/// Which of a layer's two shifted inputs.
#[derive(Clone, Copy)]
pub(super) enum Shifted {
    TimeMixing,
    ChannelMixing,
}

impl Layout {
    /// Lays out the rows of `parts`; how many there are.
    pub(super) fn set(&mut self, parts: &[Part<'_>]) -> usize {
        self.origin.clear();
        for (index, part) in parts.iter().enumerate() {
            // A step has far fewer parts than 2^32: each is a session in memory.
            self.origin.push(index as u32);
            let rows = self.origin.len() + part.count(Rows::Read) - 1;
            self.origin.resize(rows, ROW_ABOVE);
        }
        self.origin.len()
    }

    /// Takes each part's last input of `which` out of its state and leaves that of this step there, the last of its rows of `normed [N, C]`.
    pub(super) fn exchange(
        &mut self,
        parts: &mut [Part<'_>],
        layer: usize,
        which: Shifted,
        normed: &[f32],
        c: usize,
    ) {
        self.before.clear();
        let mut end = 0;
        for part in parts {
            end += part.count(Rows::Read);
            let at = (layer * STATE_VECTORS + which as usize) * c;
            let input = &mut part.slot.cpu()[at..at + c];
            self.before.extend_from_slice(input);
            input.copy_from_slice(&normed[(end - 1) * c..end * c]);
        }
    }

    /// Token shift: `out_t = mix · x_t + (1 − mix) · x_{t−1}`; x, out `[N, C]`, mix `[C]`; x_{t−1} of a part's first row is what [`Layout::exchange`] took.
    pub(super) fn token_shift(&self, x: &[f32], mix: &[f32], out: &mut Vec<f32>) {
        let c = mix.len();
        out.resize(x.len(), 0.0);
        for_chunks(pays(x.len()), out, c, |row, out| {
            let last = match self.origin[row] {
                ROW_ABOVE => &x[(row - 1) * c..row * c],
                part => &self.before[part as usize * c..(part as usize + 1) * c],
            };
            let x = &x[row * c..(row + 1) * c];
            for (((out, x), last), m) in out.iter_mut().zip(x).zip(last).zip(mix) {
                *out = x * m + last * (1.0 - m);
            }
        });
    }
}
