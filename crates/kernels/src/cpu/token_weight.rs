//! Twin of `shaders/shared/token_weight.wgsl`: weights of tokens as integers, `round(2^30 · e^((l − max) / T))`.
//!
//! After one subtraction and one multiplication, each rounded as IEEE 754 demands, everything is integer arithmetic: equal logits have equal weights everywhere.

/// `2^30`: the weight of the largest logit. 65,536 of them sum to 2^46.
const ONE: u32 = 1 << 30;

/// `round(2^32 / n)` for n = 2 to 9.
const RECIPROCALS: [u32; 8] = [
    1 << 31,
    1_431_655_765,
    1 << 30,
    858_993_459,
    715_827_883,
    613_566_757,
    1 << 29,
    477_218_588,
];

/// `round(2^32 · ln 2)`.
const LN2: u32 = 2_977_044_472;

/// 0 to 2^30; 0 for what is less than half of 2^-30 as likely as the most likely token. `scale` is `log2(e) / T`.
pub fn token_weight(logit: f32, max: f32, scale: f32) -> u32 {
    let halvings = (max - logit) * scale;
    // Infinity minus infinity is NaN. Behind 31 the weight rounds to 0.
    if halvings > 31.0 || halvings.is_nan() {
        return 0;
    }
    // 24 bits behind the point: exact from 2^-24 on, and below 2^29.
    let fixed = (halvings * 16_777_216.0) as u32;
    let (whole, fraction) = (fixed >> 24, fixed << 8);
    let power = exp2_minus(fraction);
    (power + ((1 << whole) >> 1)) >> whole
}

/// `2^30 · 2^(−fraction / 2^32)` to about 2^-29, by the series of the exponential in Horner's form: `1 − y(1 − y/2(1 − y/3(…)))`, y = fraction · ln 2.
fn exp2_minus(fraction: u32) -> u32 {
    let y = high(fraction, LN2);
    let sum = RECIPROCALS
        .into_iter()
        .rev()
        .fold(ONE, |sum, reciprocal| ONE - high(high(y, reciprocal), sum));
    ONE - high(y, sum)
}

/// The upper half of the product.
fn high(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale_of(temperature: f32) -> f32 {
        (std::f64::consts::LOG2_E / f64::from(temperature)) as f32
    }

    #[test]
    fn weights_are_the_exponential() {
        for temperature in [0.001f32, 0.3, 1.0, 2.5, 100.0] {
            let scale = scale_of(temperature);
            for step in 0..20_000u32 {
                let max = 7.5f32;
                let logit = max - temperature * step as f32 * 0.0013;
                let exact =
                    (-(f64::from(max - logit)) / f64::from(temperature)).exp() * f64::from(ONE);
                let got = f64::from(token_weight(logit, max, scale));
                // The product's rounding (half of 2^-24 relative of up to 37) and the series' (a few of 2^30).
                assert!(
                    (got - exact).abs() <= exact * 3e-6 + 8.0,
                    "T {temperature}, logit {logit}: {got} not {exact}"
                );
            }
        }
    }

    #[test]
    fn ends_of_the_range() {
        let scale = scale_of(1.0);
        assert_eq!(token_weight(3.0, 3.0, scale), ONE);
        assert_eq!(token_weight(f32::NEG_INFINITY, 3.0, scale), 0);
        assert_eq!(token_weight(-1e30, 3.0, scale), 0);
        assert_eq!(token_weight(-20.0, 3.0, scale), 0);
        assert_eq!(token_weight(-17.0, 3.0, scale), 2);
    }

    #[test]
    fn never_rises_with_distance() {
        let scale = scale_of(1.0);
        let mut last = ONE;
        for step in 0..1_000_000 {
            let weight = token_weight(-(step as f32) * 1.7e-5, 0.0, scale);
            assert!(
                weight <= last.saturating_add(4),
                "step {step}: {weight} after {last}"
            );
            last = weight;
        }
    }
}
