//! How much of a text was already said in it: lines, and phrases of two to ten words (Gopher, Rae et al. 2021, table A1).

use super::scan::{Line, Word};

/// Shares of a text that stand in it more than once, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Repetition {
    /// Lines that stood before, of all lines.
    pub lines: f64,
    /// Characters in such lines, of all characters in lines.
    pub line_chars: f64,
}

/// Counts of hashes, with memory that is kept from one text to the next.
#[derive(Debug, Default)]
pub(crate) struct HashCounts {
    /// High half of the hash, count; empty where the count is 0. The low bits of the hash are the place, so two hashes are taken for one only when some
    /// 45 bits agree.
    slots: Vec<(u32, u32)>,
}

impl HashCounts {
    /// Makes room for `n` different hashes and forgets the old ones.
    fn reset(&mut self, n: usize) {
        let size = (n.max(8) * 2).next_power_of_two();
        self.slots.clear();
        self.slots.resize(size, (0, 0));
    }

    /// Counts `hash` and returns how often it was seen, this time included.
    #[inline]
    fn add(&mut self, hash: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.1 == 0 {
                *slot = (tag, 1);
                return 1;
            }
            if slot.0 == tag {
                slot.1 += 1;
                return slot.1;
            }
            at = (at + 1) & mask;
        }
    }
}

