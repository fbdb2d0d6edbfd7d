//! One small WKV case with its answer, for checking an adapter before it is trusted (`test-gpu`, the start of the GPU engine).
//!
//! Three sequences: one without history, one of length 0, one that continues a state; keys up to ±80 and decays up to e^-9 a step, so
//! that a driver whose `exp` or `max` goes wrong at the edges shows it. The answer comes from the definition in f64
//! (`tests/known_answer.rs` computes it again).

use crate::{NO_STATE, Sequence, WkvDims};

/// Inputs of both WKV kernels and the outputs that they must give; layouts as everywhere. Every row and slot is written.
#[derive(Debug, Clone, Copy)]
pub struct WkvKnownAnswer {
    /// Sizes.
    pub dims: WkvDims,
    /// `[2, C]`
    pub wu: &'static [f32],
    /// `[N, C]`
    pub k: &'static [f32],
    /// `[N, C]`
    pub v: &'static [f32],
    /// Sequences.
    pub seqs: &'static [Sequence],
    /// `[S, 3, C]`
    pub state_in: &'static [f32],
    /// `[N + 3·S, C]`
    pub grad_out: &'static [f32],
    /// Answer of the forward, `[N + 3·S, C]`.
    pub out: &'static [f32],
    /// Answer of the backward, `[2·N + 5·sequences, C]`.
    pub grads: &'static [f32],
}

impl WkvKnownAnswer {
    /// The largest `|found - expected| / max(1, |expected|)` that a right implementation may show.
    pub const TOLERANCE: f32 = 1e-4;

    /// The largest `|found - expected| / max(1, |expected|)`; infinite when a value is not finite or the lengths differ.
    pub fn error(found: &[f32], expected: &[f32]) -> f32 {
        if found.len() != expected.len() {
            return f32::INFINITY;
        }
        let errors = found
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
        errors.fold(0.0, |worst, e| {
            if e.is_finite() {
                e.max(worst)
            } else {
                f32::INFINITY
            }
        })
    }
}

/// The case.
pub const WKV_KNOWN_ANSWER: WkvKnownAnswer = WkvKnownAnswer {
    dims: WkvDims {
        n: 6,
        c: 3,
        slots: 3,
    },
    wu: &WU,
    k: &K,
    v: &V,
    seqs: &SEQS,
    state_in: &STATE_IN,
    grad_out: &GRAD_OUT,
    out: &OUT,
    grads: &GRADS,
};

const SEQS: [Sequence; 3] = [
    Sequence {
        first: 0,
        len: 4,
        slot_in: NO_STATE,
        slot_out: 2,
    },
    Sequence {
        first: 4,
        len: 0,
        slot_in: 1,
        slot_out: 0,
    },
    Sequence {
        first: 4,
        len: 2,
        slot_in: 2,
        slot_out: 1,
    },
];

/// w, u
const WU: [f32; 6] = [-0.02, -0.7, -9.0, 0.3, -1.2, 2.0];

/// Rows of k.
const K: [f32; 18] = [
    0.5, -1.5, 3e1, 2.0, 0.25, -4e1, -3.0, 1.0, 1e1, 0.75, -2.0, 8e1, 1.25, 3.5, -8e1, -0.5, 0.125,
    5.0,
];

/// Rows of v.
const V: [f32; 18] = [
    1.0, -0.5, 0.25, -1.5, 2.0, -0.75, 0.5, 1.25, 1.5, 2.0, -1.0, -2.0, -0.25, 0.5, 1.0, 1.75,
    -1.25, 0.5,
];

/// aa, bb, pp of each slot.
const STATE_IN: [f32; 27] = [
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1e38, -1e38, -1e38, 0.5, -1.0, 0.75, 1.0, 2.0, 1.5, -0.5, 0.25,
    2e1, -2.0, 0.5, 1.5, 1.5, 1.0, 3.0, 1.0, -1.5, -6e1,
];

/// Of y, then of aa, bb, pp of each slot.
const GRAD_OUT: [f32; 45] = [
    0.5, -1.0, 0.25, 1.0, 0.75, -0.5, -0.75, 0.5, 1.0, 0.25, -0.25, -1.5, -1.25, 1.0, 0.5, 0.75,
    -0.5, 2.0, 0.5, -0.5, 1.0, 0.25, 1.5, -0.75, -1.0, 0.75, 0.5, 1.0, 0.25, -0.5, -0.5, 0.5, 1.25,
    0.25, -1.25, 0.75, -0.75, 1.0, 0.25, 0.5, -1.0, 0.75, 1.5, -0.25, -0.5,
];

/// y, then aa, bb, pp of each slot.
const OUT: [f32; 45] = [
    1.0, -0.5, 0.25, -1.1453724, 1.085339, 0.25, -1.0398543, 1.5974556, 0.25015426, -0.3016676,
    1.3340791, -2.0, -0.7525898, 0.5, 0.5, -0.5741462, 0.48220688, 0.5, 0.5, -1.0, 0.75, 1.0, 2.0,
    1.5, -0.5, 0.25, 2e1, -1.4665112, 0.41553944, 0.5, 2.3223536, 1.0722528, 1.0, 1.23, 2.8, 5.0,
    -0.6814565, 1.6087608, -2.0, 1.5237832, 1.3550711, 1.0, 1.96, 0.3, 8e1,
];

/// gk, gv, then gw, gu, gaa, gbb, gpp of each sequence.
const GRADS: [f32; 81] = [
    0.021052597,
    -0.5105637,
    -0.00015422418,
    1.6438586,
    0.7555834,
    -3.219971e-27,
    -0.0068455273,
    -0.30139303,
    0.00015422418,
    -0.15806562,
    -0.1936267,
    -0.5,
    1.8930707,
    -1.273788,
    1.269165e-9,
    0.3934306,
    0.021726128,
    0.75,
    0.377967,
    -0.68431675,
    0.7498766,
    -0.3483885,
    0.9540261,
    3.219474e-27,
    -0.009650632,
    0.98805517,
    0.00012339458,
    -0.1627653,
    0.09730651,
    -1.25,
    0.6450851,
    0.7348529,
    2.53833e-9,
    0.2512148,
    0.012142962,
    1.5,
    3.1712825,
    0.055731274,
    -0.00015422418,
    -0.1727468,
    0.3776485,
    0.00015422418,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.5,
    -0.5,
    1.0,
    0.25,
    1.5,
    -0.75,
    -1.0,
    0.75,
    0.5,
    -2.3448865,
    -1.2608582,
    0.0,
    -0.16495466,
    0.008806097,
    1.269165e-9,
    0.6173692,
    0.021067314,
    0.16666667,
    -0.53450865,
    -0.008471794,
    -0.083333336,
    -2.0365014,
    0.0020618618,
    -1.2691649e-9,
];
