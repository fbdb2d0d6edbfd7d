//! Ctrl-C: once saves and stops, twice aborts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::screen::Screen;

/// What `train`, `resume` and `finetune` say at the first Ctrl-C.
pub const SAVING: &str =
    "stopping after this step and saving; press Ctrl-C again to stop at once and lose it";

/// Whether the user wants the work to end, and the screen on which that is said.
#[derive(Debug, Clone)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    screen: Screen,
}

impl Stop {
    /// Whether Ctrl-C was pressed.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// The flag itself.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// Where bars and dashboards are drawn, so that a message does not run into them.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }
}

/// A flag that the first Ctrl-C (or SIGTERM) sets, which is answered with `said`; the second ends the program at once.
///
/// # Errors
/// When the system does not let a handler be set, or one was set before.
pub fn stop_on_ctrl_c(said: &'static str) -> Result<Stop> {
    let stop = Stop {
        flag: Arc::new(AtomicBool::new(false)),
        screen: Screen::new(),
    };
    let handled = stop.clone();
    ctrlc::set_handler(move || {
        if handled.flag.swap(true, Ordering::SeqCst) {
            handled.screen.clear();
            // What 128 + SIGINT says to a shell. The last checkpoint is whole: checkpoints appear by renaming.
            std::process::exit(130);
        }
        handled.screen.above(|| eprintln!("{said}"));
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}
