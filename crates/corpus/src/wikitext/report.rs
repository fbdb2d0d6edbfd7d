//! Which templates were dropped, how often, and where: the evidence by which the table of templates grows.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Different names that are counted; the rest is counted together, so that no input fills the memory.
const MAX_NAMES: usize = 50_000;
/// Longest example kept, bytes.
const MAX_EXAMPLE: usize = 200;

/// A template that left nothing in the text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedTemplate {
    /// Its name, in lower case.
    pub name: String,
    /// How often it was dropped.
    pub count: u64,
    /// It belongs to a family that the table says shows nothing; otherwise the table does not know it or its arguments did not fit.
    pub family: bool,
    /// How it was written where it was seen first, at most 200 bytes.
    pub example: String,
    /// The page where it was seen first.
    pub page: String,
}

/// The dropped templates of some pages, by name.
#[derive(Debug, Clone, Default)]
pub struct TemplateReport {
    by_name: FxHashMap<String, DroppedTemplate>,
    others: u64,
}

impl TemplateReport {
    /// Nothing was dropped.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.others == 0
    }

    /// How many templates were dropped, of any name.
    pub fn total(&self) -> u64 {
        self.others + self.by_name.values().map(|t| t.count).sum::<u64>()
    }

    /// The `n` most frequent, most frequent first and equal ones by name.
    pub fn most_frequent(&self, n: usize) -> Vec<DroppedTemplate> {
        let mut all: Vec<_> = self.by_name.values().collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        all.truncate(n);
        all.into_iter().cloned().collect()
    }

    pub(super) fn add(&mut self, name: &str, family: bool, wikitext: &[u8], page: &str) {
        if let Some(known) = self.by_name.get_mut(name) {
            known.count += 1;
            return;
        }
        let mut cut = wikitext.len().min(MAX_EXAMPLE);
        while cut < wikitext.len() && cut > 0 && (wikitext[cut] & 0xC0) == 0x80 {
            cut -= 1;
        }
        let example = String::from_utf8_lossy(&wikitext[..cut]).into_owned();
        self.insert(DroppedTemplate {
            name: name.to_string(),
            count: 1,
            family,
            example,
            page: page.to_string(),
        });
    }

    /// Adds the counts of later pages: examples of the earlier ones stay.
    pub fn merge(&mut self, later: impl IntoIterator<Item = DroppedTemplate>) {
        for template in later {
            match self.by_name.get_mut(&template.name) {
                Some(known) => known.count += template.count,
                None => self.insert(template),
            }
        }
    }

    fn insert(&mut self, template: DroppedTemplate) {
        if self.by_name.len() < MAX_NAMES {
            self.by_name.insert(template.name.clone(), template);
        } else {
            self.others += template.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_come_first_with_their_first_example() {
        let mut report = TemplateReport::default();
        report.add("b", false, b"{{b|1}}", "A");
        report.add("a", true, b"{{a}}", "A");
        report.add("b", false, b"{{b|2}}", "B");
        let mut later = TemplateReport::default();
        later.add("a", true, b"{{a|x}}", "C");
        later.add("c", false, "é".repeat(200).as_bytes(), "C");
        report.merge(later.most_frequent(usize::MAX));
        let top = report.most_frequent(2);
        assert_eq!(
            top.iter()
                .map(|t| (t.name.as_str(), t.count))
                .collect::<Vec<_>>(),
            [("a", 2), ("b", 2)]
        );
        assert_eq!(
            (top[0].example.as_str(), top[1].page.as_str()),
            ("{{a}}", "A")
        );
        assert_eq!(report.total(), 5);
        let long = report.most_frequent(3).pop().expect("three names");
        assert_eq!(long.example, "é".repeat(100));
    }

    #[test]
    fn names_are_bounded() {
        let mut report = TemplateReport::default();
        for n in 0..MAX_NAMES + 10 {
            report.add(&n.to_string(), false, b"", "");
        }
        assert_eq!(report.most_frequent(usize::MAX).len(), MAX_NAMES);
        assert_eq!(report.total(), (MAX_NAMES + 10) as u64);
    }
}
