//! Exponential, logarithm and sigmoid in f32 that vectorise.
//!
//! The C library's are calls, one value each, and would be most of the time of WKV. These are straight-line polynomials after a
//! range reduction (the classical Cephes scheme), written so that the compiler turns a loop over them into vector instructions.
//! Each is within 2 units in the last place (`tests/exp.rs` compares with f64). NaN stays NaN.

use super::simd;

/// `a·b + c`, rounded once where the machine fuses it, twice where fusing would be a library call.
#[inline(always)]
pub(crate) fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// 1.5·2^23: adding it leaves the nearest integer in the low bits of the significand.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has trailing zeros, so that a product with a small integer is exact.
const LN2_HIGH: f32 = 0.693_359_375;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `e^r · 2^0` for the fraction, and the bits whose low part is the exponent n: `x = n·ln 2 + r`.
#[inline(always)]
fn exp_reduced<const FMA: bool>(x: f32) -> (f32, u32) {
    let shifted = madd::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = madd::<FMA>(n, -LN2_LOW, madd::<FMA>(n, -LN2_HIGH, x));
    let mut p = 1.987_569_1e-4;
    p = madd::<FMA>(p, r, 1.398_199_9e-3);
    p = madd::<FMA>(p, r, 8.333_452e-3);
    p = madd::<FMA>(p, r, 4.166_579_6e-2);
    p = madd::<FMA>(p, r, 1.666_666_5e-1);
    p = madd::<FMA>(p, r, 0.5);
    (madd::<FMA>(p * r, r, r) + 1.0, shifted.to_bits())
}

/// `e^x` for x ≤ 88; below -87 (where f32 has no normal numbers left) it is 0. What WKV needs: its exponents are at most rounding
/// above 0.
#[inline(always)]
pub(crate) fn exp_weight<const FMA: bool>(x: f32) -> f32 {
    let (p, n) = exp_reduced::<FMA>(x);
    let scaled = f32::from_bits(p.to_bits().wrapping_add(n << 23));
    if x < -87.0 { 0.0 } else { scaled }
}

/// `e^x` for every x: subnormal results, infinity above 88.73, NaN for NaN.
#[inline(always)]
pub(crate) fn exp_full<const FMA: bool>(x: f32) -> f32 {
    let low = if x < -104.0 { -104.0 } else { x };
    let clamped = if low > 89.0 { 89.0 } else { low };
    let (p, bits) = exp_reduced::<FMA>(clamped);
    // 2^n does not fit one factor at either end; two halves do.
    let n = (bits as i32) << 9 >> 9;
    let half = n >> 1;
    let power = |e: i32| f32::from_bits(((e + 127) as u32) << 23);
    p * power(half) * power(n - half)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid_one<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp_full::<FMA>(-x))
}

/// Replaces every value by its exponential.
pub fn exp_f32(values: &mut [f32]) {
    simd::dispatch!(exp_slice(values))
}

/// Replaces every value x by `1 / (1 + e^-x)`.
pub fn sigmoid(values: &mut [f32]) {
    simd::dispatch!(sigmoid_slice(values))
}

simd::multiversion! {
    fn exp_slice(values: &mut [f32]) {
        for x in values {
            *x = exp_full::<FMA>(*x);
        }
    }
}

simd::multiversion! {
    fn sigmoid_slice(values: &mut [f32]) {
        for x in values {
            *x = sigmoid_one::<FMA>(*x);
        }
    }
}
