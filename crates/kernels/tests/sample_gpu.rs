//! The sampling shader against its twin on every adapter found: every buffer that it writes, bit for bit. Needs a GPU adapter; a software one will do
//! (`apt-get install mesa-vulkan-drivers libvulkan1`). A missing adapter fails the tests.

mod common;

use common::gpu::{Gpu, adapters};
use common::{POISON, Random};
use ptbr_kernels::cpu::{NO_TOKEN, Row, SampleParams, SampleSettings, sample};
use ptbr_kernels::{Sequence, table};

/// Everything that the kernel is given.
#[derive(Clone)]
struct Case {
    params: SampleParams,
    logits: Vec<f32>,
    history: Vec<u32>,
    settings: Vec<SampleSettings>,
    random: Vec<[u32; 2]>,
    rows: Vec<Row>,
    seqs: Vec<Sequence>,
    drawn: Vec<u32>,
}

impl Case {
    /// No step done, histories of any length, any settings; more rows and sequences than are drawn for.
    fn random(rng: &mut Random, vocab: usize, rows: usize, steps: usize, capacity: usize) -> Self {
        let mut history = Vec::new();
        for _ in 0..rows {
            history.push(rng.below(3 * capacity + 2) as u32);
            history.push([0, 1, rng.below(capacity + 1) as u32, 1000][rng.below(4)]);
            // Repeated ids, and some that have no logit.
            history.extend((0..capacity).map(|_| match rng.below(8) {
                0 => vocab as u32 + 3,
                1 => 0,
                _ => rng.below(vocab) as u32,
            }));
        }
        let mut drawn = vec![POISON; rows * (1 + steps)];
        drawn[..rows].fill(0);
        let mut words = |n: usize| -> Vec<[u32; 4]> {
            (0..n)
                .map(|_| [0; 4].map(|_: u32| rng.next() as u32))
                .collect()
        };
        Self {
            params: SampleParams {
                vocab: vocab as u32,
                rows: rows as u32,
                steps: steps as u32,
                capacity: capacity as u32,
            },
            rows: bytemuck::cast_slice(&words(rows + 2)).to_vec(),
            seqs: bytemuck::cast_slice(&words(rows + 1)).to_vec(),
            logits: Vec::new(),
            history,
            settings: (0..rows).map(|_| settings(rng, vocab)).collect(),
            random: (0..rows * steps)
                .map(|_| match rng.below(6) {
                    0 => [0, 0],
                    1 => [u32::MAX, u32::MAX],
                    _ => [rng.next() as u32, rng.next() as u32],
                })
                .collect(),
            drawn,
        }
    }

    fn run_twin(&mut self) {
        let Self {
            params,
            logits,
            history,
            settings,
            random,
            rows,
            seqs,
            drawn,
        } = self;
        sample(logits, history, settings, random, rows, seqs, drawn, params).expect("twin");
    }

    fn run_gpu(&mut self, gpu: &Gpu) {
        let contents: [&[u32]; 8] = [
            bytemuck::cast_slice(&self.logits),
            &self.history,
            bytemuck::cast_slice(&self.settings),
            bytemuck::cast_slice(&self.random),
            bytemuck::cast_slice(&self.rows),
            bytemuck::cast_slice(&self.seqs),
            &self.drawn,
            &self.params.words(),
        ];
        let written = gpu.run_in_place(&table::SAMPLE_READ, &contents, [self.params.rows, 1, 1]);
        let [history, rows, seqs, drawn] = written.try_into().expect("four buffers are written");
        (self.history, self.drawn) = (history, drawn);
        self.rows = bytemuck::cast_slice(&rows).to_vec();
        self.seqs = bytemuck::cast_slice(&seqs).to_vec();
    }

    /// One step on both sides with these logits.
    fn step(&mut self, gpu: &Gpu, logits: Vec<f32>) {
        self.logits = logits;
        let mut found = self.clone();
        found.run_gpu(gpu);
        let before = self.clone();
        self.run_twin();
        let count = self.params.rows as usize;
        for r in 0..count {
            let tokens = |case: &Self| -> Vec<u32> {
                case.drawn.iter().skip(r).step_by(count).copied().collect()
            };
            assert_eq!(
                tokens(&found),
                tokens(self),
                "{}: row {r} of {:?}, {:?}",
                gpu.name,
                self.params,
                before.settings[r]
            );
        }
        assert_eq!(found.history, self.history, "{}: history", gpu.name);
        assert_eq!(found.rows, self.rows, "{}: rows", gpu.name);
        assert_eq!(found.seqs, self.seqs, "{}: sequences", gpu.name);
    }

    fn tokens_of_step(&self, step: usize) -> &[u32] {
        let count = self.params.rows as usize;
        &self.drawn[count * (1 + step)..][..count]
    }
}

