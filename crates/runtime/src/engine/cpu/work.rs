//! What computing has cost so far, counted rather than timed.

use ptbr_model::MatrixData;

/// Counts since a session or a batch was made. All of it is in the matrix products: the rest is a few operations per element of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Multiply-adds of the matrix products.
    pub multiply_adds: u64,
    /// Bytes of weights read, once for each product, however many tokens share it.
    pub weight_bytes: u64,
}

impl Work {
    /// What has been added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            multiply_adds: self.multiply_adds.saturating_sub(earlier.multiply_adds),
            weight_bytes: self.weight_bytes.saturating_sub(earlier.weight_bytes),
        }
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            multiply_adds: self.multiply_adds.saturating_add(other.multiply_adds),
            weight_bytes: self.weight_bytes.saturating_add(other.weight_bytes),
        }
    }

    /// Products of `weights` elements in `bytes` bytes, read once, with `tokens` inputs.
    #[cfg(feature = "gpu")]
    pub(crate) fn add(&mut self, weights: u64, bytes: u64, tokens: u64) {
        self.multiply_adds = self
            .multiply_adds
            .saturating_add(weights.saturating_mul(tokens));
        self.weight_bytes = self.weight_bytes.saturating_add(bytes);
    }

    /// One product with `tokens` inputs.
    pub(crate) fn count(&mut self, weights: MatrixData<'_>, tokens: usize) {
        let products = (weights.len() as u64).saturating_mul(tokens as u64);
        self.multiply_adds = self.multiply_adds.saturating_add(products);
        self.weight_bytes = self.weight_bytes.saturating_add(weights.num_bytes() as u64);
    }
}