/// Hashes of all phrases of `n` words, in their order: a polynomial in the words' hashes modulo 2⁶⁴, taken from each phrase to the next by one word out and one in.
fn ngram_hashes(words: &[Word], n: usize) -> impl Iterator<Item = u64> + '_ {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let last = (1..n).fold(1u64, |power, _| power.wrapping_mul(FACTOR));
    let mut sum = words[..n - 1].iter().fold(0u64, |sum, word| {
        sum.wrapping_mul(FACTOR).wrapping_add(word.hash)
    });
    words[n - 1..]
        .iter()
        .zip(words)
        .map(move |(enters, leaves)| {
            let whole = sum.wrapping_mul(FACTOR).wrapping_add(enters.hash);
            sum = whole.wrapping_sub(leaves.hash.wrapping_mul(last));
            let mixed = (whole ^ (whole >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            mixed ^ (mixed >> 32)
        })
}

/// Lines and characters in lines that stood before.
pub(crate) fn repeated_lines(lines: &[Line], counts: &mut HashCounts) -> Repetition {
    counts.reset(lines.len());
    let (mut repeated, mut repeated_chars, mut chars) = (0u64, 0u64, 0u64);
    for line in lines {
        chars += u64::from(line.chars);
        if counts.add(line.hash) > 1 {
            repeated += 1;
            repeated_chars += u64::from(line.chars);
        }
    }
    Repetition {
        lines: repeated as f64 / lines.len().max(1) as f64,
        line_chars: repeated_chars as f64 / chars.max(1) as f64,
    }
}

fn chars_of(words: &[Word]) -> u64 {
    words.iter().map(|word| u64::from(word.chars)).sum()
}

/// The first of `limits` (for phrases of 2, 3, 4 … words) that the commonest phrase goes over: its count times its length, of all characters in words.
///
/// A phrase of n + 1 words is no commoner than the phrase of n words that it begins with, so most texts are done after the first length.
pub(crate) fn top_ngram_over(
    words: &[Word],
    limits: &[f64],
    counts: &mut HashCounts,
) -> Option<usize> {
    let total = chars_of(words);
    let longest = words.iter().map(|word| word.chars).max().unwrap_or(0);
    let mut most = u64::MAX;
    for (n, limit) in (2..).zip(limits) {
        if words.len() < n {
            return None;
        }
        let allowed = limit * total as f64;
        if most != u64::MAX && (most * n as u64 * u64::from(longest)) as f64 <= allowed {
            continue;
        }
        counts.reset(words.len());
        let mut top = 0u32;
        let mut heaviest = 0u64;
        for (at, hash) in ngram_hashes(words, n).enumerate() {
            let count = counts.add(hash);
            if count > 1 && count >= top {
                let chars = u64::from(count) * chars_of(&words[at..at + n]);
                // Of phrases that are equally common the longest counts.
                heaviest = if count > top {
                    chars
                } else {
                    heaviest.max(chars)
                };
                top = count;
            }
        }
        if heaviest as f64 > allowed {
            return Some(n);
        }
        most = u64::from(top.max(1));
    }
    None
}

/// The first of `limits` (for phrases of 5, 6, 7 … words) that is broken by the share of characters in words that stand in a phrase of that length which stood before.
///
/// What stands in a repeated phrase of n + 1 words also stands in a repeated one of n: where the share for 5 is within the strictest limit, no other is looked at.
pub(crate) fn repeated_ngrams_over(
    words: &[Word],
    limits: &[f64],
    counts: &mut HashCounts,
) -> Option<usize> {
    let total = chars_of(words) as f64;
    let strictest = limits.iter().copied().fold(f64::INFINITY, f64::min);
    for (n, &limit) in (5..).zip(limits) {
        if words.len() < n {
            return None;
        }
        counts.reset(words.len());
        let mut covered = 0u64;
        // Words before this one are counted already.
        let mut counted = 0;
        for (at, hash) in ngram_hashes(words, n).enumerate() {
            if counts.add(hash) > 1 {
                let from = counted.max(at);
                covered += chars_of(&words[from..at + n]);
                counted = at + n;
            }
        }
        let share = covered as f64 / total;
        if share > limit {
            return Some(n);
        }
        if share <= strictest {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::scan::Scan;
    use std::collections::{HashMap, HashSet};

    const TOP: [f64; 3] = [0.20, 0.18, 0.16];
    const REPEATED: [f64; 6] = [0.15, 0.14, 0.13, 0.12, 0.11, 0.10];

    fn scan(text: &str) -> Scan {
        let mut scan = Scan::default();
        scan.read(text);
        scan
    }

    /// The definition, with nothing left out.
    fn naive(text: &str) -> (Option<usize>, Option<usize>) {
        let words: Vec<String> = text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        let length = |words: &[String]| words.iter().map(|w| w.chars().count()).sum::<usize>();
        let total = length(&words) as f64;
        let top = (2..).zip(TOP).find(|&(n, limit)| {
            let mut counts: HashMap<&[String], usize> = HashMap::new();
            words
                .windows(n)
                .for_each(|w| *counts.entry(w).or_default() += 1);
            let most = counts.values().copied().max().unwrap_or(0);
            most > 1
                && counts
                    .iter()
                    .any(|(w, &count)| count == most && (count * length(w)) as f64 > limit * total)
        });
        let repeated = (5..).zip(REPEATED).find(|&(n, limit)| {
            let mut seen = HashSet::new();
            let mut covered = vec![false; words.len()];
            for (at, window) in words.windows(n).enumerate() {
                if !seen.insert(window) {
                    covered[at..at + n].fill(true);
                }
            }
            let chars: usize = (0..words.len())
                .filter(|&i| covered[i])
                .map(|i| words[i].chars().count())
                .sum();
            chars as f64 / total > limit
        });
        (top.map(|(n, _)| n), repeated.map(|(n, _)| n))
    }

    #[test]
    fn shortcuts_change_no_answer() {
        let mut counts = HashCounts::default();
        let mut seed = 7u64;
        let mut found = [0; 2];
        for round in 0..600 {
            let mut text = String::new();
            // From few words, which repeat, to many, which do not.
            let vocabulary = 3 + round / 30;
            for _ in 0..80 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let word = (seed >> 33) % vocabulary;
                text.push_str(&"abcdefgh"[..1 + word as usize % 8]);
                text.push_str(&format!("{word} "));
            }
            let words = scan(&text).words;
            let quick = (
                top_ngram_over(&words, &TOP, &mut counts),
                repeated_ngrams_over(&words, &REPEATED, &mut counts),
            );
            assert_eq!(quick, naive(&text), "{text}");
            found[0] += u32::from(quick.0.is_some());
            found[1] += u32::from(quick.1.is_some());
        }
        assert!(
            found.iter().all(|&n| n > 20 && n < 580),
            "{found:?} show nothing"
        );
    }

    #[test]
    fn lines_that_stood_before_are_counted() {
        let lines = scan("um\n\n dois dois\num\ndois dois\ntrês").lines;
        let shares = repeated_lines(&lines, &mut HashCounts::default());
        assert_eq!(shares.lines, 2.0 / 5.0);
        assert_eq!(shares.line_chars, 11.0 / 26.0);
    }
}