fn settings(rng: &mut Random, vocab: usize) -> SampleSettings {
    let temperature = [0.0, 0.001, 0.3, 1.0, 1.0, 2.5, 100.0][rng.below(7)];
    let top_k = [0, 0, 1, 2, 40, 300, vocab - 1, vocab, vocab + 5][rng.below(9)];
    let top_p = [1.0, 1.0, 0.999_999, 0.95, 0.5, 0.01, 1e-30][rng.below(7)];
    let penalty = [1.0, 1.0, 1.1, 0.9, 3.0, 0.01][rng.below(6)];
    let known = [vocab, vocab, vocab - 1, 1, 1 + rng.below(vocab)][rng.below(5)];
    SampleSettings::new(temperature, top_k, top_p, penalty, known as u32)
}

/// Logits of one row: like a model's, flat, of few values, with tiny differences, forbidden in part, enormous.
fn logits(rng: &mut Random, vocab: usize) -> Vec<f32> {
    let kind = rng.below(7);
    let spread = [1.0, 4.0, 15.0][rng.below(3)];
    // A sum of uniform numbers: a bell.
    let bell = |rng: &mut Random| (0..4).map(|_| rng.range(-spread, spread)).sum::<f32>();
    (0..vocab)
        .map(|_| match kind {
            0 | 1 => bell(rng),
            2 => 0.5,
            3 => (bell(rng) * 2.0).round() / 4.0,
            4 => 1.0 + (rng.below(5) as f32) * f32::EPSILON,
            5 if rng.below(2) == 0 => f32::NEG_INFINITY,
            5 => (bell(rng) * 8.0).round() / 8.0 * if rng.below(9) == 0 { 0.0 } else { -1.0 },
            _ => bell(rng) * 1e37,
        })
        .collect()
}

#[test]
fn the_shader_draws_what_the_twin_draws() {
    let mut rng = Random::fresh("sample");
    for gpu in adapters() {
        for (vocab, rows, rounds) in [
            (257, 33, 12),
            (1003, 9, 12),
            (8192, 7, 5),
            (32_000, 5, 4),
            (65_536, 5, 4),
        ] {
            for _ in 0..rounds {
                let steps = 4;
                let capacity = [0, 1, 37, 300][rng.below(4)];
                let mut case = Case::random(&mut rng, vocab, rows, steps, capacity);
                for _ in 0..steps {
                    let all = (0..rows).flat_map(|_| logits(&mut rng, vocab)).collect();
                    case.step(&gpu, all);
                }
                // A fifth step has no room: nothing may change.
                let before = case.clone();
                case.step(
                    &gpu,
                    (0..rows).flat_map(|_| logits(&mut rng, vocab)).collect(),
                );
                assert_eq!((before.drawn, before.history), (case.drawn, case.history));
            }
        }
    }
}

#[test]
fn equal_logits_are_cut_by_id() {
    let mut rng = Random::fresh("sample, equal logits");
    for gpu in adapters() {
        // More equals than a selection compares with one another, in blocks of ids that no bin of 256 separates.
        let vocab = 20_000;
        let mut case = Case::random(&mut rng, vocab, 4, 8, 0);
        for (settings, (top_k, top_p)) in
            case.settings
                .iter_mut()
                .zip([(7_001, 1.0), (0, 0.3), (5_000, 0.5), (257, 1.0)])
        {
            *settings = SampleSettings::new(1.0, top_k, top_p, 1.0, vocab as u32);
        }
        for _ in 0..8 {
            // Every other id is as likely as can be (zero, of either sign), the rest less, all alike.
            let one: Vec<f32> = (0..vocab)
                .map(|id| [-0.0, -0.25, 0.0, -0.25][id % 4])
                .collect();
            case.step(&gpu, [&one[..]; 4].concat());
        }
        for step in 0..8 {
            let drawn = case.tokens_of_step(step);
            assert!(
                drawn[0] < 2 * 7_001 && drawn[0].is_multiple_of(2),
                "{drawn:?}"
            );
            assert!(
                drawn[3] < 2 * 257 && drawn[3].is_multiple_of(2),
                "{drawn:?}"
            );
        }
    }
}

#[test]
fn the_share_of_top_p_is_rounded_up() {
    let mut rng = Random::fresh("sample, share");
    for gpu in adapters() {
        // Weights 2^30, 2^29, 2^29 and 1: the first is less than half of all by half a unit.
        let logits = [0.0, -1.0, -1.0, -30.0];
        let mut case = Case::random(&mut rng, 4, 2, 1, 0);
        case.settings = [0.5, 0.499_999]
            .map(|p| SampleSettings {
                scale: 1.0,
                ..SampleSettings::new(1.0, 0, p, 1.0, 4)
            })
            .to_vec();
        case.random = vec![[u32::MAX; 2]; 2];
        case.step(&gpu, [logits; 2].concat());
        assert_eq!(case.tokens_of_step(0), [1, 0], "the last that is kept");
    }
}

