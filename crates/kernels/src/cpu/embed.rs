//! Twin of `shaders/embed.wgsl`.

use super::layer_norm::norm_row;
use super::project::check_weights;
use super::rows::Row;
use crate::KernelError;
use crate::sequence::check_len;
use ptbr_model::MatrixData;

const KERNEL: &str = "embed";

/// The `params` binding of `embed.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmbedParams {
    /// C, a multiple of 32.
    pub channels: u32,
    /// Added to the variance.
    pub eps: f32,
    /// First token of this binding, where the embedding is split over several.
    pub first_token: u32,
    /// Tokens of this binding.
    pub tokens: u32,
}

impl EmbedParams {
    /// As the shader reads them.
    pub fn words(&self) -> [u32; 4] {
        [
            self.channels,
            self.eps.to_bits(),
            self.first_token,
            self.tokens,
        ]
    }
}

/// Embedding and its layer norm: `x[n] = LN(e[token of row n])`. A row whose token is in another binding is left alone.
///
/// `weights [tokens, C]`, `rows [N]`, `norm [2, C]` (weight, bias), `x [N, C]`.
pub fn embed(
    weights: MatrixData<'_>,
    rows: &[Row],
    norm: &[f32],
    x: &mut [f32],
    params: &EmbedParams,
) -> Result<(), KernelError> {
    let channels = params.channels as usize;
    check_weights(KERNEL, &weights, params.tokens as usize, channels)?;
    check_len(KERNEL, "norm", norm.len(), channels.saturating_mul(2))?;
    let expected = rows.len().saturating_mul(channels);
    check_len(KERNEL, "x", x.len(), expected)?;
    let mut embedding = vec![0.0; channels];
    for (row, x) in rows.iter().zip(x.chunks_exact_mut(channels.max(1))) {
        let token = row.token.wrapping_sub(params.first_token);
        if token < params.tokens {
            weights.dequantize(token as usize * channels, &mut embedding);
            norm_row(&embedding, norm, params.eps, x);
        }
    }
    Ok(())
}
