//! Dynamic loss scaling of f16 training: a loss times a large factor keeps small gradients out of f16's underflow, and an overflow says that the factor is too large.

use serde::{Deserialize, Serialize};

use crate::checkpoint::LossScaleState;
use crate::error::ConfigError;
use crate::exact_float;

/// How the loss scale moves. The defaults are those of PyTorch's `torch.amp.GradScaler`, which has neither floor nor ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GradScalerConfig {
    /// Scale of the first step.
    #[serde(with = "exact_float")]
    pub initial_scale: f64,
    /// Factor after `growth_interval` steps in a row without overflow.
    #[serde(with = "exact_float")]
    pub growth: f64,
    /// Factor after an overflow.
    #[serde(with = "exact_float")]
    pub backoff: f64,
    /// Steps without overflow between two growths.
    pub growth_interval: u32,
    /// Smallest scale.
    #[serde(with = "exact_float")]
    pub floor: f64,
    /// Largest scale.
    #[serde(with = "exact_float")]
    pub ceiling: f64,
}

impl Default for GradScalerConfig {
    fn default() -> Self {
        Self {
            initial_scale: 65_536.0,
            growth: 2.0,
            backoff: 0.5,
            growth_interval: 2_000,
            floor: 1.0,
            // 2^32: far above what any loss needs, and its inverse is far from f32's underflow.
            ceiling: 4_294_967_296.0,
        }
    }
}

impl GradScalerConfig {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        // What is written so is false for NaN too.
        let is_scale = |x: f64| x > 0.0 && x <= f64::from(f32::MAX);
        if !is_scale(self.floor) {
            return Err(ConfigError::invalid(
                "floor",
                self.floor,
                "the smallest loss scale must be positive and fit f32",
            ));
        }
        if !is_scale(self.ceiling) || self.ceiling < self.floor {
            return Err(ConfigError::invalid(
                "ceiling",
                self.ceiling,
                format!(
                    "the largest loss scale must fit f32 and not be below the smallest, {}",
                    self.floor
                ),
            ));
        }
        self.check_scale("initial_scale", self.initial_scale)?;
        if !(self.growth >= 1.0 && self.growth.is_finite()) {
            let reason = "the loss scale must not shrink after steps without overflow: at least 1";
            return Err(ConfigError::invalid("growth", self.growth, reason));
        }
        if !(self.backoff > 0.0 && self.backoff < 1.0) {
            let reason = "the loss scale must shrink after an overflow: between 0 and 1";
            return Err(ConfigError::invalid("backoff", self.backoff, reason));
        }
        if self.growth_interval == 0 {
            let reason = "the loss scale can grow after a step at the earliest: at least 1";
            return Err(ConfigError::invalid("growth_interval", 0, reason));
        }
        Ok(())
    }

    fn check_scale(&self, field: &'static str, scale: f64) -> Result<(), ConfigError> {
        if scale >= self.floor && scale <= self.ceiling {
            return Ok(());
        }
        let reason = format!(
            "a loss scale lies between the smallest, {}, and the largest, {}",
            self.floor, self.ceiling
        );
        Err(ConfigError::invalid(field, scale, reason))
    }
}

/// What has become of an optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaledStep {
    /// The gradient is finite: apply it.
    Apply,
    /// It is not: skip the step. The scale is smaller now, or was at its floor already.
    Skip,
}

/// Dynamic loss scale: a state machine with one transition an optimizer step.
///
/// ```
/// use ptbr_model::{GradScaler, GradScalerConfig, ScaledStep};
///
/// let mut scaler = GradScaler::new(GradScalerConfig::default())?;
/// assert_eq!(scaler.update(true), ScaledStep::Skip);
/// assert_eq!(scaler.scale(), 32_768.0);
/// # Ok::<(), ptbr_model::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradScaler {
    config: GradScalerConfig,
    state: LossScaleState,
}

