//! A shuffle without memory: a permutation of `0..n` computed one index at a time.

const ROUNDS: u64 = 8;

/// Where `index` goes under the permutation of `0..n` chosen by `key`. Every `index` below `n` goes to a different place below `n`; an index outside gives `index % n`'s.
///
/// A Feistel network permutes the smallest square-ish power of two that covers `n`; what falls outside `0..n` is sent through again until it falls inside ("cycle walking"), at
/// most 4 times on average. `n = 0` gives 0.
pub fn permute(n: u64, key: u64, index: u64) -> u64 {
    if n <= 1 {
        return 0;
    }
    let half_bits = (u64::BITS - (n - 1).leading_zeros()).div_ceil(2);
    let mask = (1u64 << half_bits) - 1;
    let mut value = index % n;
    loop {
        let (mut left, mut right) = (value >> half_bits, value & mask);
        for round in 0..ROUNDS {
            let mixed = left ^ (mix(right ^ mix(key.wrapping_add(round))) & mask);
            (left, right) = (right, mixed);
        }
        value = left << half_bits | right;
        if value < n {
            return value;
        }
    }
}

/// The finalizer of splitmix64: every bit of the input changes every bit of the output with probability one half.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_permutation(n: u64, key: u64) -> bool {
        let mut seen = vec![false; n as usize];
        for index in 0..n {
            let to = permute(n, key, index) as usize;
            if std::mem::replace(&mut seen[to], true) {
                return false;
            }
        }
        true
    }

    #[test]
    fn every_small_size_is_permuted() {
        for n in 1..600 {
            assert!(is_permutation(n, n ^ 7), "{n}");
        }
    }

    proptest! {
        #[test]
        fn any_size_and_key(n in 1u64..5000, key: u64) {
            prop_assert!(is_permutation(n, key));
        }

        #[test]
        fn huge_sizes_stay_inside_and_end(n in (1u64 << 40)..=u64::MAX, key: u64, index: u64) {
            prop_assert!(permute(n, key, index) < n);
        }
    }

    #[test]
    fn neighbours_are_scattered_and_keys_differ() {
        let n = 10_000;
        let order: Vec<u64> = (0..n).map(|index| permute(n, 1, index)).collect();
        let other: Vec<u64> = (0..n).map(|index| permute(n, 2, index)).collect();
        // Of a random permutation, one element stays in place and two neighbours stay neighbours on average; the mean distance of neighbours is n / 3.
        assert!(
            order
                .iter()
                .zip(0..)
                .filter(|(to, from)| **to == *from)
                .count()
                < 10
        );
        assert!(order.iter().zip(&other).filter(|(a, b)| a == b).count() < 10);
        let distance: u64 = order
            .windows(2)
            .map(|pair| pair[0].abs_diff(pair[1]))
            .sum::<u64>()
            / (n - 1);
        assert!((3_000..3_700).contains(&distance), "{distance}");
    }
}
