//! What a run has written into its metrics.csv.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A column of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Step,
    Loss,
    LearningRate,
    GradNorm,
    TokensPerSecond,
    TokensSeen,
    ElapsedSeconds,
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Loss => "loss",
            Self::LearningRate => "learning_rate",
            Self::GradNorm => "grad_norm",
            Self::TokensPerSecond => "tokens_per_second",
            Self::TokensSeen => "tokens_seen",
            Self::ElapsedSeconds => "elapsed_seconds",
        }
    }
}

/// The rows of the file.
#[derive(Debug)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    /// Reads the metrics of the run in a folder, or a file of metrics.
    ///
    /// # Errors
    /// When there is no such file, or it is something else.
    pub fn read(run: &Path) -> Result<Self> {
        let path = if run.is_dir() {
            run.join("metrics.csv")
        } else {
            run.to_owned()
        };
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read {}; give the output folder of a training run, or its metrics.csv",
                path.display()
            )
        })?;
        let rows = Self::parse(&text);
        let needed = ["step", "kind", "loss"];
        ensure!(
            needed.iter().all(|name| rows.at(name).is_some()),
            "{} is no metrics.csv of a training run: its first line does not name the columns step, kind and loss",
            path.display()
        );
        Ok(rows)
    }

    fn parse(text: &str) -> Self {
        let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut lines = text.lines();
        Self {
            columns: lines.next().map(cells).unwrap_or_default(),
            rows: lines.map(cells).collect(),
        }
    }

    fn at(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    /// (x, y) of the rows of a kind; rows that lack one of them, such as the last one of a killed run, are passed over. What is written but
    /// is no number is NaN.
    pub fn values(&self, kind: &str, x: Column, y: Column) -> impl Iterator<Item = (f64, f64)> {
        let at = (self.at("kind"), self.at(x.name()), self.at(y.name()));
        self.rows.iter().filter_map(move |row| {
            let (of_kind, x, y) = (row.get(at.0?)?, row.get(at.1?)?, row.get(at.2?)?);
            let whole = row.len() == self.columns.len();
            (whole && of_kind == kind && !y.is_empty()).then_some(())?;
            Some((x.parse().ok()?, y.parse().unwrap_or(f64::NAN)))
        })
    }

    /// The kinds of validation that there are: all of the text, then by source.
    pub fn validation_kinds(&self) -> Vec<String> {
        let Some(at) = self.at("kind") else {
            return Vec::new();
        };
        let mut kinds: Vec<String> = Vec::new();
        for kind in self.rows.iter().filter_map(|row| row.get(at)) {
            if kind.starts_with("validation") && !kinds.contains(kind) {
                kinds.push(kind.clone());
            }
        }
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_picked_by_kind_and_whole() {
        let rows = Rows::parse(
            "step,kind,loss,grad_norm\n1,train,7.5,2\n2,train,NaN,1\n2,validation,7.1,\n2,validation:law,6.9,\n3,train,7.0,1\n4,tra",
        );
        let loss: Vec<_> = rows.values("train", Column::Step, Column::Loss).collect();
        assert_eq!(loss.len(), 3);
        assert_eq!((loss[0], loss[2]), ((1.0, 7.5), (3.0, 7.0)));
        assert!(loss[1].1.is_nan());
        assert_eq!(rows.validation_kinds(), ["validation", "validation:law"]);
        let none = rows.values("validation", Column::Step, Column::GradNorm);
        assert_eq!(none.count(), 0);
    }
}