impl GradScaler {
    /// The scaler of a new run.
    pub fn new(config: GradScalerConfig) -> Result<Self, ConfigError> {
        let state = LossScaleState {
            scale: config.initial_scale,
            good_steps: 0,
        };
        Self::resume(config, state)
    }

    /// The scaler that a checkpoint's state was taken from. Fails on a state that this configuration cannot reach.
    pub fn resume(config: GradScalerConfig, state: LossScaleState) -> Result<Self, ConfigError> {
        config.validate()?;
        config.check_scale("scale", state.scale)?;
        if state.good_steps >= config.growth_interval {
            let reason = format!(
                "the loss scale would have grown after {} steps without overflow",
                config.growth_interval
            );
            return Err(ConfigError::invalid("good_steps", state.good_steps, reason));
        }
        Ok(Self { config, state })
    }

    /// Factor of the loss of the next step.
    pub fn scale(&self) -> f64 {
        self.state.scale
    }

    /// Whether an overflow leaves the scale as it is: no smaller one is left to try.
    pub fn is_at_floor(&self) -> bool {
        self.state.scale <= self.config.floor
    }

    /// What a checkpoint keeps.
    pub fn state(&self) -> LossScaleState {
        self.state
    }

    /// Factor of the summed gradient of `micro_batches` scaled losses: what leaves the gradient of their mean.
    pub fn unscale(&self, micro_batches: usize) -> f64 {
        1.0 / (self.state.scale * micro_batches.max(1) as f64)
    }

