//! The table of `adapters evaluate` for people.

use super::{Row, Text};

/// What the row without an adapter is called.
const BASE: &str = "(model alone)";

/// The row with the fewest bits per byte in a column; the first of equals.
pub(super) fn best(rows: &[Row], column: usize) -> usize {
    let bits = |row: usize| rows[row].metrics[column].bits_per_byte;
    (1..rows.len()).fold(
        0,
        |best, row| if bits(row) < bits(best) { row } else { best },
    )
}

/// Bits per byte, the best of each column with a star; then, for each column, who was best and by how much.
pub(super) fn lines(texts: &[Text], rows: &[Row]) -> Vec<String> {
    let name = |row: &Row| row.name.clone().unwrap_or_else(|| BASE.to_owned());
    let first = rows
        .iter()
        .map(|row| name(row).chars().count())
        .max()
        .unwrap_or(0);
    let best: Vec<usize> = (0..texts.len()).map(|column| best(rows, column)).collect();
    // 1.2345 and a star.
    let widths: Vec<usize> = texts
        .iter()
        .map(|text| text.name.chars().count().max(7))
        .collect();
    let mut lines = Vec::with_capacity(1 + rows.len() + texts.len());
    let mut head = format!("{:first$}", "bits per byte");
    for (text, width) in texts.iter().zip(&widths) {
        head += &format!("  {:>width$}", text.name);
    }
    lines.push(head);
    for (number, row) in rows.iter().enumerate() {
        let mut line = format!("{:first$}", name(row));
        for (column, width) in widths.iter().enumerate() {
            let star = if best[column] == number { "*" } else { " " };
            let cell = format!("{:.4}{star}", row.metrics[column].bits_per_byte);
            line += &format!("  {cell:>width$}");
        }
        lines.push(line.trim_end().to_owned());
    }
    for (column, text) in texts.iter().enumerate() {
        let tokens = crate::ui::thousands(rows[0].metrics[column].tokens);
        let alone = rows[0].metrics[column].bits_per_byte;
        let winner = &rows[best[column]];
        let verdict = if best[column] == 0 {
            "no adapter is better than the model alone".to_owned()
        } else {
            let gain = 100.0 * (1.0 - winner.metrics[column].bits_per_byte / alone);
            format!(
                "best with {}, {gain:.1} % below the model alone",
                name(winner)
            )
        };
        lines.push(format!("{}, {tokens} tokens: {verdict}", text.name));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptbr_runtime::EvalMetrics;

    fn row(name: Option<&str>, bits: &[f64]) -> Row {
        let metrics = |&bits_per_byte: &f64| EvalMetrics {
            loss: 3.0,
            perplexity: 20.0,
            bits_per_byte,
            accuracy: 0.25,
            tokens: 1234,
        };
        Row {
            name: name.map(str::to_owned),
            path: None,
            adapter: None,
            metrics: bits.iter().map(metrics).collect(),
        }
    }

    #[test]
    fn the_best_of_each_column_has_the_star() {
        let texts = ["legal", "literature"].map(|name| Text {
            name: name.to_owned(),
            tokens: Vec::new(),
        });
        let rows = [
            row(None, &[2.0, 1.5]),
            row(Some("legal"), &[1.75, 1.6]),
            row(Some("também"), &[1.75, 1.5]),
        ];
        assert_eq!(
            lines(&texts, &rows),
            [
                "bits per byte    legal  literature",
                "(model alone)  2.0000      1.5000*",
                "legal          1.7500*     1.6000",
                "também         1.7500      1.5000",
                "legal, 1,234 tokens: best with legal, 12.5 % below the model alone",
                "literature, 1,234 tokens: no adapter is better than the model alone",
            ]
        );
    }
}
