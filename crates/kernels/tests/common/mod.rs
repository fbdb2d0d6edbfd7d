//! What the WKV tests share: random ragged cases, the definition in f64 and comparison.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod browser;
pub mod gpu;
pub mod matrix;
pub mod naive;
pub mod native;
pub mod product;

use ptbr_kernels::{EMPTY_PP, GRAD_ROWS, NO_STATE, STATE_ROWS, Sequence, WkvDims};

/// A NaN that no kernel computes: what outputs hold before.
pub const POISON: u32 = 0x7fc0_dead;

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    /// A seed that differs from run to run, printed so that a failure can be repeated.
    pub fn fresh(test: &str) -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("clock");
        let seed = now.as_nanos() as u64;
        println!("{test}: seed {seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// How wild the numbers are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Numbers {
    /// Like those of a trained model.
    Usual,
    /// Decays from e^-20 to e^3 a step, keys from -80 to 80, many of them exactly there.
    Extreme,
}

/// Inputs of both kernels.
#[derive(Debug, Clone)]
pub struct Case {
    pub dims: WkvDims,
    pub wu: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub seqs: Vec<Sequence>,
    pub state_in: Vec<f32>,
    pub grad_out: Vec<f32>,
}

impl Case {
    /// Sequences of these lengths in shuffled places with unused rows between; a slot is shared, some are missing, one is unused.
    pub fn random(rng: &mut Random, lengths: &[u32], channels: usize, numbers: Numbers) -> Self {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i + 1));
        }
        let count = lengths.len() as u32;
        let mut seqs = vec![
            Sequence {
                first: 0,
                len: 0,
                slot_in: 0,
                slot_out: 0
            };
            lengths.len()
        ];
        let mut first = 0;
        for &i in &order {
            first += rng.below(3) as u32;
            let slot_in = [i as u32, 0, NO_STATE][rng.below(3)];
            // The slots are written in reverse, so that slot in and slot out cannot be mixed up.
            let slot_out = if rng.below(4) == 0 {
                NO_STATE
            } else {
                count - 1 - i as u32
            };
            seqs[i] = Sequence {
                first,
                len: lengths[i],
                slot_in,
                slot_out,
            };
            first += lengths[i];
        }
        let dims = WkvDims {
            n: first as usize + 1,
            c: channels,
            slots: lengths.len() + 1,
        };

        let mut numbers_of = |n: usize, f: &dyn Fn(&mut Random) -> f32| -> Vec<f32> {
            (0..n).map(|_| f(rng)).collect()
        };
        let extreme = numbers == Numbers::Extreme;
        let mut wu = numbers_of(channels, &|r| {
            -(if extreme {
                r.range(-20.0, 3.0)
            } else {
                r.range(-6.0, 0.5)
            })
            .exp()
        });
        wu.extend(numbers_of(channels, &|r| {
            if extreme {
                r.range(-5.0, 5.0)
            } else {
                r.range(-1.5, 1.5)
            }
        }));
        let k = numbers_of(dims.n * channels, &|r| match (extreme, r.below(4)) {
            (false, _) => r.range(-4.0, 4.0),
            (true, 0) => 80.0,
            (true, 1) => -80.0,
            (true, _) => r.range(-80.0, 80.0),
        });
        let v = numbers_of(dims.n * channels, &|r| r.range(-2.0, 2.0));
        let grad_out = numbers_of(dims.out_len().expect("small"), &|r| r.range(-1.0, 1.0));
        let mut state_in = Vec::new();
        for slot in 0..dims.slots {
            // Slot 0 is without history, as a caller's fresh buffer would be.
            state_in.extend(numbers_of(channels, &|r| {
                if slot == 0 { 0.0 } else { r.range(-3.0, 3.0) }
            }));
            state_in.extend(numbers_of(channels, &|r| {
                if slot == 0 { 0.0 } else { r.range(0.5, 3.0) }
            }));
            state_in.extend(numbers_of(channels, &|r| match (slot, extreme) {
                (0, _) => EMPTY_PP,
                (_, true) => r.range(-80.0, 80.0),
                (_, false) => r.range(-4.0, 4.0),
            }));
        }
        Self {
            dims,
            wu,
            k,
            v,
            seqs,
            state_in,
            grad_out,
        }
    }

    /// Replaces the gradient of each final pp by `ga·aa + gb·bb`, which is what a consumer that takes (aa, bb, pp) for a state sends.
    /// The maximum that pp is then carries no gradient of its own: needed where keys tie, since a tie has no derivative.
    pub fn with_gradient_from_a_state_consumer(mut self) -> Self {
        let width = self.dims.c;
        for seq in self.seqs.clone() {
            for c in 0..width {
                if seq.slot_out != NO_STATE {
                    let (_, [aa, bb, _]) = self.channel(&seq, c).forward();
                    let (_, [ga, gb, _]) = self.cotangent(&seq, c);
                    let row = self.dims.n + seq.slot_out as usize * STATE_ROWS + 2;
                    self.grad_out[row * width + c] = (ga * aa + gb * bb) as f32;
                }
            }
        }
        self
    }

    pub fn poisoned_out(&self) -> Vec<f32> {
        vec![f32::from_bits(POISON); self.dims.out_len().expect("small")]
    }

    pub fn poisoned_grads(&self) -> Vec<f32> {
        vec![f32::from_bits(POISON); self.dims.grads_len(self.seqs.len()).expect("small")]
    }

    /// One channel of one sequence in f64.
    pub fn channel(&self, seq: &Sequence, c: usize) -> naive::Channel {
        let width = self.dims.c;
        let column = |x: &[f32]| -> Vec<f64> {
            (0..seq.len as usize)
                .map(|t| x[(seq.first as usize + t) * width + c] as f64)
                .collect()
        };
        let state = match seq.slot_in {
            NO_STATE => [0.0, 0.0, EMPTY_PP as f64],
            slot => [0, 1, 2]
                .map(|row| self.state_in[(slot as usize * STATE_ROWS + row) * width + c] as f64),
        };
        naive::Channel {
            w: self.wu[c] as f64,
            u: self.wu[width + c] as f64,
            k: column(&self.k),
            v: column(&self.v),
            state,
        }
    }

    /// The gradients of y and of the final state for one channel of one sequence.
    pub fn cotangent(&self, seq: &Sequence, c: usize) -> (Vec<f64>, [f64; 3]) {
        let width = self.dims.c;
        let of = |row: usize| self.grad_out[row * width + c] as f64;
        let last = match seq.slot_out {
            NO_STATE => [0.0; 3],
            slot => [0, 1, 2].map(|row| of(self.dims.n + slot as usize * STATE_ROWS + row)),
        };
        (
            (0..seq.len as usize)
                .map(|t| of(seq.first as usize + t))
                .collect(),
            last,
        )
    }

    /// Row of the packed gradients that holds row `row` of gw, gu, gaa, gbb, gpp of a sequence.
    pub fn own_row(&self, sequence: usize, row: usize) -> usize {
        2 * self.dims.n + sequence * GRAD_ROWS + row
    }

    /// For each row of `out` (or `grads`) whether some sequence writes it.
    pub fn rows_written(&self, grads: bool) -> Vec<bool> {
        let n = self.dims.n;
        let rows = if grads {
            2 * n + self.seqs.len() * GRAD_ROWS
        } else {
            n + self.dims.slots * STATE_ROWS
        };
        let mut written = vec![false; rows];
        for (i, s) in self.seqs.iter().enumerate() {
            let tokens = s.first as usize..(s.first + s.len) as usize;
            written[tokens.clone()].fill(true);
            if grads {
                written[n + tokens.start..n + tokens.end].fill(true);
                written[self.own_row(i, 0)..self.own_row(i + 1, 0)].fill(true);
            } else if s.slot_out != NO_STATE {
                let at = n + s.slot_out as usize * STATE_ROWS;
                written[at..at + STATE_ROWS].fill(true);
            }
        }
        written
    }

    /// Every element written is finite, every other still holds the poison.
    pub fn assert_written(&self, what: &str, buffer: &[f32], grads: bool) {
        for (row, written) in self.rows_written(grads).into_iter().enumerate() {
            for (c, x) in buffer[row * self.dims.c..][..self.dims.c]
                .iter()
                .enumerate()
            {
                let right = if written {
                    x.is_finite()
                } else {
                    x.to_bits() == POISON
                };
                assert!(
                    right,
                    "{what}: row {row} channel {c} is {x:e} ({:#x}), written: {written}",
                    x.to_bits()
                );
            }
        }
    }
}

/// Asserts |found - expected| ≤ tolerance · magnitude.
pub fn assert_near(
    what: std::fmt::Arguments<'_>,
    found: f32,
    expected: f64,
    magnitude: f64,
    tolerance: f64,
) {
    let error = (found as f64 - expected).abs();
    assert!(
        error <= tolerance * magnitude,
        "{what}: {found:e} for {expected:e}, error {error:e} of magnitude {magnitude:e}"
    );
}
