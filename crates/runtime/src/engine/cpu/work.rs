//! What a session's computing has cost so far, counted rather than timed.

/// Counts since a session was made. All of it is in the matrix products: the rest is a few operations per element of the state.
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

    /// One product of `weights` elements with `tokens` inputs.
    pub(crate) fn count(&mut self, weights: usize, tokens: usize) {
        let weights = weights as u64;
        self.multiply_adds = self
            .multiply_adds
            .saturating_add(weights.saturating_mul(tokens as u64));
        self.weight_bytes = self.weight_bytes.saturating_add(weights.saturating_mul(4));
    }
}
