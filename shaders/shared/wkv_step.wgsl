// The WKV recurrence of one channel, for every kernel that contains it. Twin: crates/kernels/src/cpu/wkv_step.rs.
//
// True state: numerator A = aa·e^pp and denominator B = bb·e^pp. With w < 0 the log decay per step and u the bonus of the current
// token:
//   y_t = (A_{t-1} + e^{u+k_t} v_t) / (B_{t-1} + e^{u+k_t})
//   A_t = e^w A_{t-1} + e^{k_t} v_t        B_t = e^w B_{t-1} + e^{k_t}
// pp is the largest exponent seen, so no weight exceeds 1 and nothing overflows.

// Slot number for "no state": start without history, or drop the final state.
const NO_STATE: u32 = 0xffffffffu;

struct WkvState {
    aa: f32,
    bb: f32,
    pp: f32,
}

// e^a and e^b, both divided by e^scale where scale is the larger of the two exponents.
struct WkvMix {
    a: f32,
    b: f32,
    scale: f32,
}

// A state without history. pp is not minus infinity: WGSL may assume that there is none.
fn wkv_empty() -> WkvState {
    return WkvState(0.0, 0.0, -1e38);
}

// Factors the larger of two exponents out. One exponential: the other weight is 1.
fn wkv_mix(a: f32, b: f32) -> WkvMix {
    let small = exp(-abs(a - b));
    let first = a >= b;
    return WkvMix(select(small, 1.0, first), select(1.0, small, first), select(b, a, first));
}

// Numerator and denominator of y, both divided by e^scale.
struct WkvOutput {
    numerator: f32,
    denominator: f32,
    mix: WkvMix,
}

fn wkv_output(s: WkvState, u: f32, k: f32, v: f32) -> WkvOutput {
    let m = wkv_mix(s.pp, u + k);
    return WkvOutput(m.a * s.aa + m.b * v, m.a * s.bb + m.b, m);
}

// The state after a token, where m = wkv_mix(w + s.pp, k).
fn wkv_advance(s: WkvState, m: WkvMix, v: f32) -> WkvState {
    return WkvState(m.a * s.aa + m.b * v, m.a * s.bb + m.b, m.scale);
}
