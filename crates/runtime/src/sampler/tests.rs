//! The sampler's promises. Needs nothing.

use super::*;
use proptest::prelude::*;

fn sampler(config: SamplerConfig) -> Sampler {
    Sampler::new(config).unwrap()
}

/// How often each token was drawn at positions 0 to `draws`.
fn counts(config: SamplerConfig, logits: &[f32], draws: u64) -> Vec<u64> {
    let mut sampler = sampler(config);
    let mut counts = vec![0; logits.len()];
    for position in 0..draws {
        counts[usize::from(sampler.sample(logits, &[], position).unwrap())] += 1;
    }
    counts
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::MIN, f32::max);
    let e: Vec<f64> = logits
        .iter()
        .map(|&l| (f64::from(l - max) / temperature).exp())
        .collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}

#[test]
fn draws_follow_the_softmax() {
    let logits = [1.0, -0.5, 2.0, 0.0, 0.3, -3.0, 1.9, 0.9];
    for temperature in [0.5f32, 1.0, 2.0] {
        let draws = 40_000;
        let counts = counts(
            SamplerConfig {
                temperature,
                seed: 11,
                ..Default::default()
            },
            &logits,
            draws,
        );
        let chi2: f64 = softmax(&logits, f64::from(temperature))
            .iter()
            .zip(&counts)
            .map(|(p, &n)| (n as f64 - p * draws as f64).powi(2) / (p * draws as f64))
            .sum();
        // Seven degrees of freedom: 24.3 is passed once in a thousand seeds, and the seed is fixed.
        assert!(
            chi2 < 24.3,
            "temperature {temperature}: chi² {chi2}, {counts:?}"
        );
    }
}

#[test]
fn top_k_and_top_p_cut_where_they_say() {
    let logits = [0.0, 3.0, 1.0, 2.0, 2.0];
    let drawn = |config| -> Vec<usize> {
        let counts = counts(config, &logits, 5_000);
        (0..logits.len()).filter(|&id| counts[id] > 0).collect()
    };
    assert_eq!(
        drawn(SamplerConfig {
            top_k: 1,
            ..Default::default()
        }),
        [1]
    );
    assert_eq!(
        drawn(SamplerConfig {
            top_k: 2,
            ..Default::default()
        }),
        [1, 3],
        "of two equals the lower id stays"
    );
    assert_eq!(
        drawn(SamplerConfig {
            top_k: 99,
            ..Default::default()
        }),
        [0, 1, 2, 3, 4]
    );
    // Probabilities: token 1 0.521, 3 and 4 0.192 each, 2 0.070, 0 0.026; of the first two alone, 0.731 and 0.269.
    assert_eq!(
        drawn(SamplerConfig {
            top_p: 0.5,
            ..Default::default()
        }),
        [1]
    );
    assert_eq!(
        drawn(SamplerConfig {
            top_p: 0.53,
            ..Default::default()
        }),
        [1, 3]
    );
    assert_eq!(
        drawn(SamplerConfig {
            top_p: 0.9,
            ..Default::default()
        }),
        [1, 3, 4]
    );
    assert_eq!(
        drawn(SamplerConfig {
            top_p: 0.91,
            ..Default::default()
        }),
        [1, 2, 3, 4]
    );
    assert_eq!(
        drawn(SamplerConfig {
            top_p: 0.7,
            top_k: 2,
            ..Default::default()
        }),
        [1],
        "top-p counts what top-k has left"
    );
    assert_eq!(
        drawn(SamplerConfig {
            top_p: 0.75,
            top_k: 2,
            ..Default::default()
        }),
        [1, 3]
    );
}

#[test]
fn top_p_looks_past_its_first_candidates() {
    // 1,000 equals: 0.9 of them is 900, more than TOP_P_FIRST.
    let logits = vec![0.0; 1000];
    let counts = counts(
        SamplerConfig {
            top_p: 0.9,
            ..Default::default()
        },
        &logits,
        20_000,
    );
    assert!(
        counts[900..].iter().all(|&n| n == 0),
        "ids from 900 on are cut"
    );
    assert!(counts[..900].iter().filter(|&&n| n > 0).count() > 890);
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    let mut greedy = sampler(SamplerConfig::greedy());
    assert_eq!(greedy.sample(&[0.0, 2.0, 2.0, 1.0], &[], 5).unwrap(), 1);
    assert_eq!(
        greedy.sample(&[-4.0, f32::NEG_INFINITY], &[], 5).unwrap(),
        0
    );
}

#[test]
fn penalty_is_the_stated_formula() {
    let greedy = |penalty: f32, window: usize, history: &[TokenId]| {
        let config = SamplerConfig {
            repetition_penalty: penalty,
            repetition_window: window,
            ..SamplerConfig::greedy()
        };
        sampler(config)
            .sample(&[2.0, 1.5, -1.0], history, 0)
            .unwrap()
    };
    assert_eq!(greedy(1.0, 64, &[0]), 0);
    assert_eq!(
        greedy(1.5, 64, &[0, 0, 0]),
        1,
        "2 / 1.5 < 1.5, and three times is as once"
    );
    assert_eq!(
        greedy(1.2, 64, &[0, 0, 0]),
        0,
        "2 / 1.2 > 1.5, though thrice would be less"
    );
    assert_eq!(greedy(1.5, 1, &[0, 2]), 0, "outside the window");
    assert_eq!(greedy(1.5, 0, &[0, 2, 2, 2]), 1, "0 is the whole history");
    assert_eq!(greedy(1.5, 64, &[9]), 0, "an id that has no logit");
    let mut negative = sampler(SamplerConfig {
        repetition_penalty: 2.0,
        ..SamplerConfig::greedy()
    });
    assert_eq!(
        negative.sample(&[-1.0, -1.5], &[0], 0).unwrap(),
        1,
        "-1 · 2 < -1.5"
    );
}

