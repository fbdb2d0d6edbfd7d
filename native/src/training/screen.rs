//! The lower end of the terminal: a bar, or a few lines that are written anew in place, below what is said.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use crate::ui;

/// A place for one bar or dashboard; its copies share it.
#[derive(Debug, Clone)]
pub struct Screen {
    bars: MultiProgress,
    board: Arc<Mutex<Board>>,
}

/// The lines that stand below, the cursor at the beginning of the line after them.
#[derive(Debug, Default)]
struct Board {
    lines: Vec<String>,
}

impl Board {
    /// What brings the cursor back to the first line. A terminal that became narrower since has broken the lines.
    fn back(&self, columns: usize) -> String {
        let rows = |line: &String| {
            let width = console::measure_text_width(line);
            width.div_ceil(columns.max(1)).max(1)
        };
        match self.lines.iter().map(rows).sum() {
            0 => String::new(),
            n @ 1usize.. => format!("\r\u{1b}[{n}A"),
        }
    }

    /// What puts `lines` where the old ones stand. Each is overwritten, not removed first: nothing flickers.
    fn replaced(&mut self, lines: Vec<String>, columns: usize) -> String {
        let mut out = self.back(columns);
        for line in &lines {
            // ESC [ K: what an older, longer line leaves over.
            out.push_str(&format!("\r{line}\u{1b}[K\n"));
        }
        // ESC [ J: older lines below, and the ^C that a terminal shows by itself.
        out.push_str("\u{1b}[J");
        self.lines = lines;
        out
    }

    /// What takes the lines away.
    fn removed(&self, columns: usize) -> String {
        match self.lines.as_slice() {
            [] => String::new(),
            _ => format!("{}\u{1b}[J", self.back(columns)),
        }
    }
}

/// stderr is for a person who may have closed it.
fn write(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

impl Screen {
    /// An empty one; bars on it are invisible when stderr is not a terminal.
    pub fn new() -> Self {
        Self {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)),
            board: Arc::default(),
        }
    }

    /// A bar on it.
    pub fn bar(&self) -> ProgressBar {
        self.bars.add(ProgressBar::hidden())
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows `lines` in the place of those before: as many as the terminal has room for.
    pub fn show(&self, mut lines: Vec<String>) {
        let (rows, columns) = ui::terminal_size();
        lines.truncate(rows.saturating_sub(1));
        write(&self.board().replaced(lines, columns));
    }

    /// Runs `say`, which prints whole lines, above the bar or dashboard.
    pub fn above(&self, say: impl FnOnce()) {
        let mut board = self.board();
        if board.lines.is_empty() {
            drop(board);
            return self.bars.suspend(say);
        }
        let (_, columns) = ui::terminal_size();
        write(&board.removed(columns));
        say();
        let lines = std::mem::take(&mut board.lines);
        write(&board.replaced(lines, columns));
    }

    /// Takes everything away.
    pub fn clear(&self) {
        let mut board = self.board();
        write(&board.removed(ui::terminal_size().1));
        board.lines.clear();
        let _ = self.bars.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_board_goes_back_over_what_it_wrote() {
        let mut board = Board::default();
        assert_eq!(board.removed(80), "");
        let first = board.replaced(lines(&["one", "two"]), 80);
        assert_eq!(first, "\rone\u{1b}[K\n\rtwo\u{1b}[K\n\u{1b}[J");
        let second = board.replaced(lines(&["three"]), 80);
        assert_eq!(second, "\r\u{1b}[2A\rthree\u{1b}[K\n\u{1b}[J");
        assert_eq!(board.removed(80), "\r\u{1b}[1A\u{1b}[J");
        // Five columns in a terminal of two are three rows.
        assert_eq!(board.removed(2), "\r\u{1b}[3A\u{1b}[J");
    }
}
