//! The checks of one run: a headline before each, a table after all.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::counts::Counts;

/// What became of a check.
enum Outcome {
    Passed,
    Failed,
    /// It could not be done here; said in the table, never left out.
    NotRun,
}

struct Row {
    name: &'static str,
    outcome: Outcome,
    detail: String,
    time: Duration,
}

/// Collects the outcome of each check.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    /// `None` until tests were asked for.
    tests: Option<Counts>,
    /// Failed rows whose failed tests are in `tests`.
    rows_counted: u64,
}

/// What a check that did not fail has to say.
pub enum Done {
    /// It holds; the text goes into the table.
    Yes(String),
    /// It could not be done on this machine, and why.
    NotHere(String),
}

impl Report {
    /// Runs one check under a headline. True when it did not fail.
    pub fn check(&mut self, name: &'static str, check: impl FnOnce() -> Result<Done>) -> bool {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let (outcome, detail) = match check() {
            Ok(Done::Yes(detail)) => (Outcome::Passed, detail),
            Ok(Done::NotHere(why)) => (Outcome::NotRun, why),
            Err(error) => (Outcome::Failed, format!("{error:#}")),
        };
        if !detail.is_empty() {
            eprintln!("{detail}");
        }
        let good = !matches!(outcome, Outcome::Failed);
        self.rows.push(Row {
            name,
            outcome,
            detail,
            time: start.elapsed(),
        });
        good
    }

    /// Runs tests under a headline; those of several headlines are added up.
    pub fn tests(&mut self, name: &'static str, run: impl FnOnce() -> Result<Counts>) {
        let mut counts = Counts::default();
        self.check(name, || {
            counts = run()?;
            match counts.objection() {
                Some(objection) => anyhow::bail!(objection),
                None => Ok(Done::Yes(format!(
                    "{} passed in {} test binaries",
                    counts.passed, counts.binaries
                ))),
            }
        });
        self.rows_counted += u64::from(counts.failed > 0);
        self.tests = Some(self.tests.unwrap_or_default().and(counts));
    }

    /// Notes that an earlier failure kept the tests from running.
    pub fn tests_not_reached(&mut self, name: &'static str, why: &str) {
        self.tests = Some(self.tests.unwrap_or_default());
        self.rows.push(Row {
            name,
            outcome: Outcome::Failed,
            detail: why.to_owned(),
            time: Duration::ZERO,
        });
    }

    /// Prints the table and, where tests were asked for, alone on the last line of stdout, `N passed, N failed`: passed
    /// counts tests, failed counts tests and every other check that did not hold. True when nothing failed.
    pub fn finish(self) -> bool {
        eprintln!("\n== summary");
        for row in &self.rows {
            let word = match row.outcome {
                Outcome::Passed => "ok",
                Outcome::Failed => "FAILED",
                Outcome::NotRun => "NOT RUN",
            };
            let detail = row.detail.lines().next().unwrap_or_default();
            eprintln!(
                "{:<16} {word:<8} {:>7.1} s  {detail}",
                row.name,
                row.time.as_secs_f64()
            );
        }
        let failed_rows = self
            .rows
            .iter()
            .filter(|row| matches!(row.outcome, Outcome::Failed))
            .count() as u64;
        let Some(tests) = self.tests else {
            return failed_rows == 0;
        };
        let failed = failed_rows + tests.failed - self.rows_counted;
        println!("{} passed, {failed} failed", tests.passed);
        failed == 0
    }
}
