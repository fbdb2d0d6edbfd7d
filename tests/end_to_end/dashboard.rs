//! `train` in a terminal: the dashboard is written anew in place, fits, and gives way to plain lines.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use crate::program::command;
use crate::training::{prepared, train};

/// What a terminal shows: enough of one for what the program writes.
#[derive(Default)]
struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    fn line(&mut self) -> &mut Vec<char> {
        if self.lines.len() <= self.row {
            self.lines.resize(self.row + 1, Vec::new());
        }
        &mut self.lines[self.row]
    }

    fn feed(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => self.column = 0,
                '\n' => self.row += 1,
                '\u{1b}' => {
                    assert_eq!(chars.next(), Some('['));
                    let mut number = String::new();
                    let last = loop {
                        match chars.next().expect("an end") {
                            c if c.is_ascii_digit() || c == '?' || c == ';' => number.push(c),
                            c => break c,
                        }
                    };
                    let n = number.parse().unwrap_or(1);
                    let column = self.column;
                    match last {
                        'A' => self.row = self.row.saturating_sub(n),
                        'B' => self.row += n,
                        'K' if number == "2" => self.line().clear(),
                        'K' => self.line().truncate(column),
                        'J' => {
                            self.line().truncate(column);
                            self.lines.truncate(self.row + 1);
                        }
                        'm' | 'h' | 'l' => {}
                        other => panic!("ESC [ {number}{other}"),
                    }
                }
                c => {
                    let column = self.column;
                    let line = self.line();
                    line.resize(line.len().max(column + 1), ' ');
                    line[column] = c;
                    self.column += 1;
                }
            }
        }
    }

    fn text(&self) -> String {
        let line = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned();
        self.lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Runs the program in a terminal of this width; what it wrote, and its exit status.
fn in_terminal(folder: &Path, args: &[&str], columns: u16, term: &str) -> (String, i32) {
    let size = libc::winsize {
        ws_row: 30,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: both places outlive the call, which writes two descriptors into them; name and settings may be null.
    let opened = unsafe {
        libc::openpty(
            &mut ours,
            &mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            &size,
        )
    };
    assert_eq!(opened, 0, "a terminal");
    // SAFETY: openpty gave two open descriptors that nobody else owns.
    let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    let mut command = command(folder, args);
    command
        .env("TERM", term)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("COLUMNS")
        .stdout(theirs.try_clone().expect("a copy"))
        .stderr(theirs);
    let mut child = command.spawn().expect("the program starts");
    // The copies of this process go, so that reading ends when the program does.
    drop(command);
    let mut terminal = File::from(ours);
    let (mut written, mut buffer) = (Vec::new(), [0; 4096]);
    // Linux ends a terminal whose other side is closed with an error.
    while let Ok(n @ 1..) = terminal.read(&mut buffer) {
        written.extend_from_slice(&buffer[..n]);
    }
    let status = child.wait().expect("an end");
    let text = String::from_utf8(written).expect("UTF-8");
    (text, status.code().unwrap_or(-1))
}

const SHORT: &[&str] = &[
    "--max-steps",
    "80",
    "--batch-size",
    "4",
    "--seq-len",
    "32",
    "--val",
    "texto.bin",
    "--eval-every",
    "40",
    "--eval-tokens",
    "512",
    "--save-every",
    "40",
    "--log-every",
    "20",
];

#[test]
fn it_is_written_in_place_and_fits_wide_and_narrow() {
    let folder = prepared();
    for (columns, output) in [(80, "wide"), (40, "narrow")] {
        let args = train(output, SHORT);
        let (written, status) = in_terminal(folder.path(), &args, columns, "xterm");
        assert_eq!(status, 0, "{written}");
        let mut screen = Screen::default();
        screen.feed(&written);
        let shown = screen.text();
        println!("{shown}");
        for part in [
            "step 80 of 80 (100 %)",
            "lr ",
            "gradient ",
            "tok/s",
            " left",
            "bits per byte",
            "saved step-000080",
            "“O Brasil é",
        ] {
            assert_eq!(shown.matches(part).count(), 1, "{part}, once:\n{shown}");
        }
        assert!(
            written.matches("gone").count() > 1,
            "it was drawn more than once"
        );
        assert!(
            !shown.contains("step     20/80"),
            "no lines beside it:\n{shown}"
        );
        let lines: Vec<&str> = shown.lines().collect();
        let first = lines
            .iter()
            .position(|line| line.starts_with("step 80 of 80"));
        let board = &lines[first.expect("the dashboard")..];
        let last = board
            .iter()
            .position(|line| line.contains("“O Brasil é"))
            .expect("a sample");
        for part in ["│", "memory "] {
            let found = board[..=last].iter().any(|line| line.contains(part));
            assert!(found, "{part} is missing:\n{shown}");
        }
        for line in &board[..=last] {
            assert!(line.chars().count() < usize::from(columns), "{line}");
        }
    }
}

#[test]
fn plain_lines_where_nothing_can_be_written_in_place() {
    let folder = prepared();
    let at = folder.path();
    let plain = [SHORT, &["--plain"]].concat();
    for (output, args, term) in [
        ("dumb", train("dumb", SHORT), "dumb"),
        ("plain", train("plain", &plain), "xterm"),
    ] {
        let (written, status) = in_terminal(at, &args, 80, term);
        assert_eq!(status, 0, "{written}");
        let mut screen = Screen::default();
        screen.feed(&written);
        let shown = screen.text();
        let saved = format!("saved {output}/step-000080");
        for part in ["step     20/80", "step     40  validation: loss", &saved] {
            assert!(shown.contains(part), "{part} is missing:\n{shown}");
        }
        assert!(!shown.contains("gone"), "{shown}");
    }
}
