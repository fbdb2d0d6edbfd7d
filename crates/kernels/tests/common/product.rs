//! Random products for the tests of `matvec.wgsl`, `matmul.wgsl` and `lora_down.wgsl`: matrices of several parts, ragged strides, adapters of different rank.

use ptbr_kernels::cpu::{
    LoraDownParams, LoraModule, NO_ADAPTER, Outcome, ProjectParams, Row, lora_down, matmul,
    round_to_bytes,
};
use ptbr_model::WeightFormat;

use super::matrix::Matrix;
use super::{POISON, Random};

/// What a product is like.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// N.
    pub rows: usize,
    pub cols: usize,
    /// Rows of weights of each part.
    pub parts: &'a [usize],
    pub outcome: Outcome,
    /// With adapters of different rank, and rows without one.
    pub adapters: bool,
    /// First rows of weights of the bindings after the first.
    pub split: &'a [usize],
}

/// Ranks of the adapters' modules; 0 leaves the module alone.
const RANKS: [u32; 6] = [0, 1, 3, 4, 8, 17];
const LOW_WORDS: u32 = 2 + 17;
const ADAPTERS: usize = 5;

/// A product and everything that it needs.
#[derive(Clone)]
pub struct Product {
    pub params: ProjectParams,
    pub down: LoraDownParams,
    pub input: Vec<f32>,
    pub rows: Vec<Row>,
    pub table: Vec<LoraModule>,
    pub bank: Vec<f32>,
    /// What `out` holds before.
    pub out: Vec<f32>,
}

impl Product {
    pub fn random(rng: &mut Random, shape: &Shape<'_>) -> Self {
        let Shape {
            rows, cols, parts, ..
        } = *shape;
        let weight_rows: usize = parts.iter().sum();
        let gated = shape.outcome == Outcome::AddGated;
        let read = if gated {
            cols + weight_rows
        } else {
            cols * parts.len()
        };
        let input_stride = read.next_multiple_of(4) + 4 * rng.below(3);
        let first_output = rng.below(3);
        let output_stride = first_output + weight_rows + rng.below(5);
        let at = |part: usize| parts[..part.min(parts.len())].iter().sum::<usize>() as u32;
        let params = ProjectParams {
            rows: rows as u32,
            weight_rows: weight_rows as u32,
            cols: cols as u32,
            parts_at: [at(1), at(2)],
            input_stride: input_stride as u32,
            output_stride: output_stride as u32,
            first_output: first_output as u32,
            outcome: shape.outcome,
            low_words: if shape.adapters { LOW_WORDS } else { 0 },
            parts: parts.len() as u32,
            first_weight_row: 0,
            workgroup_rows: [16, 32, 64][rng.below(3)],
        };
        let first_module = rng.below(3) as u32;
        let modules = first_module + params.parts + rng.below(2) as u32;
        let mut bank = vec![f32::NAN; 3];
        let mut table = Vec::new();
        for module in 0..ADAPTERS * modules as usize {
            let rank = RANKS[rng.below(RANKS.len())];
            let part = (module % modules as usize).wrapping_sub(first_module as usize);
            let out = parts.get(part).copied().unwrap_or(0);
            let a = bank.len();
            bank.extend((0..rank as usize * cols).map(|_| rng.range(-1.0, 1.0)));
            let b = bank.len();
            bank.extend((0..rank as usize * out).map(|_| rng.range(-1.0, 1.0)));
            table.push(LoraModule {
                a: a as u32,
                b: b as u32,
                rank,
                scale: rng.range(0.5, 2.0),
            });
        }
        let is_added_to = matches!(shape.outcome, Outcome::Add | Outcome::AddGated);
        Self {
            params,
            down: LoraDownParams {
                cols: cols as u32,
                input_stride: input_stride as u32,
                parts: params.parts,
                low_words: LOW_WORDS,
                modules,
                first_module,
            },
            input: (0..rows * input_stride)
                .map(|_| rng.range(-2.0, 2.0))
                .collect(),
            rows: (0..rows)
                .map(|_| Row {
                    token: POISON,
                    sequence: POISON,
                    adapter: match rng.below(ADAPTERS + 1) {
                        ADAPTERS => NO_ADAPTER,
                        adapter => adapter as u32,
                    },
                    logits: POISON,
                })
                .collect(),
            table,
            bank,
            out: (0..rows * output_stride)
                .map(|_| match is_added_to {
                    true => rng.range(-2.0, 2.0),
                    false => f32::from_bits(POISON),
                })
                .collect(),
        }
    }

