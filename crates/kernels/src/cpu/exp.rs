//! Exponential, logarithm and sigmoid in f32 that vectorise.
//!
//! The C library's are calls, one value each, and would be most of the time of WKV. These are straight-line polynomials after a
//! range reduction (the classical Cephes scheme), written so that the compiler turns a loop over them into vector instructions.
//! The tests below compare with f64. NaN stays NaN.

use super::simd;

/// `a·b + c`, rounded once where the machine fuses it, twice where fusing would be a library call.
#[inline(always)]
pub(crate) fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// 1.5·2^23: adding it leaves the nearest integer in the low bits of the significand.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has trailing zeros, so that a product with a small integer is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `e^r` for the fraction, and the bits whose low part is n, where `x = n·ln 2 + r`.
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
/// above 0. NaN stays NaN: a product with 2^n keeps it where adding to the exponent's bits would not.
#[inline(always)]
pub(crate) fn exp_weight<const FMA: bool>(x: f32) -> f32 {
    let (p, n) = exp_reduced::<FMA>(x);
    let scaled = p * f32::from_bits((n << 23).wrapping_add(0x3f80_0000));
    if x < -87.0 { 0.0 } else { scaled }
}

/// `ln x` for normal positive x.
#[inline(always)]
pub(crate) fn ln_normal<const FMA: bool>(x: f32) -> f32 {
    // x = m·2^e with m in [√½, √2): subtracting √½'s bits makes the exponent field round at √½ instead of 1.
    let e = (x.to_bits() as i32).wrapping_sub(0x3f35_04f3) >> 23;
    let f = f32::from_bits((x.to_bits() as i32).wrapping_sub(e << 23) as u32) - 1.0;
    let e = e as f32;
    let mut p = 7.037_683_6e-2;
    p = madd::<FMA>(p, f, -1.151_461e-1);
    p = madd::<FMA>(p, f, 1.167_699_84e-1);
    p = madd::<FMA>(p, f, -1.242_014_1e-1);
    p = madd::<FMA>(p, f, 1.424_932_3e-1);
    p = madd::<FMA>(p, f, -1.666_805_8e-1);
    p = madd::<FMA>(p, f, 2.000_071_5e-1);
    p = madd::<FMA>(p, f, -2.499_999_4e-1);
    p = madd::<FMA>(p, f, 3.333_333e-1);
    let square = f * f;
    let small = madd::<FMA>(f * square, p, madd::<FMA>(e, LN2_LOW, -0.5 * square));
    madd::<FMA>(e, LN2_HIGH, f + small)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Error in units in the last place of the true value.
    fn ulps(found: f32, truth: f64) -> f64 {
        let ulp = ((truth as f32).abs().next_up() - (truth as f32).abs()) as f64;
        (found as f64 - truth).abs() / ulp
    }

    fn worst(range: (f32, f32), function: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) -> f64 {
        const STEPS: u32 = 400_000;
        let step = (range.1 - range.0) / STEPS as f32;
        (0..=STEPS)
            .map(|i| range.0 + i as f32 * step)
            .map(|x| ulps(function(x), truth(x as f64)))
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_within_two_ulps_of_f64() {
        for range in [(-103.9, -87.0), (-87.0, -1.0), (-1.0, 1.0), (1.0, 88.72)] {
            assert!(
                worst(range, exp_full::<true>, f64::exp) < 2.0,
                "{range:?}, fused"
            );
            assert!(
                worst(range, exp_full::<false>, f64::exp) < 2.0,
                "{range:?}, not fused"
            );
        }
        assert!(worst((-87.0, 0.01), exp_weight::<true>, f64::exp) < 2.0);
        assert!(worst((-87.0, 0.01), exp_weight::<false>, f64::exp) < 2.0);
    }

    #[test]
    fn ln_is_within_two_ulps_of_f64_or_1e_7() {
        let near_one = |x: f32, y: f32| (y as f64 - (x as f64).ln()).abs() < 1e-7;
        for i in 0..400_000 {
            let x = 0.4 + i as f32 * 3e-6;
            assert!(
                near_one(x, ln_normal::<true>(x)) && near_one(x, ln_normal::<false>(x)),
                "{x}"
            );
        }
        for range in [(1.5, 100.0), (100.0, 1e9), (1.2e-38, 1e-30), (1e-30, 0.5)] {
            assert!(
                worst(range, ln_normal::<true>, f64::ln) < 2.0,
                "{range:?}, fused"
            );
            assert!(
                worst(range, ln_normal::<false>, f64::ln) < 2.0,
                "{range:?}, not fused"
            );
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        let mut x = [
            0.0,
            88.73,
            1000.0,
            -104.0,
            -1e38,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        exp_f32(&mut x);
        assert_eq!(
            x[..7],
            [
                1.0,
                f32::INFINITY,
                f32::INFINITY,
                0.0,
                0.0,
                f32::INFINITY,
                0.0
            ]
        );
        assert!(x[7].is_nan());
        assert!(exp_weight::<true>(f32::NAN).is_nan() && exp_weight::<false>(f32::NAN).is_nan());
        assert_eq!(
            [-87.1, -1e38, f32::NEG_INFINITY].map(exp_weight::<true>),
            [0.0; 3]
        );
        assert_eq!(exp_weight::<true>(0.0), 1.0);

        let mut x = [
            0.0,
            1000.0,
            -1000.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        sigmoid(&mut x);
        assert_eq!(x[..5], [0.5, 1.0, 0.0, 1.0, 0.0]);
        assert!(x[5].is_nan());
    }

    #[test]
    fn sigmoid_is_within_three_ulps_of_f64() {
        let truth = |x: f64| 1.0 / (1.0 + (-x).exp());
        assert!(worst((-80.0, 20.0), sigmoid_one::<true>, truth) < 3.0);
        assert!(worst((-80.0, 20.0), sigmoid_one::<false>, truth) < 3.0);
    }

    #[test]
    fn a_value_does_not_depend_on_its_place_in_the_slice() {
        let all: Vec<f32> = (0..131).map(|i| i as f32 * 0.37 - 25.0).collect();
        let mut whole = all.clone();
        exp_f32(&mut whole);
        for (i, &x) in all.iter().enumerate() {
            let mut single = [x];
            exp_f32(&mut single);
            assert_eq!(single[0].to_bits(), whole[i].to_bits());
        }
    }
}
