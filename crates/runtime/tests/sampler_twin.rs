//! The sampler of the GPU engine, by its CPU twin, draws what [`Sampler`] draws: the same token for equal logits, whatever the configuration. That the shader does what
//! the twin does is tested beside the kernels. Needs nothing.
#![allow(clippy::unwrap_used, reason = "the assertion of a test")]

mod common;

use common::Noise;
use ptbr_kernels::cpu::{NO_TOKEN, Row, SampleParams, SampleSettings, sample};
use ptbr_kernels::{NO_STATE, Sequence};
use ptbr_runtime::{Sampler, SamplerConfig};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The 64 bits of a draw, as the sampler's documentation has them.
fn bits(seed: u64, position: u64) -> u64 {
    let mut key = *b"........ptbr-slm token draw 1...";
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(position);
    rng.next_u64()
}

/// The twin's token after `history`, of which the ring keeps the last `capacity`.
fn twin(
    config: &SamplerConfig,
    logits: &[f32],
    known: usize,
    history: &[u16],
    capacity: usize,
    position: u64,
) -> u32 {
    let mut ring = vec![0; 2 + capacity];
    ring[0] = history.len() as u32;
    ring[1] = config.repetition_window as u32;
    for (n, &token) in history.iter().enumerate() {
        ring[2 + n % capacity] = u32::from(token);
    }
    let settings = SampleSettings::new(
        config.temperature,
        config.top_k,
        config.top_p,
        config.repetition_penalty,
        known as u32,
    );
    let random = bits(config.seed, position);
    let mut rows = [Row {
        token: 1,
        sequence: 0,
        adapter: 2,
        logits: 3,
    }];
    let mut seqs = [Sequence {
        first: 0,
        len: 1,
        slot_in: 4,
        slot_out: NO_STATE,
    }];
    let mut drawn = [0, 77];
    let params = SampleParams {
        vocab: logits.len() as u32,
        rows: 1,
        steps: 1,
        capacity: capacity as u32,
    };
    sample(
        logits,
        &mut ring,
        &[settings],
        &[[random as u32, (random >> 32) as u32]],
        &mut rows,
        &mut seqs,
        &mut drawn,
        &params,
    )
    .unwrap();
    let [steps, token] = drawn;
    assert_eq!(steps, 1);
    assert_eq!((seqs[0].slot_in, seqs[0].slot_out), (NO_STATE, 4));
    assert_eq!(ring[0] as usize, history.len() + 1);
    if token != NO_TOKEN {
        assert_eq!((rows[0].token, rows[0].adapter), (token, 2));
        assert_eq!(ring[2 + history.len() % capacity], token);
    }
    token
}

fn config(noise: &mut Noise, vocab: usize) -> SamplerConfig {
    let mut pick = |n: u64| (noise.next() % n) as usize;
    let (temperature, top_k, top_p) = (pick(8), pick(8), pick(8));
    let (penalty, window) = (pick(6), pick(5));
    SamplerConfig {
        temperature: [0.0, 0.001, 0.01, 0.7, 1.0, 1.0, 2.5, 100.0][temperature],
        top_k: [0, 0, 1, 2, 40, 300, vocab, usize::MAX][top_k],
        top_p: [1.0, 1.0, 0.999_999, 0.95, 0.9, 0.5, 0.01, 1e-30][top_p],
        repetition_penalty: [1.0, 1.0, 1.1, 0.9, 3.0, 0.01][penalty],
        repetition_window: [0, 1, 5, 64, 1000][window],
        seed: noise.next(),
    }
}

