//! Twin of `shaders/layer_norm.wgsl`.

use super::rows::check_index;
use crate::KernelError;
use crate::sequence::check_len;

const KERNEL: &str = "layer_norm";

/// The `params` binding of `layer_norm.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNormParams {
    /// C, a multiple of 4.
    pub channels: u32,
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNormParams {
    /// As the shader reads them.
    pub fn words(&self) -> [u32; 2] {
        [self.channels, self.eps.to_bits()]
    }
}

/// Layer norm of chosen rows: `out[i] = LN(x[chosen[i]])`.
///
/// `x [N, C]`, `norm [2, C]` (weight, bias), `chosen` row numbers, `out [chosen, C]`.
pub fn layer_norm(
    x: &[f32],
    norm: &[f32],
    chosen: &[u32],
    out: &mut [f32],
    params: &LayerNormParams,
) -> Result<(), KernelError> {
    let channels = params.channels as usize;
    let rows = x.len().checked_div(channels).unwrap_or(0);
    check_len(KERNEL, "x", x.len(), rows * channels)?;
    check_len(KERNEL, "norm", norm.len(), channels.saturating_mul(2))?;
    let expected = chosen.len().saturating_mul(channels);
    check_len(KERNEL, "out", out.len(), expected)?;
    for (index, &row) in chosen.iter().enumerate() {
        check_index(KERNEL, "chosen", index, row, rows)?;
    }
    for (&row, out) in chosen.iter().zip(out.chunks_exact_mut(channels.max(1))) {
        norm_row(
            &x[row as usize * channels..][..channels],
            norm,
            params.eps,
            out,
        );
    }
    Ok(())
}

/// Layer norm of one row in f64; `norm` begins with weight and bias.
pub(super) fn norm_row(x: &[f32], norm: &[f32], eps: f32, out: &mut [f32]) {
    let channels = x.len();
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / channels as f64;
    let squares: f64 = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum();
    let scale = 1.0 / (squares / channels as f64 + f64::from(eps)).sqrt();
    let (weight, bias) = norm.split_at(channels);
    for ((out, &x), (&weight, &bias)) in out.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
        *out = ((f64::from(x) - mean) * scale * f64::from(weight) + f64::from(bias)) as f32;
    }
}
