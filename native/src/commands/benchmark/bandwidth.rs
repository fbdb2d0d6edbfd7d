//! How fast some threads read memory: what decoding cannot beat once the weights are larger than the caches.

use std::hint::black_box;
use std::time::Instant;

use rayon::ThreadPool;

/// 8-byte words read in a pass: 1 GB, more than any cache holds.
const WORDS: usize = 125_000_000;

const PASSES: usize = 10;

/// Bytes a second: the best of ten read-only passes over 1 GB, every thread of `pool` over a part of its own.
pub fn measure(pool: &ThreadPool) -> f64 {
    // Not zeros, which a system may keep as one page for all addresses.
    let words = vec![1u64; WORDS];
    let part = WORDS.div_ceil(pool.current_num_threads());
    let pass = || {
        let start = Instant::now();
        let sums = pool.broadcast(|context| {
            let words = words.chunks(part).nth(context.index()).unwrap_or_default();
            sum(words)
        });
        black_box(sums);
        start.elapsed().as_secs_f64()
    };
    let best = (0..PASSES).map(|_| pass()).fold(f64::INFINITY, f64::min);
    (WORDS * 8) as f64 / best
}

/// In eight sums, so that no addition waits for the one before it.
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0u64; 8];
    let (steps, rest) = words.as_chunks::<8>();
    for step in steps {
        for (sum, word) in sums.iter_mut().zip(step) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter()
        .chain(rest)
        .fold(0, |total: u64, sum| total.wrapping_add(*sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read() {
        let words: Vec<u64> = (0..1003).collect();
        assert_eq!(sum(&words), 1003 * 1002 / 2);
    }
}