/// Like a model's, flat, of few values, with tiny differences, forbidden in part, enormous.
fn logits(noise: &mut Noise, vocab: usize) -> Vec<f32> {
    let kind = noise.next() % 7;
    let spread = [1.0, 4.0, 15.0][(noise.next() % 3) as usize];
    let mut one = || {
        let bell: f32 = (0..4).map(|_| noise.uniform(-spread, spread)).sum();
        let rare = noise.next() % 9;
        match kind {
            0 | 1 => bell,
            2 => 0.5,
            3 => (bell * 2.0).round() / 4.0,
            4 => 1.0 + (rare % 5) as f32 * f32::EPSILON,
            5 if rare < 5 => f32::NEG_INFINITY,
            5 => (bell * 8.0).round() / 8.0 * if rare == 8 { 0.0 } else { -1.0 },
            _ => bell * 1e37,
        }
    };
    (0..vocab).map(|_| one()).collect()
}

#[test]
fn the_twin_draws_what_the_sampler_draws() {
    let mut noise = Noise(20_251_122);
    let mut different = std::collections::BTreeSet::new();
    for (vocab, draws) in [
        (1, 50),
        (257, 5_000),
        (1003, 2_000),
        (8192, 300),
        (32_000, 80),
        (65_536, 40),
    ] {
        for _ in 0..draws {
            let config = config(&mut noise, vocab);
            let logits = logits(&mut noise, vocab);
            let known = match noise.next() % 3 {
                0 => 1 + (noise.next() % vocab as u64) as usize,
                _ => vocab,
            };
            let length = (noise.next() % 200) as usize;
            // Ids without a logit too.
            let history = noise.tokens(length, (known + 5).min(65_536));
            let window = config.repetition_window;
            let kept = if window == 0 {
                length
            } else {
                window.min(length)
            };
            let capacity = kept.max(1) + (noise.next() % 3) as usize;
            let position = noise.next();
            let found = twin(&config, &logits, known, &history, capacity, position);
            let drawn =
                Sampler::new(config.clone())
                    .unwrap()
                    .sample(&logits[..known], &history, position);
            assert_eq!(
                found,
                drawn.as_ref().map_or(NO_TOKEN, |&token| u32::from(token)),
                "{config:?}, vocabulary {known} of {vocab}: {drawn:?}"
            );
            different.insert(found);
        }
    }
    assert!(different.len() > 1_000, "{}", different.len());
}

#[test]
fn both_round_the_share_of_top_p_up() {
    // With scale 1 the weights are 2^30, 2^29, 2^29 and 1: the first is less than half of all by half a unit.
    let logits = [0.0, -1.0, -1.0, -30.0];
    let mut config = SamplerConfig {
        temperature: std::f32::consts::LOG2_E,
        top_p: 0.5,
        ..SamplerConfig::default()
    };
    let mut drawn = [0; 4];
    for seed in 0..200 {
        config.seed = seed;
        let token = Sampler::new(config.clone())
            .unwrap()
            .sample(&logits, &[], 0)
            .unwrap();
        assert_eq!(twin(&config, &logits, 4, &[], 1, 0), u32::from(token));
        drawn[usize::from(token)] += 1;
    }
    assert!(
        drawn[0] > 100 && drawn[1] > 40 && drawn[2..] == [0, 0],
        "{drawn:?}"
    );
}

#[test]
fn the_twin_draws_nothing_where_the_sampler_refuses() {
    let good = [0.5, 1.0, -2.0, 0.25];
    let config = SamplerConfig::default();
    for (id, value) in [(0, f32::NAN), (3, -f32::NAN), (2, f32::INFINITY)] {
        let mut logits = good;
        logits[id] = value;
        assert_eq!(twin(&config, &logits, 4, &[1], 4, 0), NO_TOKEN);
        assert!(
            Sampler::new(config.clone())
                .unwrap()
                .sample(&logits, &[1], 0)
                .is_err()
        );
        // Not known, so not looked at.
        if id == 3 {
            assert_ne!(twin(&config, &logits, 3, &[1], 4, 0), NO_TOKEN);
        }
    }
    assert_eq!(
        twin(&config, &[f32::NEG_INFINITY; 4], 4, &[], 4, 0),
        NO_TOKEN
    );
}
