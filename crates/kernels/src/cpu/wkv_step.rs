//! Twin of `shaders/shared/wkv_step.wgsl`: the recurrence, and one step of it for all channels (decoding).

use crate::sequence::check_len;
use crate::{EMPTY_PP, KernelError, NO_STATE, STATE_ROWS};

/// State of one channel: numerator and denominator divided by `e^pp`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WkvState {
    pub aa: f32,
    pub bb: f32,
    pub pp: f32,
}

impl WkvState {
    /// Reads channel `c` of a slot of `[S, 3, C]`; without history for [`NO_STATE`].
    pub(crate) fn load(states: &[f32], slot: u32, c: usize, channels: usize) -> Self {
        if slot == NO_STATE {
            return Self {
                aa: 0.0,
                bb: 0.0,
                pp: EMPTY_PP,
            };
        }
        let at = slot as usize * STATE_ROWS * channels + c;
        Self {
            aa: states[at],
            bb: states[at + channels],
            pp: states[at + 2 * channels],
        }
    }
}

/// `e^a` and `e^b`, both divided by `e^scale` where `scale` is the larger exponent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WkvMix {
    pub a: f32,
    pub b: f32,
    pub scale: f32,
}

/// Factors the larger of two exponents out. One exponential: the other weight is 1.
pub(crate) fn wkv_mix(a: f32, b: f32) -> WkvMix {
    let difference = a - b;
    let small = (-difference.abs()).exp();
    if difference >= 0.0 {
        WkvMix {
            a: 1.0,
            b: small,
            scale: a,
        }
    } else {
        WkvMix {
            a: small,
            b: 1.0,
            scale: b,
        }
    }
}

/// The state after a token.
pub(crate) fn wkv_advance(s: WkvState, w: f32, k: f32, v: f32) -> WkvState {
    let m = wkv_mix(w + s.pp, k);
    WkvState {
        aa: m.a * s.aa + m.b * v,
        bb: m.a * s.bb + m.b,
        pp: m.scale,
    }
}

/// One token of one sequence, scalar: writes y and advances the state. Shapes as in [`wkv_step`].
pub fn wkv_step_plain(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    state: &mut [f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let channels = check_step(wu, k, v, state, y)?;
    for c in 0..channels {
        let s = WkvState::load(state, 0, c, channels);
        let m = wkv_mix(s.pp, wu[channels + c] + k[c]);
        y[c] = (m.a * s.aa + m.b * v[c]) / (m.a * s.bb + m.b);
        let next = wkv_advance(s, wu[c], k[c], v[c]);
        state[c] = next.aa;
        state[channels + c] = next.bb;
        state[2 * channels + c] = next.pp;
    }
    Ok(())
}

/// One token of one sequence: writes y and advances the state in place.
///
/// `wu [2, C]`, `k [C]`, `v [C]`, `state [3, C]` (aa, bb, pp), `y [C]`.
pub fn wkv_step(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    state: &mut [f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    wkv_step_plain(wu, k, v, state, y)
}

/// C, if every length agrees with it.
fn check_step(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    state: &[f32],
    y: &[f32],
) -> Result<usize, KernelError> {
    let c = k.len();
    check_len("wkv_step", "wu", wu.len(), c.saturating_mul(2))?;
    check_len("wkv_step", "v", v.len(), c)?;
    check_len(
        "wkv_step",
        "state",
        state.len(),
        c.saturating_mul(STATE_ROWS),
    )?;
    check_len("wkv_step", "y", y.len(), c)?;
    Ok(c)
}