    /// Ends a step; `overflow`: an element of its gradient is NaN or infinite.
    ///
    /// Once for each optimizer step, after its gradient was unscaled: the scale belongs to the next step from here on.
    pub fn update(&mut self, overflow: bool) -> ScaledStep {
        let Self { config, state } = self;
        if overflow {
            state.scale = (state.scale * config.backoff).max(config.floor);
            state.good_steps = 0;
            return ScaledStep::Skip;
        }
        state.good_steps += 1;
        if state.good_steps == config.growth_interval {
            state.scale = (state.scale * config.growth).min(config.ceiling);
            state.good_steps = 0;
        }
        ScaledStep::Apply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(growth_interval: u32) -> GradScaler {
        GradScaler::new(GradScalerConfig {
            growth_interval,
            ..GradScalerConfig::default()
        })
        .unwrap()
    }

    /// Runs the steps of a text, `x` an overflow and `.` none; the scales after each.
    fn scales(scaler: &mut GradScaler, steps: &str) -> Vec<f64> {
        let step = |step| {
            scaler.update(step == 'x');
            scaler.scale()
        };
        steps.chars().map(step).collect()
    }

    #[test]
    fn the_scale_moves_as_pytorchs_does() {
        // The rule of torch.amp.GradScaler (`_amp_update_scale_`): an overflow multiplies by 0.5 and restarts the count; the third step in a row without one doubles and restarts it.
        let k = 1024.0;
        assert_eq!(
            scales(&mut scaler(3), "...x..x.......xx."),
            [
                64.0 * k,
                64.0 * k,
                128.0 * k, // the third
                64.0 * k,  // an overflow right behind a growth
                64.0 * k,
                64.0 * k,
                32.0 * k, // an overflow in place of the third
                32.0 * k,
                32.0 * k,
                64.0 * k,
                64.0 * k,
                64.0 * k,
                128.0 * k, // two growths
                128.0 * k,
                64.0 * k,
                32.0 * k, // two overflows in a row
                32.0 * k,
            ]
        );
        // The default: not before 2,000 steps.
        let default = scales(&mut scaler(2_000), &".".repeat(4_001));
        for (steps, scale) in [
            (1_999, 64.0),
            (2_000, 128.0),
            (3_999, 128.0),
            (4_000, 256.0),
        ] {
            assert_eq!(default[steps - 1], scale * k, "after {steps} steps");
        }
    }

    #[test]
    fn a_step_is_skipped_when_its_gradient_is_not_finite() {
        let mut scaler = scaler(2_000);
        assert_eq!(scaler.update(false), ScaledStep::Apply);
        assert_eq!(scaler.update(true), ScaledStep::Skip);
        assert_eq!(
            scaler.state(),
            LossScaleState {
                scale: 32_768.0,
                good_steps: 0
            }
        );
        assert_eq!(scaler.update(false), ScaledStep::Apply);
    }

    #[test]
    fn the_scale_stays_between_floor_and_ceiling() {
        let mut scaler = scaler(1);
        assert!(!scaler.is_at_floor());
        assert_eq!(scales(&mut scaler, &"x".repeat(40))[15..], [1.0; 25]);
        assert!(scaler.is_at_floor());
        let grown = scales(&mut scaler, &".".repeat(40));
        assert_eq!(grown[31..], [4_294_967_296.0; 9]);
        assert_eq!(grown[30], 2_147_483_648.0);
    }

    #[test]
    fn a_resumed_scaler_goes_on_where_its_state_was_taken() {
        let steps = "..x.....x...";
        let mut whole = scaler(3);
        let expected = scales(&mut whole, steps);
        for cut in 0..steps.len() {
            let mut first = scaler(3);
            let mut found = scales(&mut first, &steps[..cut]);
            let json = serde_json::to_string(&first.state()).unwrap();
            let state = serde_json::from_str(&json).unwrap();
            let mut second = GradScaler::resume(first.config, state).unwrap();
            found.extend(scales(&mut second, &steps[cut..]));
            assert_eq!(found, expected, "cut at {cut}");
            assert_eq!(second, whole);
        }
    }

    #[test]
    fn unscaling_leaves_the_mean_of_the_micro_batches() {
        let scaler = scaler(1);
        assert_eq!(scaler.unscale(1) * scaler.scale(), 1.0);
        assert_eq!(scaler.unscale(16) * scaler.scale() * 16.0, 1.0);
    }

    #[test]
    fn what_makes_no_scaler_is_refused_by_its_field() {
        let good = GradScalerConfig::default();
        let cases = [
            (
                "initial_scale",
                GradScalerConfig {
                    initial_scale: f64::NAN,
                    ..good
                },
            ),
            (
                "initial_scale",
                GradScalerConfig {
                    initial_scale: 0.5,
                    ..good
                },
            ),
            (
                "initial_scale",
                GradScalerConfig {
                    initial_scale: 1e30,
                    ..good
                },
            ),
            (
                "growth",
                GradScalerConfig {
                    growth: 0.9,
                    ..good
                },
            ),
            (
                "growth",
                GradScalerConfig {
                    growth: f64::INFINITY,
                    ..good
                },
            ),
            (
                "backoff",
                GradScalerConfig {
                    backoff: 1.0,
                    ..good
                },
            ),
            (
                "backoff",
                GradScalerConfig {
                    backoff: 0.0,
                    ..good
                },
            ),
            (
                "growth_interval",
                GradScalerConfig {
                    growth_interval: 0,
                    ..good
                },
            ),
            ("floor", GradScalerConfig { floor: 0.0, ..good }),
            (
                "ceiling",
                GradScalerConfig {
                    ceiling: f64::INFINITY,
                    ..good
                },
            ),
            (
                "ceiling",
                GradScalerConfig {
                    ceiling: 0.5,
                    ..good
                },
            ),
        ];
        for (expected, config) in cases {
            match GradScaler::new(config) {
                Err(ConfigError::Invalid { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let config = GradScalerConfig::default();
        for (scale, good_steps) in [(f64::NAN, 0), (0.0, 0), (1e300, 0), (1.0, 2_000)] {
            let state = LossScaleState { scale, good_steps };
            assert!(GradScaler::resume(config, state).is_err(), "{state:?}");
        }
    }
}
