//! How many tests ran: the sum of the `test result:` lines of all test binaries and doc tests.

/// Totals over all binaries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests marked `#[ignore]` (or doc tests fenced so): none is allowed.
    pub ignored: u64,
    /// Binaries (and doc test runs) that reported.
    pub binaries: u64,
}

impl Counts {
    /// Adds one line of output when it is a summary; every other line is passed over.
    pub fn add_line(&mut self, line: &str) {
        let Some((_, summary)) = line.split_once("test result: ") else {
            return;
        };
        // "ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s"
        let Some((_, numbers)) = summary.split_once(". ") else {
            return;
        };
        let mut reported = Self {
            binaries: 1,
            ..Self::default()
        };
        for field in numbers.split(';') {
            let mut words = field.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => reported.passed = number,
                "failed" => reported.failed = number,
                "ignored" => reported.ignored = number,
                _ => {}
            }
        }
        *self = self.and(reported);
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
            binaries: self.binaries + other.binaries,
        }
    }

    /// Why this run does not count as a success, if it does not.
    pub fn objection(&self) -> Option<String> {
        if self.failed > 0 {
            Some(format!("{} failed, {} passed", self.failed, self.passed))
        } else if self.passed == 0 {
            Some("not one test was executed".into())
        } else if self.ignored > 0 {
            Some(format!(
                "{} ignored: a test either runs or is removed",
                self.ignored
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(output: &str) -> Counts {
        let mut counts = Counts::default();
        output.lines().for_each(|line| counts.add_line(line));
        counts
    }

    #[test]
    fn adds_up_all_binaries() {
        let counts = counted(
            "running 3 tests\ntest a ... ok\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             test result: FAILED. 40 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 9.00s\n\
             all doctests ran in 0.50s; merged doctests compilation took 0.30s\n",
        );
        assert_eq!(
            counts,
            Counts {
                passed: 43,
                failed: 2,
                ignored: 1,
                binaries: 2
            }
        );
        assert_eq!(counts.objection().as_deref(), Some("2 failed, 43 passed"));
    }

    #[test]
    fn objects_to_nothing_and_to_ignored() {
        assert!(counted("").objection().is_some());
        let ignored =
            counted("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        assert!(ignored.objection().is_some());
        let good =
            counted("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(good.objection(), None);
    }
}
