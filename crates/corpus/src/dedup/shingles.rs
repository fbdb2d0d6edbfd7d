//! Shingles and MinHash signatures: how alike two documents are, in 448 bytes each.
//!
//! A shingle is five words in a row, in lower case and without punctuation; a document is the set of its shingles. The signature holds, for each of 112
//! permutations of the shingles, the smallest value in the set: two sets have the same smallest value with probability J, their Jaccard similarity
//! (Broder 1997). Documents that agree in all 8 values of at least one of 14 bands are candidates: 1 − (1 − J⁸)¹⁴, which is 0.988 for J = 0.85, 0.924 for 0.8,
//! 0.5 for 0.71 and 0.009 for 0.4.

use crate::filters::scan::{RollingHash, Scan};

/// Words in a shingle.
pub const SHINGLE_WORDS: usize = 5;
/// Bands of a signature.
pub const BANDS: usize = 14;
/// Values in a band.
pub const ROWS: usize = 8;
/// Values in a signature.
pub const SIGNATURE: usize = BANDS * ROWS;

/// The smallest value under each permutation.
pub type Signature = [u32; SIGNATURE];

/// Reads shingles and signatures off texts; keeps its memory from one to the next.
#[derive(Debug)]
pub struct Shingler {
    scan: Scan,
    hashes: Vec<u32>,
    /// Permutation i of a shingle's hash is `hash · factors[i] + addends[i]` modulo 2³².
    factors: Signature,
    addends: Signature,
}

impl Default for Shingler {
    fn default() -> Self {
        let mut seed = 0u64;
        let mut next = || {
            // SplitMix64 (Steele, Lea, Flood 2014): the permutations are the same in every run.
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed >> 32) as u32
        };
        Self {
            scan: Scan::default(),
            hashes: Vec::new(),
            // An odd factor makes it a permutation.
            factors: std::array::from_fn(|_| next() | 1),
            addends: std::array::from_fn(|_| next()),
        }
    }
}

impl Shingler {
    /// Hashes of the shingles of `text`, in its order. A text of fewer than five words is one shingle; one without words has none.
    pub fn shingles(&mut self, text: &str) -> &[u32] {
        self.scan.read(text);
        let words = &self.scan.words;
        let hash = |words: &[crate::filters::scan::Word]| {
            let mut hash = RollingHash::new();
            words.iter().for_each(|word| hash.push(word.hash));
            (hash.finish() >> 32) as u32
        };
        self.hashes.clear();
        if words.is_empty() {
            return &self.hashes;
        }
        let length = SHINGLE_WORDS.min(words.len());
        self.hashes.extend(words.windows(length).map(hash));
        &self.hashes
    }

    /// The signature of `text`; of a text without words all ones.
    pub fn signature(&mut self, text: &str) -> Signature {
        self.shingles(text);
        let mut smallest = [u32::MAX; SIGNATURE];
        for &hash in &self.hashes {
            let permutations = self.factors.iter().zip(&self.addends);
            for (smallest, (factor, addend)) in smallest.iter_mut().zip(permutations) {
                *smallest = (*smallest).min(hash.wrapping_mul(*factor).wrapping_add(*addend));
            }
        }
        smallest
    }

    /// The set of shingles of `text`, sorted.
    pub fn shingle_set(&mut self, text: &str) -> Vec<u32> {
        let mut set = self.shingles(text).to_vec();
        set.sort_unstable();
        set.dedup();
        set
    }
}

/// One value for each band; documents that share one are candidates.
pub(crate) fn band_keys(signature: &Signature) -> [u64; BANDS] {
    std::array::from_fn(|band| {
        let mut hash = RollingHash::new();
        // The band's number, so that equal rows of two bands are not taken for one another.
        hash.push(band as u64);
        for value in &signature[band * ROWS..(band + 1) * ROWS] {
            hash.push(u64::from(*value));
        }
        hash.finish()
    })
}

/// Jaccard similarity of two sets, each sorted and without repetitions: elements in both, of all elements. 1 for two empty sets.
pub fn jaccard(a: &[u32], b: &[u32]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0usize);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                (i, j) = (i + 1, j + 1);
                both += 1;
            }
        }
    }
    let all = a.len() + b.len() - both;
    if all == 0 {
        1.0
    } else {
        both as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(from: usize, to: usize) -> String {
        (from..to).map(|n| format!("p{n} ")).collect()
    }

    #[test]
    fn similarity_is_that_of_sets_of_five_words() {
        let mut shingler = Shingler::default();
        let mut set = |text: &str| shingler.shingle_set(text);
        // 16 and 16 shingles, 11 in both.
        let (a, b) = (set(&words(0, 20)), set(&words(5, 25)));
        assert_eq!(jaccard(&a, &b), 11.0 / 21.0);
        assert_eq!(jaccard(&a, &a), 1.0);
        assert_eq!(set("Um, DOIS três!"), set("um dois\ntrês"));
        assert_eq!((set("").len(), set("só isto").len()), (0, 1));
    }

    #[test]
    fn signatures_estimate_the_similarity() {
        let mut shingler = Shingler::default();
        for shift in [20, 60, 150, 400, 1000] {
            let mut differences = Vec::new();
            for round in 0..40 {
                let start = round * 10_000;
                let (a, b) = (
                    words(start, start + 1000),
                    words(start + shift, start + shift + 1000),
                );
                let exact = jaccard(&shingler.shingle_set(&a), &shingler.shingle_set(&b));
                let (a, b) = (shingler.signature(&a), shingler.signature(&b));
                let equal = a.iter().zip(&b).filter(|(a, b)| a == b).count();
                differences.push(equal as f64 / SIGNATURE as f64 - exact);
            }
            let mean = differences.iter().sum::<f64>() / 40.0;
            let worst = differences
                .iter()
                .fold(0.0, |worst: f64, d| worst.max(d.abs()));
            // The standard error of one estimate is at most 0.047, of the mean of forty 0.0075.
            assert!(
                mean.abs() < 0.025 && worst < 0.2,
                "shift {shift}: mean {mean}, worst {worst}"
            );
        }
    }

    #[test]
    fn bands_differ_from_each_other() {
        let keys = band_keys(&[7; SIGNATURE]);
        let different: std::collections::HashSet<u64> = keys.into_iter().collect();
        assert_eq!(different.len(), BANDS);
    }
}
