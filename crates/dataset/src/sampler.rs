//! Which window of tokens a training sequence is: a pure function of (seed, position).

use crate::permutation::{mix, permute};

/// Cuts the tokens into windows of `seq_len + 1` (inputs, and the same shifted by one as targets) and shuffles them, anew in every epoch.
///
/// The cut moves too: epoch `e` starts at its own offset, so that over the epochs every token is seen at every place of a window. Within an epoch no token is predicted twice, and fewer than
/// `2·seq_len` at the two ends are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSampler {
    seq_len: usize,
    seed: u64,
    windows: u64,
    /// Number of offsets that an epoch may start at.
    offsets: u64,
}

impl WindowSampler {
    /// A sampler over `n_tokens` tokens; `None` when `seq_len` is 0 or they are fewer than `seq_len + 1`.
    pub fn new(n_tokens: usize, seq_len: usize, seed: u64) -> Option<Self> {
        let predicted = n_tokens.checked_sub(1)?;
        let whole = predicted.checked_div(seq_len)?;
        if whole == 0 {
            return None;
        }
        // One window fewer than fit, where there are several, leaves room to move the cut by a whole window.
        let windows = if whole == 1 { 1 } else { whole - 1 };
        let spare = predicted - windows * seq_len;
        Some(Self {
            seq_len,
            seed,
            windows: windows as u64,
            offsets: (spare + 1) as u64,
        })
    }

    /// Windows of one epoch.
    pub fn windows_per_epoch(&self) -> u64 {
        self.windows
    }

    /// Index of the first token of the window at `position`, counted from 0 through all epochs. The window has `seq_len + 1` tokens and lies inside the data.
    pub fn start_of(&self, position: u64) -> usize {
        let (epoch, index) = (position / self.windows, position % self.windows);
        let key = mix(self.seed ^ mix(epoch));
        let offset = mix(key ^ 0x6f66_6673_6574) % self.offsets;
        // Both terms are below the number of tokens, which is a usize.
        offset as usize + permute(self.windows, key, index) as usize * self.seq_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn starts(sampler: &WindowSampler, epoch: u64) -> Vec<usize> {
        let n = sampler.windows_per_epoch();
        (epoch * n..(epoch + 1) * n)
            .map(|position| sampler.start_of(position))
            .collect()
    }

    proptest! {
        #[test]
        fn windows_lie_inside_and_never_overlap(n_tokens in 2usize..5_000, seq_len in 1usize..300, seed: u64, epoch in 0u64..1_000_000) {
            match WindowSampler::new(n_tokens, seq_len, seed) {
                None => prop_assert!(n_tokens <= seq_len),
                Some(sampler) => {
                    let mut starts = starts(&sampler, epoch);
                    starts.sort_unstable();
                    prop_assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == seq_len), "one cut, each window once");
                    prop_assert!(starts[starts.len() - 1] + seq_len < n_tokens);
                    let predicted = starts.len() * seq_len;
                    prop_assert!(n_tokens - 1 - predicted < 2 * seq_len);
                }
            }
        }

        #[test]
        fn any_position_has_a_window(position: u64, seed: u64) {
            let sampler = WindowSampler::new(1_000, 64, seed).unwrap();
            prop_assert!(sampler.start_of(position) + 64 < 1_000);
        }
    }

    #[test]
    fn epochs_and_seeds_differ_and_repeat_exactly() {
        let sampler = WindowSampler::new(100_000, 50, 7).unwrap();
        let (first, second) = (starts(&sampler, 0), starts(&sampler, 1));
        assert_ne!(first, second);
        assert_ne!(
            first[0] % 50,
            second[0] % 50,
            "these two epochs cut at different places"
        );
        assert_ne!(
            first,
            starts(&WindowSampler::new(100_000, 50, 8).unwrap(), 0)
        );
        assert_eq!(
            first,
            starts(&WindowSampler::new(100_000, 50, 7).unwrap(), 0)
        );
    }

    #[test]
    fn the_order_is_fixed_for_ever() {
        // A checkpoint holds only (seed, position): were this order to change, a resumed run would see other text.
        let sampler = WindowSampler::new(1_000, 10, 42).unwrap();
        let order: Vec<usize> = (0..6).map(|position| sampler.start_of(position)).collect();
        assert_eq!(order, [633, 723, 73, 773, 593, 783]);
    }

    #[test]
    fn tokens_of_both_ends_are_seen_over_the_epochs() {
        let sampler = WindowSampler::new(95, 10, 3).unwrap();
        let mut seen = [false; 95];
        for position in 0..sampler.windows_per_epoch() * 200 {
            let start = sampler.start_of(position);
            seen[start + 1..=start + 10].fill(true);
        }
        assert_eq!(
            seen.iter().filter(|seen| **seen).count(),
            94,
            "all but the first token, which nothing predicts"
        );
    }

    #[test]
    fn impossible_sizes() {
        assert!(WindowSampler::new(0, 1, 0).is_none());
        assert!(WindowSampler::new(10, 0, 0).is_none());
        assert!(WindowSampler::new(10, 10, 0).is_none());
        assert!(WindowSampler::new(11, 10, 0).is_some());
        assert!(WindowSampler::new(usize::MAX, usize::MAX - 1, 0).is_some());
        assert!(WindowSampler::new(10, usize::MAX, 0).is_none());
    }
}
