//! What the user sees: results on stdout, remarks and progress on stderr.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
pub use ptbr_corpus::thousands;
use serde::Serialize;

#[cfg(feature = "train")]
use crate::chart::{Glyphs, Size};

/// Where a command writes. With `--json` stdout holds one JSON document and every human line goes to stderr.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    json: bool,
    /// Of several processes that do the same one speaks.
    silent: bool,
}

impl Ui {
    /// A user interface for a command called with or without `--json`.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            silent: false,
        }
    }

    /// The same, showing nothing.
    #[cfg(feature = "train")]
    pub fn silent(self) -> Self {
        Self {
            silent: true,
            ..self
        }
    }

    /// Whether it shows nothing.
    #[cfg(feature = "train")]
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// One line of the result for people.
    ///
    /// # Errors
    /// When stdout cannot be written; a closed pipe ends the program quietly (see `main`).
    pub fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        self.text(text.as_ref())?;
        self.text("\n")
    }

    /// A piece of the result for people, without a line break and shown at once.
    ///
    /// # Errors
    /// As [`Ui::line`].
    pub fn text(&self, text: &str) -> io::Result<()> {
        if self.silent {
            return Ok(());
        }
        if self.json {
            // stderr is for a person who may have closed it; the JSON on stdout is what counts.
            let _ = io::stderr().write_all(text.as_bytes());
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// The result for machines: one JSON document on stdout, only with `--json`.
    ///
    /// # Errors
    /// As [`Ui::line`].
    pub fn result(&self, value: &impl Serialize) -> anyhow::Result<()> {
        if self.json && !self.silent {
            let text = serde_json::to_string_pretty(value)?;
            let mut out = io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()?;
        }
        Ok(())
    }

    /// A remark beside the result: always on stderr.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.silent {
            let _ = writeln!(io::stderr(), "{}", text.as_ref());
        }
    }

    /// What to run next, on stderr, so that it never gets into a pipe.
    pub fn next(&self, command: &str) {
        self.note(format!("next: {command}"));
    }

    /// Whether what people read goes to a terminal that can be written anew in place.
    pub fn can_redraw(&self) -> bool {
        let shown = if self.json {
            io::stderr().is_terminal()
        } else {
            io::stdout().is_terminal() && io::stderr().is_terminal()
        };
        shown && !self.silent && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Room for a drawing, and what to draw with: the terminal's width and dots where there is one, 80 columns and plain signs in a pipe.
    #[cfg(feature = "train")]
    pub fn plane(&self) -> (Size, Glyphs) {
        let size = Size {
            columns: terminal_size().1.min(120),
            rows: 14,
        };
        let glyphs = if self.can_redraw() && is_utf8() {
            Glyphs::Braille
        } else {
            Glyphs::Ascii
        };
        (size, glyphs)
    }

    /// A bar over a known number of bytes; invisible when stderr is not a terminal.
    pub fn bytes_bar(&self, total: u64, what: &str) -> ProgressBar {
        self.bar(
            total,
            what,
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
    }

    /// A bar over a known number of things; invisible when stderr is not a terminal.
    pub fn count_bar(&self, total: u64, what: &str) -> ProgressBar {
        self.bar(
            total,
            what,
            "{msg} {wide_bar} {human_pos}/{human_len} {eta}",
        )
    }

    fn bar(&self, total: u64, what: &str, template: &str) -> ProgressBar {
        if self.silent {
            return ProgressBar::hidden();
        }
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        bar
    }
}

/// Lines and columns of the terminal; 24 and 80 without one.
pub fn terminal_size() -> (usize, usize) {
    let size = console::Term::stderr().size_checked();
    let (rows, columns) = size.unwrap_or((24, 80));
    (rows.into(), columns.into())
}

/// Whether the terminal's text is UTF-8, as the first of the variables that decide says.
#[cfg(feature = "train")]
pub fn is_utf8() -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let set = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = names.iter().find_map(set).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    cfg!(windows) || locale.contains("utf-8") || locale.contains("utf8")
}

/// A number of bytes in the unit a person would use (powers of 1024).
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A time span as `2.4 s`, `3 min 05 s` or `1 h 02 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else if seconds < 3600 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60)
    }
}

/// The first 16 hexadecimal digits of a hash: enough to tell two files apart on a screen.
pub fn short_hash(hash: &[u8]) -> String {
    hex(hash).chars().take(16).collect()
}

/// A hash as hexadecimal digits.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(duration(Duration::from_millis(2400)), "2.4 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(duration(Duration::from_secs(3725)), "1 h 02 min");
        assert_eq!(hex(&[0, 255]), "00ff");
    }
}
