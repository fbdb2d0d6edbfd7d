//! Twin of `shaders/shared/wkv_step.wgsl`: the recurrence, and one step of it for all channels (decoding).

use super::exp::{exp_weight, madd};
use super::simd;
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
    pub(crate) const EMPTY: Self = Self {
        aa: 0.0,
        bb: 0.0,
        pp: EMPTY_PP,
    };

    /// Reads channel `c` of a slot of `[S, 3, C]`; without history for [`NO_STATE`].
    #[inline(always)]
    pub(crate) fn load(states: &[f32], slot: u32, c: usize, channels: usize) -> Self {
        if slot == NO_STATE {
            return Self::EMPTY;
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
    mix_with(a, b, f32::exp)
}

/// [`wkv_mix`] on the exponential that vectorises.
#[inline(always)]
pub(crate) fn wkv_mix_fast<const FMA: bool>(a: f32, b: f32) -> WkvMix {
    mix_with(a, b, exp_weight::<FMA>)
}

#[inline(always)]
fn mix_with(a: f32, b: f32, exp: impl Fn(f32) -> f32) -> WkvMix {
    let difference = a - b;
    let small = exp(-difference.abs());
    let first = difference >= 0.0;
    WkvMix {
        a: if first { 1.0 } else { small },
        b: if first { small } else { 1.0 },
        scale: if first { a } else { b },
    }
}

/// The state after a token, where `m = wkv_mix(w + s.pp, k)`.
#[inline(always)]
pub(crate) fn wkv_advance<const FMA: bool>(s: WkvState, m: WkvMix, v: f32) -> WkvState {
    WkvState {
        aa: madd::<FMA>(m.a, s.aa, m.b * v),
        bb: madd::<FMA>(m.a, s.bb, m.b),
        pp: m.scale,
    }
}

/// Numerator and denominator of y, where `m = wkv_mix(s.pp, u + k)`, both divided by `e^m.scale`.
#[inline(always)]
pub(crate) fn wkv_output<const FMA: bool>(s: WkvState, m: WkvMix, v: f32) -> (f32, f32) {
    (madd::<FMA>(m.a, s.aa, m.b * v), madd::<FMA>(m.a, s.bb, m.b))
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
        let (numerator, denominator) =
            wkv_output::<false>(s, wkv_mix(s.pp, wu[channels + c] + k[c]), v[c]);
        y[c] = numerator / denominator;
        let next = wkv_advance::<false>(s, wkv_mix(wu[c] + s.pp, k[c]), v[c]);
        state[c] = next.aa;
        state[channels + c] = next.bb;
        state[2 * channels + c] = next.pp;
    }
    Ok(())
}

/// One token of one sequence: writes y and advances the state in place. The same bits as [`wkv_forward`](super::wkv_forward) on
/// that token.
///
/// `wu [2, C]`, `k [C]`, `v [C]`, `state [3, C]` (aa, bb, pp), `y [C]`.
pub fn wkv_step(
    wu: &[f32],
    k: &[f32],
    v: &[f32],
    state: &mut [f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    check_step(wu, k, v, state, y)?;
    simd::dispatch!(step(wu, k, v, state, y));
    Ok(())
}

simd::multiversion! {
    fn step(wu: &[f32], k: &[f32], v: &[f32], state: &mut [f32], y: &mut [f32]) {
        let channels = k.len();
        let (w, u) = wu.split_at(channels);
        let (aa, rest) = state.split_at_mut(channels);
        let (bb, pp) = rest.split_at_mut(channels);
        let (v, u, w) = (&v[..channels], &u[..channels], &w[..channels]);
        let (pp, y) = (&mut pp[..channels], &mut y[..channels]);
        for c in 0..channels {
            let s = WkvState { aa: aa[c], bb: bb[c], pp: pp[c] };
            let (numerator, denominator) = wkv_output::<FMA>(s, wkv_mix_fast::<FMA>(s.pp, u[c] + k[c]), v[c]);
            y[c] = numerator / denominator;
            let next = wkv_advance::<FMA>(s, wkv_mix_fast::<FMA>(w[c] + s.pp, k[c]), v[c]);
            (aa[c], bb[c], pp[c]) = (next.aa, next.bb, next.pp);
        }
    }
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
