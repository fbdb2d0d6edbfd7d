//! A chart in characters.

use super::{Axis, Chart, lines};

/// Room for a chart, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines of the plane; title, legend and the labels of the x axis come on top.
    pub rows: usize,
}

/// What curves are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyphs {
    /// Eight dots to a character (U+2800 to U+28FF).
    Braille,
    /// Letters and signs that every terminal has.
    Ascii,
}

/// Dots set in a braille character by column and row, from above.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// The plane: a grid of dots, several to a character.
struct Canvas {
    columns: usize,
    rows: usize,
    /// Dots to a character: across and down.
    dots: (usize, usize),
    /// For each character, braille dots or a letter.
    cells: Vec<u32>,
}

impl Canvas {
    fn new(size: Size, dots: (usize, usize)) -> Self {
        Self {
            columns: size.columns,
            rows: size.rows,
            dots,
            cells: vec![0; size.columns * size.rows],
        }
    }

    /// The dot at a place in the unit square.
    fn dot(&self, (x, y): (f64, f64)) -> (usize, usize) {
        let at = |place: f64, dots: usize| {
            (place.clamp(0.0, 1.0) * (dots.saturating_sub(1)) as f64).round() as usize
        };
        let (across, down) = (self.columns * self.dots.0, self.rows * self.dots.1);
        (at(x, across), at(1.0 - y, down))
    }

    fn set(&mut self, (x, y): (usize, usize), letter: char) {
        let (column, row) = (x / self.dots.0, y / self.dots.1);
        let Some(cell) = self.cells.get_mut(row * self.columns + column) else {
            return;
        };
        *cell = if self.dots == (1, 1) {
            u32::from(letter)
        } else {
            (*cell & 0xff) | DOTS[x % 2][y % 4]
        };
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), letter: char) {
        let ((x0, y0), (x1, y1)) = (self.dot(from), self.dot(to));
        let steps = x0.abs_diff(x1).max(y0.abs_diff(y1)).max(1);
        let between = |a: usize, b: usize, i: usize| {
            let place = a as f64 + (b as f64 - a as f64) * i as f64 / steps as f64;
            place.round() as usize
        };
        for i in 0..=steps {
            self.set((between(x0, x1, i), between(y0, y1, i)), letter);
        }
    }

    fn row(&self, row: usize, braille: bool) -> String {
        let cells = self.cells.iter().skip(row * self.columns);
        let shown = |cell: &u32| match *cell {
            0 => ' ',
            dots if braille && dots < 0x100 => char::from_u32(0x2800 | dots).unwrap_or(' '),
            letter => char::from_u32(letter).unwrap_or(' '),
        };
        cells.take(self.columns).map(shown).collect()
    }
}

/// The chart as lines of at most `size.columns` characters; none when there is nothing to draw or no room for it.
pub fn draw(chart: &Chart, size: Size, glyphs: Glyphs) -> Vec<String> {
    let Some((x, y)) = chart.axes() else {
        return Vec::new();
    };
    let several = chart.series.len() > 1;
    // Dots of several curves would run into one another; letters say which is which.
    let braille = glyphs == Glyphs::Braille && !several;
    let labels = row_labels(&y, size.rows);
    let margin = labels
        .iter()
        .map(|label| label.chars().count())
        .max()
        .unwrap_or(0)
        + 1;
    let columns = size.columns.saturating_sub(margin + 1);
    if columns < 4 || size.rows < 1 {
        return Vec::new();
    }
    let plane = Size { columns, ..size };
    let mut canvas = Canvas::new(plane, if braille { (2, 4) } else { (1, 1) });
    for (i, series) in chart.series.iter().enumerate() {
        for line in lines(series, (&x, &y), columns * 2) {
            for pair in line.windows(2) {
                canvas.line(pair[0], pair[1], letter(i, several));
            }
            if let [point] = line.as_slice() {
                canvas.line(*point, *point, letter(i, several));
            }
        }
    }
    let (upright, corner, level) = match glyphs {
        Glyphs::Braille => ('│', '└', "─"),
        Glyphs::Ascii => ('|', '+', "-"),
    };
    for mark in &chart.marks {
        if let Some(place) = x.place(mark.x).filter(|place| (0.0..=1.0).contains(place)) {
            let column = canvas.dot((place, 0.0)).0 / canvas.dots.0;
            for cell in canvas.cells.iter_mut().skip(column).step_by(columns) {
                if *cell == 0 {
                    *cell = u32::from(':');
                }
            }
        }
    }
    let mut out: Vec<String> = Vec::new();
    if !chart.title.is_empty() {
        out.push(cut(&chart.title, size.columns));
    }
    for (row, label) in labels.iter().enumerate() {
        let cells = canvas.row(row, braille);
        out.push(format!("{label:>margin$}{upright}{}", cells.trim_end()));
    }
    out.push(format!("{:margin$}{corner}{}", "", level.repeat(columns)));
    out.push(column_labels(&x, margin + 1, columns));
    let beside = [&chart.y_label, &chart.x_label];
    if beside.iter().all(|label| !label.is_empty()) {
        let both = format!("{:margin$} {} over {}", "", chart.y_label, chart.x_label);
        out.push(cut(&both, size.columns));
    }
    for (i, series) in chart.series.iter().enumerate().filter(|_| several) {
        let line = format!("{:margin$} {}  {}", "", letter(i, true), series.name);
        out.push(cut(&line, size.columns));
    }
    for mark in &chart.marks {
        let line = format!("{:margin$} :  {}", "", mark.label);
        out.push(cut(&line, size.columns));
    }
    out
}

