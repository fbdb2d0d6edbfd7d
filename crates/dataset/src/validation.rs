//! Validation reads the data in order, each token predicted once.

use crate::error::DatasetError;
use crate::reader::MmapDataset;

/// One stretch of validation text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidationWindow<'a> {
    /// Input tokens: `seq_len`, fewer in the last window.
    pub inputs: &'a [u16],
    /// The token after each input.
    pub targets: &'a [u16],
}

/// Windows one after another: see [`validation_windows`].
#[derive(Debug, Clone)]
pub struct ValidationWindows<'a> {
    tokens: &'a [u16],
    seq_len: usize,
    next: usize,
}

/// Consecutive windows of `seq_len` targets from the first token on (the last one may be shorter): every token but the very first is predicted exactly once, up to `max_tokens` predictions
/// (0: all). An error when `seq_len` is 0 or there are fewer than two tokens.
pub fn validation_windows(
    dataset: &MmapDataset,
    seq_len: usize,
    max_tokens: u64,
) -> Result<ValidationWindows<'_>, DatasetError> {
    if seq_len == 0 {
        return Err(DatasetError::Invalid {
            field: "seq_len",
            value: 0,
            reason: "must be at least 1",
        });
    }
    let tokens = dataset.tokens();
    if tokens.len() < 2 {
        return Err(DatasetError::TooShort {
            path: dataset.path().to_owned(),
            tokens: tokens.len(),
            seq_len: 1,
        });
    }
    let limit = match max_tokens {
        0 => tokens.len(),
        most => usize::try_from(most)
            .unwrap_or(usize::MAX)
            .saturating_add(1)
            .min(tokens.len()),
    };
    Ok(ValidationWindows {
        tokens: &tokens[..limit],
        seq_len,
        next: 0,
    })
}

impl<'a> Iterator for ValidationWindows<'a> {
    type Item = ValidationWindow<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let last = self.tokens.len() - 1;
        if self.next >= last {
            return None;
        }
        let end = self.next.saturating_add(self.seq_len).min(last);
        let window = ValidationWindow {
            inputs: &self.tokens[self.next..end],
            targets: &self.tokens[self.next + 1..=end],
        };
        self.next = end;
        Some(window)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let windows = (self.tokens.len() - 1)
            .saturating_sub(self.next)
            .div_ceil(self.seq_len);
        (windows, Some(windows))
    }
}

impl ExactSizeIterator for ValidationWindows<'_> {}