#[test]
fn a_weight_of_one_can_be_drawn_and_beyond_31_halvings_there_is_none() {
    let mut rng = Random::fresh("sample, smallest weights");
    for gpu in adapters() {
        let mut case = Case::random(&mut rng, 4, 1, 1, 0);
        case.settings = vec![SampleSettings {
            scale: 1.0,
            ..SampleSettings::new(1.0, 0, 1.0, 1.0, 4)
        }];
        case.random = vec![[u32::MAX; 2]];
        case.step(&gpu, vec![0.0, -30.5, -31.0, -31.000_002]);
        assert_eq!(case.tokens_of_step(0), [2], "the last that has a weight");
    }
}

#[test]
fn equal_weights_share_the_random_bits_evenly() {
    let mut rng = Random::fresh("sample, shares of the bits");
    for gpu in adapters() {
        let (vocab, rows) = (1003, 200);
        let mut case = Case::random(&mut rng, vocab, rows, 2, 0);
        case.settings = vec![SampleSettings::new(1.0, 0, 1.0, 1.0, vocab as u32); rows];
        // Of n equals token k is drawn from the bits ceil(k · 2^64 / n) on: a difference of one in any product would show.
        let tokens: Vec<usize> = (0..rows).map(|_| 1 + rng.below(vocab - 1)).collect();
        for (r, &k) in tokens.iter().enumerate() {
            let first = ((k as u128) << 64).div_ceil(vocab as u128) as u64;
            for (step, bits) in [first, first - 1].into_iter().enumerate() {
                case.random[step * rows + r] = [bits as u32, (bits >> 32) as u32];
            }
        }
        for step in 0..2 {
            case.step(&gpu, vec![0.25; rows * vocab]);
            let expected: Vec<u32> = tokens.iter().map(|&k| (k - step) as u32).collect();
            assert_eq!(case.tokens_of_step(step), expected);
        }
    }
}

#[test]
fn logits_that_cannot_be_drawn_from_are_reported_row_by_row() {
    let mut rng = Random::fresh("sample, bad logits");
    for gpu in adapters() {
        let vocab = 1003;
        let good = logits_like_a_model(&mut rng, vocab);
        let with = |id: usize, bits: u32| {
            let mut logits = good.clone();
            logits[id] = f32::from_bits(bits);
            logits
        };
        let rows = [
            good.clone(),
            with(1002, 0x7fc0_0000),
            with(0, 0xffff_ffff),
            with(500, 0x7f80_0001),
            with(77, f32::INFINITY.to_bits()),
            vec![f32::NEG_INFINITY; vocab],
            // Behind the known ids anything may be.
            with(1001, 0x7fc0_0000),
            with(77, f32::NEG_INFINITY.to_bits()),
        ];
        let mut case = Case::random(&mut rng, vocab, rows.len(), 1, 10);
        for settings in &mut case.settings {
            *settings = SampleSettings::new(0.8, 40, 0.9, 1.1, vocab as u32);
        }
        case.settings[6].known = 1001;
        case.step(&gpu, rows.concat());
        let is_drawn: Vec<bool> = case
            .tokens_of_step(0)
            .iter()
            .map(|&t| t != NO_TOKEN)
            .collect();
        assert_eq!(
            is_drawn,
            [true, false, false, false, false, false, true, true]
        );
    }
}

fn logits_like_a_model(rng: &mut Random, vocab: usize) -> Vec<f32> {
    (0..vocab).map(|_| rng.range(-8.0, 8.0)).collect()
}

#[test]
fn an_infinite_logit_after_the_penalty_is_drawn_as_on_the_cpu() {
    let mut rng = Random::fresh("sample, overflow");
    for gpu in adapters() {
        let mut case = Case::random(&mut rng, 257, 2, 1, 4);
        case.history = [[3u32, 0, 9, 200, 10, 0], [3, 0, 9, 200, 10, 0]].concat();
        case.settings = vec![
            SampleSettings::new(1.0, 0, 1.0, 0.01, 257),
            SampleSettings::new(0.0, 0, 1.0, 0.01, 257),
        ];
        let mut one = vec![0.0; 257];
        (one[200], one[10]) = (3e38, 2e38);
        case.step(&gpu, [&one[..]; 2].concat());
        assert_eq!(
            case.tokens_of_step(0),
            [10, 10],
            "the lower id of two infinities"
        );
    }
}
