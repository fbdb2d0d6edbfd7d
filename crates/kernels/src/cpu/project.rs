//! Twin of `shaders/shared/project.wgsl`: what every product of the runtime does around its sums.

use super::rows::check_index;
use crate::KernelError;
use crate::sequence::check_len;
use ptbr_model::{GROUP, MatrixData};

/// What becomes of the result y of weight row o.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// `out[row, o] = y`
    Store = 0,
    /// `out[row, o] += y`
    Add = 1,
    /// `out[row, o] = max(0, y)²` in part 0, `σ(y)` in part 1
    Activate = 2,
    /// `out[row, o] += input[row, gate + o] · y`, gate the first element behind the vector that the product reads
    AddGated = 3,
}

/// The `params` binding of `matmul.wgsl` and `matvec.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectParams {
    /// N.
    pub rows: u32,
    /// Rows of weights of this binding.
    pub weight_rows: u32,
    /// Elements of a row of weights, a multiple of 32.
    pub cols: u32,
    /// First rows of parts 1 and 2, multiples of 32, counted over all bindings; the number of all rows where there is no such part.
    pub parts_at: [u32; 2],
    /// Elements from one row of input to the next, a multiple of 4.
    pub input_stride: u32,
    /// Elements from one row of output to the next.
    pub output_stride: u32,
    /// First output element.
    pub first_output: u32,
    /// What becomes of the result.
    pub outcome: Outcome,
    /// Words of a part in `low`, 0 without adapters.
    pub low_words: u32,
    /// Parts.
    pub parts: u32,
    /// First row of weights of this binding, a multiple of 32.
    pub first_weight_row: u32,
    /// Rows of weights of a workgroup of `matvec.wgsl`, a multiple of 16; of 32 in its permutations with products of integers.
    pub workgroup_rows: u32,
}

impl ProjectParams {
    /// As the shaders read them.
    pub fn words(&self) -> [u32; 13] {
        [
            self.rows,
            self.weight_rows,
            self.cols,
            self.parts_at[0],
            self.parts_at[1],
            self.input_stride,
            self.output_stride,
            self.first_output,
            self.outcome as u32,
            self.low_words,
            self.parts,
            self.first_weight_row,
            self.workgroup_rows,
        ]
    }

    /// The part of weight row o, counted over all bindings, and the part's first row.
    fn part_of(&self, o: usize) -> (usize, usize) {
        let [first1, first2] = self.parts_at.map(|row| row as usize);
        match (o >= first1, o >= first2) {
            (_, true) => (2, first2),
            (true, false) => (1, first1),
            (false, false) => (0, 0),
        }
    }
}

