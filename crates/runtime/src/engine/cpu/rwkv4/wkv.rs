//! WKV over the ragged rows of a step.

use super::STATE_VECTORS;
use crate::RuntimeError;
use crate::engine::{Part, Rows};
use ptbr_kernels::{STATE_ROWS, Sequence, WkvDims, cpu};

/// Where a layer's aa, bb, pp begin among its state's vectors.
const FIRST_VECTOR: usize = 2;

/// Memory of [`WkvMemory::run`].
#[derive(Default)]
pub(super) struct WkvMemory {
    /// The parts of more than one token.
    sequences: Vec<Sequence>,
    /// Their states `[sequences, 3, C]`.
    states: Vec<f32>,
    /// y `[N, C]`, then the states after the step.
    out: Vec<f32>,
}

impl WkvMemory {
    /// y `[N, C]` of all rows, advancing each part's state; k, v `[N, C]`.
    ///
    /// Parts of one token take a step in place, which gives the bits of the scan; the others are gathered for one scan over ragged sequences.
    pub(super) fn run(
        &mut self,
        wu: &[f32],
        k: &[f32],
        v: &[f32],
        parts: &mut [Part<'_>],
        layer: usize,
    ) -> Result<&[f32], RuntimeError> {
        let c = wu.len() / 2;
        let n = k.len() / c;
        let at = (layer * STATE_VECTORS + FIRST_VECTOR) * c;
        let state = at..at + STATE_ROWS * c;
        self.sequences.clear();
        self.states.clear();
        let mut first = 0;
        for part in &mut *parts {
            let rows = part.count(Rows::Read);
            if rows > 1 {
                let slot = self.sequences.len() as u32;
                self.sequences.push(Sequence {
                    // A step has far fewer rows than 2^32: `MAX_ROWS` bounds it.
                    first: first as u32,
                    len: rows as u32,
                    slot_in: slot,
                    slot_out: slot,
                });
                self.states
                    .extend_from_slice(&part.slot.cpu()[state.clone()]);
            }
            first += rows;
        }
        let slots = self.sequences.len();
        self.out.resize((n + STATE_ROWS * slots) * c, 0.0);
        if slots > 0 {
            cpu::wkv_forward(
                wu,
                k,
                v,
                &self.sequences,
                &self.states,
                &mut self.out,
                WkvDims { n, c, slots },
            )?;
        }
        let (y, after) = self.out.split_at_mut(n * c);
        let mut after = after.chunks_exact(STATE_ROWS * c);
        let mut row = 0;
        for part in parts {
            let rows = part.count(Rows::Read);
            let state = &mut part.slot.cpu()[state.clone()];
            if rows == 1 {
                let at = row * c..(row + 1) * c;
                cpu::wkv_step(wu, &k[at.clone()], &v[at.clone()], state, &mut y[at])?;
            } else if let Some(after) = after.next() {
                state.copy_from_slice(after);
            }
            row += rows;
        }
        Ok(y)
    }
}
