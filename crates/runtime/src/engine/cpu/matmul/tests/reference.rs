//! The products as they are defined, an element at a time: what every kernel's bits must be.

use super::float::{LANES, reduce};
use super::stored::Stored;
use ptbr_model::{GROUP, MatrixData, half_of, scale_and_minimum};

/// `a · b + c` with one rounding or two.
fn multiply_add(a: f32, b: f32, c: f32, fused: bool) -> f32 {
    if fused { a.mul_add(b, c) } else { a * b + c }
}

/// `[tokens, rows]`
pub(super) fn reference(
    weights: &Stored,
    input: &[f32],
    rows: usize,
    tokens: usize,
    fused: bool,
) -> Vec<f32> {
    let cols = input.len() / tokens;
    let matrix = weights.matrix();
    let wide = match matrix {
        MatrixData::Int8 { .. } | MatrixData::Int4 { .. } => Vec::new(),
        _ => weights.dequantized(),
    };
    let mut output = Vec::with_capacity(rows * tokens);
    for x in input.chunks_exact(cols) {
        let quantized: Vec<_> = x.chunks(GROUP).map(quantize).collect();
        output.extend((0..rows).map(|row| match matrix {
            MatrixData::Int8 { .. } | MatrixData::Int4 { .. } => {
                integer(matrix, row * cols / GROUP, &quantized, fused)
            }
            _ => float(&wide[row * cols..(row + 1) * cols], x, fused),
        }));
    }
    output
}

fn float(weights: &[f32], x: &[f32], fused: bool) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (i, (w, x)) in weights.iter().zip(x).enumerate() {
        sums[i % LANES] = multiply_add(*w, *x, sums[i % LANES], fused);
    }
    reduce(&sums)
}

/// Scale and quantized elements.
fn quantize(x: &[f32]) -> (f32, Vec<i32>) {
    let largest = x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
    let rounded = x.iter().map(|x| (x * (127.0 / largest)).round_ties_even());
    (largest / 127.0, rounded.map(|x| x as i32).collect())
}

/// One element, its row's groups beginning at number `first`.
fn integer(matrix: MatrixData<'_>, first: usize, x: &[(f32, Vec<i32>)], fused: bool) -> f32 {
    let mut sum = 0.0;
    for (first, x) in (first..).step_by(8).zip(x.chunks(8)) {
        let mut parts = [0.0; 8];
        for ((group, (x_scale, x)), part) in (first..).zip(x).zip(&mut parts) {
            let dot =
                |w: &dyn Fn(usize) -> i32| (0..GROUP).map(|i| w(i) * x[i]).sum::<i32>() as f32;
            *part = match matrix {
                MatrixData::Int8 { values, scales } => {
                    let values: &[i8] = &bytemuck::cast_slice(values)[group * GROUP..];
                    dot(&|i| values[i].into()) * (half_of(scales, group) * x_scale)
                }
                MatrixData::Int4 { values, scales } => {
                    let values: &[u8] = &bytemuck::cast_slice(values)[group * GROUP / 2..];
                    let dot = dot(&|i| (values[i % 16] >> (i / 16 * 4) & 15).into());
                    let [scale, minimum] = scale_and_minimum(scales[group]);
                    let total = x.iter().sum::<i32>() as f32;
                    multiply_add(minimum, x_scale * total, dot * (scale * x_scale), fused)
                }
                _ => unreachable!("floats"),
            };
        }
        let [a, b, c, d, e, f, g, h] = parts;
        sum += (((a + e) + (b + f)) + (c + g)) + (d + h);
    }
    sum
}