#[test]
fn the_draws_of_a_seed_are_fixed() {
    // Recorded once. A change means that texts of older versions cannot be reproduced.
    let logits: Vec<f32> = (0..50).map(|i| ((i * 37) % 17) as f32 * 0.2).collect();
    let mut sampler = sampler(SamplerConfig {
        temperature: 0.8,
        top_k: 30,
        top_p: 0.95,
        seed: 42,
        ..Default::default()
    });
    let drawn: Vec<TokenId> = (0..12)
        .map(|position| sampler.sample(&logits, &[], position).unwrap())
        .collect();
    assert_eq!(drawn, RECORDED);
}

const RECORDED: [TokenId; 12] = [49, 39, 11, 4, 39, 44, 28, 11, 14, 45, 39, 3];

#[test]
fn bad_logits_are_errors() {
    let mut sampler = sampler(SamplerConfig::default());
    for (logits, message) in [
        (vec![0.0, f32::NAN, 1.0], "token 1"),
        (vec![0.0, 1.0, f32::INFINITY], "token 2"),
        (vec![f32::NEG_INFINITY; 3], "token 0"),
        (vec![], "0 logits"),
        (vec![0.0; 65_537], "65537 logits"),
    ] {
        let error = sampler.sample(&logits, &[], 0).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn parameters_out_of_range_are_named() {
    let base = SamplerConfig::default;
    for (config, parameter) in [
        (
            SamplerConfig {
                temperature: -0.1,
                ..base()
            },
            "temperature",
        ),
        (
            SamplerConfig {
                temperature: 1e-6,
                ..base()
            },
            "temperature",
        ),
        (
            SamplerConfig {
                temperature: f32::NAN,
                ..base()
            },
            "temperature",
        ),
        (
            SamplerConfig {
                temperature: f32::INFINITY,
                ..base()
            },
            "temperature",
        ),
        (
            SamplerConfig {
                top_p: 0.0,
                ..base()
            },
            "top_p",
        ),
        (
            SamplerConfig {
                top_p: 1.01,
                ..base()
            },
            "top_p",
        ),
        (
            SamplerConfig {
                top_p: f32::NAN,
                ..base()
            },
            "top_p",
        ),
        (
            SamplerConfig {
                repetition_penalty: 0.0,
                ..base()
            },
            "repetition_penalty",
        ),
        (
            SamplerConfig {
                repetition_penalty: f32::NAN,
                ..base()
            },
            "repetition_penalty",
        ),
    ] {
        let error = Sampler::new(config).unwrap_err().to_string();
        assert!(error.contains(parameter), "{error}");
    }
}

proptest! {
    #[test]
    fn what_is_drawn_is_allowed(
        logits in prop::collection::vec(prop_oneof![9 => -30.0f32..30.0, 1 => Just(f32::NEG_INFINITY)], 1..600),
        temperature in prop_oneof![Just(0.0f32), 0.001f32..5.0],
        top_k in 0usize..50,
        top_p in 0.01f32..=1.0,
        penalty in 0.5f32..2.0,
        seed: u64,
        position: u64,
    ) {
        let config = SamplerConfig { temperature, top_k, top_p, repetition_penalty: penalty, seed, ..Default::default() };
        let mut first = sampler(config.clone());
        prop_assume!(logits.iter().any(|l| *l > f32::NEG_INFINITY));
        let history: Vec<TokenId> = vec![0, 3, 5];
        let token = first.sample(&logits, &history, position).unwrap();
        prop_assert!(logits[usize::from(token)] > f32::NEG_INFINITY);
        // No memory: the same sampler again, and a new one, draw the same.
        prop_assert_eq!(first.sample(&logits, &history, position).unwrap(), token);
        prop_assert_eq!(sampler(config).sample(&logits, &history, position).unwrap(), token);
        if top_k > 0 {
            let mut penalised = logits.clone();
            for id in [0usize, 3, 5] {
                if let Some(l) = penalised.get_mut(id) {
                    *l *= if *l > 0.0 { 1.0 / penalty } else { penalty };
                }
            }
            let better = (0..logits.len()).filter(|&id| {
                let (a, b) = (penalised[id], penalised[usize::from(token)]);
                a > b || (a == b && id < usize::from(token))
            });
            prop_assert!(better.count() < top_k);
        }
    }

    #[test]
    fn a_common_shift_of_the_logits_changes_nothing(steps in prop::collection::vec(-40i32..40, 2..100), shift in -8i32..8, position: u64) {
        // Multiples of 1/4, so that the shift is exact.
        let logits: Vec<f32> = steps.iter().map(|&s| s as f32 * 0.25).collect();
        let shifted: Vec<f32> = logits.iter().map(|l| l + shift as f32).collect();
        let mut sampler = sampler(SamplerConfig { top_p: 0.9, ..Default::default() });
        prop_assert_eq!(sampler.sample(&logits, &[], position).unwrap(), sampler.sample(&shifted, &[], position).unwrap());
    }
}
