//! Plots as SVG and HTML without a script: bars whose colours follow the page.

use std::fmt::Write;

use crate::thousands::thousands;

/// What text becomes in HTML, between tags and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Characters that turn the reading direction round would reach beyond their place.
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => out.push('\u{FFFD}'),
            '\n' | '\t' => out.push(c),
            _ if c.is_control() => out.push('\u{FFFD}'),
            _ => out.push(c),
        }
    }
    out
}

/// Horizontal bars, a row each: name, bar, count.
pub(super) fn bars(rows: &[(String, u64)]) -> String {
    let most = rows
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(0)
        .max(1);
    let mut out = String::from("<table class=\"bars\">\n");
    for (name, count) in rows {
        let percent = *count as f64 * 100.0 / most as f64;
        let bar = match count {
            0 => String::new(),
            _ => format!("<span class=\"bar\" style=\"width:{percent:.2}%\"></span>"),
        };
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{bar}</td><td class=\"n\">{}</td></tr>",
            escape(name),
            thousands(*count)
        );
    }
    out.push_str("</table>\n");
    out
}

/// Upright bars with a label under each, as one picture that fits the width of the page.
pub(super) fn histogram(title: &str, rows: &[(String, u64)]) -> String {
    const WIDTH: usize = 720;
    const HEIGHT: usize = 220;
    const FOOT: usize = 24;
    const HEAD: usize = 16;
    let most = rows
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(0)
        .max(1);
    let step = WIDTH as f64 / rows.len().max(1) as f64;
    let mut out = format!(
        "<div class=\"wide\"><svg class=\"histogram\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escape(title)
    );
    for (at, (name, count)) in rows.iter().enumerate() {
        let height = *count as f64 / most as f64 * (HEIGHT - FOOT - HEAD) as f64;
        let (x, y) = (at as f64 * step, (HEIGHT - FOOT) as f64 - height);
        let middle = x + step / 2.0;
        let _ = writeln!(
            out,
            "<g><title>{name}: {count}</title><rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>\
             <text x=\"{middle:.1}\" y=\"{:.1}\" class=\"count\">{}</text><text x=\"{middle:.1}\" y=\"{}\">{name}</text></g>",
            x + step * 0.1,
            step * 0.8,
            y - 4.0,
            if *count > 0 {
                thousands(*count)
            } else {
                String::new()
            },
            HEIGHT - 8,
            name = escape(name),
            count = thousands(*count),
        );
    }
    out.push_str("</svg></div>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(
            escape("<script>\"a\" & 'b'\u{202E}\u{7}"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\u{FFFD}\u{FFFD}"
        );
        let rows = [("<b>".to_owned(), 3), ("x".to_owned(), 0)];
        assert!(bars(&rows).contains("&lt;b&gt;</th>"));
        assert!(histogram("\"", &rows).contains("aria-label=\"&quot;\""));
    }

    #[test]
    fn the_longest_bar_fills_its_place() {
        let rows = [("a".to_owned(), 50), ("b".to_owned(), 200)];
        let shown = bars(&rows);
        assert!(
            shown.contains("width:25.00%") && shown.contains("width:100.00%"),
            "{shown}"
        );
        // 220 less the foot and the head is 180.
        assert!(histogram("t", &rows).contains("height=\"180.0\""));
    }
}
