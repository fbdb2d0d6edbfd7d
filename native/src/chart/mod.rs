//! Curves, as SVG and as characters: what `plot`, `find-lr` and the dashboard of `train` draw.

mod axis;
mod svg;
mod terminal;

pub use axis::Axis;
pub use svg::svg;
pub use terminal::{Glyphs, Size, cut, draw};

/// A curve.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// (x, y); where one of them is not a finite number the line is broken.
    pub points: Vec<(f64, f64)>,
}

/// A vertical line.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Where.
    pub x: f64,
    /// What is there.
    pub label: String,
}

/// What is drawn.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// Above all; may be empty.
    pub title: String,
    /// What x is.
    pub x_label: String,
    /// Whether equal factors of x are equal distances.
    pub x_logarithmic: bool,
    /// What y is.
    pub y_label: String,
    /// The curves, first to last.
    pub series: Vec<Series>,
    /// Vertical lines.
    pub marks: Vec<Mark>,
}

impl Chart {
    /// Both axes; `None` when there is no point to be drawn.
    fn axes(&self) -> Option<(Axis, Axis)> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let whole = |&&(x, y): &&(f64, f64)| x.is_finite() && y.is_finite();
        let x = Axis::over(points().filter(whole).map(|p| p.0), self.x_logarithmic)?;
        let y = Axis::over(points().filter(whole).map(|p| p.1), false)?;
        Some((x, y))
    }
}

/// The points of `series` in the unit square, (0, 0) below on the left, as lines without breaks; at most about `columns` · 2 of them, the
/// lowest and the highest of each column.
fn lines(series: &Series, (x, y): (&Axis, &Axis), columns: usize) -> Vec<Vec<(f64, f64)>> {
    let mut lines = vec![Vec::new()];
    for point in &series.points {
        match (x.place(point.0), y.place(point.1)) {
            (Some(x), Some(y)) => lines.last_mut().into_iter().for_each(|l| l.push((x, y))),
            _ => lines.push(Vec::new()),
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
        .into_iter()
        .map(|line| thinned(line, columns))
        .collect()
}

fn thinned(line: Vec<(f64, f64)>, columns: usize) -> Vec<(f64, f64)> {
    if line.len() <= 2 * columns {
        return line;
    }
    let column = |point: &(f64, f64)| (point.0 * columns as f64) as usize;
    line.chunk_by(|a, b| column(a) == column(b))
        .flat_map(|chunk| {
            let by_y = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
            let lowest = chunk.iter().min_by(by_y).copied();
            let highest = chunk.iter().max_by(by_y).copied();
            let mut both: Vec<_> = lowest.into_iter().chain(highest).collect();
            both.sort_by(|a, b| a.0.total_cmp(&b.0));
            both.dedup();
            both
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_keeps_its_peaks() {
        let line: Vec<_> = (0..10_000)
            .map(|i| (f64::from(i) / 1e4, if i == 5_432 { 1.0 } else { 0.1 }))
            .collect();
        let thin = thinned(line, 100);
        assert!(thin.len() <= 201, "{}", thin.len());
        assert!(thin.iter().any(|point| point.1 == 1.0));
        assert!(thin.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn what_is_no_number_breaks_a_line() {
        let points = [0.0, 1.0, f64::NAN, 3.0, 4.0]
            .iter()
            .enumerate()
            .map(|(i, y)| (i as f64, *y))
            .collect();
        let chart = Chart {
            series: vec![Series {
                points,
                ..Series::default()
            }],
            ..Chart::default()
        };
        let (x, y) = chart.axes().expect("axes");
        let lines = lines(&chart.series[0], (&x, &y), 100);
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        assert!(Chart::default().axes().is_none());
    }
}
