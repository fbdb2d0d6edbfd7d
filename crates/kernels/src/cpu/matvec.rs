//! Twin of `shaders/matvec.wgsl`.

use super::project::{ProjectParams, project};
use crate::KernelError;
use ptbr_model::MatrixData;

/// Products of a matrix with few vectors (decoding): `y[n, o] = Σ_i W[o, i] · x[n, i]`, the low-rank change of the row's adapter, then the outcome.
///
/// `weights [weight_rows, cols]`, `input [N, input_stride]`, `low [N, parts, low_words]` as [`lora_down`](super::lora_down) writes it, `bank` all B
/// `[out, rank]`, `out [N, output_stride]`. Part p of the rows of weights takes the input vector p of each row of input. Sums in f64. The permutations
/// with products of integers (`*_dots`) give this for an input that [`round_to_bytes`](super::round_to_bytes) has rounded, gates left aside.
pub fn matvec(
    weights: MatrixData<'_>,
    input: &[f32],
    low: &[u32],
    bank: &[f32],
    out: &mut [f32],
    params: &ProjectParams,
) -> Result<(), KernelError> {
    project("matvec", weights, input, low, bank, out, params)
}
