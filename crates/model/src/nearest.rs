//! Which of the known names was meant.

/// The one of `names` that is the fewest edits away from what was typed, the first among equals; `None` when there are none.
pub(crate) fn nearest<'a>(
    typed: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // What a user types is short; a longer text is no typing error, and its distance need not be exact.
    let typed: Vec<char> = typed.to_lowercase().chars().take(64).collect();
    names
        .into_iter()
        .min_by_key(|name| edit_distance(&typed, name))
}

/// Levenshtein distance: insertions, deletions and substitutions.
fn edit_distance(typed: &[char], name: &str) -> usize {
    let mut row: Vec<usize> = (0..=typed.len()).collect();
    for (i, wanted) in name.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, given) in typed.iter().enumerate() {
            let substitution = diagonal + usize::from(*given != wanted);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[typed.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewest_edits_win() {
        let names = ["nano", "micro", "1b", "1.5b"];
        assert_eq!(nearest("mcro", names), Some("micro"));
        assert_eq!(nearest("1.5B", names), Some("1.5b"));
        assert_eq!(nearest("x", []), None);
        assert_eq!(
            nearest(&"x".repeat(1_000_000), names),
            nearest(&"x".repeat(64), names)
        );
        assert_eq!(edit_distance(&['k', 'i', 't', 't', 'e', 'n'], "sitting"), 3);
    }
}