/// What a curve is drawn with where characters are: a star alone, letters where there are several.
fn letter(i: usize, several: bool) -> char {
    if !several {
        return '*';
    }
    char::from(b'a' + (i % 26) as u8)
}

/// One label a row; empty where there is no tick.
fn row_labels(axis: &Axis, rows: usize) -> Vec<String> {
    let mut labels = vec![String::new(); rows];
    for (place, label) in axis.ticks((rows / 2).max(2)) {
        let row = (1.0 - place.clamp(0.0, 1.0)) * (rows.saturating_sub(1)) as f64;
        if let Some(slot) = labels.get_mut(row.round() as usize) {
            *slot = label;
        }
    }
    labels
}

/// The labels of the x axis, each under its place, those left out that would touch the one before.
fn column_labels(axis: &Axis, margin: usize, columns: usize) -> String {
    let mut line = " ".repeat(margin);
    let mut length = margin;
    for (place, label) in axis.ticks((columns / 12).max(2)) {
        let centre = margin + (place.clamp(0.0, 1.0) * (columns - 1) as f64).round() as usize;
        let width = label.chars().count();
        let start = centre
            .saturating_sub(width / 2)
            .min((margin + columns).saturating_sub(width));
        if start < length + usize::from(length > margin) {
            continue;
        }
        line.extend(std::iter::repeat_n(' ', start - length));
        line.push_str(&label);
        length = start + width;
    }
    line
}

/// As much of `text` as fits into so many columns of a terminal.
pub fn cut(text: &str, columns: usize) -> String {
    console::truncate_str(text, columns, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::{Mark, Series};
    use super::*;

    fn falling(names: &[&str]) -> Chart {
        let series = names.iter().enumerate().map(|(n, name)| Series {
            name: (*name).to_owned(),
            points: (0..50)
                .map(|i| (f64::from(i) * 20.0, 7.0 - f64::from(i) / 12.0 - n as f64))
                .collect(),
        });
        Chart {
            title: "loss".to_owned(),
            series: series.collect(),
            ..Chart::default()
        }
    }

    #[test]
    fn a_curve_falls_from_left_to_right() {
        let size = Size {
            columns: 30,
            rows: 5,
        };
        let drawn = draw(&falling(&["a"]), size, Glyphs::Ascii);
        assert_eq!(
            drawn,
            [
                "loss",
                "  |****",
                " 6|    *******",
                "  |          *******",
                " 4|                *******",
                "  |                       ****",
                "  +---------------------------",
                "   0           500",
            ],
            "{}",
            drawn.join("\n")
        );
    }

    #[test]
    fn every_size_is_kept() {
        let mut chart = falling(&[
            "first",
            "a run with a name that is much too long for a line",
        ]);
        chart.marks.push(Mark {
            x: 300.0,
            label: "a mark whose text is longer than most terminals are wide".to_owned(),
        });
        for columns in 0..120 {
            for rows in 0..12 {
                for glyphs in [Glyphs::Ascii, Glyphs::Braille] {
                    for line in draw(&chart, Size { columns, rows }, glyphs) {
                        let width = console::measure_text_width(&line);
                        assert!(width <= columns, "{width} of {columns}: {line}");
                    }
                }
            }
        }
    }

    #[test]
    fn several_curves_have_letters_and_one_has_dots() {
        let size = Size {
            columns: 40,
            rows: 6,
        };
        let two = draw(&falling(&["one", "two"]), size, Glyphs::Braille).join("\n");
        assert!(two.contains("a  one") && two.contains("b  two"), "{two}");
        let one = draw(&falling(&["one"]), size, Glyphs::Braille).join("\n");
        let braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
        assert!(one.chars().any(braille), "{one}");
    }
}
