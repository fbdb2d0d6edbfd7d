//! Weights of tokens as integers: `round(2^30 · e^((l − max) / T))`.

/// Turns logits into weights at one temperature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weigher {
    /// `log2(e) / T`: weights are powers of two of `(max − l) · scale`.
    scale: f32,
}

/// `2^30`: the weight of the largest logit. 65,536 of them sum to 2^46.
pub(super) const ONE: u32 = 1 << 30;

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

impl Weigher {
    pub(super) fn new(temperature: f32) -> Self {
        // At 0 nothing is weighed.
        Self {
            scale: (std::f64::consts::LOG2_E / f64::from(temperature)) as f32,
        }
    }

    /// 0 to 2^30; 0 for what is less than half of 2^-30 as likely as the most likely token.
    pub(super) fn weight(self, logit: f32, max: f32) -> u32 {
        let halvings = (max - logit) * self.scale;
        // Infinity minus infinity is NaN.
        if halvings >= 32.0 || halvings.is_nan() {
            return 0;
        }
        // 24 bits behind the point: exact from 2^-24 on, and below 2^29.
        let fixed = (halvings * 16_777_216.0) as u32;
        let (whole, fraction) = (fixed >> 24, fixed << 8);
        let power = exp2_minus(fraction);
        if whole == 0 {
            power
        } else {
            (power + (1 << (whole - 1))) >> whole
        }
    }
}

/// `2^30 · 2^(−fraction / 2^32)` to about 2^-29, by the series of the exponential in Horner's form: `1 − y(1 − y/2(1 − y/3(…)))`, y = fraction · ln 2.
fn exp2_minus(fraction: u32) -> u32 {
    let y = high(fraction, LN2);
    let mut sum = ONE;
    for reciprocal in RECIPROCALS.into_iter().rev() {
        sum = ONE - high(high(y, reciprocal), sum);
    }
    ONE - high(y, sum)
}

/// The upper half of the product.
fn high(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_the_exponential() {
        for temperature in [0.001f32, 0.3, 1.0, 2.5, 100.0] {
            let weigher = Weigher::new(temperature);
            for step in 0..20_000u32 {
                let max = 7.5f32;
                let logit = max - temperature * step as f32 * 0.0013;
                let exact =
                    (-(f64::from(max - logit)) / f64::from(temperature)).exp() * f64::from(ONE);
                let got = f64::from(weigher.weight(logit, max));
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
        let weigher = Weigher::new(1.0);
        assert_eq!(weigher.weight(3.0, 3.0), ONE);
        assert_eq!(weigher.weight(f32::NEG_INFINITY, 3.0), 0);
        assert_eq!(weigher.weight(-1e30, 3.0), 0);
        assert_eq!(weigher.weight(-20.0, 3.0), 0);
        assert_eq!(weigher.weight(-17.0, 3.0), 2);
    }

    #[test]
    fn never_rises_with_distance() {
        let weigher = Weigher::new(1.0);
        let mut last = ONE;
        for step in 0..1_000_000 {
            let weight = weigher.weight(-(step as f32) * 1.7e-5, 0.0);
            assert!(
                weight <= last.saturating_add(4),
                "step {step}: {weight} after {last}"
            );
            last = weight;
        }
    }
}
