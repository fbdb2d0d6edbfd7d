//! Loss over learning rate: smoothed, and read.

use serde::Serialize;

/// The suggestion is this part of the rate at which the loss is lowest: at the lowest point steps are already as long as they may be, and a
/// run stays at its peak rate for longer than the ramp does. What else was tried: `docs/log.md`.
const SHARE: f64 = 0.5;

/// One step of the ramp.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LrPoint {
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Its training loss, before it was taken: nats a token.
    pub loss: f64,
    /// Moving average of the losses up to it.
    pub average: f64,
    /// Moving average in both directions, which lags neither way; the loss itself until the ramp has ended.
    pub smoothed: f64,
}

/// Why a ramp ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LrCurveEnd {
    /// It reached its last rate.
    Finished,
    /// The loss rose far above its lowest, or was no number.
    Exploded,
    /// Whoever watched it had seen enough.
    Stopped,
}

/// An exponential moving average without the pull of its first value: `m ← β·m + (1 - β)·x`, divided by `1 - βⁿ` (Kingma & Ba 2015,
/// section 3).
#[derive(Debug, Clone, Copy)]
pub struct Smoothed {
    beta: f64,
    sum: f64,
    weight: f64,
}

impl Smoothed {
    /// An average in which the past weighs `beta`, from 0 to below 1.
    pub fn new(beta: f64) -> Self {
        Self {
            beta,
            sum: 0.0,
            weight: 0.0,
        }
    }

    /// The average with `value` in it.
    pub fn add(&mut self, value: f64) -> f64 {
        self.sum = self.beta * self.sum + (1.0 - self.beta) * value;
        self.weight = self.beta * self.weight + (1.0 - self.beta);
        self.sum / self.weight
    }
}

/// Whether the average has risen again by half of what it had fallen, and by a tenth of its lowest: neither the noise of a curve that has not
/// begun to fall, nor that of its bottom.
pub(super) fn exploded(points: &[LrPoint]) -> bool {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return false;
    };
    let averages = points.iter().map(|point| point.average);
    let lowest = averages.fold(f64::INFINITY, f64::min);
    let (fall, rise) = (first.average - lowest, last.average - lowest);
    rise > 0.5 * fall && rise > 0.1 * lowest.abs()
}

/// Fills in `smoothed`: forwards, then backwards over that, so that the lowest point stays where it is.
pub(super) fn smooth(points: &mut [LrPoint], beta: f64) {
    let mut backwards = Smoothed::new(beta);
    for point in points.iter_mut().rev() {
        point.smoothed = backwards.add(point.average);
    }
}

/// The suggestion, and the reason for it or for none.
pub(super) fn choose(points: &[LrPoint]) -> (Option<f64>, String) {
    let Some((lowest, at)) = (0..points.len())
        .map(|i| (&points[i], i))
        .min_by(|(a, _), (b, _)| a.smoothed.total_cmp(&b.smoothed))
    else {
        let none = "the loss was not a number from the first step on: lower the first rate";
        return (None, none.to_owned());
    };
    let rate = lowest.learning_rate;
    if at == 0 {
        let reason = format!("the loss rises from the first rate on, {rate:.1e}: begin lower");
        return (None, reason);
    }
    if at + 1 == points.len() {
        let reason = format!("the loss still falls at the last rate, {rate:.1e}: go higher");
        return (None, reason);
    }
    let suggestion = rounded(SHARE * rate);
    let reason = format!(
        "half of {rate:.1e}, where the smoothed loss was lowest ({:.3}, from {:.3})",
        lowest.smoothed, points[0].smoothed
    );
    (Some(suggestion), reason)
}

/// To two digits: the curve knows no more.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points at 1e-5 · 10^(i/20) with the losses `loss(i)`, smoothed as a ramp smooths them.
    fn points(n: usize, loss: impl Fn(f64) -> f64) -> Vec<LrPoint> {
        let mut average = Smoothed::new(0.8);
        let mut points: Vec<LrPoint> = (0..n)
            .map(|i| {
                let learning_rate = 1e-5 * 10f64.powf(i as f64 / 20.0);
                let loss = loss(learning_rate);
                let average = average.add(loss);
                LrPoint {
                    learning_rate,
                    loss,
                    average,
                    smoothed: loss,
                }
            })
            .collect();
        smooth(&mut points, 0.8);
        points
    }

    /// A valley in log(rate) with its lowest point at 1e-2, and noise that repeats.
    fn valley(rate: f64) -> f64 {
        let decades = (rate / 1e-2).log10();
        let noise = (rate * 1e7).sin() * 0.05;
        5.0 + 0.5 * decades * decades + noise
    }

    #[test]
    fn an_average_of_equal_values_is_that_value_from_the_start() {
        let mut average = Smoothed::new(0.9);
        for _ in 0..5 {
            assert!((average.add(7.0) - 7.0).abs() < 1e-12);
        }
        // Two values, by hand: (0.9 · 0.1 · 7 + 0.1 · 5) / (0.9 · 0.1 + 0.1).
        let mut average = Smoothed::new(0.9);
        average.add(7.0);
        assert!((average.add(5.0) - 1.13 / 0.19).abs() < 1e-12);
    }

    #[test]
    fn the_lowest_point_is_found_under_noise_and_halved() {
        let (suggestion, reason) = choose(&points(80, valley));
        let suggestion = suggestion.expect("a suggestion");
        assert!((3.5e-3..=7e-3).contains(&suggestion), "{suggestion}");
        assert!(reason.starts_with("half of "), "{reason}");
    }

    #[test]
    fn a_curve_without_a_valley_gives_no_suggestion() {
        let (falling, reason) = choose(&points(60, |rate| -rate.ln()));
        assert!(
            falling.is_none() && reason.contains("go higher"),
            "{reason}"
        );
        let (rising, reason) = choose(&points(60, f64::ln));
        assert!(
            rising.is_none() && reason.contains("begin lower"),
            "{reason}"
        );
        assert!(choose(&[]).0.is_none());
    }

    #[test]
    fn noise_is_no_explosion_and_a_rise_is() {
        let flat = points(100, |rate| 7.7 + 0.05 * (rate * 1e7).sin());
        assert!((1..=100).all(|n| !exploded(&flat[..n])));
        let wide = points(140, valley);
        let stopped = (1..=140).find(|n| exploded(&wide[..*n])).expect("a rise");
        let rate = wide[stopped - 1].learning_rate;
        assert!((5e-2..5.0).contains(&rate), "{rate}");
    }
}