    /// One row of it.
    pub fn row(&self, n: usize) -> Self {
        let of = |x: &[f32], stride: u32| {
            let stride = stride as usize;
            x[n * stride..(n + 1) * stride].to_vec()
        };
        Self {
            params: ProjectParams {
                rows: 1,
                ..self.params
            },
            input: of(&self.input, self.params.input_stride),
            rows: vec![self.rows[n]],
            out: of(&self.out, self.params.output_stride),
            ..self.clone()
        }
    }

    /// What is multiplied where inputs are rounded to bytes; gates are not. In `self` a group becomes zeros, one too small to be rounded, and elements half way between two bytes, which the last
    /// bit of a division decides, move to one of them.
    pub fn rounded(&mut self) -> Self {
        let read = (self.params.cols * self.params.parts) as usize;
        let mut rounded = self.clone();
        let stride = self.params.input_stride as usize;
        let rows = self.input.chunks_exact_mut(stride);
        for (given, rounded) in rows.zip(rounded.input.chunks_exact_mut(stride)) {
            let (given, rounded) = (&mut given[..read], &mut rounded[..read]);
            given[..32].fill(0.0);
            given[32..64].fill(-3e-39);
            rounded.copy_from_slice(given);
            round_to_bytes(rounded);
            for (given, rounded) in given.chunks_mut(32).zip(rounded.chunks(32)) {
                let largest = given.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                for (x, rounded) in given.iter_mut().zip(rounded) {
                    let steps = (*x - rounded).abs() / (largest / 127.0);
                    if (steps - 0.5).abs() < 1e-3 {
                        *x = *rounded;
                    }
                }
            }
        }
        rounded
    }

    /// What the twin of `lora_down.wgsl` writes; one word, never read, without adapters.
    pub fn low(&self) -> Vec<u32> {
        if self.params.low_words == 0 {
            return vec![POISON];
        }
        let words = self.rows.len() * (self.down.parts * self.down.low_words) as usize;
        let mut low = vec![POISON; words];
        lora_down(
            &self.input,
            &self.rows,
            &self.table,
            &self.bank,
            &mut low,
            &self.down,
        )
        .expect("lora_down");
        low
    }

    /// The bindings of the weights, each with its parameters.
    pub fn bindings(&self, matrix: &Matrix, split: &[usize]) -> Vec<(Matrix, ProjectParams)> {
        let firsts = [0].iter().chain(split);
        let ends = split.iter().chain([&matrix.rows]);
        firsts
            .zip(ends)
            .map(|(&first, &end)| {
                let params = ProjectParams {
                    first_weight_row: first as u32,
                    weight_rows: (end - first) as u32,
                    ..self.params
                };
                (matrix.part(first, end), params)
            })
            .collect()
    }

    /// `out` by the twin.
    pub fn expected(&self, matrix: &Matrix, low: &[u32]) -> Vec<f32> {
        let mut out = self.out.clone();
        let Self {
            input,
            bank,
            params,
            ..
        } = self;
        matmul(matrix.data(), input, low, bank, &mut out, params).expect("matmul");
        out
    }

    /// For each element of `out` the sum of the absolute values of the terms behind it, what `out` held and the gate left aside; NaN where nothing is written.
    pub fn magnitudes(&self, matrix: &Matrix) -> Vec<f32> {
        let absolute = |x: &[f32]| x.iter().map(|x| x.abs()).collect();
        let mut all = Self {
            input: absolute(&self.input),
            bank: absolute(&self.bank),
            out: vec![f32::NAN; self.out.len()],
            ..self.clone()
        };
        all.params.outcome = Outcome::Store;
        // A·x of absolute values, so that what cancels within it counts too.
        all.expected(&matrix.absolute(), &all.low())
    }
}

/// A matrix for a shape.
pub fn matrix(rng: &mut Random, format: WeightFormat, shape: &Shape<'_>) -> Matrix {
    Matrix::random(rng, format, shape.parts.iter().sum(), shape.cols)
}
