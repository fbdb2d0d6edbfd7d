//! A chart as SVG: no script, no outside file, readable on light and on dark ground.

use std::fmt::Write;

use super::{Chart, lines};

/// Of the whole drawing, and of the room around the plane.
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;
/// Height of a line of the legend.
const LEGEND: f64 = 18.0;

/// Okabe and Ito's colours, which most people tell apart, but for those that are lost on white or on black, the blue lighter.
const COLOURS: [&str; 6] = [
    "#2f8fd0", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// After six curves the colours begin again, broken.
const DASHES: [&str; 3] = ["", " stroke-dasharray=\"6 3\"", " stroke-dasharray=\"2 3\""];

/// The chart as an SVG file.
pub fn svg(chart: &Chart) -> String {
    let legend = if chart.series.len() > 1 {
        LEGEND * chart.series.len() as f64
    } else {
        0.0
    };
    let height = HEIGHT + legend;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n\
         <style>\n\
         text {{ font: 13px system-ui, sans-serif; fill: #222 }}\n\
         .title {{ font-size: 16px; font-weight: 600 }}\n\
         .ground {{ fill: #fff }} .grid {{ stroke: #ddd }} .mark {{ stroke: #555; stroke-dasharray: 4 3 }}\n\
         .curve {{ fill: none; stroke-width: 1.6; stroke-linejoin: round }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         text {{ fill: #ddd }} .ground {{ fill: #16181c }} .grid {{ stroke: #3a3d44 }} .mark {{ stroke: #aaa }}\n\
         }}\n\
         </style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
        escaped(&chart.title)
    );
    text(
        &mut out,
        (WIDTH / 2.0, 26.0),
        "middle",
        " class=\"title\"",
        &chart.title,
    );
    if let Some(axes) = chart.axes() {
        plane(&mut out, chart, axes);
    } else {
        text(
            &mut out,
            (WIDTH / 2.0, HEIGHT / 2.0),
            "middle",
            "",
            "nothing to draw",
        );
    }
    if chart.series.len() > 1 {
        for (i, series) in chart.series.iter().enumerate() {
            let y = HEIGHT + LEGEND * i as f64;
            let _ = writeln!(
                out,
                "<path class=\"curve\" d=\"M{LEFT} {y}h24\" {}/>",
                stroke(i)
            );
            text(&mut out, (LEFT + 32.0, y + 4.0), "start", "", &series.name);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Axes, grid, curves and marks.
fn plane(out: &mut String, chart: &Chart, (x, y): (super::Axis, super::Axis)) {
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let column = |place: f64| LEFT + width * place.clamp(0.0, 1.0);
    let row = |place: f64| TOP + height * (1.0 - place.clamp(0.0, 1.0));
    for (place, label) in y.ticks(6) {
        let row = row(place);
        let _ = writeln!(out, "<path class=\"grid\" d=\"M{LEFT} {row:.1}h{width}\"/>");
        text(out, (LEFT - 8.0, row + 4.0), "end", "", &label);
    }
    for (place, label) in x.ticks(8) {
        let column = column(place);
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{column:.1} {TOP}v{height}\"/>"
        );
        text(out, (column, TOP + height + 18.0), "middle", "", &label);
    }
    let below = HEIGHT - 14.0;
    text(
        out,
        (LEFT + width / 2.0, below),
        "middle",
        "",
        &chart.x_label,
    );
    let turned = format!(" transform=\"rotate(-90 16 {0})\"", TOP + height / 2.0);
    text(
        out,
        (16.0, TOP + height / 2.0),
        "middle",
        &turned,
        &chart.y_label,
    );
    for (i, series) in chart.series.iter().enumerate() {
        for line in lines(series, (&x, &y), width as usize) {
            let mut path = String::new();
            for (n, point) in line.iter().enumerate() {
                let command = if n == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{command}{:.1} {:.1}", column(point.0), row(point.1));
            }
            if line.len() == 1 {
                // A point that stands alone: a line of no length with round ends.
                path.push_str("h0");
                let _ = writeln!(
                    out,
                    "<path class=\"curve\" style=\"stroke-width:5;stroke-linecap:round\" d=\"{path}\" {}/>",
                    stroke(i)
                );
            } else {
                let _ = writeln!(out, "<path class=\"curve\" d=\"{path}\" {}/>", stroke(i));
            }
        }
    }
    for mark in &chart.marks {
        if let Some(place) = x.place(mark.x).filter(|place| (0.0..=1.0).contains(place)) {
            let column = column(place);
            let _ = writeln!(
                out,
                "<path class=\"mark\" d=\"M{column:.1} {TOP}v{height}\"/>"
            );
            let (side, anchor) = if place < 0.6 {
                (6.0, "start")
            } else {
                (-6.0, "end")
            };
            text(out, (column + side, TOP + 14.0), anchor, "", &mark.label);
        }
    }
}

fn stroke(i: usize) -> String {
    let dash = DASHES[i / COLOURS.len() % DASHES.len()];
    format!("stroke=\"{}\"{dash}", COLOURS[i % COLOURS.len()])
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, more: &str, words: &str) {
    if !words.is_empty() {
        let words = escaped(words);
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{words}</text>"
        );
    }
}

/// `text` as the content of an element; characters that XML 1.0 does not allow become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Mark, Series};
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_drawing() {
        let hostile = "</title><script>alert(1)</script>\u{0}&\"";
        let series = |name: &str| Series {
            name: name.to_owned(),
            points: vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 1.5)],
        };
        let chart = Chart {
            title: hostile.to_owned(),
            x_label: hostile.to_owned(),
            y_label: hostile.to_owned(),
            series: vec![series(hostile), series("b")],
            marks: vec![Mark {
                x: 2.0,
                label: hostile.to_owned(),
            }],
            ..Chart::default()
        };
        let drawn = svg(&chart);
        assert!(!drawn.contains("<script") && !drawn.contains('\u{0}'));
        assert_eq!(drawn.matches("&lt;script&gt;").count(), 6);
        // The point before the break and the line after it, of two curves.
        assert_eq!(drawn.matches("class=\"curve\" d=\"M").count(), 2 + 2);
        assert_eq!(drawn.matches("stroke-linecap:round").count(), 2);
        assert!(!drawn.contains("NaN"));
        assert_eq!(drawn.matches('<').count(), drawn.matches('>').count());
    }

    #[test]
    fn nothing_is_a_drawing_too() {
        assert!(svg(&Chart::default()).contains("nothing to draw"));
    }
}
