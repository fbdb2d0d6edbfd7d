//! From values to places, and the round values to write beside an axis.

/// An axis: a range, linear or logarithmic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    /// The axis on which all of `values` have a place that can have one: finite ones, on a logarithmic axis above 0. `None` without any.
    pub fn over(values: impl Iterator<Item = f64>, logarithmic: bool) -> Option<Self> {
        let fits = |x: &f64| x.is_finite() && (!logarithmic || *x > 0.0);
        let (low, high) = values
            .filter(fits)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
                (low.min(x), high.max(x))
            });
        if low > high {
            return None;
        }
        // One value, or values that differ by less than can be told apart, get a range around them.
        let (low, high) = if high - low > 1e-9 * high.abs().max(low.abs()) {
            (low, high)
        } else if logarithmic {
            (low / 2.0, high * 2.0)
        } else {
            let half = if low == 0.0 { 1.0 } else { 0.05 * low.abs() };
            (low - half, high + half)
        };
        Some(Self {
            low,
            high,
            logarithmic,
        })
    }

    /// Where `value` is: 0 at the low end, 1 at the high end, beyond them outside; `None` where it has no place.
    pub fn place(&self, value: f64) -> Option<f64> {
        let place = if self.logarithmic {
            if value <= 0.0 {
                return None;
            }
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        place.is_finite().then_some(place)
    }

    /// Round values on the axis, about `wanted` of them, each with its place and its text.
    pub fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let wanted = wanted.max(2);
        let values = if self.logarithmic {
            self.logarithmic_ticks(wanted)
        } else {
            self.linear_ticks(wanted)
        };
        let labelled = values.into_iter();
        labelled
            .filter_map(|(value, label)| Some((self.place(value)?, label)))
            .collect()
    }

    fn linear_ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let steps = |wanted: usize| {
            let step = round_step((self.high - self.low) / wanted as f64);
            let first = (self.low / step).ceil() as i64;
            let last = (self.high / step).floor() as i64;
            (step, first, last)
        };
        // One tick alone is no scale: a smaller step has two.
        let (step, first, last) = match steps(wanted) {
            (_, first, last) if last - first < 1 => steps(2 * wanted),
            enough => enough,
        };
        let (unit, suffix) = unit_of(self.high.abs().max(self.low.abs()));
        let decimals = (-(step / unit).log10()).ceil().max(0.0) as usize;
        (first..=last)
            .map(|i| {
                let value = i as f64 * step;
                let scaled = value / unit;
                let label = if decimals > 4 {
                    format!("{scaled:.1e}{suffix}")
                } else {
                    format!("{scaled:.decimals$}{suffix}")
                };
                (value, label)
            })
            .collect()
    }

    /// Decades; with 2 and 5 between them, or all digits, where there are few.
    fn logarithmic_ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let with = |digits: &[u32]| -> Vec<(f64, String)> {
            decades
                .clone()
                .flat_map(|decade| digits.iter().map(move |digit| format!("{digit}e{decade}")))
                .filter_map(|label| Some((label.parse::<f64>().ok()?, label)))
                .filter(|(value, _)| *value >= self.low * 0.999 && *value <= self.high * 1.001)
                .collect()
        };
        let every_digit: Vec<u32> = (1..10).collect();
        let sets = [&[1][..], &[1, 2, 5], &every_digit];
        let ticks = sets.into_iter().map(with).find(|ticks| ticks.len() >= 3);
        let ticks = ticks.unwrap_or_else(|| with(&every_digit));
        let every = ticks.len().div_ceil(wanted.max(3) + 2).max(1);
        ticks.into_iter().step_by(every).collect()
    }
}

/// 1, 2 or 5 times a power of ten: the smallest that is at least `raw`.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|digit| digit * power);
    let fits = |step: &f64| *step >= raw * 0.999_999;
    step.into_iter().find(fits).unwrap_or(10.0 * power)
}

/// What large numbers are counted in.
fn unit_of(largest: f64) -> (f64, &'static str) {
    match largest {
        x if x >= 1e10 => (1e9, "G"),
        x if x >= 1e7 => (1e6, "M"),
        x if x >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: [f64; 2], logarithmic: bool, wanted: usize) -> Vec<String> {
        let axis = Axis::over(values.into_iter(), logarithmic).expect("an axis");
        let ticks = axis.ticks(wanted);
        assert!(
            ticks
                .iter()
                .all(|(place, _)| (-0.001..=1.001).contains(place))
        );
        assert!(ticks.is_sorted_by(|a, b| a.0 < b.0));
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels([3.1, 7.8], false, 5), ["4", "5", "6", "7"]);
        assert_eq!(labels([0.0, 600.0], false, 4), ["0", "200", "400", "600"]);
        assert_eq!(labels([0.0, 25_000.0], false, 3), ["0k", "10k", "20k"]);
        assert_eq!(labels([3.91, 3.97], false, 3), ["3.92", "3.94", "3.96"]);
        assert_eq!(labels([-1.0, 1.0], false, 2), ["-1", "0", "1"]);
        assert_eq!(labels([2.9, 7.0], false, 2), ["4", "6"]);
        assert_eq!(
            labels([1e-5, 1e-1], true, 5),
            ["1e-5", "1e-4", "1e-3", "1e-2", "1e-1"]
        );
        assert_eq!(
            labels([1e-3, 2.2e-2], true, 5),
            ["1e-3", "2e-3", "5e-3", "1e-2", "2e-2"]
        );
    }

    #[test]
    fn every_range_has_an_axis_with_few_ticks() {
        for low in [-1e12, -3.0, 0.0, 1e-12, 2.5, 7e9] {
            for width in [0.0, 1e-7, 0.3, 4e3, 8e14] {
                let axis = Axis::over([low, low + width].into_iter(), false).expect("an axis");
                let ticks = axis.ticks(5);
                assert!(ticks.len() <= 8, "{low} + {width}: {}", ticks.len());
                assert!(axis.place(low).is_some_and(|place| place >= -1e-9));
            }
        }
        assert!(Axis::over([f64::NAN].into_iter(), false).is_none());
        assert!(Axis::over([0.0, -1.0].into_iter(), true).is_none());
        assert_eq!(
            Axis::over([1.0, 10.0].into_iter(), true).and_then(|a| a.place(0.0)),
            None
        );
    }
}