/// Every product with its outcome, one after the other, sums in f64. Shapes as in [`matmul`](super::matmul).
pub(super) fn project(
    kernel: &'static str,
    weights: MatrixData<'_>,
    input: &[f32],
    low: &[u32],
    bank: &[f32],
    out: &mut [f32],
    params: &ProjectParams,
) -> Result<(), KernelError> {
    check(kernel, &weights, input, low, bank, out, params)?;
    let cols = params.cols as usize;
    let mut row_of_weights = vec![0.0; cols];
    for index in 0..params.weight_rows as usize {
        weights.dequantize(index * cols, &mut row_of_weights);
        let o = index + params.first_weight_row as usize;
        let (part, first) = params.part_of(o);
        for row in 0..params.rows as usize {
            let of_row = &input[row * params.input_stride as usize..];
            let mut y = dot(&row_of_weights, &of_row[part * cols..][..cols]);
            if params.low_words != 0 {
                let at = (row * params.parts as usize + part) * params.low_words as usize;
                let low = &low[at..][..params.low_words as usize];
                y += low_rank(low, bank, o - first);
            }
            let at = row * params.output_stride as usize + params.first_output as usize + o;
            out[at] = match params.outcome {
                Outcome::Store => y as f32,
                Outcome::Add => (f64::from(out[at]) + y) as f32,
                Outcome::Activate if part == 1 => (1.0 / (1.0 + (-y).exp())) as f32,
                Outcome::Activate => y.max(0.0).powi(2) as f32,
                Outcome::AddGated => (f64::from(out[at]) + f64::from(of_row[cols + o]) * y) as f32,
            };
        }
    }
    Ok(())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

/// Row `o` of B times what `lora_down` has written for a part.
fn low_rank(low: &[u32], bank: &[f32], o: usize) -> f64 {
    let (b, rank) = (low[0] as usize, low[1] as usize);
    bank[b + o * rank..][..rank]
        .iter()
        .zip(&low[2..])
        .map(|(&b, &low)| f64::from(b) * f64::from(f32::from_bits(low)))
        .sum()
}

/// Checks that a matrix is `[rows, cols]`, whole groups to a row.
pub(super) fn check_weights(
    kernel: &'static str,
    weights: &MatrixData<'_>,
    rows: usize,
    cols: usize,
) -> Result<(), KernelError> {
    if !cols.is_multiple_of(GROUP) {
        return Err(KernelError::PartialGroup {
            kernel,
            cols,
            group: GROUP,
        });
    }
    check_len(kernel, "weights", weights.len(), rows.saturating_mul(cols))?;
    if let MatrixData::Int8 { scales, .. }
    | MatrixData::Fp8 { scales, .. }
    | MatrixData::Int4 { scales, .. } = weights
    {
        let expected = weights.format().scale_words(weights.len());
        check_len(kernel, "scales", scales.len(), expected)?;
    }
    Ok(())
}

fn check(
    kernel: &'static str,
    weights: &MatrixData<'_>,
    input: &[f32],
    low: &[u32],
    bank: &[f32],
    out: &[f32],
    params: &ProjectParams,
) -> Result<(), KernelError> {
    let (rows, cols) = (params.rows as usize, params.cols as usize);
    let parts = params.parts as usize;
    check_weights(kernel, weights, params.weight_rows as usize, cols)?;
    let of_input = rows.saturating_mul(params.input_stride as usize);
    check_len(kernel, "input", input.len(), of_input)?;
    let of_out = rows.saturating_mul(params.output_stride as usize);
    check_len(kernel, "out", out.len(), of_out)?;
    // How far a row reaches, against what it has.
    let end = (params.first_weight_row as usize).saturating_add(params.weight_rows as usize);
    let reads = match params.outcome {
        Outcome::AddGated => cols.saturating_add(end),
        _ => cols.saturating_mul(parts),
    };
    for (index, reach, stride) in [
        (5, reads, params.input_stride),
        (
            6,
            end.saturating_add(params.first_output as usize),
            params.output_stride,
        ),
    ] {
        if reach > stride as usize {
            return Err(KernelError::OutOfRange {
                kernel,
                buffer: "params",
                index,
                value: u32::try_from(reach).unwrap_or(u32::MAX),
                limit: stride as usize + 1,
            });
        }
    }
    let (last_part, _) = params.part_of(end.saturating_sub(1));
    check_index(kernel, "params", 10, last_part as u32, parts)?;
    if params.low_words == 0 {
        return Ok(());
    }
    let low_words = params.low_words as usize;
    check_index(kernel, "params", 9, 1, low_words)?;
    let of_low = rows.saturating_mul(parts).saturating_mul(low_words);
    check_len(kernel, "low", low.len(), of_low)?;
    for (index, low) in low.chunks_exact(low_words).enumerate() {
        check_index(kernel, "low", index * low_words + 1, low[1], low_words - 1)?;
        // The last row of B that the part has here.
        let part = index % parts;
        let first = [0, params.parts_at[0], params.parts_at[1]][part.min(2)] as usize;
        let ends = [params.parts_at[0], params.parts_at[1], u32::MAX][part.min(2)] as usize;
        let rows_of_b = end.min(ends).saturating_sub(first);
        let words = rows_of_b.saturating_mul(low[1] as usize);
        if words.saturating_add(low[0] as usize) > bank.len() {
            return Err(KernelError::OutOfRange {
                kernel,
                buffer: "low",
                index: index * low_words,
                value: low[0],
                limit: bank.len().saturating_sub(words) + 1,
            });
        }
    }
    Ok(())
}
