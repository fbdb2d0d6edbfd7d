//! Which window of tokens a lane reads where states are carried from window to window: a pure function of (seed, position).

use crate::permutation::{mix, permute};

/// Lets every lane, a place in a batch, walk through the text: window after window of `seq_len` tokens, until its stretch of the text ends.
///
/// An epoch cuts the text into as many stretches of equal length as there are lanes; which lane reads which is drawn anew in each, and the cut
/// moves as that of [`WindowSampler`](crate::WindowSampler) does. Within an epoch no token is predicted twice; fewer than
/// `(lanes + 1) · seq_len` at the two ends are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneSampler {
    seq_len: usize,
    seed: u64,
    lanes: u64,
    /// Windows of a stretch.
    stretch: u64,
    /// Number of offsets that an epoch may start at.
    offsets: u64,
}

impl LaneSampler {
    /// A sampler over `n_tokens` tokens for `lanes` lanes; `None` when one of the two sizes is 0, or when not every lane would get two
    /// windows, so that a state is carried at all.
    pub fn new(n_tokens: usize, seq_len: usize, lanes: usize, seed: u64) -> Option<Self> {
        let predicted = n_tokens.checked_sub(1)?;
        let whole = predicted.checked_div(seq_len)?;
        // One window fewer than fit leaves room to move the cut by a whole window.
        let stretch = whole.checked_sub(1)?.checked_div(lanes)?;
        if stretch < 2 {
            return None;
        }
        let spare = predicted - stretch * lanes * seq_len;
        Some(Self {
            seq_len,
            seed,
            lanes: lanes as u64,
            stretch: stretch as u64,
            offsets: (spare + 1) as u64,
        })
    }

    /// Windows that a lane reads before it jumps to another place.
    pub fn stretch(&self) -> u64 {
        self.stretch
    }

    /// Windows of one epoch.
    pub fn windows_per_epoch(&self) -> u64 {
        self.lanes * self.stretch
    }

    /// Index of the first token of the window at `position`, counted lane by lane, batch after batch, through all epochs. The window has
    /// `seq_len + 1` tokens and lies inside the data.
    pub fn start_of(&self, position: u64) -> usize {
        let (lane, step) = (position % self.lanes, position / self.lanes);
        let (epoch, place) = (step / self.stretch, step % self.stretch);
        let key = mix(self.seed ^ mix(epoch));
        let offset = mix(key ^ 0x6f66_6673_6574) % self.offsets;
        let window = permute(self.lanes, key, lane) * self.stretch + place;
        // Both terms are below the number of tokens, which is a usize.
        offset as usize + window as usize * self.seq_len
    }

    /// Whether the window at `position` goes on where its lane's last one ended.
    pub fn continues(&self, position: u64) -> bool {
        !(position / self.lanes).is_multiple_of(self.stretch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lanes_walk_and_no_token_is_predicted_twice(n_tokens in 2usize..4_000, seq_len in 1usize..60, lanes in 1usize..12, seed: u64, epoch in 0u64..1_000_000) {
            let Some(sampler) = LaneSampler::new(n_tokens, seq_len, lanes, seed) else {
                prop_assert!(n_tokens.saturating_sub(1) / seq_len < 2 * lanes + 1);
                return Ok(());
            };
            let (lanes, per_epoch) = (lanes as u64, lanes as u64 * sampler.stretch());
            let mut starts = Vec::new();
            for position in epoch * per_epoch..(epoch + 1) * per_epoch {
                let start = sampler.start_of(position);
                prop_assert!(start + seq_len < n_tokens);
                if sampler.continues(position) {
                    prop_assert_eq!(start, sampler.start_of(position - lanes) + seq_len);
                }
                starts.push(start);
            }
            starts.sort_unstable();
            prop_assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == seq_len), "one cut, each window once");
            prop_assert!(n_tokens - 1 - starts.len() * seq_len < (lanes as usize + 1) * seq_len);
            prop_assert_eq!((0..per_epoch).filter(|p| !sampler.continues(epoch * per_epoch + p)).count() as u64, lanes);
        }
    }

    #[test]
    fn the_order_is_fixed_for_ever() {
        // A checkpoint holds only (seed, position): were this order to change, a resumed run would carry states into other text.
        let sampler = LaneSampler::new(1_000, 10, 3, 42).unwrap();
        assert_eq!(sampler.stretch(), 32);
        let order: Vec<usize> = (0..6).chain(96..99).map(|p| sampler.start_of(p)).collect();
        assert_eq!(order, [353, 673, 33, 363, 683, 43, 677, 37, 357]);
    }

    #[test]
    fn impossible_sizes() {
        assert!(LaneSampler::new(0, 1, 1, 0).is_none());
        assert!(LaneSampler::new(100, 0, 1, 0).is_none());
        assert!(LaneSampler::new(100, 1, 0, 0).is_none());
        assert!(
            LaneSampler::new(41, 10, 2, 0).is_none(),
            "one window a lane and one to move"
        );
        assert!(LaneSampler::new(51, 10, 2, 0).is_some());
        assert!(LaneSampler::new(usize::MAX, 1, usize::MAX, 0).is_none());
    }
}
