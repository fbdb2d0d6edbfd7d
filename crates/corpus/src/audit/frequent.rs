//! The most frequent of more things than fit into memory (Misra and Gries 1982).

use rustc_hash::FxHashMap;
use serde::Serialize;

/// Characters of a text that are kept to show it.
const SHOWN_CHARS: usize = 160;

/// Something that occurs often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frequent {
    /// It, or its beginning.
    pub text: String,
    /// How often it was seen; at least so often, where there were too many different ones to count each.
    pub count: u64,
}

/// Counts what it is given, up to `capacity` different things. When another one comes, every count goes down by one and those at nothing go: a count is too low by at
/// most the number of things given divided by the capacity.
#[derive(Debug)]
pub(crate) struct FrequentCounts {
    capacity: usize,
    /// By hash: the count, and the text once it was seen twice.
    counts: FxHashMap<u64, (u64, Option<Box<str>>)>,
}

impl FrequentCounts {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            counts: FxHashMap::default(),
        }
    }

    /// Counts a thing by its hash; `text` is asked for it when it comes the second time.
    pub(crate) fn add(&mut self, hash: u64, text: impl FnOnce() -> String) {
        if let Some((count, shown)) = self.counts.get_mut(&hash) {
            *count += 1;
            if shown.is_none() {
                *shown = Some(text().chars().take(SHOWN_CHARS).collect());
            }
            return;
        }
        if self.counts.len() >= self.capacity {
            self.counts.retain(|_, (count, _)| {
                *count -= 1;
                *count > 0
            });
            return;
        }
        self.counts.insert(hash, (1, None));
    }

    /// The `n` most frequent that were seen twice or more, the most frequent first.
    pub(crate) fn top(&self, n: usize) -> Vec<Frequent> {
        let mut all: Vec<Frequent> = self
            .counts
            .values()
            .filter_map(|(count, shown)| {
                Some(Frequent {
                    text: shown.as_deref()?.to_owned(),
                    count: *count,
                })
            })
            .collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)));
        all.truncate(n);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_survive_a_crowd() {
        let mut counts = FrequentCounts::new(100);
        for n in 0..20_000u64 {
            counts.add(1_000_000 + n, || format!("raro {n}"));
            if n % 10 == 0 {
                counts.add(7, || "muito".to_owned());
            }
            if n % 20 == 0 {
                counts.add(8, || "menos".to_owned());
            }
        }
        assert!(counts.counts.len() <= 100);
        let top = counts.top(2);
        assert_eq!(top[0].text, "muito");
        assert_eq!(top[1].text, "menos");
        // 23,000 things for 100 places: too low by 230 at most.
        assert!((1770..=2000).contains(&top[0].count), "{top:?}");
        assert!((770..=1000).contains(&top[1].count), "{top:?}");
    }
}
